"""Which candidate wins: pure arithmetic over what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .candidates import Recipe
from .data import Array
from .intervals import Drop
from .results import LatencyResult, Status

__all__ = [
    "Baseline", "Objective", "Trial", "beaten", "choose", "latency_of", "leader", "within",
]  # fmt: skip

Objective = Literal["latency", "size", "cost"]
Baseline = Literal["original", "fp16"]
"""What latencies and costs are relative to. On a GPU nobody serves in FP32 who could use FP16."""

_TIE = 1.10
"""Latencies closer than this are not told apart on a shared machine: then the smaller file wins."""

_FASTER = 0.97
"""From this ratio of latencies down a candidate may be called faster."""

_TIE_SIZE = 1.01
_MARGIN = 0.5
"""Standard errors of the drop that a candidate should stay below the budget by, if one can: the
best of many on validation is partly the luckiest."""


@dataclass
class Trial:
    """A candidate on its way through the search.

    ``complete`` is False while it has been scored on a part of the validation examples only.
    """

    recipe: Recipe
    path: Path | None = None
    bytes: int | None = None
    rows: Any = None
    score: float | None = None
    drop: Drop | None = None
    latency: LatencyResult | None = None
    status: Status = "not tried"
    reason: str = ""
    seconds: float = 0.0
    complete: bool = True

    @property
    def name(self) -> str:
        """The name of its recipe."""
        return self.recipe.name


def within(trial: Trial, max_drop: float, margin: float = 0.0) -> bool:
    """Tell whether a candidate keeps the budget on the whole validation split."""
    drop = trial.drop
    return trial.complete and drop is not None and drop.value + margin * drop.error <= max_drop


def leader(
    trials: Sequence[Trial], *, objective: Objective, max_drop: float, max_latency_ratio: float
) -> Trial | None:
    """Return the best so far of those that are sure to qualify, None while there is none."""
    sure = [
        t for t in trials
        if within(t, max_drop, _MARGIN) and t.latency and t.latency.ratio_high <= max_latency_ratio
    ]  # fmt: skip
    return _best(sure, objective) if sure else None


def beaten(trial: Trial, best: Trial, objective: Objective, by: float = 1.0) -> str:
    """Return why a candidate cannot win against one that qualifies, however good it is, or "".

    ``by``: how much better than the other it has to be, in its time or its size.
    """
    if objective == "size":
        if (trial.bytes or 0) * by > (best.bytes or 0) * _TIE_SIZE:
            return f"{best.name} is within the budget, and smaller"
        return ""
    if trial.latency is None or best.latency is None:
        return ""
    if trial.latency.ratio_low * by > best.latency.ratio_high * _TIE:
        return f"{best.name} is within the budget, and faster"
    return ""


def choose(
    trials: Sequence[Trial], *, original_bytes: int, objective: Objective, max_drop: float,
    max_latency_ratio: float, baseline: str = "the original",
) -> tuple[Trial | None, str]:  # fmt: skip
    """Return the winner and why, or None and why the original stays.

    ``baseline`` is what latencies are relative to, in words.

    Sets the status and the reason of each trial that was measured.
    """
    good = [
        t for t in trials
        if within(t, max_drop) and t.bytes is not None and t.status != "too slow"
    ]  # fmt: skip
    fast = [t for t in good if t.latency is not None and t.latency.ratio <= max_latency_ratio]
    for trial in good:
        if trial not in fast:
            ratio = "was not measured" if trial.latency is None else f"{trial.latency.ratio:.2f}"
            trial.status = "too slow"
            trial.reason = f"latency {ratio} of {baseline}, the limit is {max_latency_ratio:g}"
    gains = [t for t in fast if _gain(t, original_bytes)]
    for trial in fast:
        if trial not in gains:
            trial.status, trial.reason = "lost", "neither smaller nor faster than the original"
    sure = [t for t in gains if within(t, max_drop, _MARGIN)]
    if not gains:
        return None, _why_none(trials, good, fast, max_drop, max_latency_ratio)
    pool = sure or gains
    winner = _best(pool, objective)
    for trial in gains:
        if trial is not winner:
            trial.status = "lost"
            trial.reason = _why(trial, winner, sure, objective)
    winner.status = "chosen"
    winner.reason = _praise(winner, original_bytes, objective, baseline)
    return winner, winner.reason


def _gain(trial: Trial, original_bytes: int) -> bool:
    smaller = trial.bytes is not None and trial.bytes < 0.98 * original_bytes
    return smaller or (trial.latency is not None and trial.latency.ratio < 0.95)


def _best(pool: Sequence[Trial], objective: Objective) -> Trial:
    if objective == "size":
        least = min(t.bytes or 0 for t in pool)
        near = [t for t in pool if (t.bytes or 0) <= least * _TIE_SIZE]
        return min(near, key=lambda t: (round(_time(t, objective) / 0.1), pool.index(t)))
    least_time = min(_time(t, objective) for t in pool)
    near = [t for t in pool if _time(t, objective) <= least_time * _TIE]
    return min(near, key=lambda t: (t.bytes or 0, pool.index(t)))


def _time(trial: Trial, objective: Objective) -> float:
    if trial.latency is None:
        return float("inf")
    return 1 / trial.latency.throughput if objective == "cost" else trial.latency.ratio


def _praise(trial: Trial, original_bytes: int, objective: Objective, baseline: str) -> str:
    ratio = trial.latency.ratio if trial.latency else float("nan")
    least = {"latency": "fastest", "size": "smallest", "cost": "cheapest per inference"}[objective]
    said = f"{least} within the budget"
    if objective != "size" and ratio > _FASTER:
        said = "nothing within the budget is clearly faster"
    return (
        f"{said}: {original_bytes / (trial.bytes or 1):.2f}x smaller, "
        f"latency {ratio:.2f} of {baseline}"
    )


def _why(trial: Trial, winner: Trial, sure: Sequence[Trial], objective: Objective) -> str:
    if sure and trial not in sure:
        return "within the budget, but by less than the uncertainty of its drop"
    if objective == "size":
        return f"{(trial.bytes or 0) / (winner.bytes or 1):.2f} of the winner's size"
    mine, best = _time(trial, objective), _time(winner, objective)
    if mine <= best * _TIE:
        return "about as fast as the winner, and not smaller"
    return f"{mine / best:.2f} of the winner's time"


def _why_none(
    trials: Sequence[Trial], good: Sequence[Trial], fast: Sequence[Trial], max_drop: float,
    max_latency_ratio: float,
) -> str:  # fmt: skip
    if not trials:
        return "there is nothing in the model that this could quantize"
    late = any(t.status == "too slow" for t in trials)
    if not late and all(t.drop is None for t in trials):
        reasons = {t.reason for t in trials if t.reason}
        return "no candidate could be made" + (f": {sorted(reasons)[0]}" if reasons else "")
    if not good and any(not t.complete and t.status == "not tried" for t in trials):
        return "the time limit: no candidate was scored on all examples"
    if not good and not late:
        return f"no candidate keeps the drop within {max_drop:g}"
    if not fast:
        return f"no candidate within the budget has a latency of {max_latency_ratio:g} or less"
    return "no candidate within the budget is smaller or faster than the original"


def latency_of(times: Array, column: int, batch: int, seed: int) -> LatencyResult:
    """Return percentiles and the paired ratio of one column of a race; column 0 is the original."""
    mine, original = times[:, column].astype(float), times[:, 0].astype(float)
    ratios = mine / original
    random = np.random.default_rng(seed)
    draws = np.median(ratios[random.integers(0, len(ratios), (500, len(ratios)))], axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    p50, p95, p99 = np.percentile(mine * 1e3, [50, 95, 99])
    return LatencyResult(
        p50_ms=float(p50),
        p95_ms=float(p95),
        p99_ms=float(p99),
        ratio=float(np.median(ratios)),
        ratio_low=float(low),
        ratio_high=float(high),
        throughput=float(1e3 * batch / p50),
    )
