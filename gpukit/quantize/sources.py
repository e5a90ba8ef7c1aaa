"""The three kinds of models that come in, made into one ONNX file."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpukit.errors import UsageError

from .data import Input
from .datafiles import LABELS, DataSource, raw_columns
from .export import companions_of
from .torchside import Checkpoint
from .worker import StepFailed, Worker

__all__ = ["Given", "resolve"]

_CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
_ONNX_HERE = ("model.onnx", "onnx/model.onnx")
_LONGEST = 256  # tokens of a text, unless the tokenizer's own limit is lower
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Given:
    """A model as it came in: its ONNX file, its name, what goes along with it."""

    onnx: Path
    name: str
    companions: tuple[Path, ...] = ()
    checkpoint: Checkpoint | None = None
    notes: tuple[str, ...] = ()

    def tokenize(self, inputs: tuple[Input, ...]) -> Callable[[Rows], Rows] | None:
        """Return what makes inputs out of lines with a ``text``, if there is a tokenizer."""
        files = [file for file in self.companions if file.name == "tokenizer.json"]
        names = {i.name for i in inputs}
        if not files or "input_ids" not in names or "text" in names:
            return None
        return functools.partial(_tokenized, files[0], inputs)


def resolve(
    model: Path, folder: Path, factory: str | None, trainer_data: DataSource, worker: Worker,
    time_limit: float,
) -> Given:  # fmt: skip
    """Return the model as an ONNX file; exported into ``folder`` where it is none yet.

    Args:
        model: an ONNX file, a directory, or a checkpoint.
        folder: for the exported model.
        factory: ``module:function`` that makes the module of a checkpoint.
        trainer_data: examples, of which one is the example input of the export.
        worker: does the export.
        time_limit: seconds that it may take.

    Raises:
        UsageError: it is none of the three, or cannot be exported.
    """
    if not model.exists():
        raise UsageError("model-missing", f"there is no model at {model}", "check the path")
    if factory is not None:
        return _checkpoint(model, folder, factory, trainer_data, worker, time_limit)
    if model.is_dir():
        return _directory(model, folder, worker, time_limit)
    if model.suffix in _CHECKPOINTS:
        raise UsageError(
            "factory-missing", f"{model} has weights without the model that they are for",
            "give --factory module:function, which returns the torch module; its code is run",
        )  # fmt: skip
    return Given(model, model.name, tuple(companions_of(model.parent)) if _alone(model) else ())


def _alone(model: Path) -> bool:
    """Tell whether a folder is that of this model: then the files beside it belong to it."""
    return model.name == "model.onnx" or (model.parent / "config.json").is_file()


def _directory(model: Path, folder: Path, worker: Worker, time_limit: float) -> Given:
    beside = tuple(companions_of(model))
    for name in _ONNX_HERE:
        if (model / name).is_file():
            return Given(
                model / name, model.name, beside, notes=(f"{name} of the directory is used",)
            )
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
        raise UsageError(
            "export-several", f"{model} becomes {len(files)} ONNX files: "
            + ", ".join(f.name for f in files),
            "export it with `optimum-cli export onnx` and quantize each file",
        )  # fmt: skip
    return Given(files[0], model.name, tuple(companions_of(target)) or beside, notes=(made,))


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


def _tokenized(file: Path, inputs: tuple[Input, ...], rows: Rows) -> Rows:
    """Return rows with ``text`` (and ``text_pair``) made into tokens, padded to one length."""
    if not rows or "text" not in rows[0]:
        return rows
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise UsageError(
            "tokenizers-missing", "lines with a text need the package tokenizers",
            "pip install tokenizers, or write input_ids and attention_mask yourself",
        ) from None  # fmt: skip
    tokenizer = Tokenizer.from_file(str(file))
    limit = _LONGEST
    config = file.with_name("tokenizer_config.json")
    if config.is_file():
        limit = min(
            limit, int(json.loads(config.read_text("utf-8")).get("model_max_length", limit))
        )
    tokenizer.enable_truncation(limit)
    tokenizer.enable_padding()
    texts = [(r["text"], r["text_pair"]) if "text_pair" in r else r["text"] for r in rows]
    made = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    wanted = {i.name: made[i.name] for i in inputs if i.name in made}
    return [
        {
            **{k: v for k, v in row.items() if k not in ("text", "text_pair")},
            **{name: getattr(encoded, of) for name, of in wanted.items()},
        }
        for row, encoded in zip(rows, tokenizer.encode_batch(texts), strict=True)
    ]
