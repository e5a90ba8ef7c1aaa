"""From workloads to cards: which slices each card gets, who runs there, and what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gpukit.catalog import Catalog
from gpukit.catalog.mig import MigCard, MigSlice, mig_card
from gpukit.errors import BudgetError, PlacementError

from .geometry import Counts, Geometries
from .pack import Packing, pack
from .workloads import Workload, smallest_slice

__all__ = ["CardPlan", "MigPlan", "PlacedSlice", "plan_mig"]

_Chosen = tuple[tuple[Workload, MigSlice], ...]


@dataclass(frozen=True)
class PlacedSlice:
    """One slice of a card, and the workload that it is for."""

    slice: MigSlice
    start: int
    workload: str


@dataclass(frozen=True)
class CardPlan:
    """One card.

    Attributes:
        index: number of the card, from 0.
        slices: what it is divided into, largest first.
        room: profiles that still fit beside them, for jobs to come.
        idle_compute: compute slices that this room has.
        idle_slots: slots of memory that this room has.
        stranded_compute: compute slices that no profile can use any more.
        stranded_slots: slots of memory that no profile can use any more.
    """

    index: int
    slices: tuple[PlacedSlice, ...]
    room: tuple[MigSlice, ...]
    idle_compute: int
    idle_slots: int
    stranded_compute: int
    stranded_slots: int

    @property
    def geometry(self) -> tuple[tuple[str, int], ...]:
        """Profile names and how many of each, largest first."""
        return tuple(Counter(one.slice.name for one in self.slices).items())


@dataclass(frozen=True)
class MigPlan:
    """All cards.

    Attributes:
        card: the GPU.
        chosen: the profile of each workload.
        cards: the cards that are used.
        available: how many there are; None where that was left open.
        bound: no fewer cards can do.
        notes: what is assumed, and what to know.
    """

    card: MigCard
    chosen: _Chosen
    cards: tuple[CardPlan, ...]
    available: int | None
    bound: int
    notes: tuple[str, ...]

    @property
    def jobs(self) -> int:
        """How many jobs run at a time."""
        return sum(workload.count for workload, _ in self.chosen)

    @property
    def free(self) -> int:
        """Cards that are left whole."""
        return 0 if self.available is None else self.available - len(self.cards)

    @property
    def proven(self) -> bool:
        """Whether fewer cards are proven to be impossible."""
        return len(self.cards) == self.bound

    @property
    def slack(self) -> int:
        """Bytes of usable memory inside the slices that the jobs do not need."""
        return sum(
            (one.usable - workload.memory) * workload.count
            for workload, one in self.chosen
            if workload.memory
        )


def plan_mig(
    workloads: Sequence[Workload], gpu: str, catalog: Catalog, *, available: int | None = None
) -> MigPlan:
    """Return the plan with the fewest cards.

    Args:
        workloads: what has to run, all at the same time.
        gpu: the GPU, as the catalog names it.
        catalog: for the names of GPUs and profiles.
        available: how many cards there are; None for as many as it takes.

    Raises:
        PlacementError: unknown GPU, no MIG on it, or a workload that no slice can hold.
        BudgetError: there are fewer cards than it takes.
    """
    card = _card(gpu, catalog)
    chosen, used, packing = _packed(workloads, card, catalog, lean=False)
    if card.media:
        lean = _packed(workloads, card, catalog, lean=True)
        if len(lean[2].cards) < len(packing.cards):
            chosen, used, packing = lean
    if available is not None and len(packing.cards) > available:
        jobs = sum(workload.count for workload in workloads)
        raise _too_few(card, available, len(packing.cards), jobs, packing.proven)
    queues = {
        one.name: [w.name for w, c in chosen if c == one for _ in range(w.count)] for one in used
    }
    plain = _plain(card, used)
    geometries = Geometries(card, plain)
    at = [plain.index(one) for one in used]
    cards = tuple(
        _laid_out(index, _spread(counts, at, len(plain)), geometries, queues)
        for index, counts in enumerate(packing.cards)
    )
    return MigPlan(card, chosen, cards, available, packing.bound, _notes(card, chosen))


def _packed(
    workloads: Sequence[Workload], card: MigCard, catalog: Catalog, *, lean: bool
) -> tuple[_Chosen, list[MigSlice], Packing]:
    """Return the profile of each workload, the profiles in use, and the cards for them."""
    chosen = tuple((one, smallest_slice(one, card, catalog, lean=lean)) for one in workloads)
    used = [one for one in card.slices if any(one == c for _, c in chosen)]
    demand = [sum(w.count for w, c in chosen if c == one) for one in used]
    return chosen, used, pack(demand, Geometries(card, used).maximal)


def _card(name: str, catalog: Catalog) -> MigCard:
    gpus = catalog.find_gpus(name, "--gpus")
    if len(gpus) > 1:
        names = ", ".join(gpu.name for gpu in gpus)
        raise PlacementError(
            "mig-gpu-ambiguous", f"--gpus {name!r} means several GPUs, and their slices differ",
            f"name one of {names}",
        )  # fmt: skip
    return mig_card(gpus[0].name)


def _too_few(card: MigCard, available: int, needed: int, jobs: int, proven: bool) -> BudgetError:
    how = "at least" if proven else "as far as was found"
    return BudgetError(
        "mig-cards",
        f"{jobs} jobs need {how} {needed} cards of {card.gpu}, and there are {available}",
        f"write --gpus {card.gpu}:{needed}, or --gpus {card.gpu} for as many as it takes; or ask "
        "for less memory, compute or count",
    )  # fmt: skip


def _plain(card: MigCard, used: Sequence[MigSlice]) -> list[MigSlice]:
    """Return the profiles that room is counted in: the plain ones, and those in use."""
    return [
        one for one in card.slices if one in used or one.kind.removesuffix(".double").endswith("g")
    ]


def _spread(counts: Counts, at: Sequence[int], length: int) -> Counts:
    found = [0] * length
    for index, count in zip(at, counts, strict=True):
        found[index] = count
    return tuple(found)


def _laid_out(
    index: int, counts: Counts, geometries: Geometries, queues: dict[str, list[str]]
) -> CardPlan:
    card, slices = geometries.card, geometries.slices
    full = geometries.roomiest(counts)
    starts = list(geometries.placements[full])
    placed: list[PlacedSlice] = []
    room: list[MigSlice] = []
    for one, count, most in zip(slices, counts, full, strict=True):
        for number in range(most):
            start = starts.pop(0)
            if number < count:
                placed.append(PlacedSlice(one, start, queues[one.name].pop(0)))
            else:
                room.append(one)
    idle_compute, idle_slots = sum(one.compute for one in room), sum(one.size for one in room)
    return CardPlan(
        index=index,
        slices=tuple(placed),
        room=tuple(room),
        idle_compute=idle_compute,
        idle_slots=idle_slots,
        stranded_compute=card.compute - idle_compute - sum(p.slice.compute for p in placed),
        stranded_slots=card.slots - idle_slots - sum(p.slice.size for p in placed),
    )


def _notes(card: MigCard, chosen: _Chosen) -> tuple[str, ...]:
    notes = []
    if not card.placements_seen:
        notes.append(
            f"where slices of {card.gpu} may lie is assumed to be as on an H100: compare with "
            "`nvidia-smi mig -lgipp`"
        )
    if any(not one.measured for workload, one in chosen if workload.memory):
        notes.append(
            f"nobody listed the usable memory of {card.gpu}'s slices: 85 % of the label is "
            "assumed; compare with `nvidia-smi mig -lgip`"
        )
    return tuple(notes)
