"""The types of checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from gpukit.lint.documents import Manifest
from gpukit.lint.jobs import JobFacts
from gpukit.lint.model import Hit
from gpukit.lint.workloads import Context, Workload

__all__ = ["JobChecks", "ManifestChecks", "WorkloadChecks"]

JobChecks = Mapping[str, Callable[[JobFacts], Iterable[Hit]]]
WorkloadChecks = Mapping[str, Callable[[Workload, Context], Iterable[Hit]]]
ManifestChecks = Mapping[str, Callable[[Manifest, Context], Iterable[Hit]]]
