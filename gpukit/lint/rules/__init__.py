"""The checks of the rules, by subject; each file ends with tables of id to check."""

from __future__ import annotations

from . import cost, lifecycle, requests, scheduling, secrets, sharing, slices, spot
from .types import JobChecks, ManifestChecks, WorkloadChecks

__all__ = ["JOB_CHECKS", "MANIFEST_CHECKS", "WORKLOAD_CHECKS"]

_PARTS = (requests, slices, sharing, scheduling, spot, lifecycle, cost, secrets)

JOB_CHECKS: JobChecks = {id: check for part in _PARTS for id, check in part.JOBS.items()}
WORKLOAD_CHECKS: WorkloadChecks = {
    id: check for part in _PARTS for id, check in part.WORKLOADS.items()
}
MANIFEST_CHECKS: ManifestChecks = {
    id: check for part in _PARTS for id, check in part.MANIFESTS.items()
}
