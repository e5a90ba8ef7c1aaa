"""Time-slicing and MPS: for what they are good, and configurations that work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from gpukit.lint.documents import Manifest, dig, listing, mapping
from gpukit.lint.jobs import JobFacts, options_fix
from gpukit.lint.model import Edit, Fix, Hit
from gpukit.lint.workloads import Context, Workload

from .types import JobChecks, ManifestChecks, WorkloadChecks

__all__ = ["JOBS", "MANIFESTS", "WORKLOADS"]

_STRATEGIES = ("cloud.google.com/gke-gpu-sharing-strategy", "nvidia.com/gpu.sharing-strategy")


def shared_job(job: JobFacts) -> Iterator[Hit]:
    """GK006."""
    if job.spec.profile[0].kind == "shared" and job.spec.stage != "dev":
        yield Hit(
            f'profile="shared" with stage="{job.spec.stage}"',
            options_fix('@gpu_job(stage="dev") if it is development; else a slice: '
                        'profile="mig-1g.10gb"', stage="dev"),
            option="profile",
        )  # fmt: skip


def shared_pod(load: Workload, context: Context) -> Iterator[Hit]:
    """GK006."""
    if load.stage != "production":
        return
    slice_fix = Fix("ask for a MIG slice, for example nvidia.com/mig-1g.10gb: 1, or a whole GPU")
    for gpu in load.gpus:
        if gpu.resource.endswith(".shared"):
            yield Hit(f"{gpu.resource} in production", slice_fix,
                      at=(*gpu.container, "resources", "limits", gpu.resource))  # fmt: skip
    strategy = load.requires_key(*_STRATEGIES)
    if load.gpus and strategy and set(strategy.values) <= {"time-sharing", "time-slicing"}:
        yield Hit(f"{strategy.key}={strategy.values[0]} in production", slice_fix, at=strategy.at)


def mig_for_dev(job: JobFacts) -> Iterator[Hit]:
    """GK007."""
    if job.spec.profile[0].kind == "mig" and job.spec.stage == "dev":
        yield Hit(f'profile="{job.spec.profile[0]}" with stage="dev"',
                  Fix('@gpu_job(profile="shared"), where the cluster shares GPUs by time',
                      {"profile": "shared"}), option="profile")  # fmt: skip


def mig_in_dev(load: Workload, context: Context) -> Iterator[Hit]:
    """GK007."""
    for gpu in load.gpus:
        if load.stage == "development" and gpu.resource.startswith("nvidia.com/mig-"):
            edits: list[Edit] = []
            for part, asked in (("limits", gpu.limit), ("requests", gpu.request)):
                if asked is not None:
                    at = (*gpu.container, "resources", part)
                    edits += [Edit("remove", (*at, gpu.resource)),
                              Edit("add", (*at, "nvidia.com/gpu.shared"), "1")]  # fmt: skip
            yield Hit(f"{gpu.resource} in development",
                      Fix("nvidia.com/gpu.shared: 1, where the cluster shares GPUs by time",
                          patch=tuple(edits)),
                      at=(*gpu.container, "resources", "limits", gpu.resource))  # fmt: skip


def _sharing(item: Manifest) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Return the sharing configurations of the device plugin in a ConfigMap."""
    for key, text in mapping(item.data.get("data")).items():
        if item.kind != "ConfigMap" or not isinstance(text, str) or "sharing" not in text:
            continue
        try:
            config = yaml.safe_load(text)
        except yaml.YAMLError:
            continue
        for method in ("timeSlicing", "mps"):
            found = dig(config, "sharing", method)
            if isinstance(found, dict):
                yield str(key), method, found


def refused_sharing(item: Manifest, context: Context) -> Iterator[Hit]:
    """GK027."""
    for key, method, config in _sharing(item):
        for resource in listing(config.get("resources")):
            name, replicas = dig(resource, "name"), dig(resource, "replicas")
            if isinstance(replicas, int) and replicas < 2:
                yield Hit(f"{key}: {method} of {name} with replicas: {replicas}",
                          Fix("replicas: 2 or more, or leave the resource out"),
                          at=("data", key))  # fmt: skip
            elif method == "mps" and str(name).startswith("nvidia.com/mig-"):
                yield Hit(f"{key}: mps of {name}",
                          Fix("timeSlicing instead of mps: MPS works on whole GPUs only"),
                          at=("data", key))  # fmt: skip


def shares_look_whole(item: Manifest, context: Context) -> Iterator[Hit]:
    """GK028."""
    for key, method, config in _sharing(item):
        names = [dig(resource, "name") for resource in listing(config.get("resources"))]
        renames = config.get("renameByDefault") is True
        if method == "timeSlicing" and "nvidia.com/gpu" in names and not renames:
            yield Hit(f"{key}: shares are called nvidia.com/gpu",
                      Fix(f"data['{key}']: renameByDefault: true and failRequestsGreaterThanOne: "
                          "true under sharing.timeSlicing; they are nvidia.com/gpu.shared then"),
                      at=("data", key))  # fmt: skip


JOBS: JobChecks = {"GK006": shared_job, "GK007": mig_for_dev}
WORKLOADS: WorkloadChecks = {"GK006": shared_pod, "GK007": mig_in_dev}
MANIFESTS: ManifestChecks = {"GK027": refused_sharing, "GK028": shares_look_whole}
