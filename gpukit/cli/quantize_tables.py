"""What ``gpukit quantize`` shows in a terminal: the bar on its way, the verdict at the end."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from . import output
from .output import Column

if TYPE_CHECKING:
    from gpukit.quantize.lab import Progress as Step
    from gpukit.quantize.results import CandidateResult, Report

__all__ = ["Bar", "show", "size"]

_COLOURS = {"chosen": "green", "failed": "red", "over budget": "yellow", "too slow": "yellow"}


class Bar:
    """A bar on stderr: what is done, how far, the last score, the time left."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[stage]:<42.42}"),
            BarColumn(bar_width=20),
            TextColumn("[dim]{task.fields[words]}"),
            console=Console(stderr=True, highlight=False),
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, stage="loading", words="")

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._progress.stop()

    def __call__(self, now: Step) -> None:
        """Move the bar."""
        score = "" if now.score is None else f"last score {now.score:.4f} · "
        self._progress.update(
            self._task, stage=now.stage, completed=now.done, total=now.total or None,
            words=f"{score}{now.left:.0f} s left",
        )  # fmt: skip


def show(report: Report, out: Path) -> None:
    """Print the candidates as a table, and the verdict."""
    output.table(
        [
            Column("candidate", wrap=True), Column("smaller", right=True),
            Column("latency", right=True), Column(report.metric, right=True),
            Column("drop", right=True), Column("what became of it", wrap=True),
        ],
        [_original(report), *(_row(c) for c in report.candidates)],
    )  # fmt: skip
    output.text("")
    for line in _verdict(report):
        output.text(line)
    output.talk(
        output.style(f"wrote {out}: model.onnx, report.json, report.html, README.md", dim=True)
    )


def _original(report: Report) -> list[str]:
    chosen = output.style("chosen", fg="green") if report.outcome == "original" else ""
    latency = f"{report.original_latency.ratio:.2f}"
    return ["original", "1.00x", latency, f"{report.original_score:.4f}", "", chosen]


def _row(c: CandidateResult) -> list[str]:
    status = output.style(c.status, fg=_COLOURS.get(c.status), bold=c.status == "chosen")
    return [
        c.name,
        "" if c.size_ratio is None else f"{c.size_ratio:.2f}x",
        "" if c.latency is None else f"{c.latency.ratio:.2f}",
        "" if c.score is None else f"{c.score:.4f}",
        "" if c.drop is None else f"{c.drop.value:+.4f}",
        status if c.status == "chosen" else f"{status}: {c.reason}",
    ]


def _verdict(report: Report) -> list[str]:
    test, a, b = report.test, report.original, report.result
    mark = output.mark("→")
    lines = [
        output.style(report.chosen, bold=True) + f": {report.reason}",
        f"  {report.metric:<15} {test.baseline:.4f} {mark} {test.score:.4f} on "
        f"{test.drop.examples} held-out examples, drop {test.drop.value:+.4f} "
        f"(95 %: {test.drop.low:+.4f} to {test.drop.high:+.4f})",
        f"  {'budget':<15} {report.max_drop:g}: " + _budget(report),
        f"  {'file':<15} {size(a.file_bytes)} {mark} {size(b.file_bytes)} "
        f"({a.file_bytes / max(b.file_bytes, 1):.2f}x smaller)",
    ]
    if a.compressed_bytes and b.compressed_bytes:
        lines.append(
            f"  {'compressed':<15} {size(a.compressed_bytes)} {mark} {size(b.compressed_bytes)} "
            f"({a.compressed_bytes / b.compressed_bytes:.2f}x, {b.compression})"
        )
    if a.memory_bytes and b.memory_bytes:
        lines.append(f"  {'memory (RSS)':<15} {size(a.memory_bytes)} {mark} {size(b.memory_bytes)}")
    first, second = report.original_latency, report.result_latency
    lines.append(
        f"  {'latency':<15} p50 {first.p50_ms:.3g} {mark} {second.p50_ms:.3g} ms, p99 "
        f"{first.p99_ms:.3g} {mark} {second.p99_ms:.3g} ms, ratio {second.ratio:.2f} "
        f"({second.ratio_low:.2f} to {second.ratio_high:.2f}) of {_base(report)}, "
        f"{report.threads} thread(s)"
    )
    return lines + _money(report, mark)


def _base(report: Report) -> str:
    return "the original" if report.baseline == "original" else report.baseline


def _money(report: Report, mark: str) -> list[str]:
    before, after = report.baseline_cost, report.result_cost
    if before is None or after is None:
        return []
    rows = [("per inference", before.per_inference, after.per_inference)]
    if before.per_100k_tokens and after.per_100k_tokens:
        rows.append(("per 100K tokens", before.per_100k_tokens, after.per_100k_tokens))
    if before.per_month and after.per_month:
        rows.append(("per month", before.per_month, after.per_month))
        rows.append(("replicas", str(before.replicas), str(after.replicas)))
    lines = [f"  {name:<15} {one} {mark} {two}" for name, one, two in rows]
    if report.saving:
        lines.append(f"  {'saving':<15} {report.saving}")
    return lines


def _budget(report: Report) -> str:
    test = report.test
    if report.outcome == "original":
        return output.style("the original is returned", fg="yellow")
    if test.verdict == "met":
        return output.style("met", fg="green", bold=True)
    if test.examples_needed is None:
        return output.style("inconclusive", fg="yellow", bold=True) + ", the drop is at the budget"
    return (
        output.style("inconclusive", fg="yellow", bold=True)
        + f": about {test.examples_needed} test examples would tell"
    )


def size(count: int) -> str:
    """Return bytes for a person, in units of 1000."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} bytes"
