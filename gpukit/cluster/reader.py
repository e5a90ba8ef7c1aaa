"""The store of a run, from outside of the cluster: a claim is read by a short-lived pod."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpukit.contract import CONTAINER, LABEL_MANAGED, MANAGED_BY, WORK_MOUNT
from gpukit.errors import ClusterError, StoreError
from gpukit.runtime.store import open_store

from .client import Client, Object
from .podlog import PodLog
from .state import JobState, PodState

__all__ = ["There", "delete_all", "look_at", "read_files"]

_LABEL = "gpukit.dev/reader"
_START_SECONDS = 180.0
_POLL = 0.3
_SCRIPT = Path(__file__).with_name("reader_script.py")


@dataclass(frozen=True)
class Sent:
    """A file that came out of a claim."""

    name: str
    data: bytes


@dataclass(frozen=True)
class There:
    """A file in a claim: its size in bytes, and the CRC-32 of each chunk where that was wanted."""

    name: str
    size: int
    crc32: tuple[int, ...] = ()


def read_files(
    client: Client, job: JobState, prefixes: Sequence[str], *, node: str = "",
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[str, bytes]]:  # fmt: skip
    """Yield name and content of the files of a run's store that begin with one of ``prefixes``.

    Args:
        client: of the API server.
        job: the run.
        prefixes: of keys, such as ``outputs/``.
        node: where a pod of the run is: a volume may be attached to one node only.
        tell: takes a sentence when there is something to wait for.

    Raises:
        StoreError: nothing outlives the pod, or the store cannot be reached.
        ClusterError: the reader pod does not start.
    """
    if "://" in job.store:
        store = open_store(job.store)
        for prefix in prefixes:
            for key in store.list(prefix):
                data = store.get(key)
                if data is not None:
                    yield key, data
        return
    wanted = {"root": job.store, "read": list(prefixes)}
    for said in _through_pod(client, job, wanted, node, tell):
        if isinstance(said, Sent):
            yield said.name, said.data


def look_at(
    client: Client, job: JobState, read: Sequence[str], look: Sequence[str], *, sums: bool = False,
    node: str = "", tell: Callable[[str], None] = lambda _: None,
) -> tuple[dict[str, bytes], dict[str, There]]:  # fmt: skip
    """Return files of a run's claim, and what others are like that are too large to be sent.

    Args:
        client: of the API server.
        job: the run; its store is a claim.
        read: prefixes of the keys whose files are wanted.
        look: prefixes of those that stay there; manifests among them are sent.
        sums: whether their checksums are wanted, for which all of them is read there.
        node: where a pod of the run is: a volume may be attached to one node only.
        tell: takes a sentence when there is something to wait for.

    Raises:
        StoreError: nothing outlives the pod, or the store cannot be reached.
        ClusterError: the reader pod does not start.
    """
    wanted = {"root": job.store, "read": list(read), "look": list(look), "sum": sums}
    files, there = {}, {}
    for said in _through_pod(client, job, wanted, node, tell):
        if isinstance(said, Sent):
            files[said.name] = said.data
        else:
            there[said.name] = said
    return files, there


def delete_all(
    client: Client, job: JobState, *, tell: Callable[[str], None] = lambda _: None
) -> None:  # fmt: skip
    """Delete all that a run has in its store.

    Raises:
        StoreError: nothing outlives the pod, or the store cannot be reached.
        ClusterError: the reader pod does not start.
    """
    if "://" in job.store:
        store = open_store(job.store)
        for part in sorted({key.partition("/")[0] for key in store.list("")}):
            store.delete(part)
        return
    for _ in _through_pod(client, job, {"root": job.store, "delete": True}, "", tell):
        pass


def _through_pod(
    client: Client, job: JobState, wanted: dict[str, Any], node: str, tell: Callable[[str], None]
) -> Iterator[Sent | There]:
    body = _pod(job, wanted, node)
    name = body["metadata"]["name"]
    client.create(body)
    try:
        tell("reading the run's volume through a pod of its own")
        _wait_for_start(client, name, job.namespace)
        log = PodLog(client, name, job.namespace)

        def ended() -> bool:
            raw = client.get("Pod", name, job.namespace)
            return raw is None or PodState(raw).over

        yield from _said(line for _, line in log.lines(ended))
    finally:
        client.delete("Pod", name, job.namespace, grace=0)


def _said(lines: Iterator[bytes]) -> Iterator[Sent | There]:
    head: dict[str, Any] = {}
    data = bytearray()
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            raise _broken(line.decode(errors="replace").strip()) from None
        if "data" in said:
            data += base64.b64decode(said["data"])
            continue
        if head:
            yield Sent(str(head["file"]), _checked(head, bytes(data)))
        head, data = said if "file" in said else {}, bytearray()
        if "there" in said:
            yield There(str(said["there"]), int(said["size"]), tuple(said.get("crc32", ())))
        if said.get("done"):
            return
    raise _broken("it ended before all was read")


def _checked(head: dict[str, Any], data: bytes) -> bytes:
    if hashlib.sha256(data).hexdigest() != head["sha256"]:
        raise _broken(f"{head['file']} arrived damaged")
    return data


def _broken(why: str) -> StoreError:
    return StoreError("store-reader", f"the run's volume cannot be read: {why}", "try it again")


def _wait_for_start(client: Client, name: str, namespace: str) -> None:
    until = time.monotonic() + _START_SECONDS
    while True:
        raw = client.get("Pod", name, namespace)
        pod = PodState(raw) if raw else None
        if pod is not None and (pod.started or pod.over):
            return
        if pod is None or time.monotonic() > until:
            why = ": ".join(filter(None, pod.waiting)) if pod else "it was deleted"
            raise ClusterError(
                "reader-start", f"the pod that reads the run's volume does not start: {why}",
                "is the volume in use on another node? wait for the run to end, or use "
                'checkpoints="s3://…"',
            )  # fmt: skip
        time.sleep(_POLL)


def _pod(job: JobState, wanted: dict[str, Any], node: str) -> Object:
    """Return a pod with the run's image, claim and security, and nothing else of it."""
    spec = job.pod_spec
    volume = next((v for v in spec.get("volumes") or () if v.get("name") == "checkpoints"), None)
    if volume is None:
        raise StoreError(
            "store-gone", f"{job.name} keeps nothing beyond its pods: it has no checkpoints=",
            'give the job checkpoints="s3://…", "pvc:NAME" or "new:20Gi"',
        )  # fmt: skip
    mount = next(m for m in job.container["volumeMounts"] if m["name"] == "checkpoints")
    kept = ("securityContext", "tolerations", "imagePullSecrets", "serviceAccountName")
    selector = {"kubernetes.io/hostname": node} if node else None
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{job.name}-reader-{secrets.token_hex(3)}",
            "namespace": job.namespace,
            "labels": {LABEL_MANAGED: MANAGED_BY, _LABEL: job.name},
        },
        "spec": {
            **{key: spec[key] for key in kept if spec.get(key)},
            **({"nodeSelector": selector} if selector else {}),
            "restartPolicy": "Never",
            "activeDeadlineSeconds": 3600,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": CONTAINER,
                    "image": job.container["image"],
                    "command": ["python3", "-c", _SCRIPT.read_text(encoding="utf-8"),
                                json.dumps(wanted)],
                    "workingDir": WORK_MOUNT,
                    "securityContext": job.container.get("securityContext") or {},
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "256Mi"},
                        "limits": {"memory": "1Gi"},
                    },
                    "volumeMounts": [mount, {"name": "work", "mountPath": WORK_MOUNT}],
                }
            ],
            "volumes": [volume, {"name": "work", "emptyDir": {}}],
        },
    }  # fmt: skip
