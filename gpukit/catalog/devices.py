"""From the words of ``profile`` and ``gpu`` to a resource name and the GPUs that may serve it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from gpukit.errors import PlacementError
from gpukit.profile import Profile

from .models import Catalog, Gpu, nearest_mig
from .platforms import Platform
from .prices import PodPrice, pod_price

__all__ = ["Devices", "choose_devices", "devices_price"]


@dataclass(frozen=True)
class Devices:
    """What a pod asks a node for.

    Attributes:
        kind: whole GPUs, a MIG slice, a time-sliced share, or none.
        resource: name of the resource; None for none.
        count: how many of it.
        gpus: the GPUs that may serve it; empty where nothing is known of them.
        constrained: the pod must be told which GPUs, since the resource name alone does not say.
        mig: the MIG profile.
    """

    kind: Literal["full", "mig", "shared", "cpu"]
    resource: str | None
    count: int
    gpus: tuple[Gpu, ...] = ()
    constrained: bool = False
    mig: str | None = None

    @property
    def products(self) -> tuple[str, ...]:
        """The product labels of the GPUs that may serve it."""
        return tuple(dict.fromkeys(p for gpu in self.gpus for p in gpu.products))


def choose_devices(
    profiles: Sequence[Profile], gpu: str | None, catalog: Catalog, platform: Platform
) -> Devices:
    """Return what a pod asks for; several profiles are alternatives of one another.

    Raises:
        PlacementError: unknown GPU or MIG profile, a MIG profile that the GPU does not offer, or
            alternatives that no single pod can express.
    """
    choices = [_one(profile, gpu, catalog, platform) for profile in profiles]
    first = choices[0]
    for profile, other in zip(profiles, choices, strict=True):
        if _request(other) != _request(first):
            raise PlacementError(
                "alternatives-differ",
                f"profile: {str(profiles[0])!r} needs {_asked(first)} and {str(profile)!r} needs "
                f"{_asked(other)}",
                "alternatives are GPUs for the same request, since a pod has one: the same number "
                'of whole GPUs as in ["h100:2", "h200:2"], or one MIG profile with gpu="…"',
            )
    gpus = tuple({(g.name, g.products): g for choice in choices for g in choice.gpus}.values())
    constrained = all(choice.constrained for choice in choices)
    return Devices(first.kind, first.resource, first.count, gpus, constrained, first.mig)


def _request(devices: Devices) -> tuple[object, ...]:
    return devices.kind, devices.resource, devices.count, devices.mig


def _asked(devices: Devices) -> str:
    if devices.mig is not None:
        return f"a slice {devices.mig}"
    return f"{devices.count} of {devices.resource}" if devices.resource else "no GPU"


def _one(profile: Profile, gpu: str | None, catalog: Catalog, platform: Platform) -> Devices:
    if profile.kind == "full":
        if profile.gpu is None:
            return Devices("full", platform.full_resource, profile.count)
        gpus = _offered(profile.gpu, "profile", profile.count, catalog, platform)
        return Devices("full", platform.full_resource, profile.count, gpus, constrained=True)
    if profile.kind == "cpu":
        return Devices("cpu", None, 0)
    wanted = None if gpu is None else _offered(gpu, "gpu", 1, catalog, platform)
    if profile.kind == "mig" and profile.mig is not None:
        return _mig(profile.mig, gpu, wanted, catalog, platform)
    return Devices(
        "shared", platform.shared_resource, 1, wanted or (), constrained=wanted is not None
    )


def _offered(
    name: str, what: str, count: int, catalog: Catalog, platform: Platform
) -> tuple[Gpu, ...]:
    """Return the GPUs that a name means, of those that the platform has machines with."""
    gpus = catalog.find_gpus(name, what)
    if not platform.cloud:
        return gpus
    machines = catalog.machines_with(gpus, platform.cloud)
    if not machines:
        there = dict.fromkeys(m.gpu for m in catalog.machines if m.cloud == platform.cloud)
        raise PlacementError(
            "gpu-not-on-platform",
            f"{what}={name!r}: no machine type of {platform.title} with it is known",
            f"known there: {', '.join(there)}; a machine type that the catalog lacks can be added "
            "in a file of your own (prices=)",
        )
    most = max(machine.gpus for machine in machines)
    if count > most:
        raise PlacementError(
            "gpu-count-on-platform",
            f"{what}='{name}:{count}': the largest machine of {platform.title} with it has {most}",
            f'write "{name}:{most}"; one pod runs on one node',
        )
    return tuple(gpu for gpu in gpus if any(m.gpu == gpu.name for m in machines))


def _mig(
    mig: str, gpu: str | None, wanted: tuple[Gpu, ...] | None, catalog: Catalog, platform: Platform
) -> Devices:
    offering = catalog.find_mig(mig)
    gpus = offering if wanted is None else tuple(g for g in wanted if mig in g.mig)
    if not gpus:
        raise _not_on_gpu(mig, str(gpu), wanted or (), offering)
    if platform.cloud and not catalog.machines_with(gpus, platform.cloud):
        raise PlacementError(
            "gpu-not-on-platform",
            f"profile='mig-{mig}': no machine type of {platform.title} has a GPU that offers it",
            f"it is offered by {', '.join(g.name for g in gpus)}",
        )
    if platform.cloud:
        there = {machine.gpu for machine in catalog.machines_with(gpus, platform.cloud)}
        gpus = tuple(g for g in gpus if g.name in there)
    single = platform.mig_strategy == "single"  # then only a label tells slices apart
    mixed = platform.mig_strategy == "mixed"
    resource = platform.mig_resource + mig.replace("+", ".") if mixed else platform.full_resource
    return Devices("mig", resource, 1, gpus, constrained=single or wanted is not None, mig=mig)


def _not_on_gpu(
    mig: str, gpu: str, wanted: Sequence[Gpu], offering: Sequence[Gpu]
) -> PlacementError:
    offered = list(dict.fromkeys(m for g in wanted for m in g.mig))
    near = nearest_mig(mig, offered)
    return PlacementError(
        "mig-not-on-gpu", f"profile='mig-{mig}': gpu={gpu!r} does not offer {mig}",
        f"{near} " * bool(near) + f"{mig} is offered by {', '.join(g.name for g in offering)}; "
        + (f"{gpu} offers {', '.join(offered)}" if offered else f"{gpu} has no MIG"),
    )  # fmt: skip


def devices_price(
    devices: Devices, catalog: Catalog, platform: Platform, *, cpu: int = 0, memory: int = 0
) -> PodPrice:
    """Return what the devices cost per hour, by the user's own or the platform's list prices.

    Where several GPUs may serve the pod, the dearest counts, so that a budget is never overrun;
    where the price of one of them is unknown, so is that of the pod. Whole GPUs are priced by a
    machine that holds the pod's CPU (millicores) and memory (bytes) too.
    """
    if devices.kind == "cpu":
        return PodPrice(None, None, "the catalog has no prices of machines without a GPU")
    if devices.kind == "shared":
        return PodPrice(None, None, "how many share a time-sliced GPU is the cluster's choice")
    if not devices.gpus:
        return PodPrice(None, None, "any GPU may be used, and prices differ")
    whole = devices.kind == "full"
    small = [m.name for m in catalog.machines if whole and not m.holds(cpu, memory)]
    quotes = [
        pod_price(
            catalog.prices, gpu=gpu.name, count=devices.count,
            share=gpu.mig_fraction(devices.mig) if devices.mig else Fraction(1),
            cloud=platform.price_cloud, region=platform.price_region,
            regions_else=platform.price_regions_else, too_small=small,
        )
        for gpu in devices.gpus
    ]  # fmt: skip
    unknown = next((quote for quote in quotes if quote.on_demand is None), None)
    return unknown or _dearest(quotes)


def _dearest(quotes: Sequence[PodPrice]) -> PodPrice:
    top = max(quotes, key=lambda quote: quote.on_demand or 0)
    spots = [quote.spot for quote in quotes]
    known = [spot for spot in spots if spot is not None]
    return PodPrice(
        on_demand=top.on_demand,
        spot=max(known) if len(known) == len(spots) else None,
        source=top.source + (", the dearest of those that fit" if len(quotes) > 1 else ""),
        as_of=min((quote.as_of for quote in quotes if quote.as_of), default=None),
    )
