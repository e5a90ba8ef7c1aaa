"""Pruning with training: the smallest weights become zero, and the rest makes up for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpukit.errors import UsageError

from .datafiles import called, load_function
from .torchside import Checkpoint, export_module, load_module

__all__ = ["Pruning", "prune_checkpoint", "prune_module"]

_KEPT_BELOW = 256  # weights of a layer that is too small to be worth pruning


@dataclass(frozen=True)
class Pruning:
    """What pruning needs: the checkpoint, the ``module:function`` that trains, the seed."""

    checkpoint: Checkpoint
    trainer: str
    seed: int


def prune_checkpoint(pruning: Pruning, sparsity: float, target: Path) -> Path:
    """Prune the module of a checkpoint in two rounds, each with training, and export it.

    The trainer is called with the module, and trains it in place, in any way it likes: what is
    pruned stays zero. Without training, pruning this much ruins a model.
    """
    import torch

    torch.manual_seed(pruning.seed)
    np.random.seed(pruning.seed)
    module = load_module(pruning.checkpoint)
    trainer = load_function(pruning.trainer, "--trainer")
    for part in (0.75, 1.0):
        prune_module(module, sparsity * part)
        module.train()
        called(trainer, f"--trainer {pruning.trainer}", module)
    for layer in _layers(module):
        torch.nn.utils.prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
    with np.load(pruning.checkpoint.example, allow_pickle=False) as file:
        example = {name: file[name] for name in file.files}
    export_module(module.eval(), example, target)
    return target


def prune_module(module: Any, sparsity: float) -> None:
    """Set the smallest weights of all dense and convolution layers together to zero, for good.

    Args:
        module: a torch module; its layers get masks that training does not undo.
        sparsity: part of all these weights that is zero afterwards, earlier ones included.

    Raises:
        UsageError: there is no layer to prune.
    """
    import torch
    from torch.nn.utils import prune

    layers = _layers(module)
    if not layers:
        raise UsageError(
            "prune-nothing", "the module has no Linear or convolution layer worth pruning",
            "take another recipe",
        )  # fmt: skip
    for layer in layers:  # masks begin anew; what is zero is the smallest again
        if prune.is_pruned(layer):
            prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
    prune.global_unstructured(
        [(layer, "weight") for layer in layers], prune.L1Unstructured, amount=sparsity
    )
    if not all(torch.isfinite(p).all() for p in module.parameters()):
        raise UsageError(
            "prune-not-finite", "the module has NaN after training", "lower the trainer's rate"
        )


def _layers(module: Any) -> list[Any]:
    import torch

    kinds = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    found = [m for m in module.modules() if isinstance(m, kinds)]
    return [m for m in found if m.weight.numel() >= _KEPT_BELOW]
