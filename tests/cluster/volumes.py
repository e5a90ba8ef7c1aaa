"""The volumes of a pod on the machine, and where a container sees them."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from gpukit.quantity import parse_bytes

from .api import Api, Json
from .environment import Missing, data_of, expand, field_of

__all__ = ["Mounts", "mounts_of", "prepare_volumes"]

_NO_LIMIT = 1 << 30
_OBJECTS = {"configMap": "name", "secret": "secretName"}


@dataclass
class Mounts:
    """What is mounted in a container.

    Attributes:
        binds: source, target, read-only.
        memory: target, bytes, mode.
    """

    binds: list[tuple[str, str, bool]] = field(default_factory=list)
    memory: list[tuple[str, int, int]] = field(default_factory=list)


def prepare_volumes(api: Api, pod: Json, folder: Path) -> dict[str, Path]:
    """Make the pod's volumes below ``folder`` and return where each is; memory has no place.

    Raises:
        Missing: an object that a volume names is not there yet, or a volume is refused.
    """
    group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    places: dict[str, Path] = {}
    for volume in pod["spec"].get("volumes", []):
        place = folder / volume["name"]
        files = _files(api, pod, volume)
        if files is not None:
            _write(place, files, group)
        elif "persistentVolumeClaim" in volume:
            place = _claimed(api, pod, volume["persistentVolumeClaim"]["claimName"])
            _own(place, group)
        elif "emptyDir" in volume:
            if volume["emptyDir"].get("medium") == "Memory":
                continue
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(0o777)
            _own(place, group)
        else:
            kind = next((key for key in volume if key != "name"), "nothing")
            raise Missing(f"volume {volume['name']}: the test kubelet does not mount {kind}")
        places[volume["name"]] = place
    return places


def mounts_of(
    pod: Json, container: Json, places: dict[str, Path], environment: dict[str, str]
) -> Mounts:
    """Return what of the pod's volumes a container sees, outer paths before inner ones."""
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
    mounts = Mounts()
    for mount in sorted(container.get("volumeMounts", []), key=lambda m: str(m["mountPath"])):
        target = mount["mountPath"]
        if mount["name"] not in places:
            limit = volumes[mount["name"]]["emptyDir"].get("sizeLimit")
            mounts.memory.append((target, parse_bytes(limit) if limit else _NO_LIMIT, 0o1777))
            continue
        source = places[mount["name"]]
        below = mount.get("subPath") or expand(mount.get("subPathExpr", ""), environment)
        if below:
            source = source / below
            if not source.exists():
                source.mkdir(parents=True)
                _own(source, (pod["spec"].get("securityContext") or {}).get("fsGroup"))
        volume = volumes[mount["name"]]
        read_only = bool(mount.get("readOnly")) or any(kind in volume for kind in _OBJECTS)
        read_only |= bool(volume.get("persistentVolumeClaim", {}).get("readOnly"))
        mounts.binds.append((str(source.resolve()), target, read_only))
    return mounts


def _files(api: Api, pod: Json, volume: Json) -> dict[str, tuple[bytes, int]] | None:
    """Return the files of a volume that is made of objects, with modes; None for others."""
    if "downwardAPI" in volume:
        return _downward(pod, volume["downwardAPI"])
    if "projected" in volume:
        found: dict[str, tuple[bytes, int]] = {}
        for source in volume["projected"].get("sources", []):
            if "serviceAccountToken" in source:
                continue  # a test that mounts the token would be told by its absence
            if "downwardAPI" in source:
                found |= _downward(pod, source["downwardAPI"])
            for kind in _OBJECTS:
                if kind in source:
                    found |= _object_files(api, pod, kind, source[kind]["name"], source[kind])
        return found
    for kind, key in _OBJECTS.items():
        if kind in volume:
            return _object_files(api, pod, kind, volume[kind][key], volume[kind])
    return None


def _downward(pod: Json, source: Json) -> dict[str, tuple[bytes, int]]:
    mode = source.get("defaultMode", 0o644)
    return {
        item["path"]: (field_of(pod, item["fieldRef"]["fieldPath"]).encode(), mode)
        for item in source.get("items", [])
    }


def _object_files(
    api: Api, pod: Json, kind: str, name: str, source: Json
) -> dict[str, tuple[bytes, int]]:
    optional = bool(source.get("optional"))
    data = data_of(api, pod, kind, name, optional)
    mode = source.get("defaultMode", 0o644)
    if "items" not in source:
        return {key: (value, mode) for key, value in data.items()}
    found = {}
    for item in source["items"]:
        if item["key"] in data:
            found[item["path"]] = (data[item["key"]], item.get("mode", mode))
        elif not optional:
            raise Missing(f"{kind.lower()} {name} references non-existent key: {item['key']}")
    return found


def _write(place: Path, files: dict[str, tuple[bytes, int]], group: int | None) -> None:
    """Write files as the kubelet does: links to a folder that can be exchanged as one."""
    hidden = place / "..now"
    hidden.mkdir(parents=True, exist_ok=True)
    if not (place / "..data").is_symlink():
        (place / "..data").symlink_to(hidden.name)
    for name, (data, mode) in files.items():
        path = hidden / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)
        if group is not None:
            _give(path, group)
            path.chmod(mode | 0o440)
        link = place / Path(name).parts[0]
        if not link.is_symlink():
            link.symlink_to(Path("..data") / link.name)


def _claimed(api: Api, pod: Json, claim: str) -> Path:
    """Return the folder of a bound claim."""
    namespace = pod["metadata"]["namespace"]
    found = api.find(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}")
    if found is None:
        raise Missing(f'persistentvolumeclaim "{claim}" not found')
    volume = api.find(f"/api/v1/persistentvolumes/{found['spec'].get('volumeName', '-')}")
    if volume is None or "hostPath" not in volume["spec"]:
        raise Missing(f'persistentvolumeclaim "{claim}" is not bound to a volume of this kubelet')
    place = Path(volume["spec"]["hostPath"]["path"])
    if not place.is_dir():
        raise Missing(f'volume of persistentvolumeclaim "{claim}" cannot be attached')
    return place


def _own(place: Path, group: int | None) -> None:
    """Hand a folder to the pod's group, as the kubelet does for fsGroup (OnRootMismatch)."""
    if group is None or place.stat().st_gid == group:
        return
    for folder, _, names in os.walk(place):
        for path in (Path(folder), *(Path(folder) / name for name in names)):
            _give(path, group)
            more = 0o2070 if path.is_dir() else 0o060
            path.chmod(stat.S_IMODE(path.stat().st_mode) | more)


def _give(path: Path, group: int) -> None:
    if os.geteuid() == 0:  # else the pod's user is this one under another number
        os.chown(path, -1, group)
