"""What an autoscaler may still do for a pod that no node takes.

Cluster Autoscaler and Karpenter say what they do in events of the pod; until they do, a pool that
is at zero nodes cannot be seen. So a verdict on a cloud is not final at once.
"""

from __future__ import annotations

from dataclasses import replace

from gpukit.catalog import Platform

from .case import Case
from .platforms import platform_of
from .snapshot import EventFacts
from .times import span
from .verdict import Verdict, wait

__all__ = ["with_autoscaler"]

_STARTING = ("TriggeredScaleUp", "Nominated")
_REFUSED = ("NotTriggerScaleUp",)
_BOOT = 900.0
"""Seconds that a node may take: Cluster Autoscaler's own --max-node-provision-time is 15 min."""

_SILENT = 120.0
"""Seconds within which an autoscaler says what it does; its own loops are 10 to 60 s."""

_NEW_NODE_HELPS = frozenset(
    ("resource-nowhere", "too-many-gpus", "gpu-taken", "cpu-taken", "memory-taken", "pods-taken",
     "spot-mismatch", "too-big", "selector-matches-nothing", "no-nodes", "volume-elsewhere")
)  # fmt: skip


def with_autoscaler(case: Case, verdict: Verdict) -> Verdict:
    """Return the verdict, or the one that a node is on its way; with what the autoscaler says."""
    if verdict.id not in _NEW_NODE_HELPS:
        return verdict
    started = next(iter(case.events(*_STARTING)), None)
    ago = None if started is None else case.snapshot.ago(started.seen)
    if started is not None and ago is not None and ago < _BOOT:
        return Verdict(
            "node-starting", "a node for the pod is being started",
            wait("a GPU node takes 2 to 10 minutes until its driver and device plugin are up"),
            (f"{started.source or 'the autoscaler'}, {span(ago)} ago: {started.message}",
             f"until then {verdict.reason}"), (verdict.fix, *verdict.others), waiting=True,
        )  # fmt: skip
    said = next((e for e in case.events(*_REFUSED)), None) or _karpenter(case)
    if said is not None:
        words = f"{said.source or 'the autoscaler'} starts no node: {said.message}"
        return replace(verdict, evidence=(*verdict.evidence, words))
    platform = _autoscaled(case)
    if platform is None or case.waited > _SILENT:
        return verdict
    if (blind := _blind(case, platform)) is not None:
        return replace(verdict, evidence=(*verdict.evidence, blind))
    return replace(
        verdict, fix=wait(
            f"an autoscaler ({platform.title}) may start a node for it, and would say so within "
            f"{span(_SILENT)}; "
            f"the pod has waited for {span(case.waited)}"
        ),
        others=(verdict.fix, *verdict.others), waiting=True,
    )  # fmt: skip


def _karpenter(case: Case) -> EventFacts | None:
    return next((e for e in case.events("FailedScheduling") if "karpenter" in e.source), None)


def _autoscaled(case: Case) -> Platform | None:
    """Return the platform of a cloud whose pools can be at zero; None on machines of one's own."""
    platforms = {p.name: p for p in case.catalog.platforms}
    declared = platforms.get(case.declared.get("platform", ""))
    if declared is not None and declared.cloud:
        return declared
    seen = [platform_of(node, case.catalog.platforms) for node in case.snapshot.nodes]
    return next((p for p in seen if p.cloud), None)


def _blind(case: Case, platform: Platform) -> str | None:
    """Return why the autoscaler cannot know that a new node would help; None where it can."""
    kind = case.profiles[0].kind
    rules = (r for r in platform.rules if r.action == "warn" and set(r.when) == {kind})
    rule = next((r for r in rules if "zero" in r.message or "starts no node" in r.message), None)
    if rule is None:
        return None
    gpus = str(case.profiles[0])
    return rule.message.format(resource=case.device, gpus=gpus, mig=case.profiles[0].mig)
