"""Recognising the platform from a cluster's nodes, by the marks that the catalog has of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpukit.catalog import Platform
from gpukit.errors import PlacementError

from .nodes import NodeFacts, read_node

__all__ = ["Recognition", "platform_of", "recognise", "recognise_facts"]

_REGION = "topology.kubernetes.io/region"
_STRATEGY = "nvidia.com/mig.strategy"
_SHARED = ("mps", "time-slicing")


@dataclass(frozen=True)
class Recognition:
    """What a cluster's nodes show.

    Attributes:
        platform: the platform's facts, fitted to what the nodes show (MIG strategy, names of
            shared GPUs, region of the prices).
        why: by what it was recognised.
        nodes: the nodes.
        warnings: what does not fit together.
    """

    platform: Platform
    why: str
    nodes: tuple[NodeFacts, ...]
    warnings: tuple[str, ...] = ()

    @property
    def offers(self) -> Mapping[str, int]:
        """Allocatable devices of all nodes, by resource name."""
        total: Counter[str] = Counter()
        for node in self.nodes:
            total.update(node.devices)
        return dict(sorted(total.items()))

    def most(self, resource: str) -> int:
        """Return the largest count of a resource on one node."""
        return max((node.devices.get(resource, 0) for node in self.nodes), default=0)


def recognise(nodes: Iterable[Mapping[str, Any]], platforms: Sequence[Platform]) -> Recognition:
    """Return which platform a cluster's GPU nodes belong to.

    Args:
        nodes: Node objects as the API server sends them.
        platforms: those of the catalog.

    Raises:
        PlacementError: there is no node, or GPU nodes belong to several platforms.
    """
    return recognise_facts([read_node(node) for node in nodes], platforms)


def recognise_facts(facts: Sequence[NodeFacts], platforms: Sequence[Platform]) -> Recognition:
    """Return the same, of nodes that are read already.

    Raises:
        PlacementError: see :func:`recognise`.
    """
    if not facts:
        raise PlacementError(
            "platform-no-nodes", "the cluster has no nodes, so nothing shows what it runs on",
            f"name the platform: {_names(platforms)}",
        )  # fmt: skip
    of_gpus = [node for node in facts if node.has_gpu]
    judged = of_gpus or list(facts)
    found: dict[str, list[NodeFacts]] = {}
    for node in judged:
        found.setdefault(platform_of(node, platforms).name, []).append(node)
    if of_gpus and len(found) > 1:
        counts = ", ".join(f"{len(group)} of {name}" for name, group in sorted(found.items()))
        raise PlacementError(
            "platform-ambiguous", f"the cluster has GPU nodes of several platforms: {counts}",
            f"say which is meant, for example platform={sorted(found)[0]!r}",
        )  # fmt: skip
    by_name = {platform.name: platform for platform in platforms}
    platform = max((by_name[name] for name in found), key=lambda p: p.rank)
    group = found[platform.name]
    what = "nodes with a GPU" if of_gpus else "nodes"
    why = f"{len(group)} of {len(judged)} {what} ({_mark_of(group[0], platform)})"
    warnings = [] if of_gpus else _no_gpu_warning(found, platform)
    fitted, more = _fitted(platform, group)
    return Recognition(fitted, why, tuple(facts), (*warnings, *more))


def platform_of(node: NodeFacts, platforms: Sequence[Platform]) -> Platform:
    """Return the platform that a node belongs to."""
    marked = [
        platform for platform in platforms
        if not platform.marks
        or any(m.fits(node.name, node.labels, node.provider) for m in platform.marks)
    ]  # fmt: skip
    return max(marked, key=lambda platform: platform.rank)


def _mark_of(node: NodeFacts, platform: Platform) -> str:
    for mark in platform.marks:
        if mark.fits(node.name, node.labels, node.provider):
            if mark.label is not None:
                return f"label {mark.label}={node.labels[mark.label]}"
            return f"provider {node.provider.partition(':')[0]}"
    return "no mark of a platform that the catalog knows"


def _names(platforms: Sequence[Platform]) -> str:
    return ", ".join(platform.name for platform in platforms)


def _no_gpu_warning(found: Mapping[str, Sequence[NodeFacts]], platform: Platform) -> list[str]:
    others = sorted(name for name in found if name != platform.name)
    also = f" (there are nodes of {', '.join(others)} as well)" if others else ""
    return [
        f"no node with a GPU is up, so {platform.name} is judged by the other nodes{also}; if GPU "
        "nodes come from elsewhere, name the platform"
    ]


def _fitted(platform: Platform, nodes: Sequence[NodeFacts]) -> tuple[Platform, list[str]]:
    """Return the platform with what differs from cluster to cluster, and what is odd about it."""
    warnings: list[str] = []
    update: dict[str, object] = {
        **_strategy(platform, nodes, warnings),
        **_sharing(platform, nodes),
        **_region(platform, nodes),
    }
    for node in nodes:
        if node.labels.get(platform.product_label, "").endswith("-MIG-INVALID"):
            warnings.append(
                f"node {node.name} offers no GPU: under the MIG strategy single all GPUs of a node "
                "must be divided alike"
            )
    return platform.model_copy(update=update), warnings


def _strategy(
    platform: Platform, nodes: Sequence[NodeFacts], warnings: list[str]
) -> dict[str, object]:
    if platform.mig_strategy == "partition":
        return {}
    seen = {node.labels[_STRATEGY] for node in nodes if _STRATEGY in node.labels}
    if len(seen) > 1:
        warnings.append(
            f"nodes have different MIG strategies; {platform.mig_strategy} is taken for all"
        )
    return {"mig_strategy": next(iter(seen))} if seen in ({"single"}, {"mixed"}) else {}


def _sharing(platform: Platform, nodes: Sequence[NodeFacts]) -> dict[str, object]:
    """Time-slicing without renameByDefault: shares are counted as GPUs, and a label tells."""
    label = platform.sharing_label
    shared = [node for node in nodes if label and node.labels.get(label) in _SHARED]
    renamed = any(name.endswith(".shared") for node in shared for name in node.devices)
    if not shared or renamed:
        return {}
    return {
        "shared_resource": platform.full_resource,
        "shared_label": label,
        "shared_values": _SHARED,
    }


def _region(platform: Platform, nodes: Sequence[NodeFacts]) -> dict[str, object]:
    regions = {node.labels[_REGION] for node in nodes if _REGION in node.labels}
    if not platform.cloud or len(regions) != 1:
        return {}
    elsewhere = (platform.price_region, *platform.price_regions_else)
    return {"price_region": next(iter(regions)), "price_regions_else": elsewhere}
