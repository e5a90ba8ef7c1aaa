"""What earlier attempts of a run teach a later one: how often it is interrupted, what a save costs.

The supervisor reads it from the run record and hands it to its trainers in one variable, so that
all ranks know the same. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields

from gpukit.ladder import Cause

from .record import Attempt

__all__ = ["INTERRUPTING", "History", "history_of"]

INTERRUPTING = frozenset({Cause.PREEMPTED, Cause.LOST, Cause.CRASH, Cause.HANG})
"""Ends after which work may have to be done again. A person's stop or a budget is none."""


@dataclass(frozen=True)
class History:
    """The attempts before this one, added up.

    Attributes:
        seconds: how long they ran.
        interruptions: how many of them were interrupted.
        save_cost: seconds of training that a save took, as last measured; None: never measured.
        save_seconds: seconds until a save was durable; None: never measured.
    """

    seconds: float = 0.0
    interruptions: int = 0
    save_cost: float | None = None
    save_seconds: float | None = None

    def to_json(self) -> str:
        """Return it as the value of an environment variable."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> History:
        """Read what :meth:`to_json` wrote; what is not that (another gpukit's) is no history."""
        with suppress(ValueError, TypeError, AttributeError):
            raw = json.loads(text)
            known = {field.name for field in fields(History)}
            return History(**{name: value for name, value in raw.items() if name in known})
        return History()


def history_of(attempts: Sequence[Attempt]) -> History:
    """Add up the attempts of a run, all submissions together."""
    measured = [a.progress for a in attempts if a.progress.save_cost is not None]
    return History(
        seconds=round(sum(a.seconds for a in attempts), 3),
        interruptions=sum(a.cause in INTERRUPTING for a in attempts),
        save_cost=measured[-1].save_cost if measured else None,
        save_seconds=measured[-1].save_seconds if measured else None,
    )
