"""A language model as it lies in a folder: its configuration, how many weights, how large."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gpukit.errors import UsageError

from .language_model import Weights

__all__ = ["config_factory", "read_config", "read_weights"]

_NOT_FOR_MAKING = ("model_type", "dtype", "torch_dtype", "quantization_config")
_LARGEST_HEADER = 100_000_000  # safetensors' own limit


def read_config(path: Path) -> dict[str, Any]:
    """Return the configuration of a model: ``config.json``, or a folder with one.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            "fit-config-missing", f"there is no {file}",
            "name a folder of a model in the form of Hugging Face, or its config.json",
        ) from None  # fmt: skip
    except (OSError, ValueError) as error:
        raise UsageError(
            "fit-config-form",
            f"{file} cannot be read: {error}",
            "it is JSON as transformers writes",
        ) from None
    if not isinstance(found, dict):
        raise UsageError("fit-config-form", f"{file} is not a JSON object", "name a config.json")
    return found


def read_weights(path: Path, config: Mapping[str, Any]) -> Weights | None:
    """Return the weights of the safetensors files beside a configuration; None without files.

    Raises:
        UsageError: a file is damaged.
    """
    folder = path if path.is_dir() else path.parent
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    count = embeddings = stored = 0
    for file in files:
        for name, entry in _header(file).items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            numbers = 1
            for length in entry["shape"]:
                numbers *= length
            count += numbers
            stored += end - begin
            if "embed" in name or "lm_head" in name:
                embeddings += numbers
    source = f"{len(files)} safetensors file{'s' * (len(files) > 1)}"
    quantized = "quantization_config" in config
    return Weights(count, embeddings, source, stored if quantized else None)


def _header(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            [length] = struct.unpack("<Q", stream.read(8))
            if length > _LARGEST_HEADER:
                raise ValueError("its header is too long")
            found = json.loads(stream.read(length))
    except (OSError, ValueError, struct.error) as error:
        raise UsageError(
            "fit-safetensors", f"{file} is not a safetensors file: {error}",
            "fetch it again; a pointer of Git LFS is a few lines of text",
        ) from None  # fmt: skip
    if not isinstance(found, dict):
        raise UsageError("fit-safetensors", f"{file} has no header", "fetch it again")
    return found


def config_factory(
    config: Mapping[str, Any], context: int
) -> Callable[[int], tuple[Any, dict[str, Any]]]:
    """Return a factory of the model that a configuration describes, with random weights.

    It takes ``batch_size``; the inputs are that many sequences of ``context`` tokens.

    Raises:
        UsageError: transformers is not installed, or does not know the model.
    """
    try:
        import transformers
    except ImportError:
        raise UsageError(
            "fit-transformers", "transformers is not installed, so the model cannot be made",
            "pip install transformers; or give --parameters, --layers, --kv-heads and --head-dim",
        ) from None  # fmt: skip
    library: Any = transformers
    names = config.get("architectures") or []
    model_class = getattr(library, str(names[0]), None) if names else None
    known = library.AutoConfig.for_model
    kind = config.get("model_type")
    if model_class is None or not kind:
        raise UsageError(
            "fit-architecture", f"transformers has no model {names[0] if names else kind!r}",
            "its config.json must say architectures and model_type; or update transformers",
        )  # fmt: skip

    def make(batch_size: int = 1) -> tuple[Any, dict[str, Any]]:
        import torch

        rest = {key: value for key, value in config.items() if key not in _NOT_FOR_MAKING}
        model = model_class(known(kind, **rest))
        tokens = torch.zeros((batch_size, context), dtype=torch.long)
        return model, {"input_ids": tokens}

    return make
