"""Which capacity may run the pod: spot or on-demand, and the taints that are tolerated."""

from __future__ import annotations

from typing import Literal

from gpukit.catalog import Devices, Platform, Taint
from gpukit.errors import PlacementError
from gpukit.naming import validate_label_key, validate_label_value
from gpukit.spec import JobSpec, TolerationSpec

from .model import NodeTerm, Notes

__all__ = ["capacity_terms", "tolerated"]

_NODE_LOST = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def capacity_terms(
    spec: JobSpec, platform: Platform, notes: Notes
) -> tuple[tuple[NodeTerm, ...], tuple[NodeTerm, ...]]:
    """Return the conditions that spot nodes are required or avoided by, and preferred by."""
    terms = [(label, NodeTerm(key=label.key, operator="In", values=(label.value,)))
             for label in platform.spot_labels]  # fmt: skip
    if spec.spot is False:
        for label, _ in terms:
            if spec.node_selector.get(label.key) == label.value:
                raise PlacementError(
                    "spot-selector", f"node_selector asks for {label.key}={label.value}, a spot "
                    "node, and spot=False for none",
                    'write spot=True, or spot="prefer"',
                )  # fmt: skip
        if not platform.spot_avoided:
            why = "spot nodes have a taint, which is not tolerated"
            notes.because("spot", "false", why, platform.spot_source)
            return (), ()
        notes.because(
            "spot", "false", "nodes with a known spot label are avoided", platform.spot_source
        )
        avoid = tuple(term.model_copy(update={"operator": "NotIn"}) for _, term in terms)
        return avoid, ()
    preferred = tuple(term for _, term in terms)
    if spec.spot == "prefer" or not platform.spot_required:
        notes.because(
            "spot", "prefer" if spec.spot == "prefer" else "true",
            "nodes with a known spot label come first, their taints are tolerated",
            platform.spot_source,
        )  # fmt: skip
        if spec.spot is True and not spec.node_selector:
            notes.warnings.append(
                f"platform {platform.name} has no label that all spot nodes carry: spot nodes are "
                "preferred, not required; to require them, say in node_selector how your cluster "
                'marks them, for example {"karpenter.sh/capacity-type": "spot"}'
            )
        return (), preferred
    notes.because("spot", "true", "only nodes with the platform's spot label",
                  platform.spot_source)  # fmt: skip
    required = platform.spot_required
    return tuple(NodeTerm(key=r.key, operator="In", values=(r.value,)) for r in required), ()


def tolerated(
    spec: JobSpec, devices: Devices, platform: Platform, notes: Notes
) -> tuple[TolerationSpec, ...]:
    """Return every taint that is tolerated, and say how long a lost node is waited for."""
    wait = 30 if spec.spot is not False else 60
    notes.because(
        "node_lost", f"{wait}s",
        "the API server's own 300 s would keep the run on a node that is gone", "kubernetes/api",
    )  # fmt: skip
    found = [
        TolerationSpec(key=key, operator="Exists", effect="NoExecute", tolerationSeconds=wait)
        for key in _NODE_LOST
    ]
    if devices.resource is not None:  # Exists: the value is "present", "true" or empty
        gpu = TolerationSpec(key=platform.gpu_taint, operator="Exists", effect="NoSchedule")
        found.append(gpu)
        found += [_tolerate(taint) for taint in platform.taints]
    if devices.constrained and any(gpu.arch == "arm64" for gpu in devices.gpus):
        found.append(TolerationSpec(key="kubernetes.io/arch", value="arm64", effect="NoSchedule"))
    if spec.spot is not False:
        found += [_tolerate(taint) for taint in platform.spot_taints]
    for toleration in spec.tolerations:
        _check_toleration(toleration)
    return tuple(dict.fromkeys((*found, *spec.tolerations)))


def _tolerate(taint: Taint) -> TolerationSpec:
    operator: Literal["Equal", "Exists"] = "Equal" if taint.value else "Exists"
    return TolerationSpec(key=taint.key, operator=operator, value=taint.value, effect=taint.effect)


def _check_toleration(toleration: TolerationSpec) -> None:
    """Refuse what the API server would refuse, by the rules of core/v1 Toleration."""
    exists = toleration.operator == "Exists"
    if exists and toleration.value:
        raise PlacementError(
            "toleration-value", f"tolerations: Exists and the value {toleration.value!r}",
            'Exists means any value: leave value out, or write operator="Equal"',
        )  # fmt: skip
    if not exists and not toleration.key:
        raise PlacementError(
            "toleration-key", "tolerations: Equal without a key",
            'write the taint\'s key, or operator="Exists" to tolerate every taint',
        )  # fmt: skip
    if toleration.tolerationSeconds is not None and toleration.effect != "NoExecute":
        raise PlacementError(
            "toleration-seconds", f"tolerations: tolerationSeconds={toleration.tolerationSeconds} "
            f"with effect={toleration.effect!r}",
            "only NoExecute taints end a running pod, so only they have a time: set "
            'effect="NoExecute", or leave tolerationSeconds out',
        )  # fmt: skip
    if toleration.key:
        validate_label_key(toleration.key, "tolerations")
    if toleration.value:
        validate_label_value(toleration.value, f"tolerations[{toleration.key}]")
