"""How the cost of a job is shown: JSON first, and from it tables, YAML and CSV; or a picture."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from gpukit.finops.costing import CostReport, Place, SpotRow, curve
from gpukit.finops.plot import svg_plot, text_plot

from . import output
from .amounts import duration, memory
from .output import Column

if TYPE_CHECKING:
    from gpukit.finops.calibration import Coverage
    from gpukit.finops.estimate import Estimate
    from gpukit.spec import JobSpec

__all__ = ["plain", "show", "show_local"]

_RISKY = ("=", "+", "-", "@", "\t", "\r")


def show(report: CostReport, spec: JobSpec, form: str, *, replicas: int) -> None:
    """Write the report in one of its forms."""
    if form in ("json", "yaml"):
        output.data(plain(report, spec, replicas), form)
    elif form == "csv":
        output.text(_csv(plain(report, spec, replicas)["places"]))
    elif form == "svg":
        title = f"{report.job.name} on spot: $ per useful hour"
        output.text(svg_plot(curve(report), report.price.on_demand, title))
    else:
        _tables(report, spec, replicas)


def show_local(
    job: str, hours: float, found: Estimate, form: str, held: Coverage, *, interrupted: bool
) -> None:
    """Write the estimate of the next local run, and how earlier ones fared."""
    if form != "table":
        told = {"runs": held.runs, "inside": held.inside, "below": held.below, "above": held.above}
        value = {
            "schemaVersion": 1, "job": job, "useful_hours": round(hours, 6), "local": True,
            "estimate": _estimate(found), "stated_bands": told,
        }  # fmt: skip
        output.data(value, "yaml" if form == "yaml" else "json")
        return
    output.text(
        f"{job}  {duration(hours * 3600)} of work; 9 of 10 local runs take "
        f"{_hours_band(found.wall.low, found.wall.high)}"
        + (f", {found.interruptions[0]} to {found.interruptions[2]} interruptions"
           if interrupted else "")
    )  # fmt: skip
    if held.runs:
        output.talk(
            output.style(
                f"{held.inside} of {held.runs} earlier runs were inside the band that was stated",
                dim=True,
            )
        )


def plain(report: CostReport, spec: JobSpec, replicas: int) -> dict[str, Any]:
    """Return the report as JSON values; amounts are text, an unknown one is null."""
    price, job, assumed = report.price, report.job, report.assumed
    return {
        "schemaVersion": 1,
        "currency": "USD",
        "job": job.name,
        "stage": job.stage,
        "profile": [str(p) for p in spec.profile],
        "platform": spec.platform,
        "hours": _text(job.hours),
        "priceBook": {
            "on_demand": _text(price.on_demand),
            "spot": _text(price.spot),
            "source": price.source,
            "asOf": price.as_of.isoformat() if price.as_of else None,
        },
        "assumptions": {
            "mtbi_hours": [assumed.mtbi.low, assumed.mtbi.typical, assumed.mtbi.high],
            "save_hours": assumed.save,
            "restart_hours": assumed.restart,
            "wait_hours": assumed.wait,
            "saves_checkpoints": job.saves,
            "gpu_busy": None if job.busy is None else float(job.busy),
            "replicas": replicas,
            "allocation": "gpu_full: machine price / GPUs; slices by max(compute/7, memory/8)",
        },
        "places": [_place(place) for place in report.places],
        "spot": [_spot(row) for row in report.spot],
        "break_even_mtbi_hours": _text(report.break_even, "0.0001"),
        "decision": None
        if report.decision is None
        else {"option": report.decision.option, "why": report.decision.why},
        "estimates": {
            "level": 0.9,
            "on_demand": _estimate(report.on_demand),
            "spot": _estimate(report.on_spot),
        },
        "max_cost": _text(job.max_cost),
    }


def _place(place: Place) -> dict[str, Any]:
    option = place.option
    totals = place.total or (None, None)
    spot = place.spot_total or (None, None)
    return {
        "profile": option.profile,
        "gpu": option.gpu,
        "declared": option.chosen,
        "fraction": str(option.fraction),
        "usable_memory_bytes": option.memory,
        "usable_memory_seen": option.seen,
        "fits": option.fits,
        "on_demand_hour": _text(option.price.on_demand),
        "spot_hour": _text(option.price.spot),
        "total_low": _text(totals[0]),
        "total_high": _text(totals[1]),
        "spot_total_low": _text(spot[0]),
        "spot_total_high": _text(spot[1]),
        "saves_at_least": _text(place.saves, "0.0001"),
        "pays_while_busy_below": float(option.pays_below),
        "source": option.price.source,
    }


def _spot(row: SpotRow) -> dict[str, Any]:
    return {
        "mtbi": row.level,
        "mtbi_hours": _text(row.mtbi),
        "interval_hours": _text(row.interval, "0.0001"),
        "overhead": _text(row.overhead, "0.000001"),
        "per_useful_hour": _text(row.effective, "0.0001"),
        "total": _text(row.total),
        "wall_hours": _text(row.wall, "0.0001"),
        "saves": _text(row.saves, "0.0001"),
        "refused": None if row.hopeless is None else row.hopeless.reason,
    }


def _estimate(found: Estimate | None) -> dict[str, Any] | None:
    if found is None:
        return None
    names = ("low", "middle", "high")
    finite = found.unfinished < 0.05
    return {
        "billed_hours": {n: round(getattr(found.billed, n), 4) for n in names} if finite else None,
        "wall_hours": {n: round(getattr(found.wall, n), 4) for n in names} if finite else None,
        "cost": None
        if found.cost is None
        else {n: str(v) for n, v in zip(names, found.cost, strict=True)},
        "interruptions": dict(zip(names, found.interruptions, strict=True)),
        "never_finishes": round(found.unfinished, 4),
    }


def _csv(rows: list[dict[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return stream.getvalue()


def _cell(value: object) -> object:
    """Return a cell; a text that a spreadsheet would run as a formula gets an apostrophe."""
    if isinstance(value, str) and value.startswith(_RISKY) and not _is_number(value):
        return f"'{value}"
    return value


def _is_number(text: str) -> bool:
    return text.lstrip("-").replace(".", "", 1).isdigit()


def _text(amount: Decimal | None, digits: str = "") -> str | None:
    if amount is None:
        return None
    return str(amount.quantize(Decimal(digits)) if digits else amount)


def _tables(report: CostReport, spec: JobSpec, replicas: int) -> None:
    job, price = report.job, report.price
    name = " or ".join(str(p) for p in spec.profile)
    spot = f", {_money(price.spot)}/h on spot" if price.spot is not None else ""
    output.text(f"{job.name}  {name}  {_money(price.on_demand)}/h on demand{spot}")
    if report.places:
        output.text("")
        _places(report)
    if report.spot and price.spot is not None:
        output.text("")
        _spots(report)
    if job.hours is not None:
        output.text("")
        _bands(report)
        if lines := text_plot(curve(report), price.on_demand) if price.spot else []:
            output.text("\n$ per useful hour on spot, by the mean time between interruptions")
            output.text("\n".join(lines))
    _notes(report, replicas)


def _places(report: CostReport) -> None:
    known = report.job.hours is not None
    columns = [
        Column(""), Column("profile"), Column("GPU"), Column("usable", right=True),
        Column("fits"), Column("$/h", right=True), Column("spot $/h", right=True),
        Column("pays if GPU busy", right=True),
    ]  # fmt: skip
    if known:
        columns += [Column(f"{_hours(report.job.hours)} cost", right=True)]
        columns += [Column("at least saved", right=True)]
    rows = []
    for place in report.places:
        option = place.option
        row = [
            ">" if option.chosen else "", option.profile, option.gpu,
            memory(option.memory, seen=option.seen),
            {True: "yes", False: "no", None: "?"}[option.fits],
            _money(option.price.on_demand), _money(option.price.spot),
            "always" if option.pays_below == 1 else f"< {_percent(option.pays_below)}",
        ]  # fmt: skip
        if known:
            row += [_between(place.total), _percent(place.saves)]
        rows.append(row)
    output.table(columns, rows)


def _spots(report: CostReport) -> None:
    columns = [
        Column("interrupted every"), Column("checkpoint every", right=True),
        Column("billed per useful h", right=True), Column("$ per useful h", right=True),
    ]  # fmt: skip
    if report.job.hours is not None:
        columns += [
            Column("total", right=True), Column("wall-clock", right=True),
            Column("saved", right=True), Column(""),
        ]  # fmt: skip
    rows = [
        [
            f"{_hours(row.mtbi)} ({row.level})",
            "never" if row.interval is None else _hours(row.interval),
            "-" if row.overhead is None else f"{row.overhead:.4f}",
            _money(row.effective), _money(row.total),
            "-" if row.wall is None else _hours(row.wall), _percent(row.saves),
            "refused" if row.hopeless else "",
        ]
        for row in report.spot
    ]  # fmt: skip
    output.table(columns, rows)
    if report.break_even is not None:
        seconds = float(report.break_even) * 3600
        output.text(f"spot pays while interruptions come less often than every {duration(seconds)}")
    elif report.price.on_demand is not None:
        output.text("spot costs more than on demand, however rarely it is interrupted")


def _bands(report: CostReport) -> None:
    rows = []
    for name, found in (("on demand", report.on_demand), ("spot", report.on_spot)):
        if found is None or (name == "spot" and report.price.spot is None):
            continue
        if found.unfinished >= 0.05:
            rows.append([name, f"{_percent(Fraction(found.unfinished))} never finish", "", "", ""])
            continue
        low, middle, high = found.cost or (None, None, None)
        rows.append(
            [
                name, _hours_band(found.wall.low, found.wall.high), _money(middle),
                f"{_money(low)} to {_money(high)}" if low is not None else "unknown",
                f"{found.interruptions[0]} to {found.interruptions[2]}",
            ]
        )  # fmt: skip
    output.table(
        [Column("9 of 10 runs"), Column("wall-clock", right=True), Column("middle", right=True),
         Column("cost", right=True), Column("interruptions", right=True)], rows,
    )  # fmt: skip
    if report.decision is not None:
        output.text(f"{report.decision.option}: {report.decision.why}")


def _notes(report: CostReport, replicas: int) -> None:
    assumed, price, job = report.assumed, report.price, report.job
    age = f", as of {price.as_of}" if price.as_of else ""
    saves = "saves checkpoints" if job.saves else "saves no checkpoint"
    words = [
        f"price: {price.source}{age}",
        f"assumed: {saves}; a save {duration(assumed.save * 3600)}, a restart "
        f"{duration(assumed.restart * 3600)}, a wait {duration(assumed.wait * 3600)}; "
        f"time slices of {replicas}, memory not isolated, for dev only",
    ]
    if job.hours is None:
        words.append("totals and bands need --hours")
    elif job.busy is None and any(p.option.kind == "mig" for p in report.places):
        words.append(
            "slices: from as fast as declared to as slow as a job that keeps the GPU busy; "
            "--gpu-busy says which"
        )
    for line in words:
        output.talk(output.style(line, dim=True))


def _money(amount: Decimal | None) -> str:
    return "unknown" if amount is None else f"${amount:,.2f}"


def _between(amounts: tuple[Decimal, Decimal] | None) -> str:
    if amounts is None:
        return "unknown"
    low, high = map(_money, amounts)
    return low if low == high else f"{low} to {high}"


def _percent(part: Decimal | Fraction | None) -> str:
    return "-" if part is None else f"{100 * float(part):.1f} %"


def _hours(hours: Decimal | None) -> str:
    return "-" if hours is None else duration(float(hours) * 3600)


def _hours_band(low: float, high: float) -> str:
    return f"{duration(low * 3600)} to {duration(high * 3600)}"
