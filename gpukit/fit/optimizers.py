"""The optimizers that a step can be traced with, in the variants that PyTorch takes on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["OPTIMIZERS", "make_optimizer"]

_SMALL = 4096
"""bitsandbytes keeps the state of tensors with fewer elements in 32 bits (min_8bit_size)."""
_BLOCKWISE = 256
"""Elements for which bitsandbytes keeps one float32 scale (blockwise quantization)."""


class _Adafactor(Optimizer):
    """Allocates what torch.optim.Adafactor allocates, whose step asks for numbers of its data."""

    def __init__(self, params: Iterable[Tensor]) -> None:
        super().__init__(params, {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Make rows and columns of matrices at the first step; each update is a tensor as well."""
        for param in (p for group in self.param_groups for p in group["params"]):
            if param.grad is None:
                continue
            if not self.state[param] and param.dim() > 1:
                self.state[param]["row_var"] = param.new_zeros((*param.shape[:-1], 1))
                self.state[param]["col_var"] = param.new_zeros(
                    (*param.shape[:-2], 1, param.shape[-1])
                )
            elif not self.state[param]:
                self.state[param]["variance"] = torch.zeros_like(param)
            torch.zeros_like(param)


class _EightBit(Optimizer):
    """Allocates what bitsandbytes' 8-bit Adam allocates; its kernels need a GPU."""

    def __init__(self, params: Iterable[Tensor]) -> None:
        super().__init__(params, {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Make the state at the first step, as bitsandbytes does; it updates in place."""
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None or self.state[param]:
                    continue
                for name in ("state1", "state2"):
                    if param.numel() < _SMALL:
                        self.state[param][name] = torch.zeros_like(param, dtype=torch.float32)
                        continue
                    scales = -(-param.numel() // _BLOCKWISE)
                    self.state[param][name] = torch.zeros_like(param, dtype=torch.uint8)
                    self.state[param][f"{name}_scale"] = torch.zeros(scales)


OPTIMIZERS: dict[str, tuple[Callable[[list[Tensor]], Optimizer] | None, str]] = {
    "adamw": (lambda p: torch.optim.AdamW(p, foreach=True), "two states per parameter"),
    "adam": (lambda p: torch.optim.Adam(p, foreach=True), "two states per parameter"),
    "adam8bit": (_EightBit, "two states of a byte per parameter, a scale for each 256"),
    "adafactor": (_Adafactor, "states of the rows and columns of matrices"),
    "momentum": (
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=True), "one state per parameter",
    ),
    "sgd": (lambda p: torch.optim.SGD(p, lr=0.1, foreach=True), "no state"),
    "none": (None, "no optimizer"),
}  # fmt: skip
"""Name to maker and what it keeps. ``foreach`` is what PyTorch takes for tensors on a GPU."""


def make_optimizer(name: str, params: Iterable[Tensor]) -> Optimizer | None:
    """Return the optimizer of a name for the parameters that are trained."""
    make = OPTIMIZERS[name][0]
    trained = [param for param in params if param.requires_grad]
    return make(trained) if make and trained else None
