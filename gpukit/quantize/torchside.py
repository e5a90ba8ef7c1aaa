"""What needs PyTorch: checkpoints without the dangers of pickle, and export to ONNX."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpukit.errors import UsageError

from .datafiles import called, load_function

__all__ = [
    "Checkpoint",
    "export_checkpoint",
    "export_directory",
    "export_module",
    "load_module",
    "task_of",
]


@dataclass(frozen=True)
class Checkpoint:
    """A PyTorch checkpoint: its file, the factory, and an example of its inputs in a file."""

    path: Path
    factory: str
    example: Path


def load_module(checkpoint: Checkpoint) -> Any:
    """Return the module of the factory with the weights of the checkpoint, in eval mode.

    Weights are read with ``weights_only=True``: a checkpoint runs no code. A factory does.

    Raises:
        UsageError: the checkpoint is damaged or wants to run code, or does not fit the module.
    """
    import torch

    weights = _weights(checkpoint.path)
    module = called(
        load_function(checkpoint.factory, "--factory"), f"--factory {checkpoint.factory}"
    )
    if not isinstance(module, torch.nn.Module):
        raise UsageError(
            "factory-result", f"--factory returned {type(module).__name__}, not a torch.nn.Module",
            "return the module, without its weights",
        )  # fmt: skip
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(
            "checkpoint-mismatch",
            f"{checkpoint.path} does not fit the module: {' '.join(str(error).split())[:300]}",
            "the factory is to make the same module that was saved",
        ) from None
    return module.eval()


def _weights(path: Path) -> dict[str, Any]:
    import torch

    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except Exception as error:  # its own type of error
            raise _damaged(path, error) from None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each have their own
        if "weights_only" in str(error).lower() or "Unsupported" in str(error):
            raise UsageError(
                "checkpoint-unsafe", f"{path} has more in it than weights; it was not loaded",
                "save module.state_dict(), or write a .safetensors",
            ) from None  # fmt: skip
        raise _damaged(path, error) from None
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            return dict(found[key])
    if not isinstance(found, dict):
        raise UsageError(
            "checkpoint-form", f"{path} has no state_dict in it", "save module.state_dict()"
        )
    return found


def _damaged(path: Path, error: Exception) -> UsageError:
    return UsageError(
        "checkpoint-corrupt", f"{path} cannot be read: {str(error).splitlines()[0][:200]}",
        "give a checkpoint saved with torch.save or as .safetensors",
    )  # fmt: skip


def export_checkpoint(checkpoint: Checkpoint, target: Path) -> str:
    """Export the module of a checkpoint, and return a note for the report."""
    with np.load(checkpoint.example, allow_pickle=False) as file:
        example = {name: file[name] for name in file.files}
    export_module(load_module(checkpoint), example, target)
    return f"exported from {checkpoint.path.name} with {checkpoint.factory}"


def export_module(module: Any, example: dict[str, Any], target: Path) -> None:
    """Export a module with one example of its inputs; the first axis of all inputs stays open."""
    import torch

    tensors = {name: torch.from_numpy(np.array(value)) for name, value in example.items()}
    by_name = len(tensors) > 1
    with torch.no_grad():
        found = module(**tensors) if by_name else module(*tensors.values())
    single = isinstance(found, torch.Tensor)
    outputs = ["output"] if single else [f"output_{i}" for i in range(len(found))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (tensors,) if by_name else tuple(tensors.values()), str(target),
            input_names=list(tensors), output_names=outputs, opset_version=17, dynamo=False,
            dynamic_axes={name: {0: "batch"} for name in (*tensors, *outputs)},
        )  # fmt: skip


_TASKS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering", "ForMaskedLM": "fill-mask",
    "ForMultipleChoice": "multiple-choice", "ForCausalLM": "text-generation",
    "ForImageClassification": "image-classification", "ForCTC": "automatic-speech-recognition",
    "ForAudioClassification": "audio-classification", "ForObjectDetection": "object-detection",
    "ForSemanticSegmentation": "semantic-segmentation",
    "WhisperForConditionalGeneration": "automatic-speech-recognition",
    "Speech2TextForConditionalGeneration": "automatic-speech-recognition",
    "ForConditionalGeneration": "text2text-generation", "MTModel": "text2text-generation",
}  # fmt: skip


def task_of(architectures: list[str]) -> str:
    """Return Optimum's word for what a model of the configuration's architecture does."""
    name = architectures[0] if architectures else ""
    return next((t for end, t in _TASKS.items() if name.endswith(end)), "feature-extraction")


def export_directory(model: Path, target: Path) -> str:
    """Export a Hugging Face directory with Optimum, and return a note for the report."""
    from optimum.exporters.onnx import main_export

    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    task = task_of(config.get("architectures") or [])
    main_export(
        str(model), output=str(target), task=task, library_name="transformers",
        local_files_only=True, do_validation=False, trust_remote_code=False,
    )  # fmt: skip
    return f"exported with Optimum as {task}"
