"""MIG as data: which slices a card offers, where they may lie, and the memory inside them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import date
from functools import cached_property, lru_cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field

from gpukit.errors import PlacementError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

__all__ = ["MigCard", "MigSlice", "mig_card", "mig_cards"]

_MIB = 2**20
_ASSUMED_SHARE = 85
"""Per cent of a label, read as GiB, that is taken as usable where nobody listed it.

The lowest that was listed is 88.9 % (H200's 1g.18gb: 16.0 GiB), the others 89.6 to 99 %.
"""


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Kind(_Fact):
    kind: str
    id: int
    starts: tuple[int, ...] = Field(min_length=1)
    size: int = Field(gt=0)
    compute: int = Field(gt=0)
    media: int = 0
    extra: bool = False
    suffix: str = ""


class _Layout(_Fact):
    name: str
    slots: int
    compute: int
    media: int = 0
    source: str
    as_of: date
    slices: tuple[_Kind, ...]


class _Gpu(_Fact):
    name: str
    layout: str
    labels: Mapping[int, int]
    usable_mib: Mapping[int, int] = Field(default_factory=dict)
    placements_seen: bool = True
    source: str
    as_of: date


class MigSlice(_Fact):
    """A MIG profile of one GPU; the same name may be another slice of another GPU.

    Attributes:
        name: as NVIDIA writes it, for example ``1g.10gb+me``.
        kind: what it is on every card of the layout, for example ``1g+me``.
        id: the profile id of ``nvidia-smi mig -cgi``.
        starts: slots of the card's axis where it may begin.
        size: slots that it takes.
        compute: compute slices that it takes.
        media: media engines (decoders) that it takes of those that are counted.
        extra: it has the engines that only one slice of a card can have (``+me``).
        usable: bytes that a job finds in it, less than its label says.
        measured: ``usable`` was listed by a driver, or follows from what was; else it is assumed.
    """

    name: str
    kind: str
    id: int
    starts: tuple[int, ...]
    size: int
    compute: int
    media: int
    extra: bool
    usable: int
    measured: bool

    @property
    def resource(self) -> str:
        """The name of the resource under the strategy ``mixed``."""
        return "nvidia.com/mig-" + self.name.replace("+", ".")


class MigCard(_Fact):
    """A GPU as MIG divides it.

    Attributes:
        gpu: its name in the catalog.
        slots: length of the axis of memory.
        compute: compute slices.
        media: media engines that slices share, 0 where they are not counted.
        slices: the profiles, largest first.
        placements_seen: the starts were listed on this card, not assumed from its family.
        source: where the placements were read.
        usable_source: where the memory was read.
        as_of: when.
    """

    gpu: str
    slots: int
    compute: int
    media: int
    slices: tuple[MigSlice, ...]
    placements_seen: bool
    source: str
    usable_source: str
    as_of: date

    @cached_property
    def by_name(self) -> Mapping[str, MigSlice]:
        """The profiles by name."""
        return {one.name: one for one in self.slices}


def mig_card(gpu: str) -> MigCard:
    """Return how MIG divides a GPU.

    Raises:
        PlacementError: no MIG on this GPU, or its placements are not known.
    """
    cards = mig_cards()
    if gpu not in cards:
        raise PlacementError(
            "mig-placements-unknown", f"{gpu}: no MIG, or where its slices may lie is not known",
            f"known of {', '.join(cards)}",
        )  # fmt: skip
    return cards[gpu]


@lru_cache(maxsize=1)
def mig_cards() -> Mapping[str, MigCard]:
    """Return all GPUs whose MIG placements are known, by name; read once per process."""
    text = files(__package__).joinpath("mig.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    layouts = {one["name"]: _Layout.model_validate(one) for one in data["layout"]}
    gpus = [_Gpu.model_validate(one) for one in data["gpu"]]
    return {gpu.name: _card(gpu, layouts[gpu.layout], data["sources"]) for gpu in gpus}


def _card(gpu: _Gpu, layout: _Layout, sources: Mapping[str, str]) -> MigCard:
    return MigCard(
        gpu=gpu.name,
        slots=layout.slots,
        compute=layout.compute,
        media=layout.media,
        slices=tuple(_slice(gpu, kind) for kind in layout.slices),
        placements_seen=gpu.placements_seen,
        source=layout.source,
        usable_source=sources[gpu.source],
        as_of=min(gpu.as_of, layout.as_of),
    )


def _slice(gpu: _Gpu, kind: _Kind) -> MigSlice:
    usable, measured = _usable_mib(gpu, kind.size)
    return MigSlice(
        name=f"{kind.compute}g.{gpu.labels[kind.size]}gb{kind.suffix}",
        usable=usable * _MIB,
        measured=measured,
        **kind.model_dump(exclude={"suffix"}),
    )


def _usable_mib(gpu: _Gpu, size: int) -> tuple[int, bool]:
    """Return the MiB of a slice, and whether they are known.

    Twice a slice of half the size is a safe value where that was listed: what the driver keeps is
    kept per slice, so on every card that was listed the larger slice has at least that much.
    """
    if size in gpu.usable_mib:
        return gpu.usable_mib[size], True
    if size % 2 == 0 and size // 2 in gpu.usable_mib:
        return 2 * gpu.usable_mib[size // 2], True
    return gpu.labels[size] * 1024 * _ASSUMED_SHARE // 100, False
