"""The output of ``gpukit fit``."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from . import output
from .amounts import memory, money, size
from .output import Column

if TYPE_CHECKING:
    from gpukit.finops.fit import Need, Room
    from gpukit.fit.estimate import Estimate

__all__ = ["cheapest", "find_rooms", "parts_table", "rooms_data", "show", "show_rooms"]

_SHOWN = 8


def show(
    need: Need, name: str, params: dict[str, Any], found: Estimate | None = None,
    grow: Callable[[int], Estimate] | None = None,
) -> None:  # fmt: skip
    """Print what is needed, and what holds it.

    Args:
        need: in all.
        name: of the model.
        params: the options of the command.
        found: what was traced.
        grow: traces larger batches, up to the bytes of what is shown.
    """
    rooms = find_rooms(need.total, params)
    form = params["output_format"]
    shown = _shown(rooms, everything=params["everything"] or form != "table")
    sizes = [room.option.memory for room in shown if room.option.memory is not None]
    if grow is not None and sizes:
        found = grow(max(sizes))
    if found is not None:
        shown = [_with_batch(room, found) for room in shown]
    if form != "table":
        output.data(_plain(need, found, name, shown), form)
        return
    _parts(need, found, name)
    show_rooms(rooms, shown, at_least=need.at_least)


def _with_batch(room: Room, found: Estimate) -> Room:
    usable = room.option.memory
    return room if usable is None else replace(room, batch=found.largest(usable))


def find_rooms(need: int, params: dict[str, Any]) -> list[Room]:
    """Return where a need fits, by the options of the command; say what is wrong with prices."""
    from gpukit.catalog.prices import STALE_DAYS
    from gpukit.finops.fit import rooms
    from gpukit.runs.plan import own_catalog

    overlay = own_catalog(prices=params["prices"])
    platform = overlay.catalog.platform(params["platform"])
    found = list(rooms(need, overlay.catalog, platform, gpus=params["gpu"]))
    for warning in overlay.warnings:
        output.warn(warning)
    best = cheapest(found)
    if best is not None and best.option.price.as_of is not None:
        days = (datetime.date.today() - best.option.price.as_of).days
        if days > STALE_DAYS:
            output.warn(f"the price is {days} days old ({best.option.price.source})")
    return found


def cheapest(rooms: Sequence[Room]) -> Room | None:
    """Return the cheapest that holds it; None where no price is known."""
    return next((room for room in rooms if room.fits and room.price is not None), None)


def parts_table(need: Need) -> None:
    """Print what a need is made of."""
    rows = [
        ["unknown" if part.size is None else size(part.size), part.name, part.why]
        for part in need.parts
        if part.size != 0
    ]
    output.table(
        [Column("memory", right=True), Column("for"), Column("how", wrap=True, dim=True)], rows
    )


def _parts(need: Need, found: Estimate | None, name: str) -> None:
    at_least = "at least " * need.at_least
    output.text(f"{output.style(name, bold=True)}  needs {at_least}{size(need.total)}\n\n")
    parts_table(need)
    if found is not None and found.traced.batch is not None:
        words = f"activations reach {size(found.traced.activations)}"
        if found.each:
            words += f"; one more sample of a large batch takes {size(found.each)}"
        output.talk(output.style(words, dim=True))
        if found.traced.recurrent:
            output.warn("recurrent layers: what cuDNN keeps for them is not known; measure a run")
    output.text("\n")


def _shown(rooms: Sequence[Room], *, everything: bool) -> list[Room]:
    fitting = [room for room in rooms if room.fits]
    priced = [room for room in fitting if room.price is not None]
    return list(rooms) if everything else (priced or fitting)[:_SHOWN]


def show_rooms(rooms: Sequence[Room], shown: Sequence[Room], *, at_least: bool) -> None:
    """Print the GPUs and slices that hold it, cheapest first.

    Args:
        rooms: all of them.
        shown: those that are printed.
        at_least: the need is a lower bound, so none is recommended.
    """
    fitting = [room for room in rooms if room.fits]
    best = None if at_least else cheapest(shown)
    if not fitting:
        output.talk("no GPU that is known holds it: several are needed, or a smaller batch")
    if not shown:
        return
    with_batch = any(room.batch is not None for room in shown)
    output.table(
        [Column(""), Column("profile"), Column("GPU"), Column("usable", right=True),
         Column("left", right=True), Column("$/h", right=True), Column("spot $/h", right=True),
         *([Column("largest batch", right=True)] if with_batch else [])],
        [_row(room, marked=room is best, with_batch=with_batch) for room in shown],
    )  # fmt: skip
    hidden = len(fitting) - len([room for room in shown if room.fits])
    if hidden > 0:
        output.talk(output.style(f"{hidden} more hold it: --all", dim=True))
    output.talk(
        output.style(
            "a slice costs its part of the card where others use the rest; ~ is assumed", dim=True
        )
    )


def _row(room: Room, *, marked: bool, with_batch: bool) -> list[str]:
    option = room.option
    left = "-" if room.spare is None else size(room.spare) if room.spare >= 0 else "too small"
    row = [
        ">" if marked else "", option.profile, option.gpu,
        memory(option.memory, seen=option.seen), left,
        _dollars(option.price.on_demand), _dollars(option.price.spot),
    ]  # fmt: skip
    return [*row, "-" if room.batch is None else str(room.batch)] if with_batch else row


def _dollars(amount: Decimal | None) -> str:
    return "-" if amount is None else money(amount)


def _plain(need: Need, found: Estimate | None, name: str, rooms: Sequence[Room]) -> dict[str, Any]:
    return {
        "schemaVersion": 1,
        "model": name,
        "need_bytes": need.total,
        "at_least": need.at_least,
        "parts": [
            {"name": part.name, "bytes": part.size, "why": part.why} for part in need.parts
        ],
        "batch": None if found is None else found.traced.batch,
        "bytes_per_sample": None if found is None else found.each,
        "activations_bytes": None if found is None else found.traced.activations,
        "parameters": None if found is None else found.traced.parameters,
        "trained_parameters": None if found is None else found.traced.trained,
        **rooms_data(rooms, at_least=need.at_least),
    }  # fmt: skip


def rooms_data(rooms: Sequence[Room], *, at_least: bool = False) -> dict[str, Any]:
    """Return the places as JSON values; ``recommended`` is the cheapest that holds it."""
    best = None if at_least else cheapest(rooms)
    return {
        "currency": "USD",
        "recommended": None if best is None
        else {"profile": best.option.profile, "gpu": best.option.gpu},
        "places": [
            {
                "profile": room.option.profile,
                "gpu": room.option.gpu,
                "usable_memory_bytes": room.option.memory,
                "usable_memory_seen": room.option.seen,
                "fits": room.fits,
                "spare_bytes": room.spare,
                "largest_batch": room.batch,
                "on_demand_hour": _text(room.option.price.on_demand),
                "spot_hour": _text(room.option.price.spot),
                "source": room.option.price.source,
                "as_of": None if room.option.price.as_of is None
                else room.option.price.as_of.isoformat(),
            }
            for room in rooms
        ],
    }  # fmt: skip


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:.4f}"
