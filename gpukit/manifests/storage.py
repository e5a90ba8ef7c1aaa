"""The volumes of the pod, where they are mounted, and the claim for checkpoints."""

from __future__ import annotations

from pathlib import PurePosixPath

from gpukit.contract import (
    ANNOTATION_TASK,
    CHECKPOINT_MOUNT,
    CODE_MOUNT,
    POD_MOUNT,
    TASK_FILE,
    WORK_MOUNT,
)
from gpukit.errors import SpecError
from gpukit.locations import CheckpointLocation, VolumeSpec, parse_volume
from gpukit.placement import Placement
from gpukit.quantity import format_bytes
from gpukit.spec import JobSpec

from .base import Metadata
from .objects import Claim
from .volumes import (
    ClaimSpec,
    ConfigMapVolume,
    DownwardFile,
    DownwardVolume,
    EmptyDir,
    FieldRef,
    PvcVolume,
    ResourceRequests,
    SecretVolume,
    Volume,
    VolumeMount,
)

__all__ = ["checkpoint_claim", "claim_name", "mounted_volumes", "store_of"]


def claim_name(location: CheckpointLocation | None, job: str) -> str | None:
    """Return the name of the claim that holds the checkpoints, if a claim does."""
    if location is None or location.kind == "url":
        return None
    return location.claim or f"{job}-checkpoints"


def checkpoint_claim(
    placement: Placement, job: str, namespace: str | None, labels: dict[str, str]
) -> Claim | None:
    """Return the claim that is made for ``checkpoints="new:…"``; it outlives every Job."""
    location = placement.checkpoints
    name = claim_name(location, job)
    if location is None or location.kind != "new" or name is None:
        return None
    return Claim(
        metadata=Metadata(name=name, namespace=namespace, labels=labels),
        spec=ClaimSpec(
            access_modes=("ReadWriteOnce",),
            resources=ResourceRequests(requests={"storage": format_bytes(location.size or 0)}),
        ),
    )


def store_of(location: CheckpointLocation | None, run: str) -> str:
    """Return the directory or URL where a run keeps its record and checkpoints."""
    if location is None:
        return f"{WORK_MOUNT}/store"
    if location.kind == "url":
        return f"{location.url}/{run}"
    return "/".join(part for part in (CHECKPOINT_MOUNT, location.path, run) if part)


def mounted_volumes(
    spec: JobSpec, placement: Placement, *, code: str, job: str
) -> tuple[tuple[Volume, ...], tuple[VolumeMount, ...]]:
    """Return the volumes of the pod and their mounts.

    A claim that is used at several places is one volume with several mounts.
    """
    volumes = {
        "code": Volume(name="code", config_map=ConfigMapVolume(name=code)),
        "pod": Volume(name="pod", downward_api=_task_file()),
        "work": Volume(name="work", empty_dir=EmptyDir()),
        "shm": Volume(name="shm", empty_dir=_memory(placement.shm)),
    }
    mounts = [
        VolumeMount(name="code", mount_path=CODE_MOUNT, read_only=True),
        VolumeMount(name="pod", mount_path=POD_MOUNT, read_only=True),
        VolumeMount(name="work", mount_path=WORK_MOUNT),
        VolumeMount(name="shm", mount_path="/dev/shm"),
    ]
    claims: dict[str, str] = {}
    checkpoints = claim_name(placement.checkpoints, job)
    if checkpoints is not None:
        claims[checkpoints] = "checkpoints"
        volumes["checkpoints"] = _claim_volume("checkpoints", checkpoints, read_only=False)
        mounts.append(VolumeMount(name="checkpoints", mount_path=CHECKPOINT_MOUNT))
    parsed = _parsed(spec.volumes)
    for number, (path, volume) in enumerate(parsed.items(), start=1):
        name = f"volume-{number}"
        if volume.kind == "pvc":
            name = claims.setdefault(volume.source, name)
        same = [v for v in parsed.values() if (v.kind, v.source) == ("pvc", volume.source)]
        volumes.setdefault(name, _user_volume(name, volume, all(v.read_only for v in same)))
        mounts.append(
            VolumeMount(
                name=name, mount_path=path, sub_path=volume.path or None,
                read_only=volume.read_only or None,
            )
        )  # fmt: skip
    return tuple(volumes.values()), tuple(mounts)


def _parsed(volumes: dict[str, str]) -> dict[str, VolumeSpec]:
    found: dict[str, VolumeSpec] = {}
    for path, text in sorted(volumes.items()):
        mount = PurePosixPath(path).as_posix()
        if mount in found:
            raise SpecError(
                "volume-twice", f"volumes: two of them are mounted at {mount}",
                "mount each at a path of its own",
            )  # fmt: skip
        found[mount] = parse_volume(mount, text)
    return found


def _task_file() -> DownwardVolume:
    path = f"metadata.annotations['{ANNOTATION_TASK}']"
    return DownwardVolume(
        items=(DownwardFile(path=TASK_FILE, field_ref=FieldRef(field_path=path)),)
    )


def _memory(size: int) -> EmptyDir:
    return EmptyDir(medium="Memory", size_limit=format_bytes(size))


def _claim_volume(name: str, claim: str, read_only: bool) -> Volume:
    """A volume that all its mounts only read is attached read-only: some disks allow no other."""
    source = PvcVolume(claim_name=claim, read_only=read_only or None)
    return Volume(name=name, persistent_volume_claim=source)


def _user_volume(name: str, volume: VolumeSpec, read_only: bool) -> Volume:
    if volume.kind == "pvc":
        return _claim_volume(name, volume.source, read_only)
    if volume.kind == "configmap":
        return Volume(name=name, config_map=ConfigMapVolume(name=volume.source))
    if volume.kind == "secret":
        return Volume(name=name, secret=SecretVolume(secret_name=volume.source))
    size = format_bytes(volume.size) if volume.size else None
    return Volume(name=name, empty_dir=EmptyDir(size_limit=size))
