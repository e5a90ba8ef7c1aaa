"""The objects that gpukit creates: ConfigMap, PersistentVolumeClaim, Job."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import KubeModel, KubeObject
from .pods import PodTemplate
from .volumes import ClaimSpec

__all__ = [
    "Claim", "ConfigMap", "FailureRule", "Job", "JobDetail", "OnExitCodes", "OnPodCondition",
    "PodFailurePolicy", "SuccessPolicy", "SuccessRule",
]  # fmt: skip


class ConfigMap(KubeObject):
    """Files for a pod. core/v1."""

    api_version: Literal["v1"] = "v1"
    kind: Literal["ConfigMap"] = "ConfigMap"
    immutable: bool | None = None
    binary_data: dict[str, str] = Field(default_factory=dict)


class Claim(KubeObject):
    """Storage for a pod. core/v1."""

    api_version: Literal["v1"] = "v1"
    kind: Literal["PersistentVolumeClaim"] = "PersistentVolumeClaim"
    spec: ClaimSpec


class OnExitCodes(KubeModel):
    """Exit codes that a rule is about."""

    container_name: str
    operator: Literal["In", "NotIn"]
    values: tuple[int, ...]


class OnPodCondition(KubeModel):
    """A condition of the pod that a rule is about."""

    type: str
    status: Literal["True", "False", "Unknown"] = "True"


class FailureRule(KubeModel):
    """What a pod's failure means for its Job."""

    action: Literal["FailJob", "FailIndex", "Ignore", "Count"]
    on_exit_codes: OnExitCodes | None = None
    on_pod_conditions: tuple[OnPodCondition, ...] = ()


class PodFailurePolicy(KubeModel):
    """Rules that are read in order; the first that matches is applied."""

    rules: tuple[FailureRule, ...]


class SuccessRule(KubeModel):
    """How many indexes must succeed."""

    succeeded_count: int


class SuccessPolicy(KubeModel):
    """When a Job is complete."""

    rules: tuple[SuccessRule, ...]


class JobDetail(KubeModel):
    """The spec of a Job."""

    completion_mode: Literal["Indexed", "NonIndexed"]
    parallelism: int
    completions: int
    success_policy: SuccessPolicy
    max_failed_indexes: int
    backoff_limit_per_index: int
    pod_failure_policy: PodFailurePolicy
    pod_replacement_policy: Literal["Failed"]
    active_deadline_seconds: int | None = None
    ttl_seconds_after_finished: int | None = None
    template: PodTemplate


class Job(KubeObject):
    """A Job. batch/v1."""

    api_version: Literal["batch/v1"] = "batch/v1"
    kind: Literal["Job"] = "Job"
    spec: JobDetail
