"""Which checkpoints are kept. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .manifest import CheckpointName

__all__ = ["Policy", "superseded"]


@dataclass(frozen=True)
class Policy:
    """What retention keeps, beside the newest checkpoint.

    Attributes:
        last: how many of the newest complete checkpoints.
        every: seconds; of each such span of time the oldest one is kept for good. 0: none.
        verified: the checkpoint that was read and found intact last; never dropped.
    """

    last: int = 2
    every: float = 0.0
    verified: CheckpointName | None = None


def superseded(
    newest: CheckpointName,
    complete: Sequence[CheckpointName],
    present: Iterable[CheckpointName],
    policy: Policy,
    times: Mapping[CheckpointName, float],
) -> list[CheckpointName]:
    """Return what may go, oldest first, now that ``newest`` is durable.

    Args:
        newest: the checkpoint that has just been committed; nothing newer is ever dropped.
        complete: the checkpoints that have a manifest, newest first.
        present: all that is there, scraps of killed attempts too.
        policy: what is kept.
        times: unix seconds of the complete ones; needed where the policy counts time.
    """
    keep = {newest, *complete[: policy.last]}
    if policy.verified is not None:
        keep.add(policy.verified)
    if policy.every > 0:
        spans: dict[int, CheckpointName] = {}
        for name in sorted(complete):
            spans.setdefault(int(times.get(name, 0.0) // policy.every), name)
        keep.update(spans.values())
    return sorted(name for name in present if name not in keep and name < newest)
