"""What cannot work on a platform: refused, or warned about, with the reason."""

from __future__ import annotations

from collections.abc import Sequence

from gpukit.catalog import Catalog, Devices, Platform
from gpukit.errors import PlacementError, did_you_mean
from gpukit.spec import JobSpec

from .model import NodeTerm, Notes

__all__ = ["check_override", "check_platform", "check_selector", "tags_of"]


def tags_of(spec: JobSpec, devices: Devices) -> frozenset[str]:
    """Return the words that a platform's rules know a declaration by."""
    tags: set[str] = {devices.kind}
    capacity = {True: "spot", False: "on-demand", "prefer": "prefer"}[spec.spot]
    tags.add(capacity)
    if devices.count > 1:
        tags.add("multi")
    if devices.kind != "cpu" and not devices.constrained:
        tags.add("any-gpu")
    if devices.mig is not None and "+" in devices.mig:
        tags.add("media-engines")
    if devices.constrained and len(devices.gpus) > 1:
        tags.add("alternatives")
    return frozenset(tags)


def check_platform(spec: JobSpec, devices: Devices, platform: Platform, notes: Notes) -> None:
    """Apply the platform's rules.

    Raises:
        PlacementError: the platform cannot run it.
    """
    tags = tags_of(spec, devices)
    for rule in platform.rules:
        if not rule.concerns(tags, spec.node_selector):
            continue
        message, hint = _filled(rule.message, devices), _filled(rule.hint, devices)
        if rule.action == "refuse":
            raise PlacementError(rule.id, message, f"{hint} ({rule.source})")
        notes.warnings.append(f"{message}; {hint}")


def _filled(text: str, devices: Devices) -> str:
    names = ", ".join(gpu.name for gpu in devices.gpus)
    return text.format(resource=devices.resource, gpus=names, mig=devices.mig)


def check_selector(
    spec: JobSpec, devices: Devices, terms: Sequence[NodeTerm], catalog: Catalog,
    platform: Platform, notes: Notes,
) -> None:  # fmt: skip
    """Refuse a ``node_selector`` that no node can meet beside the rest of the declaration.

    Raises:
        PlacementError: the selector and the rest exclude one another.
    """
    selector = spec.node_selector
    _check_sharing(selector, devices)
    for term in terms:
        value = selector.get(term.key)
        if value is None:
            continue
        admitted = {
            "In": value in term.values,
            "NotIn": value not in term.values,
            "Exists": True,
            "DoesNotExist": False,
        }
        if not admitted[term.operator]:
            raise PlacementError(
                "selector-contradiction",
                f"node_selector asks for {term.key}={value}, and the rest of the declaration for "
                f"{term.key} {term.operator} {', '.join(term.values)}".rstrip(),
                "no node can have both: leave the node_selector out, or change profile= or spot=",
            )
    _check_product(selector, catalog, platform, notes)


def _check_sharing(selector: dict[str, str], devices: Devices) -> None:
    shared = {key: value for key, value in selector.items() if key.endswith("sharing-strategy")}
    for key, value in shared.items():
        if value == "mps" and devices.kind == "mig":
            raise PlacementError(
                "mps-with-mig", f"node_selector asks for {key}=mps, and profile for a MIG slice",
                "MPS works on full GPUs only, not on those with MIG: choose one of the two",
            )  # fmt: skip
        if value in ("mps", "time-slicing", "time-sharing") and devices.kind == "full":
            raise PlacementError(
                "sharing-with-whole", f"node_selector asks for {key}={value}, and profile for "
                "whole GPUs",
                'on such a node nvidia.com/gpu is a share of one: write profile="shared", or leave '
                "the node_selector out",
            )  # fmt: skip


def _check_product(
    selector: dict[str, str], catalog: Catalog, platform: Platform, notes: Notes
) -> None:
    value = selector.get(platform.product_label)
    if value is None:
        return
    labels = [label for gpu in catalog.gpus for label in gpu.products]
    plain = value.partition("-MIG-")[0].removesuffix("-SHARED")
    if plain not in labels:
        longer = next((label for label in labels if label.startswith(plain)), None)
        near = f"did you mean {longer!r}?" if longer else did_you_mean(plain, labels)
        notes.warnings.append(
            f"node_selector: no GPU is known that has {platform.product_label}={value}; "
            + (near or "`kubectl get nodes --show-labels` shows what there is")
        )
    if platform.gpu_labels:
        notes.warnings.append(
            f"node_selector: {platform.product_label} is given to a node after it has booted, so "
            f"{platform.title} starts no node for it; profile= alone names the GPU by labels that "
            "the autoscaler knows"
        )


def check_override(spec: JobSpec, devices: Devices) -> None:
    """Refuse device counts in the pod override that no container can use.

    Raises:
        PlacementError: several MIG devices, or several shares, for one process.
    """
    containers = spec.pod.get("containers")
    for container in containers if isinstance(containers, list) else ():
        resources = container.get("resources") if isinstance(container, dict) else None
        limits = resources.get("limits") if isinstance(resources, dict) else None
        for name, amount in limits.items() if isinstance(limits, dict) else ():
            part = _part_of_gpu(str(name), devices)
            if part and str(amount) not in ("0", "1"):
                raise PlacementError(
                    "override-device-count", f"pod.containers: {name}: {amount}",
                    "a process uses the first MIG device that it sees, and no other: take a "
                    "larger slice, or a whole GPU" if part == "slice" else
                    "more than one share gives no more of the GPU, and most clusters refuse it: "
                    "write 1, or take a whole GPU",
                )  # fmt: skip


def _part_of_gpu(resource: str, devices: Devices) -> str:
    if resource.endswith(".shared") or (devices.kind == "shared" and resource == devices.resource):
        return "share"
    is_slice = resource.startswith("nvidia.com/mig-")
    return "slice" if is_slice or (devices.kind == "mig" and resource == devices.resource) else ""
