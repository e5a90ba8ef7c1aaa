"""Checkpoint and exact resume.

Its names are loaded when they are asked for: the writer process needs other parts, and no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpointer import Checkpointer, Position, Resume

__all__ = ["Checkpointer", "Position", "Resume"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import checkpointer

    return getattr(checkpointer, name)
