"""Simulated interruptions: what a spot market or a broken node would do, on a schedule.

Standard library only.
"""

from __future__ import annotations

import random
import re
from dataclasses import asdict, dataclass
from typing import Literal

from gpukit.errors import UsageError
from gpukit.quantity import parse_duration

__all__ = ["Interruption", "Simulation", "make_simulation"]

_FORM = re.compile(r"(?P<after>[^,]+)(,\s*(±|\+/-|\+-)(?P<jitter>.+))?")
_MILLISECONDS = re.compile(r"(\d+)ms")
_STEPS = re.compile(r"(\d+)\s*steps?")

Unit = Literal["seconds", "steps"]


@dataclass(frozen=True)
class Interruption:
    """The next interruption: what, and how long after the attempt's first step.

    In steps it is as late as the log is: it tells of the first step and of every checkpoint.
    """

    kind: Literal["preemption", "node-loss"]
    after: float
    unit: Unit = "seconds"


@dataclass(frozen=True)
class Simulation:
    """A schedule of interruptions; the same seed gives the same one.

    Attributes:
        kind: ``preemption`` (SIGTERM, grace, SIGKILL), ``node-loss`` (SIGKILL of everything), or
            ``mixed``: both by turns, a preemption first.
        after: how long after an attempt's first step its interruption comes.
        jitter: the interruption comes this much earlier or later, uniform.
        limit: how many interruptions there are; None for one in every attempt.
        seed: of the jitter.
        unit: what ``after`` and ``jitter`` count; steps come at the same place on any machine.
    """

    kind: Literal["preemption", "node-loss", "mixed"]
    after: float
    jitter: float = 0.0
    limit: int | None = None
    seed: int = 0
    unit: Unit = "seconds"

    def interruption(self, number: int) -> Interruption | None:
        """Return interruption ``number`` (from 0); None where there are no more of them."""
        if self.limit is not None and number >= self.limit:
            return None
        shift = random.Random(f"{self.seed}/{number}").uniform(-self.jitter, self.jitter)
        kind = self.kind
        if kind == "mixed":
            kind = "node-loss" if number % 2 else "preemption"
        return Interruption(kind, max(self.after + shift, 0.0), self.unit)

    def to_dict(self) -> dict[str, object]:
        """Return the schedule as JSON values."""
        return asdict(self)


def make_simulation(
    preemption: str | None, node_loss: str | None, *, limit: int | None = None, seed: int = 0
) -> Simulation | None:
    """Read the flags ``--simulate-preemption`` and ``--simulate-node-loss``.

    Args:
        preemption: ``"30s"``, ``"30s,±10s"`` or ``"200 steps"``.
        node_loss: the same.
        limit: how many interruptions.
        seed: of the jitter.

    Raises:
        UsageError: both are given, a limit without one of them, or neither times nor numbers of
            steps.
    """
    text = node_loss if preemption is None else preemption
    if text is None:
        if limit is not None:
            raise UsageError(
                "simulation-missing", "--max-interruptions without a simulation",
                "add --simulate-preemption 30s or --simulate-node-loss 30s",
            )  # fmt: skip
        return None
    if preemption is not None and node_loss is not None:
        raise UsageError(
            "simulation-both", "--simulate-preemption and --simulate-node-loss are both given",
            "choose one of them for a run",
        )  # fmt: skip
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            "simulation-form", f"{text!r} is not a time between interruptions",
            'write "30s", "30s,±10s" for some chance in it, or "200 steps"',
        )  # fmt: skip
    what = "--simulate-preemption" if preemption is not None else "--simulate-node-loss"
    unit: Unit = "steps" if _STEPS.fullmatch(match["after"].strip()) else "seconds"
    return Simulation(
        kind="node-loss" if preemption is None else "preemption",
        after=_amount(match["after"], unit, what),
        jitter=_amount(match["jitter"], unit, what) if match["jitter"] else 0.0,
        limit=limit,
        seed=seed,
        unit=unit,
    )


def _amount(text: str, unit: Unit, what: str) -> float:
    if unit == "seconds":
        return _seconds(text, what)
    steps = _STEPS.fullmatch(text.strip())
    if steps is None:
        raise UsageError(
            "simulation-unit", f"{what}: {text.strip()!r} is not a number of steps",
            'give both in the same unit: "200 steps,±50 steps"',
        )  # fmt: skip
    return float(steps[1])


def _seconds(text: str, what: str) -> float:
    millis = _MILLISECONDS.fullmatch(text.strip())
    return int(millis[1]) / 1000 if millis else float(parse_duration(text.strip(), what))
