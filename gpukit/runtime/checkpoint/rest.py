"""The state at the last safe point, for as long as it is still the state of training.

SIGTERM may come where no safe point is near: in an evaluation, while data is loaded, in a step that
is longer than the grace period. What a checkpoint of the last safe point needs is then in memory
still, if nothing has changed it since: the weights are where they were, at the same version (each
in-place operation raises a tensor's version), and so is all other state. Else nothing is saved,
and the newest durable checkpoint counts.

Several ranks need no word with each other for it, which a rank inside of a collective operation
could not answer: each hands over its part of its own last safe point, under the name of that step,
and the parts become a checkpoint if all of them are there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .codec import Json, encode

if TYPE_CHECKING:
    import torch

__all__ = ["RestPoint"]


class RestPoint:
    """What training was at a safe point.

    Args:
        state: all that a checkpoint holds, with the live tensors in it.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state
        self._objects = _print(state["objects"])
        self._gradients = _print(state["gradients"])

    def stands(self, objects: Callable[[], dict[str, Any]]) -> bool:
        """Tell whether nothing has changed since.

        Args:
            objects: returns the state of the objects now.
        """
        if _print(self.state["gradients"]) != self._gradients:
            return False
        return _print(objects()) == self._objects


def _print(state: Any) -> tuple[Json, dict[str, tuple[int, int]]]:
    """Return all that is no tensor, and of each tensor where it is and at which version."""
    tensors: dict[str, torch.Tensor] = {}
    tree = encode(state, tensors, "")
    return tree, {name: (t.data_ptr(), t._version) for name, t in tensors.items()}
