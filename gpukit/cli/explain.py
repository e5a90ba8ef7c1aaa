"""``gpukit explain``."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from gpukit.quantity import format_bytes, format_cpu, format_duration, format_money

from . import output
from .output import Column
from .target import plan_of, target_command

if TYPE_CHECKING:
    from gpukit.runs.plan import Plan

__all__ = ["explain"]

_FORMAT = click.Option(
    ["-o", "--output-format"], type=click.Choice(["table", "json", "yaml"]), default="table",
    show_default=True, help="Form of what is printed on stdout.",
)  # fmt: skip
_TIMES = ("checkpoint_every", "timeout", "deadline", "hang_timeout", "ttl")
_SIZES = ("memory", "shm")
_BUILT_IN = "gpukit"  # where settings says a default comes from


@target_command("explain", params=[_FORMAT])
def explain(output_format: str, **params: Any) -> None:
    """Say of each value of a job what it is, where it comes from, and why."""
    plan = plan_of(params)
    if output_format == "table":
        _tables(plan)
    else:
        output.data(_plain(plan), output_format)
    for warning in plan.warnings:
        output.warn(warning)


def _tables(plan: Plan) -> None:
    rows = []
    for name, value, layer, where in _options(plan):
        shown = [name, value, where]
        if layer == "default":
            shown = [output.style(cell, dim=True) for cell in shown]
        rows.append(shown)
    output.table([Column("option"), Column("value", wrap=True), Column("from")], rows)
    output.text("")
    reasons = [
        [r.field, r.value, r.why + (f" [{r.source}]" if r.source else "")]
        for r in plan.placement.reasons
    ]
    output.table(
        [Column("in the pod"), Column("value", wrap=True), Column("because", wrap=True)], reasons
    )
    output.talk()
    output.talk(f"run {plan.bundle.run}, {plan.archive.digest[:16]} is its code")


def _plain(plan: Plan) -> dict[str, object]:
    return {
        "run": plan.bundle.run,
        "options": [
            {"option": name, "value": value, "layer": layer, "from": where}
            for name, value, layer, where in _options(plan)
        ],
        "placement": [r.model_dump(mode="json") for r in plan.placement.reasons],
        "arguments": dict(plan.arguments),
        "warnings": list(plan.warnings),
    }


def _options(plan: Plan) -> list[tuple[str, str, str, str]]:
    spec, origins = plan.resolved.spec, plan.resolved.origins
    found = []
    for name in type(spec).model_fields:
        origin = origins.get(name)
        layer = origin.layer if origin else "default"
        where = origin.where if origin and origin.where != _BUILT_IN else "default"
        found.append((name, _written(name, getattr(spec, name)), str(layer), where))
    return found


def _written(name: str, value: Any) -> str:
    """Return a value of the spec as a person would write it."""
    if value is None or value in ((), {}):
        return "-"
    if name in _TIMES:
        return format_duration(value)
    if name in _SIZES:
        return format_bytes(value)
    if name == "cpu":
        return format_cpu(value)
    if isinstance(value, Decimal):
        return format_money(value)
    if isinstance(value, bool):
        return str(value).lower()
    if name == "tolerations":
        return ", ".join(
            " ".join(f"{k}={v}" for k, v in t.model_dump(exclude_none=True).items()) for t in value
        )
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{k}={v}" for k, v in value.items())
    return str(value)
