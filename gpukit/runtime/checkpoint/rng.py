"""The state of every random number generator that training draws from."""

from __future__ import annotations

import random
import sys
from typing import Any

__all__ = ["capture", "restore"]


def capture(*, gpus: bool = True) -> dict[str, Any]:
    """Return the states of Python's, numpy's and torch's generators.

    Args:
        gpus: those of the GPUs too, which waits for them.
    """
    state: dict[str, Any] = {"python": random.getstate()}
    if "numpy" in sys.modules:
        state["numpy"] = sys.modules["numpy"].random.get_state()
    torch = sys.modules.get("torch")
    if torch is not None:
        state["torch"] = torch.get_rng_state()
        if gpus and torch.cuda.is_available() and torch.cuda.is_initialized():
            state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore(state: dict[str, Any]) -> None:
    """Put the generators back to what :func:`capture` returned."""
    random.setstate(state["python"])
    if "numpy" in state:
        import numpy

        numpy.random.set_state(state["numpy"])
    if "torch" in state:
        import torch

        torch.set_rng_state(state["torch"])
    if "cuda" in state:
        torch.cuda.set_rng_state_all(state["cuda"])
