"""What ``gpukit submit`` says of a run before it starts, and how that compares when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from . import output
from .amounts import duration

if TYPE_CHECKING:
    from decimal import Decimal

    from gpukit.runs.local_run import LocalRun
    from gpukit.runs.plan import Plan

__all__ = ["OPTIONS", "check", "compare", "say_before"]

OPTIONS = [
    click.Option(["--hours"], metavar="HOURS",
        help="Useful running time, for the estimate and the gate of the budget: 24 or 1d12h."),
    click.Option(["--override-budget"], is_flag=True,
        help="Submit although the estimate is above max_cost, or spot is hopeless."),
]  # fmt: skip


def say_before(plan: Plan, params: dict[str, Any]) -> dict[str, object] | None:
    """Check the budget, and return the band of the run for its directory; None if unknown.

    Raises:
        BudgetError: the budget, or the choice of spot, cannot hold.
    """
    from gpukit.runs.forecast import say_local

    hours = check(plan, params)
    simulated = bool(params["simulate_preemption"] or params["simulate_node_loss"])
    said = say_local(plan, hours, interrupted=simulated)
    return None if said is None else said.to_dict()


def check(plan: Plan, params: dict[str, Any]) -> Decimal | None:
    """Check the budget; return the declared useful hours, None where none are.

    Raises:
        BudgetError: the budget, or the choice of spot, cannot hold.
    """
    from gpukit.errors import BudgetError
    from gpukit.runs.forecast import check_budget

    from .cost import hours_of, save_words

    spec = plan.resolved.spec
    hours = None if params["hours"] is None else hours_of(params["hours"], "--hours")
    saves = spec.checkpoint_every is not None or spec.checkpoints is not None
    try:
        warning = check_budget(plan, hours, saves=saves or save_words(plan.job))
    except BudgetError as error:
        if not params["override_budget"]:
            raise
        warning = f"{error.message} (--override-budget)"
    if warning:
        output.warn(warning)
    return hours


def compare(run: LocalRun) -> None:
    """Say how long the run took, beside what was said of it."""
    from gpukit.runs.history import outcome_of

    found = outcome_of(run)
    if found is None or found.said is None or not found.finished:
        return
    low, high = found.said.wall.low * 3600, found.said.wall.high * 3600
    took = found.wall * 3600
    where = "above" if took > high else "below" if took < low else "inside"
    line = (
        f"  took {duration(took)}; the estimate for 9 of 10 runs was {duration(low)} to "
        f"{duration(high)}: {where}"
    )
    output.talk(output.style(line, dim=where == "inside", fg=None if where == "inside" else "cyan"))
