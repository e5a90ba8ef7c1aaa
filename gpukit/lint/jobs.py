"""What a check knows of a job, and how an option is put right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpukit.catalog import Catalog, Gpu
from gpukit.catalog.mig import mig_cards
from gpukit.placement import Placement
from gpukit.spec import JobSpec

from .model import Fix, Needs
from .source import JobSource

__all__ = ["JobFacts", "fits", "options_fix", "usable"]

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
    """Return the bytes that can be counted on in a MIG slice of any GPU that has it.

    Less than its name says. A profile whose memory nobody listed counts with the 85 % of
    :mod:`gpukit.catalog.mig`.
    """
    owners = [card.by_name for card in mig_cards().values() if profile in card.by_name]
    label = int(profile.partition("g.")[2].partition("gb")[0])
    return min((own[profile].usable for own in owners), default=label * 2**30 * 85 // 100)


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
