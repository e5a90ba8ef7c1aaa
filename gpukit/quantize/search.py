"""The search: candidates under an accuracy budget and a time limit, one winner, one honest test."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpukit.errors import UsageError

from .candidates import Recipe, recipes_for
from .intervals import Drop, at_chance
from .lab import Lab
from .results import LatencyResult
from .select import Trial, choose, within
from .worker import StepFailed

__all__ = ["Found", "Judged", "search", "test"]

_PILOT = 24
_FEWEST = 16
_RESCUED = ("w8", "static", "dynamic")


@dataclass(frozen=True)
class Found:
    """What a search found on validation; ``winner`` is None where the original stays.

    ``score`` is the original's; ``baseline`` is the candidate that latencies are relative to, None
    for the original.
    """

    winner: Trial | None
    reason: str
    trials: tuple[Trial, ...]
    score: float
    notes: tuple[str, ...]
    original: LatencyResult
    baseline: Trial | None
    validation: list[int]
    test: list[int]


@dataclass(frozen=True)
class Judged:
    """Scores of the original and of a model on the held-out split, and the drop."""

    before: float
    after: float
    drop: Drop


def search(lab: Lab) -> Found:
    """Try what suits the model, and choose by the objective among what keeps the budget.

    Raises:
        UsageError: the original does not run, gives NaN, or is no better than guessing.
    """
    return _Search(lab).run()


def test(lab: Lab, found: Found, model: Path) -> Judged:
    """Score the original and a model on the held-out split: the one look at it."""
    stage = "the test split"
    before = lab.original(f"{stage}: original", found.test, max(lab.left() * 0.35, 1), test=True)
    rows = found.test[: len(before.rows)]
    labels = lab.labels(1, rows)
    value = lab.metric.combine(before.rows, labels)
    if model == lab.model:
        return Judged(value, value, Drop(0.0, 0.0, 0.0, 0.0, len(rows)))
    try:
        after = lab.evaluate(stage, model, rows, max(lab.left(), 10), test=True)
    except StepFailed as error:
        raise UsageError(
            "time-limit-short", f"the result was not tested: {error}", "give more --time-limit"
        ) from None
    drop = lab.drop(before.rows, after.rows, labels)
    return Judged(value, lab.metric.combine(after.rows, labels), drop)


class _Search:
    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._set = lab.settings
        self._trials: list[Trial] = []
        self._notes: list[str] = []
        self._rows = lab.splits.validation
        self._test = lab.splits.test[1]

    def run(self) -> Found:
        self._size_up()
        self._measure_original()
        self._notes += self._lab.prepare(self._rows[:2])
        for recipe in recipes_for(
            self._lab.census, calibrated=self._lab.splits.calibration is not None,
            half=self._set.baseline == "fp16", families=self._set.families,
        ):  # fmt: skip
            if not self._pruned_enough(recipe):
                self._try(recipe)
        for family in _RESCUED:
            self._rescue(family)
        good = [t for t in self._trials if within(t, self._set.max_drop) and t.path is not None]
        baseline = self._baseline(good)
        raced = [t for t in good if t is not baseline]
        original, notes = self._lab.race(raced, self._rows[:32], baseline)
        winner, reason = choose(
            self._trials, original_bytes=self._lab.original_bytes, objective=self._set.objective,
            max_drop=self._set.max_drop, max_latency_ratio=self._set.max_latency_ratio,
            baseline="the original" if baseline is None else baseline.name,
        )  # fmt: skip
        return Found(
            winner, reason, tuple(self._trials), self._score, (*self._notes, *notes), original,
            baseline, self._rows, self._test,
        )  # fmt: skip

    def _baseline(self, good: list[Trial]) -> Trial | None:
        """Return the candidate that the others are compared with; None for the original."""
        if self._set.baseline == "original":
            return None
        found = next((t for t in good if t.recipe.family == "fp16"), None)
        if found is None:
            self._notes.append("FP16 is no candidate here: latencies are relative to the original")
        return found

    def _size_up(self) -> None:
        """Find how long an example takes, and how many the time limit allows."""
        rows = self._rows[:_PILOT]
        found = self._lab.original("original", rows, math.inf)
        self._lab.row_seconds = max(found.each, 1e-7)
        candidates = 9 if self._set.families is None else 4
        affordable = self._set.time_limit / self._lab.row_seconds
        self._rows = self._fewer(self._rows, 0.35 * affordable / candidates, "validation")
        self._test = self._fewer(self._test, 0.15 * affordable / 2, "test")

    def _fewer(self, rows: list[int], allowed: float, what: str) -> list[int]:
        """Return all rows, or a half, a quarter … of them: coarse, so that runs agree."""
        kept = len(rows)
        while kept > max(allowed, _FEWEST):
            kept = math.ceil(kept / 2)
        if kept < len(rows):
            self._notes.append(f"{what} on {kept} of {len(rows)} examples, to keep the time limit")
        return rows[:kept]

    def _measure_original(self) -> None:
        lab = self._lab
        found = lab.original("original", self._rows, max(lab.left() * 0.3, 1))
        self._rows = self._rows[: len(found.rows)]
        self._before, self._labels = found.rows, lab.labels(0, self._rows)
        score = lab.metric.combine(found.rows, self._labels)
        if found.has_nan or not math.isfinite(score):
            raise UsageError(
                "baseline-nan", "the original model gives NaN or infinite numbers on --eval",
                "repair the model or the examples first: nothing can be compared with NaN",
            )  # fmt: skip
        if at_chance(lab.metric, found.rows, self._labels, self._set.seed):
            raise UsageError(
                "baseline-at-chance",
                f"the original model is no better than guessing: {lab.metric.name} {score:.4f} on "
                f"{len(self._rows)} examples, as with shuffled labels",
                "check that labels belong to the examples, the preprocessing, and --output-name",
            )
        self._score = lab.score = score

    def _try(self, recipe: Recipe) -> Trial:
        """Build, load and score a candidate."""
        trial = Trial(recipe)
        self._trials.append(trial)
        trial.reason = self._needless(recipe)
        if trial.reason:
            return trial
        start = time.monotonic()
        try:
            self._judge(trial, self._lab.build(trial, len(self._trials)))
        except StepFailed as error:
            trial.status = "not tried" if error.timed_out else "failed"
            trial.reason = "the time limit" if error.timed_out else str(error)
        trial.seconds = time.monotonic() - start
        return trial

    def _pruned_enough(self, recipe: Recipe) -> bool:
        """Tell whether more pruning than a recipe's has kept the budget: then less has no point."""
        done = [t for t in self._trials if within(t, self._set.max_drop)]
        return any(t.recipe.sparsity > recipe.sparsity > 0 for t in done)

    def _needless(self, recipe: Recipe) -> str:
        """Return why a candidate is not worth its time, or nothing."""
        done = [t for t in self._trials if within(t, self._set.max_drop)]
        if self._set.families is None:
            if recipe.family == "w16" and any(t.recipe.family == "w8" for t in done):
                return "8-bit storage is within the budget, and smaller"
            again = [t for t in done if t.recipe.operators == recipe.operators]
            if recipe.calibration in ("Percentile", "Entropy") and again:
                return f"{again[0].name} is within the budget, and as fast"
        return "" if self._lab.searching() > 0 else "the time limit"

    def _judge(self, trial: Trial, path: Path) -> None:
        """Score a candidate on the validation split; a hopeless one is given up early."""
        lab = self._lab
        first = self._rows[: max(64, len(self._rows) // 8)]
        found = lab.evaluate(trial.name, path, first, lab.step_time())
        rows, has_nan = found.rows, found.has_nan
        if len(first) < len(self._rows) and not has_nan and not self._hopeless(rows):
            more = lab.evaluate(trial.name, path, self._rows[len(first) :], lab.step_time())
            has_nan = more.has_nan
            rows = _joined(rows, more.rows)
        if has_nan:
            trial.status, trial.reason = "failed", "it gives NaN"
            return
        labels = None if self._labels is None else self._labels[: len(rows)]
        trial.rows = rows
        trial.score = lab.score = lab.metric.combine(rows, labels)
        trial.drop = self._drop(rows)
        if not within(trial, self._set.max_drop):
            trial.status = "over budget"
            trial.reason = f"drop {trial.drop.value:+.4f}, the budget is {self._set.max_drop:g}"
            if len(rows) < len(self._rows):
                trial.reason += f" (clear after {len(rows)} examples)"

    def _hopeless(self, rows: Any) -> bool:
        drop = self._drop(rows)
        return drop.value - 4 * drop.error > self._set.max_drop

    def _drop(self, rows: Any) -> Drop:
        labels = None if self._labels is None else self._labels[: len(rows)]
        return self._lab.drop(self._before[: len(rows)], rows, labels)

    def _rescue(self, family: str) -> None:
        """Where all of a family are over the budget: leave what is sensitive in more bits."""
        mine = [t for t in self._trials if t.recipe.family == family]
        failed = [t for t in mine if t.status == "over budget" and t.drop is not None]
        if not failed or any(within(t, self._set.max_drop) for t in mine):
            return
        nearest = min(failed, key=lambda t: t.drop.value if t.drop else math.inf)
        seconds = min(0.15 * self._set.time_limit, self._lab.searching())
        if seconds < 1:
            return
        try:
            groups = self._lab.sensitive(nearest, seconds)
        except StepFailed as error:
            self._notes.append(f"{nearest.name}: looking for sensitive parts: {error}")
            return
        worst = ", ".join(f"{names[0]} ({error:.1e})" for error, names in groups[:3])
        self._notes.append(f"{nearest.name}: most sensitive: {worst}")
        count = 1
        while count <= len(groups) // 2 and self._lab.searching() > 0:
            out = tuple(sorted(name for _, names in groups[:count] for name in names))
            if within(self._try(nearest.recipe.without(out)), self._set.max_drop):
                return
            count *= 2


def _joined(first: Any, second: Any) -> Any:
    return first + second if isinstance(first, list) else np.concatenate([first, second])
