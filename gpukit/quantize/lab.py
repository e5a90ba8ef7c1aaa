"""Where candidates are made and measured: each step goes to the worker, none outlives the clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gpukit.errors import UsageError

from . import fuse, graph
from .candidates import Recipe
from .census import Census
from .intervals import Drop, drop_of
from .metrics import Metric
from .prune import Pruning
from .select import Baseline, Objective, Trial, latency_of
from .session import usable_cpus
from .steps import Evaluated, Place
from .worker import StepFailed, Worker

__all__ = ["Lab", "Progress", "Settings", "Splits"]

_SEARCH = 0.62  # part of the time limit after which no candidate is begun
_MOST_MEMORY = 6e9  # bytes of models that are loaded at once, about
_ROUNDS = 400
_GLANCE = 15  # rounds after which it is known whether a candidate is worth more


@dataclass(frozen=True)
class Progress:
    """How far a search is: what it does, how far that is, the last score, seconds left."""

    stage: str
    done: int
    total: int
    score: float | None
    left: float


@dataclass(frozen=True)
class Settings:
    """What a person may set about a search."""

    max_drop: float = 0.01
    objective: Objective = "latency"
    max_latency_ratio: float = 1.05
    families: frozenset[str] | None = None
    place: Place = field(default_factory=Place)
    baseline: Baseline = "original"
    time_limit: float = 300.0
    seed: int = 0


@dataclass(frozen=True)
class Splits:
    """Folders of examples, which rows are for what, and the labels of each folder."""

    calibration: tuple[Path, list[int]] | None
    evaluation: Path
    validation: list[int]
    test: tuple[Path, list[int]]
    labels: tuple[Any, Any]


class Lab:
    """Builds, scores and times candidates of one model.

    Args:
        worker: runs the steps.
        model: the original.
        census: what it is made of, until it is prepared.
        metric: how outputs are judged.
        splits: the data.
        settings: what the person wants.
        folder: for candidates.
        started: when the time limit began, on the monotonic clock.
        progress: is told how far it is.
        pruning: what pruning needs, if it is wanted.
    """

    def __init__(
        self, worker: Worker, model: Path, census: Census, metric: Metric, splits: Splits,
        settings: Settings, folder: Path, started: float, progress: Callable[[Progress], None],
        pruning: Pruning | None = None,
    ) -> None:  # fmt: skip
        self._worker = worker
        self.model = model
        self.census = census
        self._pruning = pruning
        self.metric = metric
        self.splits = splits
        self.settings = settings
        self.folder = folder
        self._sent = replace(metric, function=None)  # functions stay in this process
        self._end = started + settings.time_limit
        self._search_end = started + settings.time_limit * _SEARCH
        self._progress = progress
        self._wide = replace(settings.place, threads=max(settings.place.threads, usable_cpus()))
        self._ranges: dict[tuple[Any, ...], Path] = {}
        self._ready: dict[float, tuple[Path, Path]] = {0.0: (model, model)}  # by sparsity
        self._fused: dict[float, Path] = {}  # the same with attention blocks as one node each
        self._original: Path | None = None
        self.row_seconds = 1e-7
        self.score: float | None = None
        self.original_bytes = graph.file_bytes(model)

    def left(self) -> float:
        """Return the seconds until the time limit."""
        return self._end - time.monotonic()

    def searching(self) -> float:
        """Return the seconds in which candidates may still be begun."""
        return self._search_end - time.monotonic()

    def call(self, stage: str, name: str, *args: Any, timeout: float, total: int = 0) -> Any:
        """Run a step in the worker, and tell how far it is."""

        def tick(done: int) -> None:
            self._progress(Progress(stage, done, total, self.score, max(self.left(), 0)))

        tick(0)
        return self._worker.call(name, *args, timeout=timeout, tick=tick)

    def fresh(self) -> None:
        """Let the next step run in a new process."""
        self._worker.stop()

    def labels(self, of: int, rows: Sequence[int]) -> list[Any] | None:
        """Return labels of rows: of the evaluation examples (0), or of the test examples (1)."""
        found = self.splits.labels[of]
        return None if found is None else [found[i] for i in rows]

    def original(
        self, stage: str, rows: list[int], seconds: float, test: bool = False
    ) -> Evaluated:
        """Run the original over rows; what it says is kept where candidates are compared with it.

        Raises:
            UsageError: it does not run on the examples, or not within the time.
        """
        keep = self.folder / f"original-{len(rows)}-{test}.outputs"
        folder = self.splits.test[0] if test else self.splits.evaluation
        compared = self.metric.of_fidelity or (
            self.metric.function is None and self.splits.labels[int(test)] is None
        )
        try:
            found: Evaluated = self.call(
                stage, "evaluate", self.model, folder, rows, self._sent, self._wide, None,
                keep if compared else None, seconds, timeout=self.left(), total=len(rows),
            )  # fmt: skip
        except StepFailed as error:
            raise UsageError(
                "model-does-not-run", f"the original model does not run on the examples: {error}",
                "try one example by hand in onnxruntime; or give more --time-limit",
            ) from None  # fmt: skip
        self._original = keep if compared else None
        return found

    def evaluate(
        self, stage: str, model: Path, rows: list[int], timeout: float, test: bool = False
    ) -> Evaluated:
        """Run a candidate over rows that the original has been run over."""
        folder = self.splits.test[0] if test else self.splits.evaluation
        found: Evaluated = self.call(
            stage, "evaluate", model, folder, rows, self._sent, self._wide, self._original,
            timeout=timeout, total=len(rows),
        )  # fmt: skip
        return found

    def prepare(self, rows: list[int]) -> list[str]:
        """Prepare the original for the quantizers, and return notes."""
        try:
            notes = self._prepared(self.model, 0.0, rows)
            return notes + self._fuse(0.0, rows)
        except StepFailed as error:
            return [f"preparing failed: {error}"]

    @property
    def fused(self) -> bool:
        """Whether there is a form of the original with its attention blocks as one node each."""
        return 0.0 in self._fused

    def _fuse(self, sparsity: float, rows: list[int]) -> list[str]:
        lifted = self._ready[sparsity][0]
        if self.settings.place.target != "cpu" or not fuse.has_attention(self.census):
            return []
        target = self.folder / f"prepared-{sparsity:g}" / "fused.onnx"
        try:
            count = self.call(
                "preparing", "fuse_model", lifted, target, self.splits.evaluation, rows,
                self._wide, timeout=0.15 * self.settings.time_limit,
            )  # fmt: skip
        except StepFailed as error:
            return [f"attention was not fused: {error}"]
        if not count:
            return ["attention was not fused: its layout is not known, or the result differs"]
        self._fused[sparsity] = target
        return [f"{count} attention blocks fused"]

    def _prepared(self, model: Path, sparsity: float, rows: list[int]) -> list[str]:
        folder = self.folder / f"prepared-{sparsity:g}"
        folder.mkdir(exist_ok=True)
        notes: list[str]
        lifted, prepared, notes, self.census = self.call(
            "preparing", "prepare_model", model, folder, self.splits.evaluation, rows, self._wide,
            timeout=self.left() * 0.4,
        )  # fmt: skip
        self._ready[sparsity] = (lifted, prepared)
        return notes

    def _sources(self, recipe: Recipe) -> tuple[Path, Path]:
        """Return the model that a recipe begins with, lifted and prepared; pruned if it says so.

        Raises:
            StepFailed: pruning failed, or the recipe needs a fused form, which there is not.
        """
        if recipe.sparsity not in self._ready:
            target = self.folder / f"pruned-{recipe.sparsity:g}.onnx"
            self.call(
                f"pruning {recipe.sparsity:.0%} and training", "prune_checkpoint", self._pruning,
                recipe.sparsity, target, timeout=self.step_time(),
            )  # fmt: skip
            rows = self.splits.validation[:4]
            self._prepared(target, recipe.sparsity, rows)
            self._fuse(recipe.sparsity, rows)
        lifted, prepared = self._ready[recipe.sparsity]
        if recipe.fused and recipe.sparsity not in self._fused:
            raise StepFailed("attention was not fused")
        return (self._fused[recipe.sparsity] if recipe.fused else lifted), prepared

    def build(self, trial: Trial, number: int) -> Path:
        """Write the candidate of a trial, load it once, and note its size."""
        ranges = self.calibrated(trial.recipe)
        path = self.folder / f"candidate-{number:02}.onnx"
        trial.bytes = self.call(
            trial.name, "build_candidate", trial.recipe, *self._sources(trial.recipe), path,
            ranges, self._wide, timeout=self.step_time(),
        )  # fmt: skip
        trial.path = path
        return path

    def calibrated(self, recipe: Recipe) -> Path | None:
        """Return the ranges that a static recipe needs, made once for each method."""
        if recipe.calibration is None or self.splits.calibration is None:
            return None
        key = (recipe.calibration, recipe.operators, recipe.sparsity)
        if key not in self._ranges:
            folder, rows = self.splits.calibration
            target = self.folder / f"ranges-{len(self._ranges)}.pickle"
            most = 512 if recipe.calibration == "MinMax" else 128
            allowed = max(8, int(0.05 * self.settings.time_limit / self.row_seconds))
            self._ranges[key] = self.call(
                f"{recipe.name}: calibrating", "calibrate_ranges", self._sources(recipe)[1], folder,
                rows[: min(most, allowed)], recipe, self._wide, target, timeout=self.step_time(),
            )  # fmt: skip
        return self._ranges[key]

    def sensitive(self, trial: Trial, seconds: float) -> list[tuple[float, list[str]]]:
        """Return groups of nodes or weights with the error that each alone makes, worst first."""
        recipe, ranges = trial.recipe, self.calibrated(trial.recipe)
        names = self.call(
            trial.name, "units", recipe, *self._sources(recipe), timeout=self.step_time()
        )
        each = max(trial.seconds / 4, 0.05) + 4 * self.row_seconds
        groups = _grouped(names, max(8, int(seconds / each)))
        folder, rows = self.splits.calibration or (self.splits.evaluation, self.splits.validation)
        errors = self.call(
            f"{trial.name}: finding sensitive parts", "sensitivities", recipe, groups,
            *self._sources(recipe), ranges, folder, rows[:4], self._wide, self.folder,
            seconds, timeout=seconds + 30, total=len(groups),
        )  # fmt: skip
        return sorted(zip(errors, groups, strict=True), key=lambda pair: -pair[0])

    def pace(self, trial: Trial, rows: list[int]) -> None:
        """Time a candidate against the original for a moment, to see what it is worth.

        Nothing is done where that moment would be long.
        """
        threads = self.settings.place.threads
        each = self.row_seconds * self._wide.threads / threads * self.settings.place.batch
        if _GLANCE * each > 0.015 * self.settings.time_limit or trial.path is None:
            return
        times = self.call(
            f"{trial.name}: latency", "race", [self.model, trial.path], self.splits.evaluation,
            rows, self.settings.place, self.settings.seed, 0.02 * self.settings.time_limit,
            _GLANCE, timeout=self.step_time(),
        )  # fmt: skip
        trial.latency = latency_of(times, 1, self.settings.place.batch, self.settings.seed)

    def race(
        self, trials: Sequence[Trial], rows: list[int], baseline: Trial | None = None
    ) -> tuple[Any, list[str]]:
        """Time the original and candidates side by side; return the original's, and notes.

        Args:
            trials: the candidates, the baseline not among them.
            rows: examples to run.
            baseline: the candidate that all ratios are relative to; None for the original.

        Raises:
            UsageError: not even the original could be timed.
        """
        first = [self.model] if baseline is None else [baseline.path, self.model]
        seconds = min(0.12 * self.settings.time_limit, max(self.left() * 0.3, 1.0), 30.0)
        together = max(1, int(_MOST_MEMORY // max(3 * self.original_bytes, 1)) - 1)
        groups = [trials[i : i + together] for i in range(0, len(trials), together)] or [[]]
        batch, seed = self.settings.place.batch, self.settings.seed
        original, notes = None, []
        for mine in [*groups, []]:
            if original is not None and not mine:
                break
            models = [*first, *(t.path for t in mine)]
            try:
                times = self.call(
                    "latency, side by side", "race", models, self.splits.evaluation, rows,
                    self.settings.place, seed, seconds / len(groups), _ROUNDS,
                    timeout=max(self.left() - 2, 5), total=_ROUNDS,
                )  # fmt: skip
            except StepFailed as error:
                notes.append(f"latency was not measured: {error}")
                continue
            original = latency_of(times, len(first) - 1, batch, seed)
            if baseline is not None:
                baseline.latency = latency_of(times, 0, batch, seed)
            for column, trial in enumerate(mine, len(first)):
                trial.latency = latency_of(times, column, batch, seed)
        if original is None:
            raise UsageError(
                "time-limit-short", f"--time-limit {self.settings.time_limit:g} is over",
                "give more time, or fewer examples",
            )  # fmt: skip
        return original, notes

    def drop(self, before: Any, after: Any, labels: Sequence[Any] | None) -> Drop:
        """Return the paired drop between two models over the same examples."""
        return drop_of(self.metric, before, after, labels, self.settings.seed)

    def step_time(self) -> float:
        """Return the seconds that a step of the search may take."""
        return self.searching() + 0.1 * self.settings.time_limit


def _grouped(names: list[str], most: int) -> list[list[str]]:
    """Return names in groups of neighbours, no more than ``most`` groups."""
    size = math.ceil(len(names) / most) if names else 1
    return [names[i : i + size] for i in range(0, len(names), size)]
