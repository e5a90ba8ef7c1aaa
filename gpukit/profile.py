"""The profile of a job: which share of which GPU, as people write it."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict

from .errors import SpecError

__all__ = ["Profile", "parse_profile", "parse_profiles"]


class Profile(BaseModel):
    """A share of GPUs: whole ones, a MIG slice, a time-sliced share, or none.

    Attributes:
        kind: ``full``, ``mig``, ``shared`` or ``cpu``.
        gpu: the model of the GPU as the catalog names it; None where any will do.
        mig: the MIG profile as NVIDIA writes it, for example ``1g.10gb`` or ``1g.10gb+me``.
        count: devices per pod.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["full", "mig", "shared", "cpu"]
    gpu: str | None = None
    mig: str | None = None
    count: int = 1

    def __str__(self) -> str:
        base = f"mig-{self.mig}" if self.kind == "mig" else (self.gpu or self.kind)
        return base if self.count == 1 else f"{base}:{self.count}"


_MIG = re.compile(r"[1-9]\d*g\.[1-9]\d*gb((\+(me\.all|me|gfx))|-me)?")
_GPU = re.compile(r"[a-z0-9][a-z0-9.-]*")


def parse_profile(text: str) -> Profile:
    """Read ``"h100"``, ``"a100-80gb:2"``, ``"mig-1g.10gb"``, ``"shared"`` or ``"cpu"``.

    Raises:
        SpecError: not of one of these forms, or a count that cannot be.
    """
    word, colon, number = text.strip().lower().partition(":")
    if colon and (not (number.isascii() and number.isdigit()) or not 1 <= int(number) <= 16):
        raise SpecError(
            "profile-count", f"profile={text!r}: {number!r} is not a number of GPUs in one pod",
            'write a whole number from 1 to 16, as in "h100:2"; for a part of a GPU use '
            '"mig-1g.10gb" or "shared"',
        )  # fmt: skip
    count = int(number) if colon else 1
    if word in ("cpu", "shared") and count > 1:
        raise SpecError(
            "profile-count", f"profile={text!r}: {word} takes no count",
            'leave the count out; more than one time-sliced share gives no more of the GPU'
            if word == "shared" else 'leave the count out and set cpu="8"',
        )  # fmt: skip
    if word in ("cpu", "shared"):
        return Profile(kind="cpu" if word == "cpu" else "shared")
    if word.startswith("mig-"):
        return _mig_profile(text, word.removeprefix("mig-"), count)
    if not _GPU.fullmatch(word):
        raise SpecError(
            "profile-form", f"profile={text!r} is not a profile",
            'write a GPU ("h100", "a100-80gb:2"), a slice ("mig-1g.10gb"), "shared" or "cpu"; '
            "`gpukit gpus` lists them",
        )  # fmt: skip
    return Profile(kind="full", gpu=None if word in ("gpu", "any") else word, count=count)


def _mig_profile(text: str, mig: str, count: int) -> Profile:
    if not _MIG.fullmatch(mig):
        raise SpecError(
            "profile-mig-form", f"profile={text!r}: {mig!r} is not a MIG profile",
            'write it as NVIDIA does, for example "mig-1g.10gb"; `gpukit gpus` lists them',
        )  # fmt: skip
    if count > 1:
        raise SpecError(
            "profile-mig-count", f"profile={text!r}: a process can use one MIG device only",
            "CUDA uses the first MIG device that it sees; take a larger slice, or a whole GPU",
        )  # fmt: skip
    return Profile(kind="mig", mig=mig)


def parse_profiles(value: object) -> object:
    """Read the ``profile`` option: one text, or a list of alternatives.

    Raises:
        SpecError: see :func:`parse_profile`.
    """
    items = (value,) if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not items:
        raise SpecError(
            "profile-form", f"profile={value!r} is not a profile",
            'write profile="h100", or a list of alternatives, cheapest first',
        )  # fmt: skip
    return tuple(i if isinstance(i, Profile) else parse_profile(str(i)) for i in items)
