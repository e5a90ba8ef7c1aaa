"""A run's budgets, from the record: running time, money, deadline, retries."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from gpukit.contract import Task
from gpukit.ladder import PastAttempt, Verdict, admit

__all__ = ["Budget"]

_HOUR = Decimal(3600)


@dataclass(frozen=True)
class Budget:
    """What is allowed, and what the earlier attempts since the submission used of it.

    Attributes:
        task: the limits, and the price of the pod.
        past: the attempts since the newest submission, oldest first.
        submitted: unix seconds of that submission.
    """

    task: Task
    past: tuple[PastAttempt, ...]
    submitted: float

    def admit(self, now: float, *, finished: bool) -> Verdict:
        """Judge whether an attempt may start at ``now`` (unix seconds)."""
        spent = self.cost(self._ran)
        return admit(
            self.past,
            finished=finished,
            retries=self.task.retries,
            timeout=self.task.timeout,
            spent=None if spent is None else float(spent),
            max_cost=None if self.task.max_cost is None else float(self._max_cost),
            since_submit=max(now - self.submitted, 0.0),
            deadline=self.task.deadline,
        )

    def exceeded(self, now: float, running: float) -> str:
        """Name the budget that is used up after ``running`` seconds; empty when none is."""
        task = self.task
        ran = self._ran + running
        if task.timeout is not None and ran >= task.timeout:
            return f"timeout={task.timeout} s used up"
        if task.deadline is not None and now - self.submitted >= task.deadline:
            return f"deadline={task.deadline} s after the submission has passed"
        spent = self.cost(ran)
        if task.max_cost is not None and spent is not None and spent >= self._max_cost:
            return f"max_cost={task.max_cost} used up: ${spent:.2f} spent"
        return ""

    def cost(self, seconds: float) -> Decimal | None:
        """Return US dollars for that long on this pod; None where the price is unknown."""
        if self.task.price_per_hour is None:
            return None
        return Decimal(self.task.price_per_hour) * Decimal(str(seconds)) / _HOUR

    @property
    def _ran(self) -> float:
        return sum(attempt.seconds for attempt in self.past)

    @property
    def _max_cost(self) -> Decimal:
        return Decimal((self.task.max_cost or "Infinity").lstrip("$"))
