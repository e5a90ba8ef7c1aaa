"""What a check knows of a job, and how an option is put right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpukit.catalog import Catalog, Gpu
from gpukit.placement import Placement
from gpukit.spec import JobSpec

from .model import Fix, Needs
from .source import JobSource

__all__ = ["JobFacts", "fits", "options_fix", "usable"]

_USABLE = 0.88 * 2**30
"""Bytes of a slice for each GB of its name: 16.0 GiB of an H200's 1g.18gb, the least seen."""
_SPARE = 1.2


@dataclass(frozen=True)
class JobFacts:
    """A job: its declaration, what became of it, its code, and what was measured."""

    spec: JobSpec
    placement: Placement
    catalog: Catalog
    source: JobSource
    needs: Needs = field(default_factory=Needs)


def options_fix(text: str = "", **options: object) -> Fix:
    """Return the fix that is nothing but other options."""
    words = ", ".join(f"{name}={_word(value)}" for name, value in options.items())
    return Fix(text or f"@gpu_job({words})", options)


def _word(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_word(k)}: {_word(v)}" for k, v in value.items()) + "}"
    return repr(value)


def usable(profile: str) -> int:
    """Return the bytes that can be counted on in a MIG slice: less than its name says."""
    memory = profile.partition("g.")[2].partition("gb")[0]
    return int(int(memory) * _USABLE)


def fits(gpu: Gpu, need: int, most: Any = 1) -> str | None:
    """Return the smallest MIG profile of a GPU that holds ``need`` bytes with a fifth to spare.

    Args:
        gpu: the GPU.
        need: bytes of GPU memory.
        most: the largest part of the card that the slice may be.
    """
    plain = [profile for profile in gpu.mig if profile.endswith("gb")]
    enough = [p for p in plain if usable(p) >= need * _SPARE and gpu.mig_fraction(p) <= most]
    return min(enough, key=lambda p: (gpu.mig_fraction(p), usable(p)), default=None)
