"""``gpukit cost``."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpukit.errors import BudgetError, UsageError

from .target import job_of, target_command

if TYPE_CHECKING:
    from gpukit.finops.beliefs import Range
    from gpukit.finops.costing import CostReport, Job
    from gpukit.finops.estimate import Assumptions
    from gpukit.job import GpuJob
    from gpukit.spec import JobSpec

__all__ = ["cost", "hours_of", "save_words"]

_OPTIONS = [
    click.Option(["--hours"], metavar="HOURS",
        help="Useful running time without interruptions: 24, 1.5 or 1d12h."),
    click.Option(["--gpu-memory"], metavar="SIZE",
        help="GPU memory that the job needs, to say which slices fit."),
    click.Option(["--gpu-busy"], metavar="PART", type=click.FloatRange(0, 1),
        help="Part of the time that it keeps a whole GPU busy: says how slow slices are."),
    click.Option(["--replicas"], type=click.IntRange(2, 48), default=4, show_default=True,
        help="How many share a time-sliced GPU."),
    click.Option(["--mtbi"], metavar="LOW,TYPICAL,HIGH",
        help="Hours between interruptions on spot.  [default: 1,6,20]"),
    click.Option(["--save-time"], metavar="TIME", help="A checkpoint takes.  [default: 1m]"),
    click.Option(["--restart-time"], metavar="TIME",
        help="From a pod's start to useful work again.  [default: 10m]"),
    click.Option(["--wait-time"], metavar="TIME",
        help="From an interruption to the next pod.  [default: 5m]"),
    click.Option(["--local"], is_flag=True,
        help="Estimate the next local run, from the records of earlier ones."),
    click.Option(["--seed"], type=int, default=0, metavar="N", help="Of the possible runs."),
    click.Option(["-o", "--output-format"], default="table", show_default=True,
        type=click.Choice(["table", "json", "yaml", "csv", "svg"]),
        help="Form of what is printed on stdout."),
]  # fmt: skip


@target_command("cost", params=_OPTIONS)
def cost(output_format: str, **params: Any) -> int:
    """Say what a job would cost: per hour, in all, on slices, on spot.

    Nothing runs. Exit code 3: its budget, or its choice of spot, cannot hold.
    """
    from gpukit.settings import resolve_spec

    from .options import flags_of

    job = job_of(params)
    spec = resolve_spec(job, flags_of(params)).spec
    hours = None if params["hours"] is None else hours_of(params["hours"], "--hours")
    if params["local"]:
        return _local(spec, hours, output_format, params["seed"])
    report = _report(job, spec, hours, params)
    from . import cost_tables

    cost_tables.show(report, spec, output_format, replicas=params["replicas"])
    _refuse(report, spec)
    return 0


def _report(
    job: GpuJob[..., Any], spec: JobSpec, hours: Decimal | None, params: dict[str, Any]
) -> CostReport:
    """Put the report together, and say what is wrong with its prices."""
    import datetime

    from gpukit.catalog.prices import STALE_DAYS
    from gpukit.cluster import read_nodes
    from gpukit.diagnose import recognise
    from gpukit.finops.compare import options
    from gpukit.finops.costing import cost_of
    from gpukit.placement import resolve
    from gpukit.quantity import parse_bytes
    from gpukit.runs.plan import own_catalog
    from gpukit.spec import AUTO

    from . import output

    overlay, today = own_catalog(job, params["prices"]), datetime.date.today()
    catalog = overlay.catalog
    seen = recognise(read_nodes(), catalog.platforms) if spec.platform == AUTO else None
    placement = resolve(spec, catalog, today, seen)
    need = parse_bytes(params["gpu_memory"], "--gpu-memory") if params["gpu_memory"] else None
    found = options(
        spec, catalog, platform=placement.platform, cpu=placement.cpu, memory=placement.memory,
        need=need, replicas=params["replicas"],
    )  # fmt: skip
    price = placement.price
    for warning in overlay.warnings:
        output.warn(warning)
    if price.as_of is not None and (today - price.as_of).days > STALE_DAYS:
        output.warn(f"the price is {(today - price.as_of).days} days old ({price.source})")
    return cost_of(
        _asked(job, spec, params, hours), price, found, assumed=_assumed(params, spec),
        seed=params["seed"],
    )  # fmt: skip


def _refuse(report: CostReport, spec: JobSpec) -> None:
    """Raise where what is declared cannot hold: hopeless spot, or a budget that is too small."""
    hopeless = next((r.hopeless for r in report.spot if r.level == "typical"), None)
    if spec.spot is True and hopeless is not None:
        raise BudgetError(hopeless.id, f"spot=True: {hopeless.reason}", hopeless.hint)
    said = report.on_spot if spec.spot is True else report.on_demand
    if spec.max_cost is not None and said is not None and said.cost is not None:
        low, middle, high = said.cost
        if middle > spec.max_cost:
            raise BudgetError(
                "budget-estimate",
                f"max_cost=${spec.max_cost} is less than the estimate of ${middle:.2f} "
                f"(90 %: ${low:.2f} to ${high:.2f})",
                "raise max_cost, or take a cheaper profile or capacity of the tables",
            )


def _asked(
    job: GpuJob[..., Any], spec: JobSpec, params: dict[str, Any], hours: Decimal | None
) -> Job:
    from gpukit.finops.costing import Job

    busy = params["gpu_busy"]
    return Job(
        name=str(spec.name),
        stage=spec.stage,
        hours=hours,
        saves=spec.checkpoint_every is not None or spec.checkpoints is not None
        or save_words(job),
        at_most=None if spec.checkpoint_every is None else Decimal(spec.checkpoint_every) / 3600,
        busy=None if busy is None else Fraction(str(busy)),
        max_cost=spec.max_cost,
    )  # fmt: skip


def _local(spec: JobSpec, hours: Decimal | None, form: str, seed: int) -> int:
    """Say what the next local run takes."""
    from gpukit.runs.forecast import local_band, local_beliefs

    from . import cost_tables

    known = local_beliefs(str(spec.name), hours)
    if known.hours is None:
        raise UsageError(
            "cost-no-records", f"no local run of {spec.name} has finished here, and no --hours",
            "run it once with `gpukit submit --local`, or give --hours",
        )  # fmt: skip
    useful = float(known.hours)
    found = local_band(known, useful, None, interrupted=known.interrupted, seed=seed)
    cost_tables.show_local(
        str(spec.name), useful, found, form, known.held, interrupted=known.interrupted
    )
    return 0


def _assumed(params: dict[str, Any], spec: JobSpec) -> Assumptions:
    from gpukit.finops.estimate import Assumptions

    standard = Assumptions()
    if spec.checkpoint_every is not None:
        standard = standard.for_saves_every(spec.checkpoint_every / 3600)

    def given(name: str, otherwise: float) -> float:
        text = params[name]
        flag = "--" + name.replace("_", "-")
        return otherwise if text is None else float(hours_of(text, flag))

    return Assumptions(
        mtbi=_range(params["mtbi"]) if params["mtbi"] else standard.mtbi,
        save=given("save_time", standard.save),
        restart=given("restart_time", standard.restart),
        wait=given("wait_time", standard.wait),
    )


def hours_of(text: str, what: str) -> Decimal:
    """Return the hours of ``24``, ``1.5`` or ``1d12h``.

    Raises:
        UsageError: not a time, or none at all.
    """
    from gpukit.quantity import parse_duration

    try:
        hours = Decimal(text)
    except InvalidOperation:
        hours = Decimal(parse_duration(text, what)) / 3600
    if not hours.is_finite() or not 0 < hours <= 100_000:
        raise UsageError(
            "hours-range", f"{what} {text!r} is not a running time",
            "write hours, for example 24 or 1.5, or a time with units such as 1d12h or 90m",
        )  # fmt: skip
    return hours


def _range(text: str) -> Range:
    from gpukit.finops.beliefs import Range

    words = text.split(",")
    values = [float(hours_of(word.strip(), "--mtbi")) for word in words]
    if len(values) == 1:
        values *= 3
    if len(values) != 3 or sorted(values) != values:
        raise UsageError(
            "mtbi-form", f"--mtbi {text!r} is not LOW,TYPICAL,HIGH",
            "write three times from low to high, for example 1h,6h,20h",
        )  # fmt: skip
    return Range(*values)


def save_words(job: GpuJob[..., Any]) -> bool:
    """Tell whether the job's file speaks of the ways to save checkpoints."""
    from gpukit.jobfile import locate

    source = Path(locate(job).file).read_text(encoding="utf-8", errors="replace")
    return any(word in source for word in ("Checkpointer", "GpukitCallback"))
