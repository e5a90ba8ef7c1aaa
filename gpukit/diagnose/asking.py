"""How a job has to ask for what a node offers: the options that lead to that resource there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gpukit.catalog import Catalog, Devices, Platform, choose_devices
from gpukit.errors import PlacementError
from gpukit.profile import parse_profiles

from .offers import Offer

__all__ = ["asking_for", "leads_to"]

_SINGLE = "generic-single"


def asking_for(
    offer: Offer, count: int, declared: Mapping[str, Any], catalog: Catalog,
    seen: Platform | None = None,
) -> dict[str, Any] | None:  # fmt: skip
    """Return the options by which a job gets an offer; None where none are known.

    As little as possible is changed: the platform only where the node's own, or a more general
    one, is needed; ``gpu`` only where it would be refused, or is wanted. ``platform="auto"`` comes
    last: it knows what no table says, such as time-slicing that keeps the resource's name.

    Args:
        offer: what is to be got.
        count: how many of it.
        declared: the job's options.
        catalog: the facts.
        seen: what ``platform="auto"`` leads to in this cluster, if to anything.
    """
    now = declared.get("platform", "generic")
    for name in _platforms(offer, now, catalog):
        platform = catalog.platform(name)
        for profile in dict.fromkeys((offer.profile(count), _unnamed(offer, count))):
            for gpu in _gpus(offer, declared):
                if leads_to(offer, profile, gpu, platform, catalog):
                    changes = {"platform": (name, now), "gpu": (gpu, declared.get("gpu"))}
                    more = {key: new for key, (new, old) in changes.items() if new != old}
                    return {"profile": profile, **more}
    profile = offer.profile(count)
    if seen is None or now == "auto" or not leads_to(offer, profile, None, seen, catalog):
        return None
    gone = {"gpu": None} if declared.get("gpu") else {}
    return {"profile": profile, "platform": "auto", **gone}


def _platforms(offer: Offer, now: str, catalog: Catalog) -> Iterator[str]:
    own = offer.platform.name
    if now == own or (now == "generic" and _is_labelled(offer)):
        yield now
    if now != own:
        yield own
    if now == "auto" or not _is_labelled(offer):
        return
    yield from (name for name in ("generic", _SINGLE) if name not in (now, own))


def _is_labelled(offer: Offer) -> bool:
    """Tell whether the generic platform's labels are on the node."""
    return offer.gpu is None or "nvidia.com/gpu.product" in offer.node.labels


def _unnamed(offer: Offer, count: int) -> str:
    """Return the profile without the card's name, which a platform's catalog may not have."""
    if offer.kind != "full":
        return offer.profile(count)
    return "gpu" if count == 1 else f"gpu:{count}"


def _gpus(offer: Offer, declared: Mapping[str, Any]) -> Iterator[str | None]:
    if offer.kind == "full":
        yield None  # the profile names it
        return
    now = declared.get("gpu")
    own = offer.gpu.name if offer.gpu else None
    if now is not None and now == own:
        yield now
    yield None
    if own is not None and now != own:
        yield own


def leads_to(
    offer: Offer, profile: str, gpu: str | None, platform: Platform, catalog: Catalog
) -> bool:
    """Tell whether a platform renders a profile to the offer's resource, and does not refuse it."""
    profiles: Any = parse_profiles(profile)
    try:
        devices = choose_devices(profiles, gpu, catalog, platform)
    except PlacementError:
        return False
    if devices.resource != offer.resource or _refused(platform, devices):
        return False
    if platform.mig_strategy == "single" and offer.kind == "mig":
        return "-MIG-" in offer.node.labels.get(platform.product_label, "")
    if platform.shared_label and offer.kind == "shared":
        return offer.node.labels.get(platform.shared_label) in platform.shared_values
    return True


def _refused(platform: Platform, devices: Devices) -> bool:
    tags = {devices.kind, *(() if devices.constrained else ("any-gpu",))}
    if devices.mig is not None and "+" in devices.mig:
        tags.add("media-engines")
    return any(rule.action == "refuse" and set(rule.when) <= tags for rule in platform.rules)
