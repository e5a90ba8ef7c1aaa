"""The search: candidates under an accuracy budget and a time limit, one winner, one honest test."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpukit.errors import UsageError

from .candidates import Recipe, recipes_for
from .intervals import Drop, at_chance
from .lab import Lab
from .results import LatencyResult
from .select import Trial, beaten, choose, leader, within
from .worker import StepFailed

__all__ = ["Found", "Judged", "search", "test"]

_PILOT = 24
_FEWEST = 16
_FIRST = 4  # candidates are first scored on one in so many of the examples
_CHOOSING, _JUDGING = 0.35, 0.25  # parts of the time limit for the validation and the test split
_RESERVED = 0.2  # of the time limit, for scoring on all examples while nothing has been yet
_PASSES = 6  # over the validation split: the original, first looks at candidates, three finals
_WORTHWHILE = 1.2  # by how much better than the leader a candidate must be to be worth rescuing
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
        self._notes += self._lab.prepare(self._rows[:4])
        recipes = recipes_for(
            self._lab.census, calibrated=self._lab.splits.calibration is not None,
            half=self._set.baseline == "fp16", families=self._set.families,
            fused=self._lab.fused,
        )  # fmt: skip
        for spare in (False, True):
            for recipe in recipes:
                if _spare(recipe) is spare and not self._pruned_enough(recipe):
                    self._try(recipe)
            self._finals()
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
        affordable = self._set.time_limit / self._lab.row_seconds
        given = self._rows
        most = _CHOOSING * affordable / _PASSES
        kept = len(given)
        while kept > max(most, _FEWEST):  # a half, a quarter …: coarse, so that runs agree
            kept = math.ceil(kept / 2)
        self._rows = self._fewer(given, kept, "validation")
        if self._lab.splits.test[0] == self._lab.splits.evaluation:
            self._test = [*self._test, *given[len(self._rows) :]]  # what cannot choose can judge
        allowed = max(_FEWEST, int(_JUDGING * affordable / 2))
        self._test = self._fewer(self._test, allowed, "test")

    def _fewer(self, rows: list[int], kept: int, what: str) -> list[int]:
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
        """Build a candidate, time it for a moment, and score it on the first examples."""
        trial = Trial(recipe)
        self._trials.append(trial)
        trial.reason = self._needless(recipe)
        if trial.reason:
            return trial
        first = max(64, len(self._rows) // _FIRST)
        if recipe.sparsity or self._compared_with(recipe):
            first = len(self._rows)
        with self._timed(trial):
            self._lab.build(trial, len(self._trials))
            self._lab.pace(trial, self._rows[:32])
            most, pace = self._set.max_latency_ratio, trial.latency
            if pace and pace.ratio_low > most and not self._compared_with(recipe):
                trial.status = "too slow"
                trial.reason = f"latency {pace.ratio:.2f} of the original, the limit is {most:g}"
            else:
                self._judge(trial, first)
        return trial

    def _compared_with(self, recipe: Recipe) -> bool:
        """Tell whether a recipe's candidate is what the others are compared with."""
        return recipe.family == "fp16" == self._set.baseline

    @contextlib.contextmanager
    def _timed(self, trial: Trial) -> Iterator[None]:
        """Note what the steps of a trial took, and what stopped them."""
        start = time.monotonic()
        try:
            yield
        except StepFailed as error:
            trial.complete = False
            trial.status = "not tried" if error.timed_out else "failed"
            trial.reason = "the time limit" if error.timed_out else str(error)
        trial.seconds += time.monotonic() - start

    def _pruned_enough(self, recipe: Recipe) -> bool:
        """Tell whether more pruning than a recipe's has kept the budget: then less has no point."""
        done = [t for t in self._trials if within(t, self._set.max_drop)]
        return any(t.recipe.sparsity > recipe.sparsity > 0 for t in done)

    def _needless(self, recipe: Recipe) -> str:
        """Return why a candidate is not worth its time, or nothing."""
        if self._set.families is None and _spare(recipe):
            alike = [
                t for t in self._trials
                if (t.recipe.family == "w8" if recipe.family == "w16"
                    else t.recipe.operators == recipe.operators)
            ]  # fmt: skip
            for trial in alike:
                if within(trial, self._set.max_drop):
                    return f"{trial.name} is within the budget, and no worse in size and latency"
                if trial.status in ("lost", "too slow"):
                    return f"no smaller or faster than {trial.name}, which is out"
        unsettled = bool(self._waiting()) and not self._found()
        kept = _RESERVED * self._set.time_limit if unsettled else 0.0
        return "" if self._lab.searching() > kept else "the time limit"

    def _found(self) -> bool:
        """Tell whether there is a candidate that keeps the budget."""
        return any(within(t, self._set.max_drop) for t in self._trials)

    def _waiting(self) -> list[Trial]:
        """Return candidates that were scored on a part of the examples and may be good."""
        return [
            t for t in self._trials
            if t.status == "not tried" and t.drop is not None and not t.complete
        ]  # fmt: skip

    def _finals(self) -> None:
        """Score those that may win on all examples, the most promising first."""
        for trial in sorted(self._waiting(), key=self._promise):
            best = self._leader()
            reason = beaten(trial, best, self._set.objective) if best else ""
            if reason:
                seen = len(trial.rows)
                trial.status, trial.reason = "lost", f"{reason} (a look at {seen} examples)"
            elif self._lab.searching() <= 0 and self._found():
                trial.reason = "the time limit"
            else:
                with self._timed(trial):
                    self._judge(trial, len(self._rows))

    def _leader(self) -> Trial | None:
        return leader(
            self._trials, objective=self._set.objective, max_drop=self._set.max_drop,
            max_latency_ratio=self._set.max_latency_ratio,
        )  # fmt: skip

    def _promise(self, trial: Trial) -> float:
        """Return what orders candidates: the smaller, the better they would be."""
        if self._set.objective == "size" or trial.latency is None:
            return (trial.bytes or 0) / self._lab.original_bytes
        return trial.latency.ratio

    def _judge(self, trial: Trial, count: int) -> None:
        """Score a candidate on the first ``count`` validation examples; some may be done already.

        A hopeless one is given up before all are done.
        """
        lab = self._lab
        if trial.path is None:
            return
        done = 0 if trial.rows is None else len(trial.rows)
        found = lab.evaluate(trial.name, trial.path, self._rows[done:count], lab.step_time())
        if found.has_nan:
            trial.status, trial.reason = "failed", "it gives NaN"
            return
        rows = found.rows if trial.rows is None else _joined(trial.rows, found.rows)
        labels = None if self._labels is None else self._labels[: len(rows)]
        trial.rows, trial.complete = rows, len(rows) == len(self._rows)
        trial.score = lab.score = lab.metric.combine(rows, labels)
        trial.drop = drop = self._drop(rows)
        clear = drop.value - 4 * drop.error > self._set.max_drop
        if clear or (trial.complete and not within(trial, self._set.max_drop)):
            trial.status = "over budget"
            trial.reason = f"drop {drop.value:+.4f}, the budget is {self._set.max_drop:g}"
            if not trial.complete:
                trial.reason += f" (clear after {len(rows)} examples)"

    def _drop(self, rows: Any) -> Drop:
        labels = None if self._labels is None else self._labels[: len(rows)]
        return self._lab.drop(self._before[: len(rows)], rows, labels)

    def _rescue(self, family: str) -> None:
        """Leave what is sensitive in more bits, where that may make a winner of a family's best."""
        mine = [t for t in self._trials if t.recipe.family == family]
        failed = [t for t in mine if t.status == "over budget" and t.drop is not None]
        best = self._leader()
        if best:
            failed = [t for t in failed if not beaten(t, best, self._set.objective, _WORTHWHILE)]
        elif any(within(t, self._set.max_drop) for t in mine):
            return
        seconds = min(0.15 * self._set.time_limit, self._lab.searching())
        if seconds < 1 or not failed:
            return
        nearest = min(failed, key=lambda t: t.drop.value if t.drop else math.inf)
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
            trial = self._try(nearest.recipe.without(out))
            self._finals()
            if within(trial, self._set.max_drop) or trial.status == "lost":
                return
            count *= 2


def _spare(recipe: Recipe) -> bool:
    """Tell whether a recipe is for the case that a simpler one of its kind fails."""
    return recipe.calibration in ("Percentile", "Entropy") or recipe.family == "w16"


def _joined(first: Any, second: Any) -> Any:
    return first + second if isinstance(first, list) else np.concatenate([first, second])
