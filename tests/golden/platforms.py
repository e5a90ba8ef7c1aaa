"""Every platform × {full GPU, MIG slice, shared GPU, several GPUs} × {spot, on demand}."""

from __future__ import annotations

from typing import Any

from gpukit.catalog import load_catalog

__all__ = ["ASKED", "PLATFORM_CASES", "REFUSED"]

ASKED: dict[str, dict[str, Any]] = {
    "full": {"profile": "h100"},
    "mig": {"profile": "mig-1g.10gb", "gpu": "a100-80gb"},
    "shared": {"profile": "shared", "gpu": "a10g"},
    "multi": {"profile": "h100:8"},
}

_SHARED_GPU = {"gke": "l4", "gke-autopilot": "l4", "aks": "t4", "oke": "a10"}
_CLIENTS = {"node_selector": {"cloud.google.com/gke-max-shared-clients-per-gpu": "4"}}

REFUSED = {("eks-auto", "mig"): "mig-on-eks-auto", ("eks-auto", "shared"): "shared-on-eks-auto"}
"""Cells of the table that no pod can fill, with the id of the error."""


def _declared(platform: str, kind: str, spot: bool) -> dict[str, Any]:
    found = {"platform": platform, **ASKED[kind], "spot": spot, "checkpoints": "s3://bucket/runs"}
    if kind == "shared":
        found["gpu"] = _SHARED_GPU.get(platform, found["gpu"])
        if platform == "gke-autopilot":
            found |= _CLIENTS
    return found


PLATFORM_CASES: dict[str, dict[str, Any]] = {
    f"{platform.name}/{kind}-{'spot' if spot else 'on-demand'}": _declared(
        platform.name, kind, spot
    )
    for platform in load_catalog().platforms
    for kind in ASKED
    for spot in (True, False)
    if (platform.name, kind) not in REFUSED
}
