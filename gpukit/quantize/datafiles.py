"""Where examples come from: files, a directory, a function, or arrays; checked on arrival."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from gpukit.errors import UsageError, did_you_mean

from .data import Array, Column, Examples, Input

__all__ = ["LABELS", "DataSource", "called", "load_function", "raw_columns", "read_examples"]

LABELS = ("labels", "label", "targets", "target", "y")
DataSource = str | Path | Mapping[str, Any]
_KINDS = "an .npz, a .jsonl, a directory of .npy or .npz files, or module:function"


def read_examples(
    source: DataSource,
    inputs: Sequence[Input],
    what: str,
    *,
    label_key: str | None = None,
    labelled: bool = True,
    prepare: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] | None = None,
) -> Examples:
    """Read examples and hold them against the model's inputs.

    Args:
        source: a file, a directory, ``module:function``, or arrays by name.
        inputs: the inputs of the model.
        what: how the person called it, for example ``--eval``.
        label_key: the name of the labels, if it is not one of the usual names.
        labelled: whether labels of that name have to be there.
        prepare: makes inputs out of the lines of a .jsonl, for example with a tokenizer.

    Raises:
        UsageError: missing, damaged, empty, of other names, types or shapes than the model's
            inputs, or with numbers that are not finite.
    """
    raw = raw_columns(source, what, prepare)
    names = {i.name for i in inputs}
    wanted = (label_key,) if label_key else tuple(k for k in LABELS if k not in names)
    found = [key for key in wanted if key in raw]
    if label_key and labelled and not found:
        raise UsageError(
            "labels-missing", f"{what} has no {label_key!r}, only {_listed(raw)}",
            did_you_mean(label_key, raw, otherwise="name the labels with --label-key"),
        )  # fmt: skip
    labels = raw.pop(found[0]) if found else None
    _check_names(raw, inputs, what)
    if str(source).endswith(".jsonl"):
        raw = {i.name: _typed(raw[i.name], i.dtype) for i in inputs if i.name in raw}
    return _fitted(raw, labels, inputs, what)


def load_function(spec: str, what: str) -> Callable[..., Any]:
    """Import ``module:function`` or ``file.py:function``; its code is run.

    Raises:
        UsageError: it cannot be imported, or is not a function.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name.isidentifier():
        raise UsageError(
            "function-form", f"{what} {spec!r} is not module:function",
            "write for example metrics:score or metrics.py:score",
        )  # fmt: skip
    try:
        if place.endswith(".py"):
            module = _module_of(place)
        else:
            if "" not in sys.path and str(Path.cwd()) not in sys.path:
                sys.path.insert(0, str(Path.cwd()))
            module = importlib.import_module(place)
        function = getattr(module, name)
    except Exception as error:  # the person's own code may raise anything
        raise UsageError(
            "function-import",
            f"{what} {spec!r} cannot be imported: {type(error).__name__}: {error}",
            "the module is searched in this folder and in the environment",
        ) from None  # fmt: skip
    if not callable(function):
        raise UsageError("function-form", f"{what} {spec!r} is not a function", "name a function")
    made: Callable[..., Any] = function
    return made


def _module_of(file: str) -> ModuleType:
    """Import a file; it is registered, since dataclasses look for their module while it runs."""
    described = importlib.util.spec_from_file_location(f"gpukit_file_{Path(file).stem}", file)
    if described is None or described.loader is None:
        raise ImportError(f"cannot import {file}")
    module = importlib.util.module_from_spec(described)
    before = sys.modules.get(described.name)
    sys.modules[described.name] = module
    try:
        described.loader.exec_module(module)
    except BaseException:
        if before is None:
            del sys.modules[described.name]
        else:
            sys.modules[described.name] = before
        raise
    return module


def called(function: Callable[..., Any], what: str, *args: Any) -> Any:
    """Call a person's function; what it raises is told as theirs."""
    try:
        return function(*args)
    except UsageError:
        raise
    except Exception as error:  # the person's own code may raise anything
        raise UsageError(
            "function-failed", f"{what} raised {type(error).__name__}: {error}",
            "call it by hand to see where",
        ) from None  # fmt: skip


def raw_columns(source: DataSource, what: str, prepare: Any = None) -> dict[str, Any]:
    """Return columns by name, not yet held against a model."""
    if isinstance(source, Mapping):
        return {
            name: _column(value, f"{what}: {name!r}") if isinstance(value, list) else value
            for name, value in source.items()
        }
    text, path = str(source), Path(source)
    if not path.exists():
        if ":" in text and not text.endswith((".npz", ".jsonl")):
            made = called(load_function(text, what), f"{what} {text}")
            return dict(made) if isinstance(made, Mapping) else _columns(list(made), what)
        raise UsageError("data-missing", f"{what}: there is nothing at {path}", f"give {_KINDS}")
    try:
        if path.is_dir():
            return _directory(path, what)
        if path.suffix == ".npz":
            return _npz(path)
        if path.suffix == ".npy":
            return {path.stem: np.load(path, allow_pickle=False)}
        if path.suffix == ".jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines if line.strip()]
            return _columns(prepare(rows) if prepare else rows, what)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        if isinstance(error, ValueError) and "allow_pickle" in str(error):
            raise UsageError(
                "data-pickled", f"{what}: {path} holds Python objects, which are not loaded",
                "save arrays of numbers or text; where shapes differ, a directory of .npz files",
            ) from None  # fmt: skip
        raise UsageError(
            "data-corrupt", f"{what}: {path} cannot be read: {error}", f"give {_KINDS}"
        ) from None
    raise UsageError("data-kind", f"{what}: {path} is of no known kind", f"give {_KINDS}")


def _npz(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        found = np.load(stream, allow_pickle=False)
        if not isinstance(found, np.lib.npyio.NpzFile):
            raise ValueError("it is not an archive of arrays")
        return {name: found[name] for name in found.files}


def _directory(path: Path, what: str) -> dict[str, Any]:
    arrays = sorted(path.glob("*.npy"))
    if arrays:
        return {file.stem: np.load(file, allow_pickle=False) for file in arrays}
    return _columns([_npz(file) for file in sorted(path.glob("*.npz"))], what)


def _columns(rows: Iterable[Any], what: str) -> dict[str, Any]:
    """Turn rows into columns; a column whose rows differ in shape stays a list."""
    made: dict[str, list[Any]] = {}
    number = 0
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise UsageError(
                "data-row", f"{what}: example {number} is not a mapping of names to values",
                'write one object a line, for example {"x": [1, 2], "label": 0}',
            )  # fmt: skip
        for name, value in row.items():
            made.setdefault(name, []).append(value)
    for name, column in made.items():
        if len(column) != number:
            raise UsageError(
                "data-row", f"{what}: {number - len(column)} of {number} examples have no {name!r}",
                "give every example the same names",
            )  # fmt: skip
    return {name: _column(values, f"{what}: {name!r}") for name, values in made.items()}


def _column(values: list[Any], what: str) -> Any:
    try:
        rows = [np.asarray(value) for value in values]
    except ValueError:
        rows = [np.asarray(value, dtype=object) for value in values]
    if any(row.dtype == object for row in rows):
        raise UsageError(
            "data-row", f"{what} is not a rectangle of numbers", "pad the inner lists, or use .npz"
        )
    return np.stack(rows) if len({row.shape for row in rows}) == 1 else rows


def _typed(column: Any, dtype: str) -> Any:
    """Give numbers out of JSON, which knows no types, the type of the input, if none is lost."""
    if isinstance(column, list):
        return [_typed(row, dtype) for row in column]
    wanted = np.dtype(dtype)
    safe = wanted.kind == "f" and column.dtype.kind in "if"
    safe = safe or (wanted.kind in "iu" and column.dtype.kind == "i")
    return column.astype(wanted) if safe else column


def _check_names(raw: Mapping[str, Any], inputs: Sequence[Input], what: str) -> None:
    names = [i.name for i in inputs]
    missing = [i.name for i in inputs if i.required and i.name not in raw]
    unknown = [key for key in raw if key not in names]
    if missing:
        raise UsageError(
            "input-missing",
            f"{what} has nothing for the input {missing[0]!r}, only {_listed(raw)}",
            did_you_mean(missing[0], unknown, otherwise=f"the inputs are {_listed(names)}"),
        )  # fmt: skip
    if unknown:
        raise UsageError(
            "input-unknown", f"{what} has {unknown[0]!r}, which is no input of the model",
            did_you_mean(
                unknown[0], names,
                otherwise=f"the inputs are {_listed(names)}; labels are called {', '.join(LABELS)}",
            ),
        )  # fmt: skip


def _fitted(raw: dict[str, Any], labels: Any, inputs: Sequence[Input], what: str) -> Examples:
    columns: dict[str, Column] = {}
    constants: dict[str, Array] = {}
    kinds = {i.name: i for i in inputs}
    counts = {name: len(v) for name, v in raw.items() if isinstance(v, list) or np.ndim(v)}
    common = max(counts.values(), key=list(counts.values()).count, default=0)
    for name, value in raw.items():
        kind = kinds[name]
        column = value if isinstance(value, list) else np.asarray(value)
        _check_values(column, kind, f"{what}: {name!r}")
        shared = not isinstance(column, list) and (
            column.ndim == 0
            or (len(column) != common and _same_shape(column.shape, kind.shape, exact_first=True))
        )
        if shared:
            constants[name] = np.asarray(column)
        else:
            columns[name] = column
    made = Examples(
        columns, {name: _rank(kinds[name]) for name in columns}, constants,
        None if labels is None else _labels(labels, what),
    )  # fmt: skip
    _check_lengths(made, what)
    for name in columns:
        _check_shape(made, kinds[name], f"{what}: {name!r}")
    return made


def _rank(kind: Input) -> int | None:
    return None if kind.shape is None else len(kind.shape)


def _check_values(column: Column, kind: Input, what: str) -> None:
    for array in column if isinstance(column, list) else [column]:
        given = "str" if array.dtype.kind == "U" else array.dtype.name
        if given != kind.dtype:
            raise UsageError(
                "input-dtype", f"{what} is {given}, the model wants {kind.dtype}",
                f"convert it: array.astype({kind.dtype!r})",
            )  # fmt: skip
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = (
                np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(1))
                if array.ndim
                else [0]
            )
            raise UsageError(
                "input-not-finite", f"{what} has NaN or infinite numbers (the first at {bad})",
                "remove or repair these examples",
            )  # fmt: skip


def _labels(labels: Any, what: str) -> Column:
    column: Column = labels if isinstance(labels, list) else np.asarray(labels)
    for array in column if isinstance(column, list) else [column]:
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise UsageError(
                "labels-not-finite", f"{what}: there are NaN among the labels",
                "remove or repair these examples",
            )  # fmt: skip
    return column


def _check_lengths(made: Examples, what: str) -> None:
    sizes = {name: len(column) for name, column in made.columns.items()}
    if made.labels is not None:
        ragged = isinstance(made.labels, list)
        sizes["labels"] = len(made.labels) if ragged or np.ndim(made.labels) else 0
    if not sizes or not min(sizes.values()):
        raise UsageError("data-empty", f"{what} has no examples", "give at least a few dozen")
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        raise UsageError(
            "data-lengths", f"{what}: the arrays differ in length ({said})",
            "the first axis counts the examples, and is the same everywhere",
        )  # fmt: skip


def _check_shape(made: Examples, kind: Input, what: str) -> None:
    if kind.shape is None:
        return
    column = made.columns[kind.name]
    shapes = {np.shape(row) for row in column} if isinstance(column, list) else {column.shape[1:]}
    for shape in sorted(shapes):
        if not (_same_shape(shape, kind.shape) or _same_shape((None, *shape), kind.shape)):
            wanted = ", ".join("?" if d is None else str(d) for d in kind.shape)
            raise UsageError(
                "input-shape",
                f"{what} has examples of shape {list(shape)}, the model wants [{wanted}]",
                "an example is an input without its batch axis, or a whole input",
            )  # fmt: skip


def _same_shape(
    shape: tuple[int | None, ...], wanted: tuple[int | None, ...] | None, exact_first: bool = False
) -> bool:
    """Tell whether a shape fits; None fits all. ``exact_first`` wants a fixed first axis."""
    if wanted is None or len(shape) != len(wanted):
        return False
    if exact_first and (not wanted or wanted[0] is None):
        return False
    return all(a is None or b is None or a == b for a, b in zip(shape, wanted, strict=True))


def _listed(names: Iterable[str]) -> str:
    shown = [repr(name) for name in names]
    return (
        ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")
        or "nothing"
    )
