"""Checkpoint and exact resume."""

from .checkpointer import Checkpointer, Position, Resume

__all__ = ["Checkpointer", "Position", "Resume"]
