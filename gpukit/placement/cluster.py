"""Comparing a declaration with what the nodes of a cluster offer."""

from __future__ import annotations

from gpukit.catalog import Devices, Platform
from gpukit.diagnose import Recognition
from gpukit.errors import did_you_mean

from .model import Notes

__all__ = ["check_offers"]


def check_offers(devices: Devices, platform: Platform, found: Recognition, notes: Notes) -> None:
    """Warn where no node offers the resource, or none enough of it, as the cluster is now."""
    if devices.resource is None:
        return
    offers = found.offers
    if devices.resource not in offers:
        listed = ", ".join(f"{name} × {count}" for name, count in offers.items()) or "no GPU"
        near = did_you_mean(devices.resource, offers)
        start = "; a node that offers it has to be started first" if platform.cloud else ""
        notes.warnings.append(
            f"no node of the cluster offers {devices.resource} now, the nodes offer {listed}"
            + (f"; {near}" if near else "") + start
        )  # fmt: skip
    elif found.most(devices.resource) < devices.count:
        notes.warnings.append(
            f"no node of the cluster has {devices.count} of {devices.resource} now, the most is "
            f"{found.most(devices.resource)}"
        )
