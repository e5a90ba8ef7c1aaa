"""Where checkpoints live, and what is mounted: the small texts of ``checkpoints`` and ``volumes``.

``checkpoints``: ``s3://bucket/path`` (also gs, az), ``pvc:NAME[/path]``, ``new:50Gi``.
``volumes``: mount path to ``pvc:NAME[/path][:ro]``, ``empty:SIZE``, ``configmap:NAME``,
``secret:NAME``. These are the volume types that PodSecurity "restricted" allows and that make
sense for a job.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict

from .errors import SpecError, did_you_mean
from .naming import is_dns_label
from .quantity import format_bytes, parse_bytes

__all__ = ["CheckpointLocation", "VolumeSpec", "parse_checkpoints", "parse_volume", "parse_volumes"]

OBJECT_STORES = ("s3", "gs", "az")
_RESERVED_MOUNTS = ("/opt/gpukit", "/dev/shm", "/proc", "/sys")


class CheckpointLocation(BaseModel):
    """Where a run's checkpoints live.

    Attributes:
        kind: ``url`` (object store), ``pvc`` (a claim that exists) or ``new`` (one is made).
        url: the URL, for ``url``.
        claim: the claim's name, for ``pvc``.
        path: the folder inside the claim.
        size: bytes, for ``new``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["url", "pvc", "new"]
    url: str | None = None
    claim: str | None = None
    path: str = ""
    size: int | None = None

    def __str__(self) -> str:
        if self.kind == "url":
            return str(self.url)
        if self.kind == "pvc":
            return f"pvc:{self.claim}" + (f"/{self.path}" if self.path else "")
        return f"new:{format_bytes(self.size or 0)}"


def parse_checkpoints(value: object, what: str = "checkpoints") -> CheckpointLocation:
    """Read the text of the ``checkpoints`` option.

    Raises:
        SpecError: another scheme, a bad claim name, a missing size.
    """
    if isinstance(value, CheckpointLocation):
        return value
    if isinstance(value, dict):
        return CheckpointLocation.model_validate(value)
    scheme, colon, rest = str(value).partition(":")
    if scheme in OBJECT_STORES and rest.startswith("//") and rest.strip("/"):
        return CheckpointLocation(kind="url", url=str(value).rstrip("/"))
    if scheme == "pvc" and colon:
        claim, _, path = rest.partition("/")
        return CheckpointLocation(
            kind="pvc", claim=_claim(claim, what), path=_inner_path(path, what)
        )
    if scheme == "new" and colon:
        return CheckpointLocation(kind="new", size=parse_bytes(rest, f"{what} new:"))
    raise SpecError(
        "checkpoints-form",
        f"{what}={value!r} is not a place for checkpoints",
        did_you_mean(scheme, (*OBJECT_STORES, "pvc", "new"))
        + ' write "s3://bucket/path", "pvc:NAME/path" or "new:50Gi"',
    )


class VolumeSpec(BaseModel):
    """One mounted volume: its kind, source, and whether it is read-only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["pvc", "empty", "configmap", "secret"]
    source: str = ""
    path: str = ""
    size: int | None = None
    read_only: bool = False


def parse_volume(mount: str, text: str) -> VolumeSpec:
    """Read one entry of ``volumes``.

    Raises:
        SpecError: a mount path that is not absolute or is gpukit's, an unknown kind.
    """
    what = f"volumes[{mount!r}]"
    pure = PurePosixPath(mount)
    if not pure.is_absolute() or ".." in pure.parts or mount == "/" or ":" in mount:
        raise SpecError(
            "volume-mount", f"{what}: {mount!r} is not a place to mount at",
            'write an absolute path, for example "/data"',
        )  # fmt: skip
    if any(pure.is_relative_to(taken) for taken in _RESERVED_MOUNTS):
        raise SpecError(
            "volume-reserved", f"{what}: {mount} is used by gpukit or the system",
            'mount it elsewhere, for example at "/data"; the size of /dev/shm is the option shm',
        )  # fmt: skip
    kind, colon, rest = str(text).partition(":")
    if kind == "pvc" and colon:
        rest, read_only = rest.removesuffix(":ro"), rest.endswith(":ro")
        claim, _, path = rest.partition("/")
        return VolumeSpec(
            kind="pvc", source=_claim(claim, what), path=_inner_path(path, what),
            read_only=read_only,
        )  # fmt: skip
    if kind == "empty":
        return VolumeSpec(kind="empty", size=parse_bytes(rest, what) if rest else None)
    if kind in ("configmap", "secret") and colon:
        return VolumeSpec(
            kind="configmap" if kind == "configmap" else "secret",
            source=_claim(rest, what), read_only=True,
        )  # fmt: skip
    raise SpecError(
        "volume-form", f"{what}={text!r} is not a volume",
        did_you_mean(kind, ("pvc", "empty", "configmap", "secret"))
        + ' write "pvc:NAME[/path][:ro]", "empty:50Gi", "configmap:NAME" or "secret:NAME"',
    )  # fmt: skip


def parse_volumes(value: object) -> object:
    """Check every entry of ``volumes`` and return it unchanged.

    Raises:
        SpecError: see :func:`parse_volume`.
    """
    if not isinstance(value, dict):
        raise SpecError(
            "volumes-form", f"volumes={value!r} is not a mapping",
            'write volumes={"/data": "pvc:datasets"}',
        )  # fmt: skip
    for mount, text in value.items():
        parse_volume(str(mount), text)
    return value


def _claim(name: str, what: str) -> str:
    if not name or not all(is_dns_label(part) for part in name.split(".")):
        raise SpecError(
            "claim-name", f"{what}: {name!r} is not the name of an object in Kubernetes",
            "use small letters, digits and hyphens",
        )  # fmt: skip
    return name


def _inner_path(path: str, what: str) -> str:
    if ".." in PurePosixPath(path).parts or path.startswith("/"):
        raise SpecError(
            "claim-path", f"{what}: {path!r} leaves the volume",
            'write a path inside of it, without ".."',
        )  # fmt: skip
    return path.strip("/")
