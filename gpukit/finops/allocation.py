"""Whose is the price of a node: three ways to split it, and shares of a card.

The $/h of one GPU of a p5.48xlarge is 6.88 (node over GPUs), 2.34 (OpenCost's default ratios) or
1.10 (AWS split cost allocation), so the way is always named. The arithmetic is exact (fractions);
amounts become Decimal at the edge, so pods and idle add up to the node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from gpukit.errors import UsageError

__all__ = [
    "Allocation", "Mode", "Node", "PodUse", "Rates", "Share", "Sharing", "allocate",
    "device_fraction", "mig_fraction", "split_cents", "time_slice_fraction", "unit_rates",
]  # fmt: skip

Mode = Literal["gpu_full", "opencost", "aws_split"]
Sharing = Literal["direct", "redistributed"]
Number = int | Decimal | Fraction

_WEIGHTS: Mapping[Mode, tuple[str, str, str]] = {  # of a GPU, a vCPU and a GiB of memory
    "gpu_full": ("1", "0", "0"),
    "opencost": ("0.95", "0.031611", "0.004237"),  # opencost pkg/costmodel, its default prices
    "aws_split": ("9", "0.9", "0.1"),  # AWS docs: example of accelerated instances, 9:1 and 9:1
}
_DIGITS = Decimal("1e-12")
_RESOURCES = 3


@dataclass(frozen=True)
class Node:
    """A machine, US dollars per hour; None where the price is unknown. AWS counts GB as GiB."""

    price: Decimal | None
    gpus: Number
    vcpus: Number = 0
    memory: Number = 0

    @property
    def sizes(self) -> tuple[Fraction, ...]:
        """GPUs, vCPUs and GiB."""
        return tuple(Fraction(size) for size in (self.gpus, self.vcpus, self.memory))


@dataclass(frozen=True)
class Rates:
    """US dollars per hour of one GPU, one vCPU and one GiB; None where unknown."""

    gpu: Decimal | None
    vcpu: Decimal | None
    memory: Decimal | None


@dataclass(frozen=True)
class PodUse:
    """What a pod reserved and used of a node, on average over the hours that it ran.

    Attributes:
        name: of the pod.
        gpus: reserved; a part of one for a MIG slice or a time-sliced share.
        vcpus: reserved.
        memory: reserved GiB.
        used: GPUs, vCPUs and GiB that it used; per resource the larger of both counts.
        hours: that it ran, of the window; None for all of it.
    """

    name: str
    gpus: Number = 0
    vcpus: Number = 0
    memory: Number = 0
    used: tuple[Number, Number, Number] = (0, 0, 0)
    hours: Number | None = None

    def taken(self, window: Fraction) -> tuple[Fraction, ...]:
        """Return GPU-, vCPU- and GiB-hours that it kept from others."""
        reserved = (self.gpus, self.vcpus, self.memory)
        hours = window if self.hours is None else min(Fraction(self.hours), window)
        return tuple(
            max(Fraction(mine), Fraction(used)) * hours
            for mine, used in zip(reserved, self.used, strict=True)
        )


@dataclass(frozen=True)
class Share:
    """What a pod pays: for what it took, and its share of what nobody took."""

    pod: str
    split: Decimal | None
    unused: Decimal | None
    total: Decimal | None


@dataclass(frozen=True)
class Allocation:
    """A node's price over a window: to pods, and idle; all None where the price is unknown."""

    shares: tuple[Share, ...]
    idle: Decimal | None
    total: Decimal | None


def unit_rates(node: Node, mode: Mode) -> Rates:
    """Return what a unit of each resource costs, so that all of them make the node's price.

    ``gpu_full``: price / GPUs. ``opencost``: GPU, CPU and RAM in the ratio of OpenCost's default
    prices. ``aws_split``: in the ratio 9 : 0.9 : 0.1 (GPU to CPU and memory 9:1, CPU to memory
    9:1). Sources: opencost ``pkg/costmodel/costmodel.go``; AWS Data Exports, split cost
    allocation, example of accelerated instances (its printed 0.00506 per GB is a slip: 0.00561).

    Raises:
        UsageError: ``gpu_full`` of a node without GPUs.
    """
    exact = _exact_rates(node, mode)
    if exact is None:
        return Rates(None, None, None)
    return Rates(*(_decimal(rate) for rate in exact))


def _exact_rates(node: Node, mode: Mode) -> tuple[Fraction, ...] | None:
    weights = [Fraction(weight) for weight in _WEIGHTS[mode]]
    whole = sum((w * size for w, size in zip(weights, node.sizes, strict=True)), Fraction(0))
    if whole <= 0:
        raise UsageError(
            "allocation-nothing", f"mode {mode} has nothing to split the node's price by: it has "
            f"{node.gpus} GPUs, {node.vcpus} vCPUs and {node.memory} GiB",
            "use aws_split or opencost for a node without GPUs, and give its vCPUs and memory",
        )  # fmt: skip
    if node.price is None:
        return None
    unit = Fraction(node.price) / whole
    return tuple(unit * weight for weight in weights)


def allocate(
    node: Node, pods: Sequence[PodUse], *, mode: Mode = "gpu_full", sharing: Sharing = "direct",
    hours: Number = 1,
) -> Allocation:  # fmt: skip
    """Split a node's price over a window among the pods that ran on it.

    ``direct`` leaves what nobody took idle; ``redistributed`` gives it, resource by resource, to
    those who took some of it, so a pod without a GPU pays for no idle GPU; what nobody at all
    took stays idle. Where pods took more than there is, the price is split in proportion.

    Args:
        node: the machine and its price.
        pods: what ran on it.
        mode: how the price falls on GPUs, CPUs and memory.
        sharing: whose the rest is.
        hours: length of the window.
    """
    window = Fraction(hours)
    rates = _exact_rates(node, mode)
    if rates is None:
        return Allocation(tuple(Share(p.name, None, None, None) for p in pods), None, None)
    taken = [pod.taken(window) for pod in pods]
    sums = [sum((t[r] for t in taken), Fraction(0)) for r in range(_RESOURCES)]
    there = [size * window for size in node.sizes]
    money = [rate * size for rate, size in zip(rates, there, strict=True)]
    shares, given = [], Fraction(0)
    for pod, mine in zip(pods, taken, strict=True):
        split = unused = Fraction(0)
        for r in range(_RESOURCES):
            if not mine[r] or not there[r]:
                continue
            split += money[r] * mine[r] / max(there[r], sums[r])
            if sharing == "redistributed":
                rest = max(there[r] - sums[r], Fraction(0)) / there[r]
                unused += money[r] * rest * mine[r] / sums[r]
        given += split + unused
        shares.append(Share(pod.name, _decimal(split), _decimal(unused), _decimal(split + unused)))
    whole = sum(money, Fraction(0))
    return Allocation(tuple(shares), _decimal(whole - given), _decimal(whole))


def mig_fraction(compute: int, memory: int, *, of: tuple[int, int] = (7, 8)) -> Fraction:
    """Return the part of a card that a MIG instance keeps from others.

    The larger of its compute slices of 7 and its memory slices of 8 (``of``: other counts of the
    card, for example 4 and 4 on an A30). Slices that form a legal set can exceed 1 in sum, such
    as 4g and 3g of seven: :func:`allocate` then splits in proportion.
    """
    return max(Fraction(compute, of[0]), Fraction(memory, of[1]))


def time_slice_fraction(requested: int, replicas: int | None) -> Fraction | None:
    """Return the part of a card that time-sliced shares are; None where replicas are unknown."""
    return Fraction(requested, replicas) if replicas else None


def device_fraction(
    resource: str,
    requested: int,
    *,
    slices: Mapping[str, Fraction],
    replicas: int | None = None,
    product: str = "",
) -> Fraction | None:
    """Return how many GPUs a pod's request keeps from others; None where it cannot be known.

    Args:
        resource: ``nvidia.com/gpu``, ``nvidia.com/gpu.shared`` or ``nvidia.com/mig-1g.10gb``.
        requested: how many of it.
        slices: fraction of the card of each MIG profile of the node's GPU.
        replicas: time-sliced replicas of a GPU (node label ``nvidia.com/gpu.replicas``).
        product: node label ``nvidia.com/gpu.product``; under the single MIG strategy it ends in
            ``-MIG-1g.10gb``, and ``nvidia.com/gpu`` counts slices.
    """
    prefix = "nvidia.com/mig-"
    if resource.startswith(prefix):
        one = slices.get(resource.removeprefix(prefix).replace(".me", "+me", 1))
        return None if one is None else one * requested
    _, mark, profile = product.partition("-MIG-")
    if mark and resource == "nvidia.com/gpu":
        one = slices.get(profile)
        return None if one is None else one * requested / (replicas or 1)
    if resource == "nvidia.com/gpu.shared":
        return time_slice_fraction(requested, replicas)
    if resource == "nvidia.com/gpu":
        return Fraction(requested, replicas or 1)
    return None


def split_cents(amounts: Sequence[Decimal], total: Decimal) -> tuple[Decimal, ...]:
    """Round amounts to cents so that their sum is the rounded total (largest remainders).

    Args:
        amounts: not negative, their sum is ``total`` up to the digits of Decimal.
        total: what they must add up to.
    """
    cent = Decimal("0.01")
    down = [amount.quantize(cent, rounding="ROUND_FLOOR") for amount in amounts]
    rest = total.quantize(cent, rounding="ROUND_HALF_UP") - sum(down, Decimal(0))
    missing = max(int(rest / cent), 0)
    order = sorted(range(len(down)), key=lambda i: (down[i] - amounts[i], i))
    for i in order[:missing]:
        down[i] += cent
    return tuple(down)


def _decimal(value: Fraction) -> Decimal:
    return (Decimal(value.numerator) / value.denominator).quantize(
        _DIGITS, rounding="ROUND_HALF_UP"
    )
