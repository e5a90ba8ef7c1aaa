"""Which capacity for which stage: what may be interrupted and shared, and what may not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .spot import Hopeless

__all__ = ["POLICIES", "Capacity", "Decision", "Policy", "decide"]

Capacity = Literal["spot", "prefer", "on-demand"]


@dataclass(frozen=True)
class Policy:
    """What a stage allows.

    Attributes:
        capacity: the best that it may use: ``spot`` only, ``prefer`` (spot first, on demand where
            there is none), or ``on-demand``.
        shared: time-sliced shares are fine: no isolation, neighbours are felt.
        why: the reason.
    """

    capacity: Capacity
    shared: bool
    why: str


POLICIES: Mapping[str, Policy] = {
    "dev": Policy(
        "prefer", True, "nobody waits for it, and somebody starts it again; shares are enough"
    ),
    "training": Policy(
        "spot", False, "it goes on from its checkpoints, so an interruption costs time, not results"
    ),
    "inference": Policy(
        "prefer", False, "replicas on spot are replaced on demand while there is no spot capacity"
    ),
    "inference-sla": Policy(
        "on-demand", False, "a promise on availability cannot live at two minutes' notice or less"
    ),
}


@dataclass(frozen=True)
class Decision:
    """The capacity that a job is advised to use, and why."""

    capacity: Capacity
    why: str

    @property
    def option(self) -> str:
        """The option of ``@gpu_job`` that asks for it."""
        return {"spot": "spot=True", "prefer": 'spot="prefer"', "on-demand": "spot=False"}[
            self.capacity
        ]


def decide(stage: str, hopeless: Mapping[str, Hopeless | None]) -> Decision:
    """Return the capacity for a job of a stage.

    Args:
        stage: of the job.
        hopeless: at MTBI ``low``, ``typical`` and ``high``: why spot has no hope there.
    """
    policy = POLICIES[stage]
    if policy.capacity == "on-demand":
        return Decision("on-demand", policy.why)
    typical, low = hopeless.get("typical"), hopeless.get("low")
    if typical is not None:
        return Decision("on-demand", typical.reason)
    if low is not None:
        return Decision("prefer", f"spot pays as a rule, but {low.reason}")
    return Decision(policy.capacity, policy.why)
