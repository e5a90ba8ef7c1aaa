"""What nodes offer in the words of ``profile``, and which of it is nearest to what is wanted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gpukit.catalog import Catalog, Gpu, Platform
from gpukit.catalog.machines import INSTANCE_TYPE, Machine
from gpukit.profile import Profile

from .nodes import NodeFacts
from .platforms import platform_of

__all__ = ["Offer", "distance", "listed", "matches", "offers_of", "wanted_memory"]

_MIG = re.compile(r"(\d+g\.\d+gb)(.*)")
_MIG_IN_PRODUCT = re.compile(r"-MIG-(\d+g\.\d+gb[a-z.]*)")
_KINDS = {
    "full": ("full", "mig", "shared"),
    "mig": ("mig", "full", "shared"),
    "shared": ("shared", "mig", "full"),
    "cpu": ("full", "mig", "shared"),
}


@dataclass(frozen=True)
class Offer:
    """One resource of one node, as a profile.

    Attributes:
        node: the node.
        platform: that the node belongs to.
        resource: as Kubernetes names it.
        count: how many of it the node has.
        kind: ``full``, ``mig`` or ``shared``.
        gpu: the card, where the catalog knows it.
        mig: the MIG profile.
    """

    node: NodeFacts
    platform: Platform
    resource: str
    count: int
    kind: str
    gpu: Gpu | None = None
    mig: str | None = None

    def profile(self, count: int = 1) -> str:
        """Return it as the option ``profile`` has it, for so many devices."""
        if self.kind == "mig":
            return f"mig-{self.mig}"
        if self.kind == "shared":
            return "shared"
        name = self.gpu.name if self.gpu else "gpu"
        return name if count == 1 else f"{name}:{count}"

    @property
    def memory(self) -> int:
        """Memory of one device in GB, as its label says; 0 where it is unknown."""
        if self.mig is not None:
            return int(self.mig.partition(".")[2].partition("gb")[0])
        return self.gpu.memory_gb if self.gpu else 0


def offers_of(node: NodeFacts, catalog: Catalog) -> list[Offer]:
    """Return what a node offers."""
    platform = platform_of(node, catalog.platforms)
    gpu = _gpu_of(node, platform, catalog)
    found = []
    for resource, count in node.devices.items():
        kind, mig = _kind(resource, node, platform)
        if kind:
            found.append(Offer(node, platform, resource, count, kind, gpu, mig))
    return found


def _kind(resource: str, node: NodeFacts, platform: Platform) -> tuple[str, str | None]:
    if resource.endswith(".shared"):  # a slice that is shared has no profile
        return ("shared", None) if resource == platform.shared_resource else ("", None)
    if resource.startswith(platform.mig_resource):
        return "mig", _plus(resource.removeprefix(platform.mig_resource))
    if resource != platform.full_resource:
        return "", None
    in_product = _MIG_IN_PRODUCT.search(node.labels.get(platform.product_label, ""))
    if in_product:
        return "mig", _plus(in_product[1])
    if platform.mig_label and platform.mig_label in node.labels:
        return "mig", node.labels[platform.mig_label]
    label = platform.shared_label or platform.sharing_label
    values = platform.shared_values or ("mps", "time-slicing")
    if label and node.labels.get(label) in values:
        return "shared", None
    return "full", None


def _plus(profile: str) -> str:
    """Return a MIG profile as NVIDIA writes it; resource names and labels have . for +."""
    found = _MIG.fullmatch(profile)
    if found is None:
        return profile
    rest = found[2]
    return found[1] + ("+" + rest[1:] if rest.startswith(".") else rest)


def _gpu_of(node: NodeFacts, platform: Platform, catalog: Catalog) -> Gpu | None:
    product = node.labels.get(platform.product_label, "")
    product = product.partition("-MIG-")[0].removesuffix("-SHARED")
    by_product = catalog.gpu_of(product) if product else None
    if by_product is not None:
        return by_product
    machines = [
        machine for machine in catalog.machines
        if machine.cloud == platform.cloud and _is(machine, node, platform)
    ]  # fmt: skip
    names = {machine.gpu for machine in machines}
    known = {gpu.name: gpu for gpu in catalog.gpus}
    return known.get(names.pop()) if len(names) == 1 else None


def _is(machine: Machine, node: NodeFacts, platform: Platform) -> bool:
    if INSTANCE_TYPE in node.labels:
        return node.labels[INSTANCE_TYPE] == machine.name
    labels = platform.gpu_labels
    return bool(labels) and all(
        node.labels.get(key) == machine.value(word) for key, word in labels.items()
    )


def matches(offer: Offer, wanted: Profile, gpu: str | None, catalog: Catalog) -> bool:
    """Tell whether an offer is what a profile means, its number left aside."""
    if wanted.kind != offer.kind or (wanted.kind == "mig" and wanted.mig != offer.mig):
        return False
    name = wanted.gpu or gpu
    if name is None:
        return True
    meant = {g.name for g in catalog.names.get(name, ())}
    return offer.gpu is not None and offer.gpu.name in meant


def wanted_memory(wanted: Sequence[Profile], gpu: str | None, catalog: Catalog) -> int:
    """Return the memory in GB of what is wanted, the least where it is several; 0 if unknown."""
    found = []
    for profile in wanted:
        if profile.mig is not None:
            found.append(int(profile.mig.partition(".")[2].partition("gb")[0]))
        else:
            found += [g.memory_gb for g in catalog.names.get(profile.gpu or gpu or "", ())]
    return min(found, default=0)


def distance(offer: Offer, kind: str, memory: int) -> tuple[int, int, int]:
    """Return how far an offer is from a kind of device with so many GB: smaller is nearer.

    The same kind comes first; in it the smallest device that has the memory; then the largest that
    has less.
    """
    order = _KINDS[kind]
    if offer.memory >= memory:
        return order.index(offer.kind), 0, offer.memory - memory
    return order.index(offer.kind), 1, memory - offer.memory


def listed(offers: Iterable[Offer], shown: int = 6) -> str:
    """Return what there is for a person: ``mig-2g.20gb × 6 (rack-1), a100-80gb × 8 (rack-2)``."""
    by_profile: dict[str, list[Offer]] = {}
    for offer in offers:
        by_profile.setdefault(offer.profile(), []).append(offer)
    parts = []
    for profile, group in sorted(by_profile.items()):
        names = sorted({offer.node.name for offer in group})
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        total = sum(offer.count for offer in group)
        parts.append(f"{profile} × {total} ({', '.join(names[:2])}{more})")
    return ", ".join(parts[:shown]) + (
        f" and {len(parts) - shown} more" if len(parts) > shown else ""
    )
