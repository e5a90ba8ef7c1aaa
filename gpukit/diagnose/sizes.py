"""The verdict on CPU or memory that is more than a node has beside its GPU."""

from __future__ import annotations

from collections.abc import Sequence

from .amounts import exact, show
from .case import Case
from .groups import NodeView
from .nodes import NodeFacts
from .verdict import Fix, Verdict, options

__all__ = ["fitting", "too_big"]

_OPTION = {"cpu": "cpu", "memory": "memory"}
_GIB = 2**30
_LEAST = {"cpu": 100, "memory": 256 * 2**20}  # less than this runs no training


def too_big(case: Case, nearest: Sequence[NodeView], views: Sequence[NodeView]) -> Verdict:
    """Return the verdict that the pod is larger than any node that has the right devices."""
    found = [o for view in nearest for o in view.causes["size"]]
    first = max(found, key=lambda o: (o.total, o.resource))
    words = {"cpu": "CPU", "memory": "memory"}.get(first.resource, first.resource)
    beside = f" beside {case.device}" if case.device else ""
    reason = f"no node has {show(first.resource, first.asked)} of {words}{beside}"
    evidence = tuple(
        f"{o.node.name}: {show(o.resource, o.total)} of {o.resource} when it is empty"
        + (f", {show(o.resource, o.free)} now" if o.free != o.total else "")
        for o in sorted(found, key=lambda o: -o.total)[:4]
    )
    fix = _on(case, [view.node for view in nearest])
    if fix is None:
        name = first.resource
        text = f"ask for less of {name}, at most {show(name, first.total)}"
        pod = {k: v for k, v in (case.declared.get("pod") or {}).items() if k != "containers"}
        asked_there = "containers" in (case.declared.get("pod") or {})
        fix = options(text, pod=pod or None) if asked_there else Fix("advice", text)
    return Verdict("too-big", reason, fix, evidence)


def fitting(case: Case, views: Sequence[NodeView]) -> Fix | None:
    """Return the fix that asks for what is left now beside a free device; None for too little."""
    near = [view.node for view in views if set(view.causes) == {"taken"} and _only_size(view)]
    return _on(case, near, now=True)


def _only_size(view: NodeView) -> bool:
    return all(o.resource in _OPTION for o in view.causes["taken"])


def _on(case: Case, nodes: Sequence[NodeFacts], *, now: bool = False) -> Fix | None:
    """Return the options that fit the roomiest of the nodes; None where none has any room."""
    choices = [found for node in nodes if (found := _sizes(case, node, now=now))]
    if not choices:
        return None
    share, values, node = max(choices, key=lambda choice: (choice[0], choice[2]))
    left = "is left on" if now else "there is on"
    return options(f"what {left} {node}", **values) if share > 0 else None


def _sizes(
    case: Case, node: NodeFacts, *, now: bool
) -> tuple[float, dict[str, str], str] | None:  # fmt: skip
    """Return what to ask for on a node, and the smallest share of a wish that it is."""
    used = case.used(node)
    values, share = {}, 1.0
    for resource, option in _OPTION.items():
        asked = case.shape.requests.get(resource, 0)
        offered = node.allocatable.get(resource, 0)
        free = offered - used.requests.get(resource, 0)
        empty = offered - used.fixed.get(resource, 0)
        room = free if now or free >= empty / 2 else empty
        if asked <= room:
            continue
        rounded = _round(resource, room)
        if rounded < _LEAST[resource]:
            return None
        values[option] = exact(resource, rounded)
        share = min(share, rounded / asked)
    return (share, values, node.name) if values else None


def _round(resource: str, count: int) -> int:
    """Round down to what a person would write: half cores, GiB."""
    step = {"cpu": 500 if count >= 1000 else 100}.get(resource, _GIB if count >= _GIB else 2**20)
    return count // step * step
