"""What a step of a torch model allocates: every tensor that is made and freed, by its purpose.

What an operation keeps to itself while it runs (a convolution's workspace) is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["BLOCK", "Bytes", "Kind", "Tracker"]

Kind = Literal["parameters", "gradients", "optimizer", "activations", "working"]
"""Activations are made by the forward pass, the batch with them; working memory by the backward
pass and the optimizer, and freed within them."""

Bytes = Mapping[Kind, int]

BLOCK = 512
"""Bytes to which PyTorch rounds on a GPU (kMinBlockSize, c10/cuda/CUDACachingAllocator.cpp)."""


@dataclass
class _Block:
    kind: Kind
    size: int


class Tracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows all storages that operations make while it is active, until they are freed.

    Args:
        block: bytes to which each allocation is rounded up.

    Attributes:
        kind: purpose of what is made from now on.
        live: bytes in use, by purpose.
        peak: what they were when their sum was largest since :meth:`restart`.
        activations: the most bytes of activations since then; backward passes free them before the
            sum is largest, where the gradients are large.
    """

    def __init__(self, block: int = BLOCK) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kind: Kind = "parameters"
        self.live: dict[Kind, int] = dict.fromkeys(get_args(Kind), 0)
        self.peak: Bytes = dict(self.live)
        self.activations = 0
        self._block = block
        self._blocks: dict[int, _Block] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation, and take note of the tensors that it returns."""
        result = func(*args, **(kwargs or {}))
        self.see(result)
        return result

    def see(self, found: object, kind: Kind | None = None) -> None:
        """Take note of tensors, alone or in containers; with a ``kind``, of what they are for."""
        for tensor in tree_leaves(found):
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            key = storage._cdata
            block = self._blocks.get(key)
            if block is None:
                self._blocks[key] = self._new(storage.nbytes(), kind or self.kind)
                weakref.finalize(storage, self._free, key)
                self._compare()
            elif kind is not None and block.kind != kind:
                self.live[block.kind] -= block.size
                self.live[kind] += block.size
                block.kind = kind

    def restart(self) -> None:
        """Look for the peak from here on."""
        self.peak = dict(self.live)
        self.activations = self.live["activations"]

    def _compare(self) -> None:
        self.activations = max(self.activations, self.live["activations"])
        if sum(self.live.values()) > sum(self.peak.values()):
            self.peak = dict(self.live)

    def _new(self, size: int, kind: Kind) -> _Block:
        block = _Block(kind, -(-size // self._block) * self._block)
        self.live[kind] += block.size
        return block

    def _free(self, key: int) -> None:
        block = self._blocks.pop(key)
        self.live[block.kind] -= block.size
