"""Verdicts on a kind of device that no node has, and the nearest kind that one has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gpukit.profile import Profile

from .asking import asking_for
from .case import Case
from .filters import Obstacle, obstacles
from .groups import NodeView, is_gpu_key
from .nodes import GPU_PREFIX, NodeFacts
from .offers import Offer, distance, listed, matches, wanted_memory
from .snapshot import NodeTerm, PodShape
from .verdict import Fix, Verdict, kubectl, options

__all__ = ["free_now", "other_profile", "wrong_platform"]


def other_profile(case: Case, nearest: Sequence[NodeView], views: Sequence[NodeView]) -> Verdict:
    """Return the verdict that no node has such a device, with the nearest that there is."""
    wanted = case.profiles[0]
    asked = " or ".join(str(profile) for profile in case.profiles)
    there = [o for o in case.offers if _same(case, o)]
    evidence = [f"the nodes offer: {listed(case.offers) or 'no GPU'}"]
    if there and max(offer.count for offer in there) < wanted.count:
        most = max(there, key=lambda offer: offer.count)
        reason = (
            f"no node has {wanted.count} of {most.profile()}: {most.node.name} has {most.count}"
        )
        fix = options("one pod runs on one node", profile=most.profile(most.count))
        return Verdict("too-many-gpus", reason, fix, tuple(evidence))
    reason = f"no node offers {case.device or 'a GPU'}"
    found = _nearest(case)
    if found is not None and _same(case, found):
        name = found.resource
        reason = f"the nodes count {asked} as {name}, and the job asks for {case.device}"
        fix = _taking(case, found, "ask for it as the nodes offer it")
        return Verdict("resource-nowhere", reason, fix, tuple(evidence))
    if case.device and any(case.device in offer.resource for offer in case.offers):
        reason = f"no node with {case.device} is {asked}"
    elif wanted.kind == "full" and wanted.gpu:
        reason += f", and so no {asked}"
    evidence += _idle_plugins(case)
    making = _mig_config(case, wanted)
    if found is None:
        fix = making or kubectl(
            "see whether the GPU Operator, or the device plugin, runs on the GPU nodes",
            "get", "pods", "-A", "-l", "app=nvidia-device-plugin-daemonset", "-o", "wide",
        )  # fmt: skip
        return Verdict("resource-nowhere", reason, fix, tuple(evidence))
    fix = _taking(case, found, f"the nearest there is: {_describe(found)}")
    return Verdict(
        "resource-nowhere", reason, fix, tuple(evidence), (making,) if making else ()
    )  # fmt: skip


def wrong_platform(case: Case, nearest: Sequence[NodeView], views: Sequence[NodeView]) -> Verdict:
    """Return the verdict that the manifest was made for another platform's labels."""
    declared = case.declared.get("platform", "generic")
    view = nearest[0]
    obstacle = view.causes["platform"][0]
    offer = next(iter(case.offers_on(view.node)), None)
    name = offer.platform.name if offer else "auto"
    title = f"of {name!r} ({offer.platform.title})" if offer else "of another platform"
    return Verdict(
        "platform-mismatch",
        f"the job was rendered for platform={declared!r}, and the nodes are {title}",
        options("render it for the platform that the nodes belong to", platform=name),
        (f"{view.node.name}: {_said(obstacle)}",
         f"the nodes offer: {listed(case.offers)}"),
    )  # fmt: skip


def _said(obstacle: Obstacle) -> str:
    if obstacle.taint is not None:
        return f"the taint {obstacle.taint} is not tolerated"
    key = obstacle.requirement.key if obstacle.requirement else obstacle.resource
    return f"{key} is not as it is asked for"


def free_now(case: Case) -> Fix | None:
    """Return the fix that takes another device, which is free at this moment."""
    found = _nearest(case, free=True)
    return _taking(case, found, f"free now: {_describe(found)}") if found else None


def _same(case: Case, offer: Offer) -> bool:
    gpu = case.declared.get("gpu")
    return any(matches(offer, profile, gpu, case.catalog) for profile in case.profiles)


def _nearest(case: Case, *, free: bool = False) -> Offer | None:
    """Return the offer that is nearest to what is wanted, on a node that else would fit best.

    Args:
        case: the run.
        free: only what could start at this moment.
    """
    wanted = case.profiles[0]
    memory = wanted_memory(case.profiles, case.declared.get("gpu"), case.catalog)
    ranked = []
    for offer in case.offers:
        if offer.kind != "full" and wanted.count > 1:
            continue
        if (_same(case, offer) and offer.resource == case.device) or not _asking(case, offer):
            continue
        left = obstacles(_shape_for(case, offer), offer.node, case.used(offer.node), case.snapshot)
        if free and left:
            continue
        short = wanted.count - _count(case, offer)
        near = (_weight(left), short, distance(offer, wanted.kind, memory), offer.node.name)
        ranked.append((near, offer))
    return min(ranked, key=lambda item: item[0])[1] if ranked else None


def _weight(left: Sequence[Obstacle]) -> int:
    """Weigh what else is in the way: a device that is taken becomes free, other things do not."""
    return len({o.kind for o in left} - {"taken"})


def _shape_for(case: Case, offer: Offer) -> PodShape:
    """Return the pod's shape as it would be for another device, without the labels of this one."""
    shape = case.shape
    keep = case.declared.get("node_selector") or {}
    requests = {n: c for n, c in shape.requests.items() if not n.startswith(GPU_PREFIX)}
    requests[offer.resource] = _count(case, offer)
    terms = tuple(
        NodeTerm(
            tuple(r for r in t.labels if r.key in keep or not is_gpu_key(case.catalog, r.key)),
            t.fields,
        )
        for t in shape.terms
    )
    selector = {
        key: value for key, value in shape.selector.items()
        if key in keep or not is_gpu_key(case.catalog, key)
    }  # fmt: skip
    free = tuple(t for t in terms if t.labels or t.fields)
    return replace(shape, requests=requests, terms=free, selector=selector)


def _count(case: Case, offer: Offer) -> int:
    """Return how many of an offer to ask for: as many as is wanted, or as one node has."""
    wanted = case.profiles[0]
    return min(wanted.count, offer.count) if offer.kind == "full" == wanted.kind else 1


def _taking(case: Case, offer: Offer, text: str) -> Fix:
    return Fix("options", text, options=_asking(case, offer) or {})


def _asking(case: Case, offer: Offer) -> dict[str, Any] | None:
    return asking_for(
        offer, _count(case, offer), case.declared, case.catalog, case.recognised
    )  # fmt: skip


def _describe(offer: Offer) -> str:
    memory = f", {offer.memory} GB each" if offer.memory else ""
    return f"{offer.count} of {offer.resource} on {offer.node.name}{memory}"


def _idle_plugins(case: Case) -> list[str]:
    """Name the nodes that have a GPU, say their labels, and offer none."""
    names = [node.name for node in case.snapshot.nodes if node.has_gpu and not node.devices]
    shown = ", ".join(names[:3])
    text = f"{shown}: labels of a GPU, and no device is offered; the device plugin is not up there"
    return [text] if names else []


def _mig_config(case: Case, wanted: Profile) -> Fix | None:
    """Return the command that has the GPU Operator's MIG manager cut a card as it is wanted."""
    if wanted.mig is None:
        return None
    for node in case.snapshot.nodes:
        if node.labels.get("nvidia.com/mig.capable") != "true" or not _cuts(case, node, wanted):
            continue
        config = "all-" + wanted.mig.replace("+", ".")
        return kubectl(
            f"cut {node.name}'s GPUs into {wanted.mig}; pods on them have to stop first "
            "(GPU Operator with the MIG manager)",
            "label", "node", node.name, f"nvidia.com/mig.config={config}", "--overwrite",
        )  # fmt: skip
    return None


def _cuts(case: Case, node: NodeFacts, wanted: Profile) -> bool:
    """Tell whether the node's card has the MIG profile."""
    gpus = [offer.gpu for offer in case.offers_on(node) if offer.gpu]
    return any(wanted.mig in gpu.mig for gpu in gpus)
