"""Which nodes have the devices that are meant: conditions on their labels."""

from __future__ import annotations

from gpukit.catalog import Catalog, Devices, Machine, Platform

from .machines import machine_terms
from .model import NodeTerm, Notes

__all__ = ["choosing_terms", "device_terms"]

_SHOWN = 6
_WHY = {
    "full": "whole GPUs",
    "shared": "time-slicing with renameByDefault: true offers shares under this name",
}
_WHY_MIG = {
    "mixed": "MIG strategy mixed names each profile; + becomes . in it",
    "single": "under the MIG strategy single a slice counts as a GPU, and the label tells",
    "partition": "a slice counts as a GPU, and the node's partition size tells",
}


def device_terms(
    devices: Devices, catalog: Catalog, platform: Platform, notes: Notes
) -> tuple[NodeTerm, ...]:
    """Return the conditions under which a node's devices are the ones that are meant."""
    if devices.resource is None:
        notes.because("resource", "none", "profile cpu asks for no device")
        return ()
    why = _WHY_MIG[platform.mig_strategy] if devices.kind == "mig" else _WHY[devices.kind]
    if devices.kind == "shared" and platform.shared_label:
        why = "a share counts as a GPU, and the node's sharing strategy tells"
    notes.because("resource", f"{devices.resource}: {devices.count}", why, platform.source)
    terms = [*_gpu_terms(devices, catalog, platform, notes)]
    if devices.kind == "full":
        terms += _whole_gpu_terms(devices, platform, notes)
    elif devices.kind == "mig":
        terms += _slice_terms(devices, platform, notes)
    elif platform.shared_label:
        values = platform.shared_values
        terms.append(NodeTerm(key=platform.shared_label, operator="In", values=values))
        notes.because("shared", ", ".join(values), "how the node shares its GPUs", platform.source)
    if devices.constrained and any(gpu.arch == "arm64" for gpu in devices.gpus):
        notes.warnings.append(
            f"{', '.join(g.name for g in devices.gpus if g.arch == 'arm64')} comes with an arm64 "
            "CPU: the image must have a build for it"
        )
    return tuple(terms)


def choosing_terms(
    devices: Devices, catalog: Catalog, platform: Platform
) -> tuple[tuple[NodeTerm, ...], tuple[Machine, ...]]:
    """Return what chooses the GPU, and the machine types that have it where these are known."""
    single = devices.kind == "mig" and platform.mig_strategy == "single"
    if platform.gpu_labels and not single:
        return machine_terms(devices, catalog, platform)
    values = _labels(devices, single=single)
    return (NodeTerm(key=platform.product_label, operator="In", values=values),), ()


def _gpu_terms(
    devices: Devices, catalog: Catalog, platform: Platform, notes: Notes
) -> tuple[NodeTerm, ...]:
    if not devices.constrained:
        return ()
    terms, machines = choosing_terms(devices, catalog, platform)
    if machines:
        shown = ", ".join(m.name for m in machines[:_SHOWN])
        more = f" and {len(machines) - _SHOWN} more" if len(machines) > _SHOWN else ""
        value = "; ".join(f"{t.key} {', '.join(t.values)}" for t in terms)
        why, source = f"machine types {shown}{more}", machines[0].source
    else:
        value, source = ", ".join(terms[0].values), devices.gpus[0].source
        why = f"all values of {platform.product_label} that the name may mean"
        if platform.gpu_labels:
            notes.warnings.append(
                f"{platform.product_label} is given to a node after it has booted: a pool at zero "
                "nodes is not started for a slice under the MIG strategy single"
            )
    notes.because("gpu", value, f"{why}; {platform.from_zero}", source)
    return terms


def _labels(devices: Devices, *, single: bool) -> tuple[str, ...]:
    if single:
        profile = str(devices.mig).replace("+", ".")
        return tuple(f"{product}-MIG-{profile}" for product in devices.products)
    if devices.kind == "shared":  # the suffix is there unless time-slicing renames the resource
        return tuple(label for p in devices.products for label in (p, f"{p}-SHARED"))
    return devices.products


def _whole_gpu_terms(devices: Devices, platform: Platform, notes: Notes) -> list[NodeTerm]:
    terms: list[NodeTerm] = []
    why = []
    if platform.sharing_label:
        values = ("mps", "time-slicing")
        terms.append(NodeTerm(key=platform.sharing_label, operator="NotIn", values=values))
        why.append("on a node that shares its GPUs, the same resource name is a share")
    by_product = devices.constrained and not platform.gpu_labels
    if platform.single_mig_label and not by_product:  # a slice's product name is another one
        terms.append(NodeTerm(key=platform.single_mig_label, operator="DoesNotExist"))
        why.append("under the single MIG strategy it is a slice")
    terms += [NodeTerm(key=key, operator="DoesNotExist") for key in platform.whole_absent]
    if platform.whole_absent:
        why.append("on a node with one of these labels, the same resource name is a part of a GPU")
    if terms:
        notes.because("whole", "true", "; ".join(why), platform.source)
    return terms


def _slice_terms(devices: Devices, platform: Platform, notes: Notes) -> list[NodeTerm]:
    shares = {g.name: g.mig_fraction(str(devices.mig)) for g in devices.gpus}
    notes.because(
        "mig", str(devices.mig),
        ", ".join(f"{share} of {name}" for name, share in shares.items()),
        devices.gpus[0].source,
    )  # fmt: skip
    if platform.mig_strategy != "partition":
        return []
    return [NodeTerm(key=platform.mig_label, operator="In", values=(str(devices.mig),))]
