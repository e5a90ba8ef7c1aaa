"""Verdicts on a pod that no node takes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .autoscalers import with_autoscaler
from .case import Case
from .filters import Obstacle
from .groups import NodeView, nearest_views, view_nodes
from .holders import held
from .nodes import NodeFacts
from .profiles import other_profile, wrong_platform
from .sizes import too_big
from .snapshot import Requirement
from .storage import far_volume
from .times import span
from .verdict import Fix, Verdict, kubectl, options, wait

__all__ = ["unscheduled"]

_PATIENCE = 60.0  # seconds that the scheduler has to see what has changed


def unscheduled(case: Case) -> Verdict | None:
    """Return why no node takes the pod; None where one does, or will in a moment."""
    if not case.snapshot.saw("nodes"):
        return _unseen(case)
    views = view_nodes(case)
    if not views:
        return with_autoscaler(case, _no_nodes())
    if any(view.cost == 0 for view in views):
        return _fits(case, next(view.node for view in views if view.cost == 0))
    nearest = nearest_views(views)
    verdict = _of_cause(case, nearest, views)
    rest = [v for v in views if v.worst != nearest[0].worst and v.cost <= nearest[0].cost + 3]
    if verdict.fix.kind == "wait" and rest:  # what one could do rather than wait
        other = _of_cause(case, nearest_views(rest), views)
        if other.fix.kind in ("options", "kubectl"):
            verdict = replace(verdict, others=(*verdict.others, other.fix))
    return with_autoscaler(case, verdict)


def _of_cause(case: Case, nearest: Sequence[NodeView], views: Sequence[NodeView]) -> Verdict:
    cause = max((view.worst for view in nearest), key=lambda c: list(_VERDICTS).index(c))
    return _VERDICTS[cause](case, [v for v in nearest if cause in v.causes], views)


_Find = Callable[[Case, Sequence[NodeView], Sequence[NodeView]], Verdict]


def _cordoned(case: Case, nearest: Sequence[NodeView], views: Sequence[NodeView]) -> Verdict:
    names = [view.node.name for view in nearest]
    return Verdict(
        "node-cordoned", f"the {_nodes(names)} that would fit {_are(names)} cordoned: no new pods",
        kubectl("let pods onto it again, once whoever cordoned it is done", "uncordon", names[0]),
        (f"spec.unschedulable of {_join(names)}",),
    )  # fmt: skip


def _silent(case: Case, nearest: Sequence[NodeView], views: Sequence[NodeView]) -> Verdict:
    found = [o for view in nearest for o in view.causes["silent"]]
    names = list(dict.fromkeys(o.node.name for o in found))
    taints = ", ".join(dict.fromkeys(str(o.taint) for o in found))
    since = case.snapshot.ago(nearest[0].node.since)
    said = f" for {span(since)}" if since is not None and not nearest[0].node.ready else ""
    return Verdict(
        "node-not-ready", f"the {_nodes(names)} that would fit {_are(names)} not in order{said}",
        kubectl("see what the node says; when its machine is gone for good, delete the node",
                "describe", "node", names[0]),
        (f"{_join(names)}: {taints}",),
        (wait("a node that comes back takes the pod"),),
    )  # fmt: skip


def _tainted(case: Case, nearest: Sequence[NodeView], views: Sequence[NodeView]) -> Verdict:
    view = nearest[0]
    taints = [o.taint for o in view.causes["taint"] if o.taint is not None]
    more = [
        {"key": t.key, "operator": "Exists", "effect": t.effect}
        if not t.value
        else {"key": t.key, "operator": "Equal", "value": t.value, "effect": t.effect}
        for t in taints
    ]
    names = [v.node.name for v in nearest]
    words = ", ".join(str(taint) for taint in taints)
    return Verdict(
        "taint-not-tolerated",
        f"the pod does not tolerate the taint of the {_nodes(names)} that would fit",
        Fix("options", "tolerate it, if the node is meant for jobs such as this",
            options=_tolerating(case.declared, more)),
        (f"{view.node.name}: {words}",),
        (kubectl("take the taint away, if nobody needs it", "taint", "node", view.node.name,
                 *(f"{t.key}:{t.effect}-" for t in taints)),),
    )  # fmt: skip


def _tolerating(declared: Mapping[str, Any], more: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the options that tolerate more; tolerations of a pod override would replace them."""
    now = [{k: v for k, v in t.items() if v is not None} for t in declared.get("tolerations") or ()]
    pod = declared.get("pod") or {}
    if "tolerations" not in pod:
        return {"tolerations": [*now, *more]}
    rest = {key: value for key, value in pod.items() if key != "tolerations"}
    return {"pod": rest or None, "tolerations": [*now, *pod["tolerations"], *more]}


def _capacity(case: Case, nearest: Sequence[NodeView], views: Sequence[NodeView]) -> Verdict:
    view = nearest[0]
    said = ", ".join(_capacity_of(obstacle) for obstacle in view.causes["capacity"])
    names = [v.node.name for v in nearest]
    if case.declared.get("spot") is True:
        reason = f"spot=True, and the {_nodes(names)} that would fit {_are(names)} no spot capacity"
        text = "take spot nodes first, and others where there is none"
    else:
        reason = f"the {_nodes(names)} that would fit {_are(names)} spot, and spot is not asked for"
        text = "take spot nodes too: an interruption then costs at most checkpoint_every"
    return Verdict(
        "spot-mismatch", reason, options(text, spot="prefer"), (f"{view.node.name}: {said}",)
    )


def _capacity_of(obstacle: Obstacle) -> str:
    if obstacle.requirement is None:
        return f"taint {obstacle.taint}"
    key = obstacle.requirement.key
    value = obstacle.node.labels.get(key)
    return f"no label {key}" if value is None else f"{key}={value}"


def _selector(case: Case, nearest: Sequence[NodeView], views: Sequence[NodeView]) -> Verdict:
    found = [o for view in nearest for o in view.causes["selector"] if o.requirement is not None]
    first = found[0].requirement or Requirement("", "")
    values = _values(first.key, [view.node for view in views])
    there = _values(first.key, [view.node for view in nearest])
    evidence = (
        f"asked for: {_condition(first)}",
        f"values of {first.key} that exist: "
        + (", ".join(f"{value} ({_some(names)})" for value, names in values.items()) or "none"),
    )
    reason = f"no node that would fit has {_condition(first)}"
    fix, others = _selector_fix(case, first, there, nearest[0].node)
    return Verdict("selector-matches-nothing", reason, fix, evidence, others)


def _selector_fix(
    case: Case, asked: Requirement, there: Mapping[str, Sequence[str]], node: NodeFacts
) -> tuple[Fix, tuple[Fix, ...]]:
    value = asked.values[0] if asked.values else ""
    label = kubectl(
        "give the node the label, if it is such a node", "label", "node", node.name,
        f"{asked.key}={value}", "--overwrite",
    )  # fmt: skip
    near = next(iter(difflib.get_close_matches(value, there, 1, 0.0)), None)
    override = case.declared.get("pod") or {}
    if asked.key in (override.get("nodeSelector") or {}):
        selector = {k: v for k, v in override["nodeSelector"].items() if k != asked.key}
        if near is not None:
            selector[asked.key] = near
        rest = {**override, "nodeSelector": selector}
        return options("change the pod override", pod=rest), (label,)
    if asked.key not in (case.declared.get("node_selector") or {}):
        if asked.operator == "In" and value:
            return label, ()
        return Fix("advice", f"change the condition {_condition(asked)} of the pod"), ()
    if near is not None:
        text = f"{asked.key}={near} exists: {_some(there[near])}"
        return options(text, node_selector={asked.key: near}), (label,)
    return options("ask for no such label", node_selector={asked.key: None}), (label,)


def _values(key: str, nodes: Sequence[NodeFacts]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for node in nodes:
        if key in node.labels:
            found.setdefault(node.labels[key], []).append(node.name)
    return dict(sorted(found.items()))


def _condition(requirement: Requirement | None) -> str:
    if requirement is None:
        return ""
    if requirement.operator == "In" and len(requirement.values) == 1:
        return f"{requirement.key}={requirement.values[0]}"
    return f"{requirement.key} {requirement.operator} {', '.join(requirement.values)}".strip()


_VERDICTS: dict[str, _Find] = {
    "taken": held,
    "cordoned": _cordoned,
    "silent": _silent,
    "taint": _tainted,
    "capacity": _capacity,
    "size": too_big,
    "selector": _selector,
    "volume": far_volume,
    "platform": wrong_platform,
    "profile": other_profile,
}
"""What is said of each cause, those that weigh least first."""


def _fits(case: Case, node: NodeFacts) -> Verdict | None:
    """Judge a pod that fits a node and is not there: the scheduler may know more than this does."""
    pod = case.pod
    if pod is None:
        return None
    status, _, words = pod.scheduled
    if not status:
        if case.waited < _PATIENCE:
            return None
        return Verdict(
            "no-scheduler", f"no scheduler looks at the pod: it asks for {pod.shape.scheduler!r}",
            options("leave it to the cluster's own scheduler", pod=_without(case, "schedulerName"))
            if "schedulerName" in (case.declared.get("pod") or {})
            else kubectl("see whether the scheduler runs", "get", "pods", "-n", "kube-system"),
            (f"{pod.title} was made {case.waited:.0f} s ago and has no condition PodScheduled",),
        )  # fmt: skip
    if not case.snapshot.saw("pods"):
        gap = next(g for g in case.snapshot.gaps if g.what == "pods")
        return Verdict(
            "scheduler-refuses", "no node takes the pod now, and who holds what may not be read",
            wait("the nodes have what is asked for, so the pod starts when enough of it is free"),
            (f"the scheduler says: {words}", f"the API server says: {gap.words}"), waiting=True,
        )  # fmt: skip
    if (case.snapshot.ago(pod.judged) or 0.0) < _PATIENCE and case.waited < 2 * _PATIENCE:
        return None
    beyond = ", ".join(pod.shape.beyond)
    because = f"; not computed here: {beyond}" if beyond else ""
    return Verdict(
        "scheduler-refuses", "the scheduler takes no node for the pod, though one seems to fit",
        kubectl("read what it says", "describe", "pod", pod.name, admin=False),
        (f"{node.name} seems to fit{because}", f"the scheduler says: {words}"),
    )  # fmt: skip


def _without(case: Case, key: str) -> dict[str, Any] | None:
    rest = {k: v for k, v in (case.declared.get("pod") or {}).items() if k != key}
    return rest or None


def _unseen(case: Case) -> Verdict | None:
    pod = case.pod
    if pod is None or pod.scheduled[0] != "False":
        return None
    gap = next(g for g in case.snapshot.gaps if g.what == "nodes")
    return Verdict(
        "scheduler-refuses", "no node takes the pod, and the nodes may not be read to say why",
        kubectl("let people read nodes", "create", "clusterrole", "gpukit-nodes",
                "--verb=get,list", "--resource=nodes"),
        (f"the scheduler says: {pod.scheduled[2]}", f"the API server says: {gap.words}"),
    )  # fmt: skip


def _no_nodes() -> Verdict:
    return Verdict(
        "no-nodes", "the cluster has no nodes",
        kubectl("see whether any come", "get", "nodes", "--watch", admin=False),
    )  # fmt: skip


def _nodes(names: Sequence[str]) -> str:
    return "node" if len(names) == 1 else f"{len(names)} nodes"


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _join(names: Sequence[str], shown: int = 4) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _some(names: Sequence[str]) -> str:
    return _join(list(names), 2)
