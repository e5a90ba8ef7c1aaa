"""How much GPU memory a job needs in all, and the GPUs and slices that hold it, cheapest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from gpukit.catalog import Catalog, Platform
from gpukit.errors import PlacementError
from gpukit.placement import resolve
from gpukit.runtime.usage import Usage
from gpukit.spec import make_spec

from .compare import Option, options

__all__ = ["CONTEXT", "HEADROOM", "WORKSPACE", "Need", "Part", "Room", "need_of", "rooms"]

_MIB = 2**20

CONTEXT = 600 * _MIB
CONTEXT_SOURCE = (
    'the most "non-PyTorch memory" in out-of-memory messages: 0.10 GiB (T4, Qwen3-VL#1046), 0.4 '
    "(A100, VAREdit#6), 0.5 (L40, Qwen3-VL#2097), 0.58 (RTX 5090, Wan2.1#465); kernels are loaded "
    "lazily since CUDA 11.7 (pytorch#107667), before they took over 1000 MB"
)
"""The CUDA context with the kernels that a process has loaded."""

WORKSPACE = 32 * _MIB
WORKSPACE_SOURCE = "PyTorch, CUDA semantics, cuBLAS workspaces: 8 MiB, on Hopper 32 MiB"

HEADROOM = Fraction(1, 10)
HEADROOM_SOURCE = (
    "memory that PyTorch held and could not use in out-of-memory messages: 0.1 to 6.9 % as a rule "
    "(VAREdit#6, CoSeR#10, CatVTON#133), 11 % (Qwen3#678); convolutions' workspaces come on top"
)


@dataclass(frozen=True)
class Part:
    """One part of what is needed: bytes, and in words where they come from; None is unknown."""

    name: str
    size: int | None
    why: str


@dataclass(frozen=True)
class Need:
    """What a job needs of a GPU's memory.

    Attributes:
        parts: what it is made of.
    """

    parts: tuple[Part, ...]

    @property
    def total(self) -> int:
        """The sum of what is known."""
        return sum(part.size or 0 for part in self.parts)

    @property
    def at_least(self) -> bool:
        """A part is unknown."""
        return any(part.size is None for part in self.parts)


def need_of(parts: Sequence[Part], headroom: Fraction = HEADROOM) -> Need:
    """Add to what tensors take what the libraries and the allocator take.

    Args:
        parts: what lies in memory at the peak.
        headroom: of that, on top of it.
    """
    tensors = sum(part.size or 0 for part in parts)
    spare = int(tensors * headroom)
    return Need(
        (
            *parts,
            Part("head-room", spare, f"{float(100 * headroom):g} % for what the allocator cannot "
                 "use, and for the error of the estimate"),
            Part("workspaces", WORKSPACE, "matrix products (cuBLAS)"),
            Part("CUDA context", CONTEXT, "the driver, and kernels that are loaded"),
        )
    )  # fmt: skip


def measured_need(usage: Usage, headroom: Fraction = HEADROOM) -> Need | None:
    """Return what a run needs, from what it was seen to use; None where nobody looked.

    PyTorch's own count is the better one: its allocator would do without what it holds beyond that.
    """
    if usage.allocated is None:
        if usage.used is None:
            return None
        parts = [Part("in use", usage.used, "at the peak, by whatever process (NVML)")]
        return Need((*parts, _spare(usage.used, headroom)))
    tensors = Part("tensors", usage.allocated, "at the peak (PyTorch's max_memory_allocated)")
    others = None if usage.used is None else usage.used - (usage.reserved or 0)
    if others is None or others <= 0:
        context = Part("CUDA context", CONTEXT, "not seen: the driver, and kernels that are loaded")
    else:
        context = Part("CUDA context", others, "in use (NVML), less what PyTorch held")
    return Need((tensors, _spare(usage.allocated, headroom), context))


def _spare(size: int, headroom: Fraction) -> Part:
    why = f"{float(100 * headroom):g} % for what the allocator cannot use, and for other batches"
    return Part("head-room", int(size * headroom), why)


def slower(option: Option, busy: Fraction | None) -> Fraction | None:
    """Return how much longer a job takes that kept the whole of this GPU busy for a part ``busy``.

    None where nobody knows how busy it was.
    """
    return None if busy is None else max(Fraction(1), busy / option.compute)


@dataclass(frozen=True)
class Room:
    """A GPU or slice beside the need.

    Attributes:
        option: what it is, what it has, what it costs.
        fits: the need fits; None where what it has is not known.
        spare: bytes that are left.
        batch: the largest batch that fits; None where it was not asked for, or nobody knows.
    """

    option: Option
    fits: bool | None
    spare: int | None
    batch: int | None = None

    @property
    def price(self) -> Decimal | None:
        """US dollars per hour on demand."""
        return self.option.price.on_demand


def rooms(
    need: int, catalog: Catalog, platform: Platform, *, gpus: Sequence[str] = ()
) -> tuple[Room, ...]:
    """Return whole GPUs and plain slices that the platform has: cheapest first, unknown last.

    Args:
        need: bytes.
        catalog: the facts.
        platform: where it runs.
        gpus: names of GPUs; empty: all.
    """
    names = [gpu.name for name in gpus for gpu in catalog.find_gpus(name)]
    found = [
        _room(option, need)
        for gpu in catalog.gpus
        if not names or gpu.name in names
        for option in _of_gpu(gpu.name, catalog, platform)
    ]
    return tuple(sorted(found, key=_order))


def _order(room: Room) -> tuple[bool, Decimal, int]:
    return room.price is None, room.price or Decimal(0), room.option.memory or 0


def _room(option: Option, need: int) -> Room:
    memory = option.memory
    if memory is None:
        return Room(option, None, None)
    return Room(option, need <= memory, memory - need)


def _of_gpu(name: str, catalog: Catalog, platform: Platform) -> Iterator[Option]:
    """Yield what the platform can place: a slice that it refuses is left out."""
    try:
        found = options(make_spec({"profile": name, "platform": platform.name}), catalog)
    except PlacementError:
        return
    for option in found:
        part = option.kind == "mig" and option.fraction < 1 and option.profile.endswith("gb")
        if option.kind != "full" and not part:
            continue
        declared = {"profile": option.profile, "platform": platform.name}
        if option.kind == "mig":
            declared["gpu"] = name
        try:
            resolve(make_spec(declared), catalog)
        except PlacementError:
            continue
        yield replace(option, chosen=False)
