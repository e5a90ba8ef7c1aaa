"""The frozen models of the catalog, and how a name in a profile finds its GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from fractions import Fraction
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from gpukit.errors import PlacementError, did_you_mean

from .prices import Price

__all__ = ["Catalog", "Gpu", "NodeLabel", "Platform", "Taint"]


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Gpu(_Fact):
    """One model of GPU, as users name it.

    Attributes:
        name: the name in ``profile`` and ``gpu``.
        title: what it is, for a person.
        family: the value of the node label ``nvidia.com/gpu.family``.
        memory_gb: memory as NVIDIA writes it.
        arch: architecture of the CPU that it comes with.
        products: values of the node label ``nvidia.com/gpu.product`` that this name may mean.
        variants: narrower names, each with a part of ``products``.
        mig: MIG profile to the number of it that fits on one GPU, alone.
        source: where this was read.
        as_of: when.
    """

    name: str
    title: str
    family: Literal["volta", "turing", "ampere", "ada-lovelace", "hopper", "blackwell"]
    memory_gb: int = Field(gt=0)
    arch: Literal["amd64", "arm64"] = "amd64"
    products: tuple[str, ...] = Field(min_length=1)
    variants: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    mig: Mapping[str, int] = Field(default_factory=dict)
    source: str
    as_of: date

    def mig_fraction(self, profile: str) -> Fraction:
        """Return the part of the GPU that one instance of a MIG profile keeps from others.

        The larger of its compute slices (of 7, or 4) and its memory slices (of 8, or 4): an
        H100's ``1g.20gb`` is a seventh of the compute but a quarter of the memory.
        """
        slices = max(_slices(name)[0] for name in self.mig)
        whole = max(_slices(name)[1] for name in self.mig)
        compute, memory = _slices(profile)
        parts = 8 if slices == 7 else slices
        return max(Fraction(compute, slices), Fraction(round(memory * parts / whole), parts))


def _slices(profile: str) -> tuple[int, int]:
    compute, _, rest = profile.partition("g.")
    return int(compute), int(rest.partition("gb")[0])


class NodeLabel(_Fact):
    """A label of nodes."""

    key: str
    value: str


class Taint(_Fact):
    """A taint of nodes; without a value, any value of the key is meant."""

    key: str
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class Platform(_Fact):
    """What a cluster runs on, and what that means for a pod.

    Attributes:
        name: the word of the option ``platform``.
        title: what it is, for a person.
        full_resource: resource name of whole GPUs.
        mig_resource: prefix of the resource names of MIG devices; the profile follows, ``+``
            as ``.``.
        shared_resource: resource name of time-sliced GPUs.
        product_label: node label with the GPU's model.
        sharing_label: node label that says how a node's GPUs are shared.
        single_mig_label: node label that only nodes have whose ``full_resource`` counts slices.
        gpu_taint: key of the taint that keeps others off GPU nodes.
        grace: seconds between SIGTERM and SIGKILL that can be counted on, on demand.
        spot_grace: the same on spot capacity.
        grace_why: why that much.
        spot_grace_why: why that much on spot.
        spot_required: labels that ``spot=True`` requires; empty where none is common.
        spot_labels: labels that mark spot nodes.
        spot_taints: taints of spot nodes.
        pod_annotations: annotations of every pod.
        price_cloud: whose list prices stand for this platform.
        price_region: in which region.
        source: where the words of the device plugin were read.
        spot_source: where those of spot capacity were read.
        as_of: when.
    """

    name: str
    title: str
    full_resource: str
    mig_resource: str
    shared_resource: str
    product_label: str
    sharing_label: str
    single_mig_label: str
    gpu_taint: str
    grace: int = Field(gt=0)
    spot_grace: int = Field(gt=0)
    grace_why: str
    spot_grace_why: str
    spot_required: tuple[NodeLabel, ...] = ()
    spot_labels: tuple[NodeLabel, ...] = ()
    spot_taints: tuple[Taint, ...] = ()
    pod_annotations: Mapping[str, str] = Field(default_factory=dict)
    price_cloud: str
    price_region: str
    source: str
    spot_source: str
    as_of: date


class Catalog(_Fact):
    """All facts: GPUs, aliases of several of them, platforms, prices."""

    gpus: tuple[Gpu, ...]
    aliases: Mapping[str, tuple[str, ...]]
    platforms: tuple[Platform, ...]
    prices: tuple[Price, ...]

    @cached_property
    def names(self) -> Mapping[str, tuple[Gpu, ...]]:
        """Every name that ``profile`` and ``gpu`` understand, to the GPUs that it means."""
        by_name: dict[str, tuple[Gpu, ...]] = {gpu.name: (gpu,) for gpu in self.gpus}
        for alias, members in self.aliases.items():
            by_name[alias] = tuple(gpu for name in members for gpu in by_name[name])
        for gpu in self.gpus:
            for variant, products in gpu.variants.items():
                by_name[variant] = (gpu.model_copy(update={"products": products}),)
        return by_name

    @cached_property
    def mig_profiles(self) -> Mapping[str, tuple[Gpu, ...]]:
        """Every MIG profile, to the GPUs that offer it."""
        found: dict[str, tuple[Gpu, ...]] = {}
        for gpu in self.gpus:
            for profile in gpu.mig:
                found[profile] = (*found.get(profile, ()), gpu)
        return found

    def find_gpus(self, name: str, what: str = "profile") -> tuple[Gpu, ...]:
        """Return the GPUs that a name means; an alias such as ``a100`` means several.

        Raises:
            PlacementError: no GPU of the catalog has this name.
        """
        if name not in self.names:
            raise PlacementError(
                "gpu-unknown", f"{what}={name!r}: the catalog has no such GPU",
                did_you_mean(
                    name, (*self.names, "cpu", "shared"),
                    otherwise="`gpukit gpus` lists all of them",
                ),
            )  # fmt: skip
        return self.names[name]

    def find_mig(self, profile: str) -> tuple[Gpu, ...]:
        """Return the GPUs that offer a MIG profile.

        Raises:
            PlacementError: no GPU of the catalog offers it.
        """
        if profile not in self.mig_profiles:
            raise PlacementError(
                "mig-unknown", f"profile='mig-{profile}': no GPU has the MIG profile {profile}",
                did_you_mean(
                    profile, self.mig_profiles, otherwise="`gpukit gpus` lists the profiles"
                ),
            )  # fmt: skip
        return self.mig_profiles[profile]

    def platform(self, name: str) -> Platform:
        """Return the facts of a platform.

        Raises:
            PlacementError: no such platform.
        """
        known = {platform.name: platform for platform in self.platforms}
        if name not in known:
            raise PlacementError(
                "platform-unknown", f"platform={name!r} is not in the catalog",
                did_you_mean(name, known, otherwise=f"choose from {', '.join(known)}"),
            )  # fmt: skip
        return known[name]
