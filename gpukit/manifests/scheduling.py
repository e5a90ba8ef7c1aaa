"""Where a pod may run: affinity, tolerations, spread. core/v1."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import KubeModel

__all__ = [
    "Affinity", "LabelSelector", "NodeAffinity", "NodeRequirement", "NodeSelector",
    "NodeSelectorTerm", "PodAffinity", "PodAffinityTerm", "PreferredNodes", "SelectorRequirement",
    "Toleration", "TopologySpread", "WeightedPodAffinity",
]  # fmt: skip

Unsatisfiable = Literal["DoNotSchedule", "ScheduleAnyway"]
Honoring = Literal["Honor", "Ignore"]


class NodeRequirement(KubeModel):
    """One condition on a node's labels or fields."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    values: tuple[str, ...] = ()


class NodeSelectorTerm(KubeModel):
    """Conditions that a node meets all of."""

    match_expressions: tuple[NodeRequirement, ...] = ()
    match_fields: tuple[NodeRequirement, ...] = ()


class NodeSelector(KubeModel):
    """Terms that a node meets at least one of."""

    node_selector_terms: tuple[NodeSelectorTerm, ...]


class PreferredNodes(KubeModel):
    """A term that weighs in favour of a node."""

    weight: int
    preference: NodeSelectorTerm


class NodeAffinity(KubeModel):
    """Which nodes: required, and preferred."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    preferred_during_scheduling_ignored_during_execution: tuple[PreferredNodes, ...] = ()


class SelectorRequirement(KubeModel):
    """One condition on an object's labels."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()


class LabelSelector(KubeModel):
    """Which objects, by their labels."""

    match_labels: dict[str, str] = Field(default_factory=dict)
    match_expressions: tuple[SelectorRequirement, ...] = ()


class PodAffinityTerm(KubeModel):
    """Near, or away from, pods that match."""

    label_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    namespaces: tuple[str, ...] = ()
    topology_key: str
    match_label_keys: tuple[str, ...] = ()
    mismatch_label_keys: tuple[str, ...] = ()


class WeightedPodAffinity(KubeModel):
    """A pod affinity term that weighs in favour of a node."""

    weight: int
    pod_affinity_term: PodAffinityTerm


class PodAffinity(KubeModel):
    """Near or away from other pods: required, and preferred."""

    required_during_scheduling_ignored_during_execution: tuple[PodAffinityTerm, ...] = ()
    preferred_during_scheduling_ignored_during_execution: tuple[WeightedPodAffinity, ...] = ()


class Affinity(KubeModel):
    """All of a pod's affinities."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class Toleration(KubeModel):
    """A taint that does not keep the pod away."""

    key: str | None = None
    operator: Literal["Exists", "Equal", "Lt", "Gt"] | None = None
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None


class TopologySpread(KubeModel):
    """How evenly pods spread over a topology."""

    max_skew: int
    topology_key: str
    when_unsatisfiable: Unsatisfiable
    label_selector: LabelSelector | None = None
    min_domains: int | None = None
    node_affinity_policy: Honoring | None = None
    node_taints_policy: Honoring | None = None
    match_label_keys: tuple[str, ...] = ()
