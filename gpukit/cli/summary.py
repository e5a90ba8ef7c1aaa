"""The closing summary of a run: attempts, steps, lost time, and what it would have cost."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING

from . import output
from .amounts import duration, money
from .output import Column

if TYPE_CHECKING:
    from gpukit.local.summary import AttemptRow, Restart, Summary
    from gpukit.runs.local_run import LocalRun

__all__ = ["show_summary", "summary_data"]


def show_summary(run: LocalRun, summary: Summary) -> None:
    """Write the summary on stderr."""
    if not summary.rows:
        return
    output.talk()
    if len(summary.rows) > 1:
        _attempts(summary)
        output.talk()
    output.talk(_headline(run, summary))
    if summary.interruptions and summary.steps:
        output.talk(_losses(summary))
    output.talk(_cost(summary))
    if run.output_dir.is_dir() and any(run.output_dir.iterdir()):
        output.talk(output.style(f"outputs  {run.output_dir}", dim=True))


def _attempts(summary: Summary) -> None:
    if not summary.steps:  # a job that does not tell how far it is
        rows = [[str(r.number), r.ended_by, duration(r.seconds)] for r in summary.rows]
        columns = [Column("attempt", right=True), Column("ended by"), Column("ran", right=True)]
        output.table(columns, rows, err=True)
        return
    columns = [
        Column("attempt", right=True), Column("steps"), Column("ended by"),
        Column("steps redone", right=True), Column("until next step", right=True),
        Column("of which", dim=True),
    ]  # fmt: skip
    rows = [
        [str(row.number), output.mark(f"{row.start_step} → {row.end_step}"), row.ended_by,
         _redone(row), *_restart(row.restart)]
        for row in summary.rows
    ]  # fmt: skip
    output.table(columns, rows, err=True)


def _redone(row: AttemptRow) -> str:
    if row.restart is None:
        return ""
    return str(row.redone) if row.exact else output.mark(f"≥ {row.redone}")


def _restart(restart: Restart | None) -> list[str]:
    if restart is None:
        return ["", ""]
    if restart.seconds is None:
        return ["-", ""]
    parts = [
        ("leave", restart.leaving),
        ("wait", restart.waiting),
        ("start", restart.starting),
        ("restore", restart.restoring),
    ]
    shown = [f"{name} {value:.1f}" for name, value in parts if value is not None]
    return [duration(restart.seconds), ", ".join(shown)]


def _headline(run: LocalRun, summary: Summary) -> str:
    status, count = run.status(), len(summary.rows)
    symbol, colour = {
        "succeeded": ("✓", "green"), "failed": ("✗", "red"), "interrupted": ("✗", "yellow"),
    }.get(status, ("▸", "cyan"))  # fmt: skip
    text = f" {status} in {duration(summary.seconds)}, {count} attempt{'s' * (count != 1)}"
    if (total := len(run.attempts())) > count:
        text += f" ({total} in all)"
    if summary.steps:
        text += f", {summary.steps} steps"
    return output.style(output.mark(symbol), fg=colour, bold=True) + output.style(text, bold=True)


def _losses(summary: Summary) -> str:
    share = f" ({100 * summary.redone / summary.steps:.1f} %)" if summary.steps else ""
    least = "" if all(row.exact for row in summary.rows) else "≥ "
    times = f"{summary.interruptions} interruption{'s' * (summary.interruptions != 1)}"
    return (
        f"  {times}: {output.mark(least)}{summary.redone} steps redone{share}, "
        f"{duration(summary.lost_seconds)} until the steps went on"
    )


def _cost(summary: Summary) -> str:
    on_demand, spot = summary.prices.on_demand, summary.prices.spot
    if on_demand is None and spot is None:
        text = "  on the profile's hardware, for as long: price unknown"
    else:
        text = (
            "  on the profile's hardware, for as long: "
            f"{money(summary.cost(on_demand))} on demand, {money(summary.cost(spot))} on spot"
        )
    return output.style(text, dim=True)


def summary_data(run: LocalRun, summary: Summary) -> dict[str, object]:
    """Return the summary as JSON values."""
    costs = {"on_demand": summary.prices.on_demand, "spot": summary.prices.spot}
    return {
        "run": run.name,
        "status": run.status(),
        "reason": run.reason(),
        "seconds": round(summary.seconds, 3),
        "steps": summary.steps,
        "steps_redone": summary.redone,
        "lost_seconds": round(summary.lost_seconds, 3),
        "cost": {name: _exact(summary.cost(price)) for name, price in costs.items()},
        "attempts": [asdict(row) for row in summary.rows],
    }


def _exact(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount.quantize(Decimal("0.000001")))
