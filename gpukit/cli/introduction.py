"""What ``gpukit submit`` says of a run before it starts, wherever it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import output
from .amounts import money, size

if TYPE_CHECKING:
    from gpukit.runs.plan import Plan

__all__ = ["capacity_words", "introduce"]


def introduce(plan: Plan, run: str, facts: Sequence[str]) -> None:
    """Name the run, what it asks for, and what is shipped with it; warn of what is in there."""
    own = sum(1 for f in plan.archive.files if f.kind != "gpukit")
    shipped = f"{own} file{'s' * (own != 1)}, {size(len(plan.archive.data))} with gpukit"
    output.talk(
        output.style(run, bold=True)
        + output.style("  " + " · ".join([*facts, shipped]), dim=True)
    )  # fmt: skip
    for warning in plan.archive.warnings:
        output.warn(warning)


def capacity_words(plan: Plan) -> list[str]:
    """Return profile, capacity type and price."""
    spec, price = plan.resolved.spec, plan.placement.price_per_hour
    return [
        " or ".join(str(p) for p in spec.profile),
        *{True: ["spot"], False: [], "prefer": ["spot preferred"]}[spec.spot],
        "price unknown" if price is None else f"{money(price)}/h",
    ]
