"""The three kinds of models that come in, made into one ONNX file."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpukit.errors import UsageError

from .data import Input
from .datafiles import LABELS, DataSource, raw_columns
from .export import companions_of
from .texts import Rows, tokenized
from .torchside import Checkpoint
from .worker import StepFailed, Worker

__all__ = ["Given", "resolve"]

_CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
_ONNX_HERE = ("model.onnx", "onnx/model.onnx")


@dataclass(frozen=True)
class Given:
    """A model as it came in: its ONNX file, its name, what goes along with it."""

    onnx: Path
    name: str
    companions: tuple[Path, ...] = ()
    checkpoint: Checkpoint | None = None
    notes: tuple[str, ...] = ()

    def tokenize(self, inputs: tuple[Input, ...], batch: int) -> Callable[[Rows], Rows] | None:
        """Return what makes inputs out of lines with a ``text``, if there is a tokenizer."""
        files = [file for file in self.companions if file.name == "tokenizer.json"]
        names = {i.name for i in inputs}
        if not files or "input_ids" not in names or "text" in names:
            return None
        return functools.partial(tokenized, files[0], inputs, batch)


def resolve(
    model: Path, folder: Path, factory: str | None, examples: DataSource, worker: Worker,
    time_limit: float,
) -> Given:  # fmt: skip
    """Return the model as an ONNX file; exported into ``folder`` where it is none yet.

    Args:
        model: an ONNX file, a directory, or a checkpoint.
        folder: for the exported model.
        factory: ``module:function`` that makes the module of a checkpoint.
        examples: of which one is the example input of the export.
        worker: does the export.
        time_limit: seconds that it may take.

    Raises:
        UsageError: it is none of the three, or cannot be exported.
    """
    if not model.exists():
        raise UsageError("model-missing", f"there is no model at {model}", "check the path")
    if factory is not None:
        return _checkpoint(model, folder, factory, examples, worker, time_limit)
    if model.is_dir():
        return _directory(model, folder, worker, time_limit)
    if model.suffix in _CHECKPOINTS:
        raise UsageError(
            "factory-missing", f"{model} has weights without the model that they are for",
            "give --factory module:function, which returns the torch module; its code is run",
        )  # fmt: skip
    return Given(
        model, model.name, tuple(companions_of(model.parent)) if _has_folder(model) else ()
    )


def _has_folder(model: Path) -> bool:
    """Tell whether a folder is that of a model: then the files beside it belong to it."""
    return any((model.parent / name).is_file() for name in ("config.json", "tokenizer.json"))


def _directory(model: Path, folder: Path, worker: Worker, time_limit: float) -> Given:
    beside = tuple(companions_of(model))
    for name in _ONNX_HERE:
        if (model / name).is_file():
            return Given(
                model / name, model.name, beside, notes=(f"{name} of the directory is used",)
            )
    others = sorted(f for f in (*model.glob("*.onnx"), *model.glob("onnx/*.onnx")))
    if len(others) == 1:
        name = str(others[0].relative_to(model))
        return Given(others[0], model.name, beside, notes=(f"{name} of the directory is used",))
    if others:
        raise _several(model, others)
    if not (model / "config.json").is_file():
        raise UsageError(
            "model-directory", f"{model} has neither model.onnx nor config.json",
            "give an .onnx file, or the directory of a Hugging Face model",
        )  # fmt: skip
    if importlib.util.find_spec("optimum") is None or not _has_exporter():
        raise UsageError(
            "optimum-missing",
            f"exporting {model} needs Optimum, which is not installed",
            "pip install 'gpukit[quantize-hf]' in an environment of its own (it holds transformers "
            "below 4.58), or export to ONNX yourself and give the file",
        )
    target = folder / "export"
    try:
        made = worker.call("export_directory", model, target, timeout=time_limit)
    except StepFailed as error:
        raise UsageError(
            "export-failed", f"Optimum cannot export {model}: {error}",
            "export it with `optimum-cli export onnx` and give the .onnx file",
        ) from None  # fmt: skip
    files = sorted(target.glob("*.onnx"))
    if len(files) != 1:
        raise _several(model, files)
    return Given(files[0], model.name, tuple(companions_of(target)) or beside, notes=(made,))


def _several(model: Path, files: list[Path]) -> UsageError:
    """Return the error about a model in parts: each part has inputs that only its examples fit."""
    return UsageError(
        "model-several", f"{model} is {len(files)} ONNX files: {', '.join(f.name for f in files)}",
        "quantize one at a time: give the file (exported with `optimum-cli export onnx`), and "
        "examples of its own inputs; then put the results and the other files into one folder",
    )  # fmt: skip


def _has_exporter() -> bool:
    try:
        return importlib.util.find_spec("optimum.exporters.onnx") is not None
    except ModuleNotFoundError:
        return False


def _checkpoint(
    model: Path, folder: Path, factory: str, data: DataSource, worker: Worker, time_limit: float
) -> Given:
    example = folder / "example.npz"
    raw = raw_columns(data, "--eval")
    one = {k: np.asarray(v[0])[None] for k, v in raw.items() if k not in LABELS}
    np.savez(example, allow_pickle=False, **one)
    checkpoint = Checkpoint(model, factory, example)
    target = folder / "export" / "model.onnx"
    target.parent.mkdir()
    try:
        note = worker.call("export_checkpoint", checkpoint, target, timeout=time_limit)
    except StepFailed as error:
        raise UsageError(
            "export-failed", f"{model} cannot be exported with {factory}: {error}",
            "the inputs are the arrays of --eval by name; export it to ONNX yourself if need be",
        ) from None  # fmt: skip
    return Given(target, model.name, (), checkpoint, (note,))
