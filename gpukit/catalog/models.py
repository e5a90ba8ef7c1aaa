"""The frozen models of the catalog, and how a name in a profile finds its GPUs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from fractions import Fraction
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from gpukit.errors import PlacementError, did_you_mean

from .machines import Machine
from .platforms import Platform
from .prices import Price

__all__ = ["Catalog", "Gpu", "nearest_mig"]

_PROFILE = re.compile(r"\d+g\.\d+gb([+-].*)?")


_MIB = 2**20
_CUDA_SHARE = 97
"""Per cent of what nvidia-smi shows that is taken as CUDA's where nobody saw it.

Seen: 97.1 % (T4) to 99.3 % (H100); the driver keeps 430 to 770 MiB of each card.
"""


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Gpu(_Fact):
    """One model of GPU, as users name it.

    Attributes:
        name: the name in ``profile`` and ``gpu``.
        title: what it is, for a person.
        family: the value of the node label ``nvidia.com/gpu.family``.
        memory_gb: memory as NVIDIA writes it.
        memory_mib: memory that the driver reports for the whole GPU; None where it was not seen.
            Of slices, see :func:`gpukit.catalog.mig.mig_card`.
        cuda_mib: what of that CUDA offers to processes; None where it was not seen.
        memory_source: where both were read.
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
    memory_mib: int | None = Field(None, gt=0)
    cuda_mib: int | None = Field(None, gt=0)
    memory_source: str = ""
    arch: Literal["amd64", "arm64"] = "amd64"
    products: tuple[str, ...] = Field(min_length=1)
    variants: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    mig: Mapping[str, int] = Field(default_factory=dict)
    source: str
    as_of: date

    @property
    def usable(self) -> tuple[int, bool]:
        """The bytes that CUDA offers on the whole GPU, and whether that was seen; else assumed."""
        if self.cuda_mib is not None:
            return self.cuda_mib * _MIB, True
        total = self.memory_mib or self.memory_gb * 1000**3 // _MIB
        return total * _MIB * _CUDA_SHARE // 100, False

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


def nearest_mig(profile: str, offered: Iterable[str], otherwise: str = "") -> str:
    """Return ``did you mean '2g.20gb'?`` for the slice that is nearest in size, not in spelling."""
    names = list(offered)
    if not _PROFILE.fullmatch(profile):
        return did_you_mean(profile, names, otherwise=otherwise)

    def distance(name: str) -> tuple[float, str]:
        compute, memory = _slices(name)
        of, wanted = _slices(profile)
        ratio = max(memory, wanted) / max(min(memory, wanted), 1)
        same_suffix = name.partition("gb")[2] == profile.partition("gb")[2]
        return ratio + 0.1 * abs(compute - of) / of + 0.1 * (not same_suffix), name

    near = min(names, key=distance, default="")
    return f"did you mean {near!r}?{' ' * bool(otherwise)}{otherwise}" if near else otherwise


class Catalog(_Fact):
    """All facts: GPUs, aliases of several of them, machine types, platforms, prices.

    ``price_names`` are the names that lists of prices use for GPUs, where they are not ours.
    """

    gpus: tuple[Gpu, ...]
    aliases: Mapping[str, tuple[str, ...]]
    price_names: Mapping[str, str]
    machines: tuple[Machine, ...]
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
                f"a slice is written 'mig-{name}'" if name in self.mig_profiles
                else did_you_mean(
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
                nearest_mig(profile, self.mig_profiles, "`gpukit gpus` lists the profiles"),
            )  # fmt: skip
        return self.mig_profiles[profile]

    def gpu_of(self, word: str) -> Gpu | None:
        """Return the GPU that a name in a list of prices, or a product label, means."""
        by_label = {label.lower(): gpu for gpu in self.gpus for label in gpu.products}
        name = self.price_names.get(word.strip().lower(), word.strip().lower())
        exact = next((gpu for gpu in self.gpus if gpu.name == name), None)
        return exact or by_label.get(word.strip().lower().replace(" ", "-"))

    def machines_with(self, gpus: Collection[Gpu], cloud: str) -> tuple[Machine, ...]:
        """Return the machine types of a cloud that have one of these GPUs."""
        products = {label for gpu in gpus for label in gpu.products}
        names = {gpu.name for gpu in gpus}
        return tuple(
            machine for machine in self.machines
            if machine.cloud == cloud and machine.gpu in names and machine.product in products
        )  # fmt: skip

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
