"""Is what `gpukit quantize` finds smaller, faster and as good as what others give? In one run.

    python -m benchmarks.quantize [--only minilm|ocr|digits|pruned] [--quick] [--prepare]

Every model goes through gpukit and through its peers: Optimum's command line, onnxruntime's static
quantization with its defaults, Olive's, and NNCF's accuracy-aware quantization, each in its own
environment. All results are then scored on the same held-out examples, and timed side by side with
the original. A peer that cannot be installed or that fails is a row that says so. Exit code 1: a
target is missed.

Models, data, environments and what the peers make are kept in the user's cache folder. --prepare
makes them and measures nothing: after it the run itself is all measurement.

Data: the movie ratings that come with vaderSentiment's source, scikit-learn's digits, and text
lines drawn here and turned, for the OCR angle classifier of rapidocr-onnxruntime.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort

from gpukit.quantize import benchmark, quantize
from gpukit.quantize.intervals import Drop, drop_of
from gpukit.quantize.metrics import Metric
from gpukit.quantize.results import Report

from . import quantize_peers as peers
from . import quantize_tasks as tasks

__all__ = ["main"]


@dataclass
class Row:
    """What one tool made of one model."""

    tool: str
    path: Path | None
    said: str
    seconds: float
    ratio: float = float("nan")
    latency: float = float("nan")
    score: float = float("nan")
    drop: Drop | None = None


@dataclass(frozen=True)
class Target:
    """What gpukit has to reach on a task, relative to the original."""

    smaller: float
    latency: float
    seconds: float | None = None
    compressed: float | None = None


TARGETS = {
    "minilm": Target(3.9, 0.45, seconds=240), "ocr": Target(2.4, 1.05),
    "digits": Target(3.4, 1.05), "pruned": Target(1.0, 1.05, compressed=15.0),
}  # fmt: skip


@dataclass
class Outcome:
    """A task's rows, and what was missed."""

    rows: list[Row]
    missed: list[str] = field(default_factory=list)


def run(name: str, folder: Path, quick: bool, without: list[str]) -> Outcome:
    """Let every tool at one model, and measure what they made."""
    task, theirs = prepared(name, quick, without)
    target, start = TARGETS[name], time.perf_counter()
    report = quantize(
        task.checkpoint or task.model, folder / "gpukit", eval=str(task.eval),
        calib=str(task.calib), factory=task.factory, trainer=task.trainer, time_limit=240,
        recipe="prune" if task.trainer else "auto",
    )  # fmt: skip
    took = time.perf_counter() - start
    rows = [Row("gpukit", folder / "gpukit" / "model.onnx", report.chosen, took)]
    for tool, made in theirs.items():
        rows.append(Row(tool, made.path, made.said, made.seconds))
    _measure(task, rows)
    outcome = Outcome(rows)
    _judge(outcome, target, rows[0], took)
    small, before = report.result.compressed_bytes, report.original.compressed_bytes
    if small and before:
        print(f"  compressed ({report.result.compression}) {before / small:.1f}x smaller")
        if target.compressed and before / small < target.compressed:
            outcome.missed.append(f"compressed {before / small:.1f}x, not {target.compressed:g}x")
    elif target.compressed:
        outcome.missed.append("the compressed size was not measured")
    _own_words(report, outcome)
    return outcome


def _own_words(report: Report, outcome: Outcome) -> None:
    """Print what gpukit itself says of its result; a verdict that is not met is a miss."""
    test = report.test
    chosen = next((c.drop for c in report.candidates if c.status == "chosen"), None)
    if chosen is not None:
        print(f"  gpukit's validation: drop {chosen.value:+.4f} on {chosen.examples} examples")
        if chosen.value > report.max_drop:
            outcome.missed.append("over the budget on its validation split")
    print(
        f"  gpukit's test: {test.verdict}, drop {test.drop.value:+.4f} (95 %: {test.drop.low:+.4f} "
        f"to {test.drop.high:+.4f}) on {test.drop.examples} examples; {report.seconds:.0f} s"
    )
    if test.verdict != "met":
        outcome.missed.append(f"its own verdict is {test.verdict}")


def prepared(
    name: str, quick: bool, without: list[str]
) -> tuple[tasks.Task, dict[str, peers.Made]]:
    """Return a task and what the peers make of it; pruned models have no peers."""
    task, folder = tasks.task_of(name, quick)
    wanted = [] if task.trainer else [tool for tool in peers.PEERS if tool not in without]
    return task, {tool: peers.made(tool, task, folder) for tool in wanted}


def _measure(task: tasks.Task, rows: list[Row]) -> None:
    """Score all rows on the examples that no tool has seen, and time them in one race."""
    metric = Metric("accuracy")
    before = tasks.answers(task.model, task.test, metric)
    runs = []
    for row in rows:
        if row.path is None:
            continue
        try:
            after = tasks.answers(row.path, task.test, metric)
        except Exception as error:  # a peer's model may fail in every way
            row.said = f"does not run: {str(error).splitlines()[0][:80]}"
            continue
        row.score = metric.combine(after)
        row.drop = drop_of(metric, before, after, None, 0)
        runs.append((row, row.path))
    report = benchmark([task.model, *(path for _, path in runs)], str(task.test), seconds=60)
    for i, (row, _) in enumerate(runs, 1):
        row.latency = report.settings[0].models[i].latency.ratio
        row.ratio = report.models[0].file_bytes / report.models[i].file_bytes
    print(f"  original: accuracy {metric.combine(before):.4f} on {len(before)} examples")


def _judge(outcome: Outcome, target: Target, own: Row, took: float) -> None:
    if not own.ratio >= target.smaller:
        outcome.missed.append(f"{own.ratio:.2f}x smaller, not {target.smaller:g}x")
    if not own.latency <= target.latency:
        outcome.missed.append(f"latency {own.latency:.2f}, not {target.latency:g}")
    if own.drop is None or own.drop.value > 0.01:
        outcome.missed.append("a drop of more than one point")
    if target.seconds and took > target.seconds:
        outcome.missed.append(f"{took:.0f} s, not {target.seconds:.0f} s")


def _table(rows: list[Row]) -> None:
    print(f"  {'tool':<26}{'smaller':>8}{'latency':>9}{'accuracy':>10}{'drop (95 %)':>28}{'s':>6}")
    for row in rows:
        if row.drop is None:
            print(f"  {row.tool:<26}{row.said}")
            continue
        drop = f"{row.drop.value:+.4f} ({row.drop.low:+.4f} to {row.drop.high:+.4f})"
        print(
            f"  {row.tool:<26}{row.ratio:>7.2f}x{row.latency:>9.2f}{row.score:>10.4f}{drop:>28}"
            f"{row.seconds:>6.0f}  {row.said if row.tool == 'gpukit' else ''}"
        )


def main() -> int:
    """Run the duels and print a table for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=list(TARGETS), action="append")
    parser.add_argument("--quick", action="store_true", help="fewer examples")
    parser.add_argument("--prepare", action="store_true", help="make what is kept, and no more")
    parser.add_argument("--without", choices=list(peers.PEERS), action="append", default=[])
    given = parser.parse_args()
    missed = 0
    for name in given.only or TARGETS:
        print(f"{name}:", flush=True)
        if given.prepare:
            for tool, made in prepared(name, given.quick, given.without)[1].items():
                print(f"  {tool:<26}{made.said}, {made.seconds:.0f} s", flush=True)
            continue
        with tempfile.TemporaryDirectory(prefix=f"gpukit-bench-{name}-") as scratch:
            outcome = run(name, Path(scratch), given.quick, given.without)
        _table(outcome.rows)
        for words in outcome.missed:
            print(f"  MISSED: {words}")
        missed += len(outcome.missed)
        sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    np.seterr(all="ignore")
    ort.set_default_logger_severity(4)  # it warns of each constant that a model does not need
    sys.exit(main())
