"""Where each option of a job comes from: default < user < project < decorator < environment < flag.

The only place that reads configuration files and ``GPUKIT_*``; it does so when it is asked.
"""

from __future__ import annotations

import difflib
import functools
import json
import os
import re
import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any, Literal

from .contract import Env
from .errors import JobFileError, SpecError, did_you_mean
from .job import GpuJob
from .naming import JOB_NAME_MAX, slug
from .spec import JobSpec, make_spec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "MERGED",
    "OptionKind",
    "Origin",
    "PriceFile",
    "Resolved",
    "find_prices",
    "option_kinds",
    "read_text",
    "resolve_spec",
]

Layer = Literal["default", "user", "project", "decorator", "environment", "flag"]
OptionKind = Literal["text", "integer", "spot", "list", "mapping"]

MERGED = frozenset({"labels", "annotations", "env", "secrets", "volumes", "node_selector"})
_PREFIX = "GPUKIT_"
_PRICES = "prices"
_OTHER_VARIABLES = frozenset(
    {"GPUKIT_HOME", "GPUKIT_DEBUG", "GPUKIT_PROGRESS_SECONDS", "GPUKIT_PRICES"}
)
_MISSPELLED = 0.85  # how near an unknown GPUKIT_ variable must be to an option to be refused
_NAME_LIMIT = JOB_NAME_MAX - 9


@dataclass(frozen=True)
class Origin:
    """Where a value comes from: the layer, and its place for a person."""

    layer: Layer
    where: str


@dataclass(frozen=True)
class Resolved:
    """A spec, and for every option of it where its value comes from."""

    spec: JobSpec
    origins: dict[str, Origin]


@dataclass(frozen=True)
class PriceFile:
    """A file with prices and other facts of the user's own, see :mod:`gpukit.catalog.overlay`.

    Attributes:
        path: of the file.
        text: what is in it.
        as_of: the day it was last written, in UTC.
        where: the setting that names it, for a person.
    """

    path: Path
    text: str
    as_of: date
    where: str


@dataclass(frozen=True)
class _Entry:
    option: str
    value: Any
    origin: Origin


def resolve_spec(
    job: GpuJob[..., Any],
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    user_file: Path | None = None,
) -> Resolved:
    """Put the layers of a job's options together and validate them.

    Mappings such as ``labels`` and ``env`` are merged by key; all other values replace.

    Args:
        job: the job, whose decorator is a layer and whose file leads to the project.
        flags: options of the command line, by name; text or values.
        environ: the environment; default: that of the process.
        user_file: the user's file; default: ``gpukit/config.toml`` in the configuration folder.

    Raises:
        SpecError: a value is wrong; the message says from which layer it comes.
    """
    environ = os.environ if environ is None else environ
    user_file = _user_file(environ) if user_file is None else user_file
    entries = [
        *_from_file(user_file, "user", table=()),
        *_from_file(_project_file(job), "project", table=("tool", "gpukit")),
        *(_Entry(k, v, Origin("decorator", "@gpu_job")) for k, v in job.options.items()),
        *_from_environment(environ),
        *_from_flags(flags or {}),
    ]
    values, origins = _merge(entries)
    default_name = slug(getattr(job.function, "__name__", "job"), _NAME_LIMIT)
    origins["name"] = origins.get("name") or Origin("default", "the function's name")
    try:
        spec = make_spec({"name": default_name, **values})
    except SpecError as error:
        raise _with_origin(error, entries) from None
    return Resolved(spec, {n: origins.get(n, Origin("default", "gpukit")) for n in _options()})


def find_prices(
    job: GpuJob[..., Any] | None = None,
    flag: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    user_file: Path | None = None,
) -> PriceFile | None:
    """Return the file that ``--prices``, ``GPUKIT_PRICES`` or ``prices =`` in a file names.

    A path in a file is relative to that file, others to the current directory.

    Args:
        job: whose project is looked at; without it, that of the current directory.
        flag: the file that the command line names.
        environ: the environment; default: that of the process.
        user_file: the user's file; default: ``gpukit/config.toml`` in the configuration folder.

    Raises:
        SpecError: there is no such file, or it cannot be read.
    """
    environ = os.environ if environ is None else environ
    user_file = _user_file(environ) if user_file is None else user_file
    project = _project_file(job)
    if flag is not None:
        return _read_prices(Path(flag), "--prices")
    if environ.get("GPUKIT_PRICES"):
        return _read_prices(Path(environ["GPUKIT_PRICES"]), "GPUKIT_PRICES")
    for file, table in ((project, ("tool", "gpukit")), (user_file, ())):
        found, where = _table(file, table)
        if file is not None and _PRICES in found:
            return _read_prices(file.parent / str(found[_PRICES]), where)
    return None


def _read_prices(path: Path, where: str) -> PriceFile:
    try:
        text = path.read_text(encoding="utf-8")
        changed = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).date()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SpecError(
            "prices-unreadable", f"{path}, a file of prices, cannot be read: {why} (from {where})",
            "name a TOML file, or a CSV file in the form of OpenCost or SkyPilot",
        ) from None  # fmt: skip
    return PriceFile(path, text, changed, where)


def _options() -> list[str]:
    return list(JobSpec.model_fields)


@functools.cache
def option_kinds() -> dict[str, OptionKind]:
    """Return of which form each option is, as text gives it: one table for variables and flags."""
    kinds: dict[str, OptionKind] = {}
    for name, field in JobSpec.model_fields.items():
        outer = typing.get_origin(field.annotation)
        if name == "spot":
            kinds[name] = "spot"
        elif outer in (tuple, dict):
            kinds[name] = "list" if outer is tuple else "mapping"
        else:
            kinds[name] = "integer" if field.annotation is int else "text"
    return kinds


def read_text(option: str, text: str) -> Any:
    """Return the value of an option that is given as text: a variable, or a flag.

    Numbers and ``true``/``false`` are read where the option is one; lists and mappings are JSON,
    and a list of one may be written as the thing itself.

    Raises:
        SpecError: not of the option's form.
    """
    kind = option_kinds()[option]
    if kind == "integer":
        return _whole(option, text)
    if kind == "spot":
        words: dict[str, object] = {"true": True, "1": True, "false": False, "0": False}
        return words.get(text.lower(), text)
    if kind == "list" and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",")] if text else []
    if kind in ("list", "mapping"):
        return _json(option, text, kind)
    return text


def _whole(option: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise SpecError(
            "option-number", f"{option}={text!r} is not a whole number", 'write for example "3"'
        ) from None


def _json(option: str, text: str, kind: str) -> Any:
    example = '["a", "b"]' if kind == "list" else '{"key": "value"}'
    try:
        return json.loads(text)
    except ValueError as error:
        raise SpecError(
            "option-json", f"{option}={_shown(option, text)} is not JSON: {error}",
            f"write {example}",
        ) from None  # fmt: skip


def _shown(option: str, text: str) -> str:
    return "…" if option in ("secrets", "env") else repr(text)  # may hold what must not be shown


def _user_file(environ: Mapping[str, str]) -> Path | None:
    config = environ.get("XDG_CONFIG_HOME")
    home = environ.get("HOME")
    if not config and not home:
        return None
    folder = Path(config) if config else Path(str(home)) / ".config"
    return folder / "gpukit" / "config.toml"


def _project_file(job: GpuJob[..., Any] | None) -> Path | None:
    """Return the nearest pyproject.toml above the job file, or above where one works."""
    try:
        start = Path.cwd() if job is None else job.source_file.parent
    except JobFileError:  # a notebook: where one works
        start = Path.cwd()
    files = (folder / "pyproject.toml" for folder in (start, *start.parents))
    return next((file for file in files if file.is_file()), None)


def _from_file(file: Path | None, layer: Layer, table: tuple[str, ...]) -> list[_Entry]:
    found, where = _table(file, table)
    return [
        _known(_Entry(key.replace("-", "_"), value, Origin(layer, where)))
        for key, value in found.items()
        if key != _PRICES
    ]


def _table(file: Path | None, table: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """Return a table of a TOML file, and its place for a person; empty where there is none."""
    if file is None or not file.is_file():
        return {}, ""
    where = f"{file.name} [{'.'.join(table)}]" if table else str(file)
    try:
        found: Any = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(
            "settings-toml", f"{file} is not TOML: {error}", "correct the file"
        ) from None
    except OSError as error:
        raise SpecError(
            "settings-unreadable", f"{file} cannot be read: {error.strerror}",
            "check its permissions",
        ) from None  # fmt: skip
    for key in table:
        found = found.get(key, {}) if isinstance(found, dict) else found
    if not isinstance(found, dict):
        raise SpecError(
            "settings-form", f"{where} in {file} is not a table", "write [tool.gpukit] and options"
        )
    return found, where


def _known(entry: _Entry) -> _Entry:
    if entry.option not in JobSpec.model_fields:
        raise SpecError(
            "option-unknown",
            f"there is no option {entry.option!r} (from {entry.origin.where})",
            did_you_mean(
                entry.option, _options(), otherwise=f"the options are: {', '.join(_options())}"
            ),
        )
    return entry


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Entry]:
    ours = {v for k, v in vars(Env).items() if not k.startswith("_")} | _OTHER_VARIABLES
    names = {_PREFIX + option.upper(): option for option in _options()}
    for variable in sorted(environ):
        if not variable.startswith(_PREFIX) or variable in ours:
            continue
        if variable in names:
            origin = Origin("environment", variable)
            value = _read_at(origin, names[variable], environ[variable])
            yield _Entry(names[variable], value, origin)
        elif near := difflib.get_close_matches(variable, names, n=1, cutoff=_MISSPELLED):
            raise SpecError(
                "environment-unknown", f"the variable {variable} is no option of gpukit",
                f"did you mean {near[0]!r}? Unset it if it is not for gpukit",
            )  # fmt: skip


def _from_flags(flags: Mapping[str, object]) -> Iterator[_Entry]:
    for option, value in flags.items():
        origin = Origin("flag", "--" + option.replace("_", "-"))
        entry = _known(_Entry(option, value, origin))
        read = _read_at(origin, option, value) if isinstance(value, str) else value
        yield _Entry(entry.option, read, origin)


def _read_at(origin: Origin, option: str, text: str) -> Any:
    try:
        return read_text(option, text)
    except SpecError as error:
        raise _from(error, origin.where) from None


def _merge(entries: list[_Entry]) -> tuple[dict[str, Any], dict[str, Origin]]:
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for entry in entries:
        before, origin = values.get(entry.option), entry.origin
        both = isinstance(before, Mapping) and isinstance(entry.value, Mapping)
        if entry.option in MERGED and both and before:
            values[entry.option] = {**before, **entry.value}
            origin = Origin(origin.layer, f"{origins[entry.option].where} + {origin.where}")
        else:
            values[entry.option] = entry.value
        origins[entry.option] = origin
    return {k: _plain(v) for k, v in values.items()}, origins


def _plain(value: Any) -> Any:
    """Return a mapping of any class as the dict that the spec reads."""
    return dict(value) if isinstance(value, Mapping) else value


def _with_origin(error: SpecError, entries: list[_Entry]) -> SpecError:
    """Return the error with the layer that the wrong value comes from."""
    for entry in reversed(entries):
        try:
            make_spec({entry.option: _plain(entry.value)})
        except SpecError as alone:
            return _from(alone, entry.origin.where)
    mentioned = [e for e in entries if re.search(rf"\b{e.option}\b", error.message)]
    places = dict.fromkeys(e.origin.where for e in mentioned)
    return _from(error, " and ".join(places)) if places else error


def _from(error: SpecError, where: str) -> SpecError:
    if where == "@gpu_job":
        return error
    return type(error)(error.id, f"{error.message} (from {where})", error.hint)
