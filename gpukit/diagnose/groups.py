"""Sorting what keeps a pod off the nodes: which cause each obstacle has, and which node is nearest.

A cause is what a person would change: the profile, the platform, spot or on demand, a selector, a
toleration, the size. Of all nodes those count on which the least has to change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gpukit.catalog import Catalog

from .asking import leads_to
from .case import Case
from .filters import Obstacle, obstacles
from .nodes import GPU_PREFIX, NodeFacts
from .offers import matches
from .snapshot import PodShape

__all__ = ["NodeView", "is_capacity_key", "is_gpu_key", "nearest_views", "view_nodes"]

_COST = {
    "taken": 1, "cordoned": 2, "silent": 3, "taint": 3, "capacity": 3, "size": 3, "selector": 3,
    "volume": 4, "platform": 5, "profile": 6,
}  # fmt: skip
"""What each cause weighs: a node that only has to become free is nearest."""

_OF_NODES = (
    "not-ready", "unreachable", "network-unavailable", "memory-pressure", "disk-pressure",
    "pid-pressure", "out-of-service",
)  # fmt: skip


@dataclass(frozen=True)
class NodeView:
    """A node, and what keeps the pod off it, by cause."""

    node: NodeFacts
    causes: Mapping[str, tuple[Obstacle, ...]]

    @property
    def cost(self) -> int:
        """What it weighs altogether; 0 where the pod fits."""
        return sum(_COST[cause] for cause in self.causes)

    @property
    def worst(self) -> str:
        """The cause that weighs most."""
        return max(self.causes, key=lambda cause: (_COST[cause], cause))


def view_nodes(case: Case, shape: PodShape | None = None) -> list[NodeView]:
    """Return every node with what keeps a pod off it.

    Args:
        case: the run.
        shape: of the pod; default: the run's own.
    """
    shape = shape or case.shape
    return [
        NodeView(
            node, _by_cause(case, node, obstacles(shape, node, case.used(node), case.snapshot))
        )
        for node in case.snapshot.nodes
    ]


def nearest_views(views: Sequence[NodeView]) -> list[NodeView]:
    """Return the nodes on which the least is in the way; those with the right devices first."""
    right = [v for v in views if not {"profile", "platform"} & set(v.causes)] or list(views)
    least = min((view.cost for view in right), default=0)
    return [view for view in right if view.cost == least]


def _by_cause(
    case: Case, node: NodeFacts, found: Iterable[Obstacle]
) -> dict[str, tuple[Obstacle, ...]]:
    causes: dict[str, tuple[Obstacle, ...]] = {}
    for obstacle in found:
        cause = _cause(case, node, obstacle)
        causes[cause] = (*causes.get(cause, ()), obstacle)
    return causes


def _cause(case: Case, node: NodeFacts, obstacle: Obstacle) -> str:
    if obstacle.kind == "taint" and obstacle.taint is not None:
        key = obstacle.taint.key
        if key.rpartition("/")[2] in _OF_NODES and key.startswith("node.kubernetes.io/"):
            return "silent"
        return _of_taint(case, node, key)
    if obstacle.kind in ("absent", "small"):
        if obstacle.resource.startswith(GPU_PREFIX):
            return _wrong_kind(case, node)
        return "size"
    if obstacle.kind == "label" and obstacle.requirement is not None:
        return _of_label(case, node, obstacle.requirement.key)
    return obstacle.kind


def _of_taint(case: Case, node: NodeFacts, key: str) -> str:
    """Say what a taint is about; one that its own platform's rendering tolerates, the platform."""
    spot = any(t.key == key for p in case.catalog.platforms for t in p.spot_taints)
    if spot and case.declared.get("spot", False) is False:
        return "capacity"
    own = next((offer.platform for offer in case.offers_on(node)), None)
    if own is not None and any(t.key == key for t in (*own.taints, *own.spot_taints)):
        return _platform_if_foreign(case, node) or "taint"
    return "taint"


def _of_label(case: Case, node: NodeFacts, key: str) -> str:
    if key in (case.declared.get("node_selector") or {}):
        return "selector"
    if is_capacity_key(case.catalog, key):
        return _platform_if_foreign(case, node) or "capacity"
    if is_gpu_key(case.catalog, key):
        return _wrong_kind(case, node)
    if any(label.key == key for p in case.catalog.platforms for label in p.node_labels):
        return "platform"
    return "selector"


def _wrong_kind(case: Case, node: NodeFacts) -> str:
    """Say whether the node has what is wanted, under another platform's names, or not at all."""
    has = any(
        matches(offer, profile, case.declared.get("gpu"), case.catalog)
        and offer.count >= profile.count
        for offer in case.offers_on(node)
        for profile in case.profiles
    )
    return (_platform_if_foreign(case, node) if has else "") or "profile"


def _platform_if_foreign(case: Case, node: NodeFacts) -> str:
    """Say "platform" where the node is of another one, by which what is wanted is to be had."""
    declared = case.declared.get("platform", "generic" if case.declared else "auto")
    gpu = case.declared.get("gpu")
    for offer in case.offers_on(node):
        if declared in (offer.platform.name, "auto"):
            continue
        if any(
            matches(offer, profile, gpu, case.catalog)
            and leads_to(offer, str(profile), gpu, offer.platform, case.catalog)
            for profile in case.profiles
        ):
            return "platform"
    return ""


def is_gpu_key(catalog: Catalog, key: str) -> bool:
    """Tell whether a node label says which GPU a node has, or how it is divided."""
    return any(
        key in (p.product_label, p.sharing_label, p.single_mig_label, p.mig_label, p.shared_label)
        or key in p.whole_absent or key in p.gpu_labels
        for p in catalog.platforms
    )  # fmt: skip


def is_capacity_key(catalog: Catalog, key: str) -> bool:
    """Tell whether a node label says that a node is spot capacity, or not."""
    labels = (label for p in catalog.platforms for label in (*p.spot_labels, *p.spot_required))
    return any(label.key == key for label in labels)
