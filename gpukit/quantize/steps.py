"""The heavy steps of a search, each run in a worker process: see :mod:`gpukit.quantize.worker`."""

from __future__ import annotations

import functools
import math
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from . import build as builder
from . import fuse, graph
from .candidates import Recipe
from .census import Census, take_census
from .data import Array, Examples, Feeds
from .metrics import Metric, Outputs
from .prepare import prepare
from .prune import prune_checkpoint
from .session import open_session, output_names, run
from .storage import storable
from .torchside import export_checkpoint, export_directory

__all__ = [
    "Evaluated", "Place", "build_candidate", "calibrate_ranges", "describe", "evaluate",
    "export_checkpoint", "export_directory", "footprint", "fuse_model", "prepare_model",
    "prune_checkpoint", "race", "sensitivities", "units",
]  # fmt: skip


_T = TypeVar("_T")
_SHORT = 0.1  # seconds of an inference up to which caches matter, and one more costs little


def report(value: Any) -> None:
    """Tell the parent how far a step is; replaced in the worker."""


@dataclass(frozen=True)
class Place:
    """How a model is run: examples of one inference, threads, and cpu or cuda."""

    batch: int = 1
    threads: int = 1
    target: str = "cpu"


@dataclass(frozen=True)
class Evaluated:
    """Statistics of examples (raw outputs for a metric of one's own), and what is off.

    ``each`` is the median time of an example in seconds.
    """

    rows: Any
    each: float
    has_nan: bool


@functools.lru_cache(maxsize=4)
def _examples(folder: Path) -> Examples:
    return Examples.open(folder)


def describe(model: Path, place: Place) -> list[str]:
    """Load a model and return the names of its outputs that are arrays."""
    return output_names(open_session(model, place.threads, place.target))


def prepare_model(
    model: Path, folder: Path, data: Path, rows: list[int], place: Place
) -> tuple[Path, Path, list[str], Census]:
    """Prepare a model, each step checked on a few examples, and say what it is made of."""
    lifted, prepared, notes = prepare(model, folder, _sameness(model, data, rows, place))
    return lifted, prepared, notes, take_census(graph.load(lifted))


def fuse_model(
    lifted: Path, target: Path, data: Path, rows: list[int], place: Place
) -> int:  # fmt: skip
    """Write the model with its attention blocks as one node each, and return how many."""
    return fuse.fuse_attention(lifted, target, _sameness(lifted, data, rows, place))


def _sameness(model: Path, data: Path, rows: list[int], place: Place) -> Callable[[Path], bool]:
    """Return what tells whether another model computes the same on a few examples."""
    examples = _examples(data)
    batches = list(examples.batches(rows, place.batch))
    session = open_session(model, place.threads)
    names = output_names(session)
    wanted = [session.run(names, feeds) for _, feeds in batches]

    def same(path: Path) -> bool:
        try:
            other = open_session(path, place.threads)
            found = [other.run(names, feeds) for _, feeds in batches]
        except Exception:  # it does not load, or does not run: not the same
            return False
        return all(
            _close(a, b)
            for one, two in zip(wanted, found, strict=True)
            for a, b in zip(one, two, strict=True)
        )

    return same


def _close(wanted: Any, found: Any) -> bool:
    a, b = np.asarray(wanted), np.asarray(found)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool((a == b).all())
    return bool(
        np.allclose(a, b, rtol=1e-3, atol=1e-4 * max(float(_largest(a)), 1e-3), equal_nan=True)
    )


def _largest(array: Array) -> float:
    finite = array[np.isfinite(array)]
    return float(np.abs(finite).max(initial=0))


def evaluate(
    model: Path, data: Path, rows: list[int], metric: Metric, place: Place,
    original: Path | None = None, keep: Path | None = None, seconds: float = math.inf,
) -> Evaluated:  # fmt: skip
    """Run a model over examples and return their statistics.

    Args:
        model: the model.
        data: the folder of the examples.
        rows: which of them.
        metric: makes statistics of outputs.
        place: how to run it.
        original: outputs of the original over at least these rows, where they are compared with.
        keep: the file to write outputs to, as ``original`` of a later call.
        seconds: stop after so long, with the rows done until then.
    """
    examples = _examples(data)
    lanes = place.threads if place.target == "cpu" else 1
    session = open_session(model, 1, place.target)
    names = [n for n in output_names(session) if metric.output in (None, n)]
    reference = _reference(original) if original is not None else {}
    kept: dict[int, dict[str, Array]] = {}
    found: list[Any] = []
    has_nan, start, taken = False, time.perf_counter(), []

    def answer(mine: list[int], feeds: Feeds) -> tuple[list[int], dict[str, Any]]:
        before = time.perf_counter()
        outputs = run(session, names, feeds, len(mine), place.batch)
        taken.append((time.perf_counter() - before) / len(mine) / lanes)
        return mine, outputs

    for mine, outputs in _side_by_side(answer, examples.batches(rows, place.batch), lanes):
        has_nan = has_nan or any(
            v.dtype.kind == "f" and np.isnan(v).any() for v in outputs.values()
        )
        single = [{name: value[i] for name, value in outputs.items()} for i in range(len(mine))]
        if keep is not None:
            kept.update(zip(mine, single, strict=True))
        if ":" in metric.name:
            found += single
        else:
            labels = None if examples.labels is None else [examples.labels[i] for i in mine]
            found += list(metric.observe(outputs, labels, _of(reference, mine) or outputs))
        report(len(found))
        if time.perf_counter() - start > seconds:
            break
    if keep is not None:
        with keep.open("wb") as file:
            pickle.dump(kept, file)
    rows_found = found if ":" in metric.name else np.array(found)
    return Evaluated(rows_found, float(np.median(taken)), has_nan)


def _side_by_side(
    answer: Callable[..., _T], items: Iterator[tuple[Any, ...]], lanes: int
) -> Iterator[_T]:
    """Yield answers in the order of items, ``lanes`` inferences at once.

    Single-threaded inferences side by side keep all CPUs busy; threads within one small inference
    mostly wait for each other.
    """
    with ThreadPoolExecutor(lanes) as pool:
        waiting: deque[Future[_T]] = deque()
        for item in items:
            waiting.append(pool.submit(answer, *item))
            if len(waiting) > lanes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@functools.lru_cache(maxsize=2)
def _reference(path: Path) -> dict[int, dict[str, Array]]:
    with path.open("rb") as file:
        found: dict[int, dict[str, Array]] = pickle.load(file)
    return found


def _of(reference: dict[int, dict[str, Array]], rows: Sequence[int]) -> Outputs:
    """Return the original's outputs over rows, filled up to one size where they differ."""
    if not reference:
        return {}
    made = {}
    for name in reference[rows[0]]:
        arrays = [np.asarray(reference[i][name]) for i in rows]
        if len({a.shape for a in arrays}) == 1:
            made[name] = np.stack(arrays)
            continue
        size = np.max([a.shape for a in arrays], axis=0)
        made[name] = np.stack([
            np.pad(a, [(0, int(s) - n) for n, s in zip(a.shape, size, strict=True)]) for a in arrays
        ])  # fmt: skip
    return made


def calibrate_ranges(
    model: Path, data: Path, rows: list[int], recipe: Recipe, place: Place, target: Path
) -> Path:
    """Write the ranges of activations of a recipe, and return the file."""
    ranges = builder.calibrate(model, _examples(data), rows, place.batch, recipe, target.parent)
    with target.open("wb") as file:
        pickle.dump(ranges, file)
    return target


def build_candidate(
    recipe: Recipe, lifted: Path, prepared: Path, target: Path, ranges: Path | None, place: Place
) -> int:
    """Write the candidate of a recipe, load it, and return its size in bytes."""
    builder.build(recipe, lifted, prepared, target, _loaded(ranges), device=place.target)
    open_session(target, place.threads, place.target)
    return graph.file_bytes(target)


def _loaded(ranges: Path | None) -> Any:
    if ranges is None:
        return None
    with ranges.open("rb") as file:
        return pickle.load(file)


def units(recipe: Recipe, lifted: Path, prepared: Path) -> list[str]:
    """Return what a recipe can leave out: nodes, or weights for 8-bit storage."""
    if recipe.family == "w8":
        return storable(graph.load(lifted))
    return builder.quantizable(prepared if recipe.family == "static" else lifted, recipe)


def sensitivities(
    recipe: Recipe, groups: list[list[str]], lifted: Path, prepared: Path, ranges: Path | None,
    data: Path, rows: list[int], place: Place, folder: Path, seconds: float,
) -> list[float]:  # fmt: skip
    """Return for each group of units by how much the outputs move when it alone is quantized.

    The error is the mean squared one relative to the mean square of the output. Groups that the
    time does not reach count as the mean of those before.
    """
    examples, loaded, start = _examples(data), _loaded(ranges), time.perf_counter()
    session = open_session(lifted, place.threads)
    names = output_names(session)
    batches = [feeds for _, feeds in examples.batches(rows, place.batch)]
    wanted = [session.run(names, feeds) for feeds in batches]
    path, found = folder / "one.onnx", []
    for group in groups:
        if time.perf_counter() - start > seconds:
            break
        try:
            builder.build(recipe, lifted, prepared, path, loaded, only=group)
            other = open_session(path, place.threads)
            errors = [
                _relative(a, b)
                for one, feeds in zip(wanted, batches, strict=True)
                for a, b in zip(one, other.run(names, feeds), strict=True)
            ]
            found.append(float(np.mean(errors)))
        except Exception:  # what cannot even be built alone is left out first
            found.append(math.inf)
        report(len(found))
    finite = [e for e in found if math.isfinite(e)]
    rest = float(np.mean(finite)) if finite else 0.0
    return found + [rest] * (len(groups) - len(found))


def _relative(wanted: Any, found: Any) -> float:
    a, b = np.asarray(wanted), np.asarray(found)
    if a.shape != b.shape or a.dtype.kind not in "f":
        return 0.0 if a.shape == b.shape else 1.0
    a, b = np.nan_to_num(a.astype(np.float64)), np.nan_to_num(b.astype(np.float64))
    return float(np.square(a - b).mean() / (np.square(a).mean() + 1e-12)) if a.size else 0.0


def race(
    models: list[Path], data: Path, rows: list[int], place: Place, seed: int, seconds: float,
    rounds: int,
) -> Array:  # fmt: skip
    """Time models side by side: in every round each runs once, in random order, on the same input.

    Right before it is timed, a model runs once more: the one before it has filled the CPU's caches
    with its own weights, and a service does not switch between models.

    Returns:
        Seconds of an inference: a row for each round, a column for each model.
    """
    examples = _examples(data)
    sessions = [open_session(m, place.threads, place.target) for m in models]
    names = [output_names(s) for s in sessions]
    batches = [feeds for _, feeds in examples.batches(rows, place.batch)]

    def timed(i: int, number: int, repeats: int, again: bool = False) -> float:
        feeds = batches[number % len(batches)]
        if again:
            sessions[i].run(names[i], feeds)
        start = time.perf_counter()
        for _ in range(repeats):
            sessions[i].run(names[i], feeds)
        return (time.perf_counter() - start) / repeats

    warm = [min(timed(i, n, 1) for n in range(3)) for i in range(len(models))]
    repeats = max(1, min(20, math.ceil(0.5e-3 / max(min(warm), 1e-6))))
    random, start, found = np.random.default_rng(seed), time.perf_counter(), []
    for number in range(rounds):
        row = np.empty(len(models))
        for i in random.permutation(len(models)):
            row[i] = timed(int(i), number, repeats, again=warm[i] < _SHORT)
        found.append(row)
        report(number + 1)
        if time.perf_counter() - start > seconds and number >= 4:
            break
    return np.array(found)


def footprint(model: Path, data: Path, rows: list[int], place: Place) -> tuple[float, int]:
    """Return seconds from opening a model to its first answer, and bytes of memory it took.

    To be called in a fresh process: memory is what the process has grown by at its largest.
    """
    examples = _examples(data)
    feeds = [f for _, f in examples.batches(rows, place.batch)]
    before, start = _resident(), time.perf_counter()
    session = open_session(model, place.threads, place.target)
    names = output_names(session)
    session.run(names, feeds[0])
    cold = time.perf_counter() - start
    for one in feeds[1:]:
        session.run(names, one)
    return cold, _resident() - before


def _resident() -> int:
    text = Path("/proc/self/status").read_text(encoding="utf-8") if Path("/proc").exists() else ""
    lines = [line for line in text.splitlines() if line.startswith("VmRSS:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0
