"""What a checkpointing loop needs of the run that it is part of."""

from __future__ import annotations

from typing import Any

from gpukit.errors import CheckpointError
from gpukit.runtime.context import Context
from gpukit.runtime.store import open_store

from .agreement import Agreement
from .engine import Engine, SyncEngine, Writer
from .manifest import FOLDER, checkpoint_names

__all__ = ["DEFAULT_EVERY", "check_count", "open_agreement", "open_engine", "save_interval"]

DEFAULT_EVERY = 600.0
"""Seconds between saves where neither the job nor the Checkpointer says."""


def open_engine(ctx: Context | None, directory: Any, keep: int) -> Engine | None:
    """Return the engine of the run, or of ``directory`` outside of one; None without either."""
    if ctx is not None:
        writer = Writer(ctx.task.run, ctx.attempt, ctx.pod_uid, ctx.rank, ctx.world_size)
        return SyncEngine(open_store(ctx.store), writer, keep=keep)
    if directory is not None:
        store = open_store(str(directory))
        newest = checkpoint_names(store.list(FOLDER), complete=False)[:1]
        attempt = newest[0].attempt + 1 if newest else 1
        return SyncEngine(store, Writer("local", attempt), keep=keep)
    return None


def open_agreement(ctx: Context | None) -> Agreement:
    """Return how the ranks of this pod agree on the step of a save or a stop."""
    if ctx is None or ctx.world_size == 1:
        return Agreement(0, 1)
    return Agreement(ctx.rank, ctx.world_size, ctx.work / f"agreement-{ctx.attempt}")


def save_interval(ctx: Context | None, every: str | float | None) -> float:
    """Return the seconds between saves: the argument, the job's option, or the default.

    Raises:
        CheckpointError: not a time; SpecError: not a duration.
    """
    if every is not None:
        return _seconds(every)
    if ctx is not None and ctx.task.checkpoint_every is not None:
        return float(ctx.task.checkpoint_every)
    return DEFAULT_EVERY


def _seconds(every: str | float) -> float:
    if isinstance(every, str):
        from gpukit.quantity import parse_duration

        return float(parse_duration(every, "every"))
    if not isinstance(every, (int, float)) or not 0 <= every < float("inf"):
        raise CheckpointError(
            "every-range", f"every={every!r} is not a time", 'write seconds, or "10m"'
        )
    return float(every)


def check_count(what: str, value: object) -> None:
    """Refuse what is not a whole number above 0.

    Raises:
        CheckpointError: which argument it is.
    """
    if not isinstance(value, int) or value < 1:
        raise CheckpointError(
            f"{what.replace('_', '-')}-range", f"{what}={value!r} is not a whole number above 0",
            "write 1 or more",
        )  # fmt: skip
