"""Where a job could run, and for how much: the whole GPU, every slice, a time-sliced share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from gpukit.catalog import Catalog, Devices, Gpu, PodPrice, choose_devices, devices_price
from gpukit.catalog.mig import mig_cards
from gpukit.spec import JobSpec

from .allocation import time_slice_fraction

__all__ = ["HEADROOM", "Option", "options", "slowdown"]

HEADROOM = Decimal("1.10")
"""A job is taken to fit where its memory and a tenth more does."""

_GIB = 2**30
_FOUR = Decimal("0.0001")


@dataclass(frozen=True)
class Option:
    """One place for a job.

    Attributes:
        profile: what to write as ``profile``.
        gpu: name of the GPU.
        kind: whole GPUs, a slice, or a share in time.
        fraction: of the card that it pays for, of one of ``count`` cards.
        compute: part of the card's compute that it has.
        memory: bytes that a job finds; less than the label. None where it is not known.
        seen: ``memory`` was read on such a device; else it is assumed from its label.
        price: US dollars per hour.
        fits: the job's memory fits; None where one of both is unknown.
        chosen: it is what the job declares.
    """

    profile: str
    gpu: str
    kind: Literal["full", "mig", "shared"]
    fraction: Fraction
    compute: Fraction
    memory: int | None
    price: PodPrice
    fits: bool | None
    chosen: bool
    seen: bool

    @property
    def pays_below(self) -> Fraction:
        """The part of the time that the whole GPU is busy below which this is cheaper than it.

        A slice with less compute than price, such as H100's 1g.20gb (1/7 for 1/4), slows a busy
        job down by more than it saves.
        """
        return min(self.compute / self.fraction, Fraction(1))


def options(
    spec: JobSpec, catalog: Catalog, *, platform: str | None = None, cpu: int = 0,
    memory: int = 0, need: int | None = None, replicas: int = 4,
) -> tuple[Option, ...]:  # fmt: skip
    """Return every place on the GPUs that a job's profile means, dearest first per GPU.

    Args:
        spec: the declaration.
        catalog: the facts.
        platform: where it runs; by default as declared.
        cpu: millicores of the pod, for the machine that holds it.
        memory: bytes of the pod.
        need: bytes of GPU memory that the job needs; None: unknown.
        replicas: how many share a time-sliced GPU.
    """
    where = catalog.platform(platform or spec.platform)
    devices = choose_devices(spec.profile, spec.gpu, catalog, where)
    if devices.kind != "full":
        cpu = memory = 0  # a share of a machine that others fill
    found: list[Option] = []
    for gpu in _originals(devices.gpus, catalog):
        whole = Devices("full", where.full_resource, devices.count, (gpu,), constrained=True)
        price = devices_price(whole, catalog, where, cpu=cpu, memory=memory)
        name = gpu.name if devices.count == 1 else f"{gpu.name}:{devices.count}"
        one, size = Fraction(1), gpu.usable
        found.append(_option(name, gpu, "full", one, one, size, price, need, devices))
        if devices.count > 1:
            continue
        slices = sorted(_slices(gpu), key=lambda one: (-one[1], -one[2], one[0]))
        for profile, fraction, compute, usable in slices:
            part = _part(price, fraction)
            found.append(
                _option(
                    f"mig-{profile}", gpu, "mig", fraction, compute, usable, part, need, devices
                )
            )
        share = time_slice_fraction(1, replicas) or one
        part = _part(price, share, f", of {replicas} replicas")
        fair = (size[0] // replicas, False)  # if all take as much: nothing enforces it
        found.append(_option("shared", gpu, "shared", share, share, fair, part, need, devices))
    return tuple(found)


def slowdown(of: Fraction, declared: Fraction, busy: Fraction) -> Fraction:
    """Return how much longer a job takes on a part of a GPU than on the declared one.

    A job that keeps the whole GPU busy for a part ``busy`` of the time needs that part of its
    compute; with less, it takes longer in proportion.

    Args:
        of: part of the GPU's compute.
        declared: that of the declared profile.
        busy: of the whole GPU.
    """
    return max(Fraction(1), busy / of) / max(Fraction(1), busy / declared)


def _originals(gpus: Sequence[Gpu], catalog: Catalog) -> Iterator[Gpu]:
    """Return the GPUs under their own names: a variant such as h100-sxm costs what they cost."""
    names = {gpu.name for gpu in gpus}
    return (gpu for gpu in catalog.gpus if gpu.name in names)


_Memory = tuple[int | None, bool]


def _slices(gpu: Gpu) -> Iterator[tuple[str, Fraction, Fraction, _Memory]]:
    card = mig_cards().get(gpu.name)
    most = max((int(name.partition("g.")[0]) for name in gpu.mig), default=1)
    for name in gpu.mig:
        compute = Fraction(int(name.partition("g.")[0]), most)
        known = card.by_name.get(name) if card else None
        memory = (known.usable, known.measured) if known else (None, False)
        yield name, gpu.mig_fraction(name), compute, memory


def _option(
    profile: str, gpu: Gpu, kind: Literal["full", "mig", "shared"], fraction: Fraction,
    compute: Fraction, memory: _Memory, price: PodPrice, need: int | None, declared: Devices,
) -> Option:  # fmt: skip
    chosen = declared.kind == kind and (kind != "mig" or profile == f"mig-{declared.mig}")
    size, seen = memory
    fits = None if need is None or size is None else need * HEADROOM <= size
    return Option(profile, gpu.name, kind, fraction, compute, size, price, fits, chosen, seen)


def _part(price: PodPrice, share: Fraction, note: str = "") -> PodPrice:
    def of(amount: Decimal | None) -> Decimal | None:
        if amount is None:
            return None
        return (amount * share.numerator / share.denominator).quantize(_FOUR)

    return PodPrice(of(price.on_demand), of(price.spot), price.source + note, price.as_of)
