"""Whether the pod gets onto a node: taints, labels of products."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpukit.lint.documents import dig, listing, path_text
from gpukit.lint.model import Edit, Fix, Hit, Steps
from gpukit.lint.workloads import Context, Workload

from .types import JobChecks, ManifestChecks, WorkloadChecks

__all__ = ["JOBS", "MANIFESTS", "WORKLOADS"]

_TAINT = "nvidia.com/gpu"
_PRODUCT = "nvidia.com/gpu.product"
_EXISTS = {"key": _TAINT, "operator": "Exists", "effect": "NoSchedule"}
_OF_NODES = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
_GKE = "cloud.google.com/"
_AUTOSCALED = (
    "karpenter.sh/", "karpenter.k8s.aws/", "eks.amazonaws.com/compute-type",
    "eks.amazonaws.com/instance-gpu-",
)  # fmt: skip
_SUFFIX = re.compile(r"(-MIG-[0-9a-z.]+)?(-SHARED)?$")


def no_toleration(load: Workload, context: Context) -> Iterator[Hit]:
    """GK005: a toleration of any other taint is taken for the cluster's own convention."""
    if not load.gpus or load.manifest.kind == "DaemonSet" or load.requires_key(_GKE):
        return
    at: Steps = (*load.spec_at, "tolerations")
    tolerations = listing(dig(load.root, *at))
    keys = [str(dig(toleration, "key") or "") for toleration in tolerations]
    spot = ("kubernetes.azure.com/scalesetpriority", "oci.oraclecloud.com/oke-is-preemptible")
    if any(not key.startswith(_OF_NODES) and key not in spot for key in keys):
        return
    if tolerations:
        edit = Edit("add", (*at, "-"), _EXISTS)
    else:
        present = dig(load.root, *load.spec_at) is not None and "tolerations" in load.spec
        edit = Edit("replace" if present else "add", at, [_EXISTS])
    yield Hit(
        f"{load.gpus[0].resource} is asked for, and the taint {_TAINT} not tolerated",
        Fix(f"{path_text(at)}: [{{key: {_TAINT}, operator: Exists, effect: NoSchedule}}]",
            patch=(edit,)), at=load.spec_at,
    )  # fmt: skip


def one_value(load: Workload, context: Context) -> Iterator[Hit]:
    """GK021."""
    for index, toleration in enumerate(listing(load.spec.get("tolerations"))):
        equal = dig(toleration, "operator") in (None, "Equal")
        if dig(toleration, "key") == _TAINT and equal:
            at: Steps = (*load.spec_at, "tolerations", index)
            kept = {k: v for k, v in toleration.items() if k != "value"}
            yield Hit(
                f"only the value {str(dig(toleration, 'value') or '')!r} is tolerated",
                Fix(f"{path_text(at)}: {{key: {_TAINT}, operator: Exists, effect: NoSchedule}}",
                    patch=(Edit("replace", at, {**kept, "operator": "Exists"}),)), at=at,
            )  # fmt: skip


def unknown_product(load: Workload, context: Context) -> Iterator[Hit]:
    """GK022."""
    products = {product for gpu in context.catalog.gpus for product in gpu.products}
    for required in load.requires:
        if required.key != _PRODUCT or required.operator != "In":
            continue
        plain = {value: _SUFFIX.sub("", value) for value in required.values}
        meant = {
            value: sorted(p for p in products if p.startswith(f"{name}-"))
            for value, name in plain.items()
            if name not in products
        }
        if not meant or not all(meant.get(value) for value in required.values):
            continue  # one of several alternatives is right, or nothing is known of it
        names = sorted({name for names in meant.values() for name in names})
        yield Hit(
            f"no GPU is called {', '.join(required.values)}",
            Fix(f"{_PRODUCT} In [{', '.join(names)}], by node affinity",
                patch=_one_of(load, required.at, names)), at=required.at,
        )  # fmt: skip


def _one_of(load: Workload, at: Steps, names: list[str]) -> tuple[Edit, ...]:
    """Return the edits by which one of the products is required."""
    if "nodeSelector" not in at:
        return (Edit("replace", (*at, "values"), names),)
    if len(names) == 1:
        return (Edit("replace", at, names[0]),)
    if "affinity" in load.spec:
        return ()
    expression = {"key": _PRODUCT, "operator": "In", "values": names}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    affinity = {"nodeAffinity": required}
    return Edit("remove", at), Edit("add", (*load.spec_at, "affinity"), affinity)


def product_on_autoscaled(load: Workload, context: Context) -> Iterator[Hit]:
    """GK023."""
    product, pool = load.requires_key(_PRODUCT), load.requires_key(*_AUTOSCALED)
    if not load.gpus or product is None or pool is None:
        return
    auto_mode = load.requires_key("eks.amazonaws.com/") is not None
    label = f"{'eks.amazonaws.com' if auto_mode else 'karpenter.k8s.aws'}/instance-gpu-name"
    name = next(
        (g.name.partition("-")[0] for g in context.catalog.gpus
         if set(product.values) & set(g.products)), "h100",
    )  # fmt: skip
    yield Hit(
        f"{_PRODUCT} with {pool.key}",
        Fix(f"{label}: {name} instead of {_PRODUCT}", patch=_swap(product.at, label, name)),
        at=product.at,
    )


def _swap(at: Steps, label: str, name: str) -> tuple[Edit, ...]:
    if "nodeSelector" in at:
        return Edit("remove", at), Edit("add", (*at[:-1], label), name)
    return (Edit("replace", at, {"key": label, "operator": "In", "values": [name]}),)


JOBS: JobChecks = {}
WORKLOADS: WorkloadChecks = {
    "GK005": no_toleration,
    "GK021": one_value,
    "GK022": unknown_product,
    "GK023": product_on_autoscaled,
}
MANIFESTS: ManifestChecks = {}
