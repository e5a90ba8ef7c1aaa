"""The beginning of an attempt: which checkpoint it goes on from, the same one on all ranks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gpukit.runtime.context import Context

from .agreement import Agreement
from .engine import Engine, Loaded

if TYPE_CHECKING:
    import torch

__all__ = ["load"]


def load(
    engine: Engine, agreement: Agreement, ctx: Context | None,
    into: Mapping[str, torch.Tensor] | None = None,
) -> Loaded | None:  # fmt: skip
    """Return the newest intact checkpoint, None where there is none; say what was passed over.

    Args:
        engine: what reads.
        agreement: among the ranks, each of which calls this.
        ctx: the run; None outside of one.
        into: see :meth:`.engine.Engine.load_newest`.

    Raises:
        CheckpointError: none is intact, or it was made by another number of ranks; the ranks found
            different ones (``ranks-apart``), or one of them does not come (``rank-missing``).
        Preempted: SIGTERM came while the other ranks were waited for.
    """
    loaded = engine.load_newest(into)
    for skipped in loaded.skipped if loaded is not None else ():
        print(f"gpukit: passed over a checkpoint: {skipped}", file=sys.stderr, flush=True)
    agreement.resume(
        loaded.name if loaded is not None else None,
        stopping=lambda: ctx is not None and ctx.stop_requested,
    )
    if loaded is not None:
        engine.begins_at(loaded.name)
    return loaded
