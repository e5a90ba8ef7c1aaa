"""``gpukit status``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from . import output
from .amounts import duration, money
from .output import Column
from .run_options import run_argument, run_of

if TYPE_CHECKING:
    from gpukit.runs.cluster_run import ClusterRun
    from gpukit.runs.view import AttemptView, Gap, RunView

__all__ = ["show_end", "status", "view_data"]

_COLORS = {"succeeded": "green", "failed": "red", "running": "cyan", "pending": "yellow"}
_GAP_WORDS = {
    "detection": "detect", "scheduling": "schedule", "image": "image", "start": "start",
    "restore": "restore", "first_step": "first step",
}  # fmt: skip


@click.command("status")
@run_argument
@output.format_option("table", "json", "yaml")
def status(output_format: str, **params: Any) -> int:
    """Show a run: its attempts and why each ended, how far it is, and what it has cost.

    "until step 1" is the time from the end of the attempt before it to its first
    step, and what that was spent on.
    """
    from gpukit.runs.cluster_run import ClusterRun
    from gpukit.runs.local_run import LocalRun

    run = run_of(params)
    if isinstance(run, LocalRun):
        from .summary import show_summary, summary_data

        if output_format == "table":
            output.text(f"{run.name} (local)  {run.status()}  {run.reason()}".rstrip())
            show_summary(run, run.summary())
        else:
            output.data(summary_data(run, run.summary()), output_format)
        return 0
    if isinstance(run, ClusterRun):
        view = run.view()
        if output_format == "table":
            _show(run, view)
        else:
            output.data(view_data(view), output_format)
    return 0


def _show(run: ClusterRun, view: RunView) -> None:
    from gpukit.runs.endings import ending_of

    now, job = time.time(), view.job
    output.text(
        output.style(run.name, bold=True)
        + "  "
        + output.style(job.phase, fg=_COLORS.get(job.phase))
        + output.style(f"  {_where(view)}", dim=True)
    )
    for name, value in _facts(view, now):
        output.text(f"  {name:<12}{value}")
    if len(view.attempts):
        output.text("")
        _attempts(view.attempts)
    ending = ending_of(view)
    if ending:
        output.text(f"\n  {output.style(ending.reason, fg='red')}\n  {ending.hint}")


def _where(view: RunView) -> str:
    if view.job.phase == "running" and view.pod:
        return f"on {view.pod.node}"
    if view.pod is not None and view.pod.waiting[0] and not view.job.over:
        word, words = view.pod.waiting
        return f"{word}: {words}" if words else word
    return ""


def _facts(view: RunView, now: float) -> list[tuple[str, str]]:
    job, task = view.job, view.job.task
    facts = []
    if job.submitted:
        ended = job.finished or now
        took = f", took {duration(ended - job.submitted)}" if job.over else ""
        facts.append(("submitted", f"{duration(now - job.submitted)} ago{took}"))
    if view.step:
        of = f" of {view.total}" if view.total else ""
        metrics = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
                            for k, v in view.metrics.items())  # fmt: skip
        facts.append(("step", f"{view.step}{of}  {metrics}".rstrip()))
    if view.durable_step is not None:
        age = f", {duration(now - view.checkpoint_at)} ago" if view.checkpoint_at else ""
        facts.append(("checkpoint", f"step {view.durable_step}{age}"))
    if view.attempts:
        facts.append(("cost", money(view.cost) + (
            f" of {task.max_cost}" if task and task.max_cost else "")))  # fmt: skip
    if job.burned:
        facts.append(("preemptions", f"{job.burned} of {job.max_preemptions}"))
    return facts


def _attempts(views: Sequence[AttemptView]) -> None:
    columns = [
        Column("attempt", right=True), Column("steps"), Column("ended by"), Column("node"),
        Column("ran", right=True), Column("until step 1", right=True), Column("of which", dim=True),
    ]  # fmt: skip
    rows = []
    for view in views:
        progress = view.attempt.progress
        total, parts = _gap(view.gap)
        reached = max(progress.last_step, progress.durable_step)
        rows.append([
            str(view.attempt.number),
            output.mark(f"{progress.start_step} → {reached}"),
            view.ended_by, view.attempt.start.node, duration(view.attempt.seconds), total, parts,
        ])  # fmt: skip
    output.table(columns, rows)


def _gap(gap: Gap) -> tuple[str, str]:
    known = {name: value for name, value in asdict(gap).items() if value is not None}
    parts = ", ".join(f"{_GAP_WORDS[k]} {v:.1f}" for k, v in known.items() if v >= 0.05)
    return (duration(sum(known.values())) if known else "-"), parts


def show_end(view: RunView, now: float) -> None:
    """Say in a line or two how a run ended."""
    job, count = view.job, len(view.attempts)
    took = (job.finished or now) - (job.submitted or now)
    text = f" {job.phase} in {duration(took)}, {count} attempt{'s' * (count != 1)}"
    text += f", {view.step} steps" if view.step else ""
    output.talk(
        output.style(output.mark("✓ " if job.phase == "succeeded" else "✗ ").strip(),
                     fg=_COLORS.get(job.phase), bold=True) + output.style(text, bold=True)
    )  # fmt: skip
    output.talk(output.style(f"  cost {money(view.cost)}", dim=True))


def view_data(view: RunView) -> dict[str, object]:
    """Return a run as JSON values."""
    job = view.job
    return {
        "run": job.name,
        "namespace": job.namespace,
        "status": job.phase,
        "node": view.pod.node if view.pod else None,
        "submitted": job.submitted,
        "finished": job.finished,
        "step": view.step,
        "total": view.total,
        "checkpoint": {"step": view.durable_step, "time": view.checkpoint_at},
        "cost": None if view.cost is None else f"{view.cost:.6f}",
        "preemptions": job.burned,
        "max_preemptions": job.max_preemptions,
        "attempts": [
            {
                "attempt": one.attempt.number,
                "start_step": one.attempt.progress.start_step,
                "end_step": one.attempt.progress.last_step,
                "ended_by": one.ended_by or None,
                "node": one.attempt.start.node,
                "seconds": round(one.attempt.seconds, 1),
                "until_first_step": asdict(one.gap),
            }
            for one in view.attempts
        ],
    }
