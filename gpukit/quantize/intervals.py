"""How sure a drop is: paired intervals, verdicts, and how much data would settle it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .metrics import Metric, Rows

__all__ = ["Drop", "Verdict", "at_chance", "drop_of", "verdict_of"]

Verdict = Literal["met", "missed", "inconclusive"]
_Z = 1.959964  # 95 %, both sides
_DRAWS = 1000
_CHANCE = 0.05


@dataclass(frozen=True)
class Drop:
    """By how much a metric got worse, with its 95 % interval and standard error."""

    value: float
    low: float
    high: float
    error: float
    examples: int


def drop_of(
    metric: Metric, before: Rows, after: Rows, labels: Sequence[Any] | None, seed: int
) -> Drop:
    """Return the paired drop between two models over the same examples.

    For accuracy with one decision per example the interval is that of Agresti and Min, "Simple
    improved confidence intervals for comparing matched proportions" (Statistics in Medicine 24,
    2005): half an observation more in each cell, so that no disagreement at all is not taken for
    certainty. Everything else: the percentiles of a paired bootstrap over examples.
    """
    n = len(before)
    value = metric.drop(metric.combine(before, labels), metric.combine(after, labels))
    if metric.name == "accuracy" and (before[:, 1] == 1).all():
        lost = int(((before[:, 0] == 1) & (after[:, 0] == 0)).sum())
        won = int(((before[:, 0] == 0) & (after[:, 0] == 1)).sum())
        middle = (lost - won) / (n + 2)
        error = math.sqrt(max((lost + won + 1) / (n + 2) - middle**2, 0) / (n + 2))
        return Drop(value, middle - _Z * error, middle + _Z * error, error, n)
    random = np.random.default_rng(seed)
    draws = _DRAWS if metric.function is None else 200
    found = np.empty(draws)
    for i in range(draws):
        chosen = random.integers(0, n, n)
        mine = None if labels is None else [labels[j] for j in chosen]
        found[i] = metric.drop(
            metric.combine(_pick(before, chosen), mine), metric.combine(_pick(after, chosen), mine)
        )
    low, high = np.percentile(found, [2.5, 97.5])
    return Drop(value, float(low), float(high), float(found.std()), n)


def verdict_of(drop: Drop, max_drop: float) -> tuple[Verdict, int | None]:
    """Return whether the budget is met, and where that is open, how many examples would settle it.

    None instead of a number: no amount would, since the drop is at the budget itself.
    """
    if drop.high <= max_drop:
        return "met", None
    if drop.low > max_drop:
        return "missed", None
    room = abs(max_drop - drop.value)
    if room < 1e-9:
        return "inconclusive", None
    return "inconclusive", math.ceil(drop.examples * (_Z * drop.error / room) ** 2)


def at_chance(metric: Metric, rows: Rows, labels: Sequence[Any] | None, seed: int) -> bool:
    """Tell whether a score is no better than that of the same outputs with shuffled labels."""
    if labels is None or metric.of_fidelity or metric.name in ("cer", "wer"):
        return False
    if metric.name == "accuracy" and rows.shape[1] < 4:  # several decisions per example
        return False
    random = np.random.default_rng(seed)
    real = metric.combine(rows, labels)
    draws = 100 if metric.function is None else 20
    lucky = 0
    for _ in range(draws):
        order = random.permutation(len(rows))
        if metric.function is not None:
            other = metric.combine(rows, [labels[i] for i in order])
        elif metric.name == "accuracy":
            other = float((rows[:, 2] == rows[order, 3]).mean())
        else:
            other = metric.combine(np.column_stack([rows[:, 0], rows[order, 1]]))
        lucky += metric.drop(real, other) <= 0
    return lucky >= draws * _CHANCE


def _pick(rows: Rows, chosen: Any) -> Any:
    return [rows[i] for i in chosen] if isinstance(rows, list) else rows[chosen]
