"""``gpukit fit RUN``: from what a run used to the smaller GPU or slice that would do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from gpukit.errors import UsageError

from . import output
from .amounts import duration, memory, money, size
from .fit_tables import find_rooms, parts_table, rooms_data
from .output import Column
from .run_options import run_of

if TYPE_CHECKING:
    from gpukit.finops.fit import Need, Room
    from gpukit.runs.handle import Run
    from gpukit.runs.measured import Measured

__all__ = ["fit_run", "hint"]

_LITTLE = 0.5

_ENOUGH = 30
"""Looks at a GPU, one a second, below which nothing is said of how busy it was."""


@dataclass(frozen=True)
class _Candidate:
    """A room, how much longer the job takes there, and what it saves; None is unknown."""

    room: Room
    slower: Fraction | None
    saves: Decimal | None


def fit_run(name: str, params: dict[str, Any]) -> int:
    """Say what a run used, what would have been enough, and what that saves."""
    from gpukit.catalog import load_catalog
    from gpukit.finops.fit import measured_need
    from gpukit.runs.measured import measured_run

    found = measured_run(run_of({**params, "run": name}))
    need = measured_need(found.usage, Fraction(params["headroom"], 100))
    if need is None:
        raise UsageError(
            "fit-not-measured", f"{name}: how much memory of its GPU it used is not known",
            "neither NVML nor PyTorch could say; `gpukit fit FILE::FACTORY` estimates it",
        )  # fmt: skip
    gpu = load_catalog().gpu_of(found.usage.device.partition(" MIG ")[0])
    if gpu is not None and not params["gpu"] and not params["everything"]:
        params = {**params, "gpu": (gpu.name,)}
    rooms = find_rooms(need.total, params)
    candidates = [_candidate(room, found, None if gpu is None else gpu.name) for room in rooms]
    if params["output_format"] != "table":
        output.data(_plain(name, found, need, candidates), params["output_format"])
        return 0
    _show(name, found, need, candidates, everything=params["everything"])
    return 0


def hint(run: Run) -> None:
    """Say in a line that a run used little of its GPU, where it did: it may fit a slice."""
    from gpukit.finops.fit import measured_need
    from gpukit.runtime.usage import merged

    usage = merged(attempt.progress.gpu for attempt in run.attempts())
    need = None if usage is None else measured_need(usage)
    if usage is None or need is None or not usage.total or need.total > usage.total * _LITTLE:
        return
    words = (
        f"  {size(need.total)} of {size(usage.total)} GPU memory would do: gpukit fit {run.name}"
    )
    output.talk(output.style(words, fg="cyan"))


def _busy(found: Measured) -> Fraction | None:
    usage = found.usage
    known = usage.busy is not None and usage.samples >= _ENOUGH
    return Fraction(usage.busy).limit_denominator(1000) if known and usage.busy else None


def _candidate(room: Room, found: Measured, gpu: str | None) -> _Candidate:
    """Compare with what the run paid: as long as it ran, and longer where the slice is slower."""
    from gpukit.finops.fit import slower

    same = room.option.gpu == gpu
    longer = slower(room.option, _busy(found)) if same else None
    price = room.option.price.spot if found.spot else room.price
    paid = found.price
    if price is None or paid is None or longer is None:
        return _Candidate(room, longer, None)
    hour = paid - price * longer.numerator / longer.denominator
    return _Candidate(room, longer, hour)


def _best(candidates: Sequence[_Candidate]) -> _Candidate | None:
    fitting = [c for c in candidates if c.room.fits and c.saves is not None and c.saves > 0]
    return max(fitting, key=lambda c: c.saves or Decimal(0), default=None)


def _show(
    name: str, found: Measured, need: Need, candidates: Sequence[_Candidate], *, everything: bool
) -> None:
    usage, best = found.usage, _best(candidates)
    of = "" if usage.total is None else f" of {size(usage.total)}"
    output.text(
        f"{output.style(name, bold=True)}  {usage.device or 'GPU'}, {duration(found.seconds)}: "
        f"needs {size(need.total)}{of}\n\n"
    )
    parts_table(need)
    output.text(f"\nbusy: {_busy_words(found)}\n\n")
    shown = [c for c in candidates if everything or c.room.fits]
    if not shown:
        output.talk("no GPU that is known holds it with head-room; lower --headroom, or see --all")
        return
    output.table(
        [Column(""), Column("profile"), Column("GPU"), Column("usable", right=True),
         Column("$/h", right=True), Column("spot $/h", right=True), Column("takes", right=True),
         Column("saves $/h", right=True)],
        [_row(one, marked=one is best) for one in shown],
    )  # fmt: skip
    _advice(found, best)


def _busy_words(found: Measured) -> str:
    usage = found.usage
    if usage.busy is None:
        return "unknown: nobody says so of MIG devices, and none where NVML is not there"
    if usage.samples < _ENOUGH:
        return f"unknown: seen {usage.samples} times only"
    return f"{usage.busy:.0%} of the time a kernel ran ({usage.samples} looks)"


def _row(one: _Candidate, *, marked: bool) -> list[str]:
    option = one.room.option
    return [
        ">" if marked else "", option.profile, option.gpu,
        memory(option.memory, seen=option.seen), _dollars(option.price.on_demand),
        _dollars(option.price.spot),
        "?" if one.slower is None else f"× {float(one.slower):.2f}", _dollars(one.saves),
    ]  # fmt: skip


def _dollars(amount: Decimal | None) -> str:
    if not amount:
        return "-"
    return money(amount) if amount >= 0 else f"-{money(-amount)}"


def _advice(found: Measured, best: _Candidate | None) -> None:
    if best is None or best.saves is None:
        known = found.price is not None and _busy(found) is not None
        output.talk("nothing cheaper holds it" if known else "what it saves is not known")
        return
    hours = Decimal(found.seconds) / 3600
    option = best.room.option
    words = f'profile="{option.profile}"'
    if option.kind == "mig":
        words += f', gpu="{option.gpu}"'
    output.talk(
        f"@gpu_job({words}) would save {money(best.saves)} an hour, "
        f"{money(best.saves * hours)} of this run; a slice costs its part where others use the rest"
    )


def _plain(
    name: str, found: Measured, need: Need, candidates: Sequence[_Candidate]
) -> dict[str, Any]:
    usage, best, busy = found.usage, _best(candidates), _busy(found)
    data = rooms_data([one.room for one in candidates])
    for place, one in zip(data["places"], candidates, strict=True):
        place["takes"] = None if one.slower is None else round(float(one.slower), 4)
        place["saves_hour"] = None if one.saves is None else f"{one.saves:.4f}"
    return {
        "schemaVersion": 1,
        "run": name,
        "device": usage.device or None,
        "devices": usage.devices or None,
        "memory_bytes": usage.total,
        "used_bytes": usage.used,
        "allocated_bytes": usage.allocated,
        "reserved_bytes": usage.reserved,
        "busy": None if busy is None else round(float(busy), 4),
        "samples": usage.samples,
        "seconds": round(found.seconds, 1),
        "price_hour": None if found.price is None else str(found.price),
        "need_bytes": need.total,
        "parts": [{"name": p.name, "bytes": p.size, "why": p.why} for p in need.parts],
        **data,
        "recommended": None if best is None
        else {"profile": best.room.option.profile, "gpu": best.room.option.gpu},
    }  # fmt: skip
