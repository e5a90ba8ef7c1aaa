"""The scheduler's filters, computed from nodes and pods: what keeps a pod off each node.

They follow kube-scheduler's plug-ins of 1.37: NodeUnschedulable, TaintToleration, NodeAffinity,
NodeResourcesFit, VolumeBinding and VolumeZone. What they do not follow (pod affinity, topology
spread, device claims) is named in ``PodShape.beyond``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .nodes import NodeFacts, NodeTaint
from .snapshot import (
    ClaimFacts,
    ClusterSnapshot,
    NodeTerm,
    PodFacts,
    PodShape,
    Requirement,
    TolerationFacts,
    VolumeFacts,
)

__all__ = ["NO_PROVISIONER", "Obstacle", "Usage", "meets", "obstacles", "tolerates", "usage_of"]

_PODS = "pods"
_BLOCKING = ("NoSchedule", "NoExecute")
_CORDON = "node.kubernetes.io/unschedulable"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
"""The provisioner of classes whose volumes are made by hand."""


@dataclass(frozen=True)
class Obstacle:
    """One thing that keeps the pod off one node.

    Attributes:
        kind: ``cordoned``, ``taint``, ``label`` (a selector or affinity), ``absent`` (the node has
            none of the resource), ``small`` (less than is asked for, even when empty), ``taken``
            (used by others), ``volume`` (its volume is elsewhere).
        node: the node.
        taint: that is not tolerated.
        requirement: that the labels do not meet.
        resource: that is short.
        asked, total, free: of the resource: asked for, on the empty node, and left now.
        volume: name of the claim that cannot be used there.
    """

    kind: str
    node: NodeFacts
    taint: NodeTaint | None = None
    requirement: Requirement | None = None
    resource: str = ""
    asked: int = 0
    total: int = 0
    free: int = 0
    volume: str = ""


@dataclass(frozen=True)
class Usage:
    """What is used on a node.

    Attributes:
        requests: of all its pods that have not ended; ``pods`` is their number.
        fixed: the part of it that is always there: pods of DaemonSets and of the node itself.
        pods: those that could go.
    """

    requests: Mapping[str, int] = field(default_factory=dict)
    fixed: Mapping[str, int] = field(default_factory=dict)
    pods: tuple[PodFacts, ...] = ()


def usage_of(snapshot: ClusterSnapshot) -> dict[str, Usage]:
    """Return what is used on each node that has pods."""
    on_node: dict[str, list[PodFacts]] = {}
    for pod in snapshot.pods:
        if pod.node and not pod.ended:
            on_node.setdefault(pod.node, []).append(pod)
    return {name: _usage(pods) for name, pods in on_node.items()}


def _usage(pods: Sequence[PodFacts]) -> Usage:
    fixed = [pod for pod in pods if pod.owner[0] in ("DaemonSet", "Node")]
    rest = tuple(pod for pod in pods if pod not in fixed)
    return Usage(_sum(pods), _sum(fixed), rest)


def _sum(pods: Iterable[PodFacts]) -> dict[str, int]:
    total: dict[str, int] = {}
    for pod in pods:
        for name, count in {**pod.shape.requests, _PODS: 1}.items():
            total[name] = total.get(name, 0) + count
    return total


def obstacles(
    shape: PodShape, node: NodeFacts, usage: Usage, snapshot: ClusterSnapshot
) -> list[Obstacle]:
    """Return everything that keeps a pod of this shape off a node; empty where it fits."""
    found: list[Obstacle] = []
    if node.cordoned and not _tolerates_cordon(shape):
        found.append(Obstacle("cordoned", node))
    for taint in node.taints:
        if taint.key == _CORDON and node.cordoned:
            continue  # the same thing, said twice
        if taint.effect in _BLOCKING and not tolerates(shape.tolerations, taint):
            found.append(Obstacle("taint", node, taint=taint))
    found += [Obstacle("label", node, requirement=r) for r in unmet(shape, node)]
    found += _resources(shape, node, usage)
    claims = {claim.name: claim for claim in snapshot.claims}
    for name in shape.claims:
        if name in claims and not _usable_on(claims[name], node, snapshot):
            found.append(Obstacle("volume", node, volume=name))
    return found


def _tolerates_cordon(shape: PodShape) -> bool:
    return tolerates(shape.tolerations, NodeTaint(_CORDON, "", "NoSchedule"))


def tolerates(tolerations: Iterable[TolerationFacts], taint: NodeTaint) -> bool:
    """Tell whether one of the tolerations is for the taint (core/v1 ToleratesTaint)."""
    for t in tolerations:
        if t.effect and t.effect != taint.effect:
            continue
        if t.key and t.key != taint.key:
            continue
        if t.operator == "Exists" or (t.key and t.value == taint.value):
            return True
    return False


def unmet(shape: PodShape, node: NodeFacts) -> list[Requirement]:
    """Return the conditions on labels that a node does not meet; of several terms, the nearest's.

    A selector entry counts as a condition of one value.
    """
    found = [
        Requirement(key, "In", (value,))
        for key, value in shape.selector.items()
        if node.labels.get(key) != value
    ]
    if shape.terms:
        of_terms = [_unmet_of(term, node) for term in shape.terms]
        nearest: list[Requirement] = min(of_terms, key=len)
        found += nearest
    return found


def _unmet_of(term: NodeTerm, node: NodeFacts) -> list[Requirement]:
    if not term.labels and not term.fields:  # an empty term matches nothing
        return [Requirement("(an empty term)", "In")]
    by_name = {"metadata.name": node.name}
    return [
        *(r for r in term.labels if not meets(node.labels, r)),
        *(r for r in term.fields if not meets(by_name, r)),
    ]


def meets(labels: Mapping[str, str], requirement: Requirement) -> bool:
    """Tell whether labels meet a condition (apimachinery, labels.Requirement.Matches)."""
    value = labels.get(requirement.key)
    operator, wanted = requirement.operator, requirement.values
    if operator == "In":
        return value is not None and value in wanted
    if operator == "NotIn":
        return value is None or value not in wanted
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    if value is None or not _is_number(value) or not wanted or not _is_number(wanted[0]):
        return False
    return int(value) > int(wanted[0]) if operator == "Gt" else int(value) < int(wanted[0])


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdigit()


def _resources(shape: PodShape, node: NodeFacts, usage: Usage) -> list[Obstacle]:
    found = []
    for name, asked in sorted({**shape.requests, _PODS: 1}.items()):
        offered = node.allocatable.get(name, 0)
        if name == _PODS and name not in node.allocatable:
            continue  # only tests make such nodes
        free = offered - usage.requests.get(name, 0)
        if asked <= free:
            continue
        empty = offered - usage.fixed.get(name, 0)
        kind = "absent" if offered == 0 else "small" if asked > empty else "taken"
        found.append(
            Obstacle(kind, node, resource=name, asked=asked, total=empty, free=max(free, 0))
        )
    return found


def _usable_on(claim: ClaimFacts, node: NodeFacts, snapshot: ClusterSnapshot) -> bool:
    """Tell whether a claim's volume is, or can be, where the node is."""
    volumes = {volume.name: volume for volume in snapshot.volumes}
    if claim.volume:
        bound = volumes.get(claim.volume)
        return bound is None or _reaches(bound.terms, node)
    kind = next((c for c in snapshot.classes if c.name == claim.storage_class), None)
    if kind is None or not kind.late:
        return True  # judged for the claim as a whole, before any node
    free = (v for v in snapshot.volumes if v.phase == "Available" and _serves(v, claim))
    if any(_reaches(volume.terms, node) for volume in free):
        return True
    return kind.provisioner != NO_PROVISIONER and _reaches(kind.topologies, node)


def _serves(volume: VolumeFacts, claim: ClaimFacts) -> bool:
    return (
        volume.storage_class == (claim.storage_class or "")
        and set(claim.modes) <= set(volume.modes)
        and volume.size >= claim.size
    )


def _reaches(terms: Sequence[NodeTerm], node: NodeFacts) -> bool:
    return not terms or any(not _unmet_of(term, node) for term in terms)
