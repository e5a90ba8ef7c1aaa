"""Weights and activations of a language model that is served, from its folder or configuration."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpukit.errors import GpukitError
from gpukit.finops.fit import Part

from .checkpoint import config_factory, read_weights
from .language_model import Weights, weights_part
from .training import trace_inference

__all__ = ["activations_part", "model_weights"]


def model_weights(path: Path, config: Mapping[str, Any], precision: str) -> Part:
    """Return what the weights take: of the files, or of the model that the configuration makes.

    Raises:
        GpukitError: there are no files, and the model cannot be made.
    """
    found = read_weights(path, config)
    if found is None:
        found = _counted(config)
    return weights_part(found, precision)


def activations_part(config: Mapping[str, Any], context: int) -> Part:
    """Return what one prompt of full length takes on its way through the model, traced.

    Only the last token's logits are counted, as generation asks for them.
    """
    try:
        traced = trace_inference(_prompt(config, context), precision="bf16")
    except GpukitError as error:
        return Part("activations", None, f"unknown: {error.message}")
    size = traced.step["activations"]
    return Part("activations", size, f"one prompt of {context} tokens, traced in bf16")


def _prompt(config: Mapping[str, Any], context: int) -> Any:
    make = config_factory(config, context)

    def with_last_logits(batch_size: int = 1) -> object:
        model, inputs = make(batch_size)
        names = inspect.signature(model.forward).parameters
        more: dict[str, Any] = {"use_cache": False, "logits_to_keep": 1}
        return model, {**inputs, **{name: value for name, value in more.items() if name in names}}

    return with_last_logits


def _counted(config: Mapping[str, Any]) -> Weights:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    make = config_factory(config, 1)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            model, _ = make(1)
    except Exception as error:
        raise GpukitError(
            "fit-model", f"transformers cannot make the model: {type(error).__name__}: {error}",
            "check its config.json, or give --parameters, --layers, --kv-heads and --head-dim",
        ) from error  # fmt: skip
    embeddings = {
        id(layer.weight): layer.weight.numel()
        for layer in (model.get_input_embeddings(), model.get_output_embeddings())
        if isinstance(getattr(layer, "weight", None), torch.Tensor)
    }
    count = sum(param.numel() for param in model.parameters())
    return Weights(count, sum(embeddings.values()), "counted by transformers")
