"""Storage of the test cluster: two classes, and volumes that outlive pods.

``standard``, the default, is like a cloud's block storage: a volume is made when a pod needs it, in
the zone of the pod's node, and cannot be used in another. ``shared`` is like a file server: a
volume is made at once and can be used everywhere.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import urllib3

from .api import Api, ApiError, Json

__all__ = ["Storage"]

PROVISIONER = "gpukit.dev/test"
ZONE = "topology.kubernetes.io/zone"
_CHOSEN = "volume.kubernetes.io/selected-node"
_MADE_BY = "pv.kubernetes.io/provisioned-by"
_CLASSES = {"standard": "WaitForFirstConsumer", "shared": "Immediate"}


class Storage:
    """Makes a folder and a PersistentVolume for each claim of its classes, and removes them."""

    def __init__(self, api: Api, folder: Path, trouble: Callable[[str], None]) -> None:
        self._api = api
        self._folder = folder
        self._trouble = trouble
        self._stop = threading.Event()

    def start(self) -> Storage:
        """Create the classes and begin to watch."""
        self._folder.mkdir(mode=0o711, exist_ok=True)
        for name, mode in _CLASSES.items():
            default = {"storageclass.kubernetes.io/is-default-class": str(name == "standard")}
            self._api.post(
                "/apis/storage.k8s.io/v1/storageclasses",
                {
                    "metadata": {
                        "name": name,
                        "annotations": {key: value.lower() for key, value in default.items()},
                    },
                    "provisioner": PROVISIONER,
                    "volumeBindingMode": mode,
                    "reclaimPolicy": "Delete",
                },
            )
        watched = {"persistentvolumeclaims": self._claim, "persistentvolumes": self._volume}
        for resource, look in watched.items():
            threading.Thread(target=self._watch, args=(resource, look), daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()

    def folder_of(self, namespace: str, claim: str) -> Path:
        """Return the folder of a bound claim."""
        found = self._api.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}")
        return self._folder / str(found["spec"]["volumeName"])

    def _watch(self, resource: str, look: Callable[[Json], None]) -> None:
        for kind, found in self._api.watch(f"/api/v1/{resource}", self._stop):
            items = (found["items"] or []) if kind == "LISTED" else [found]
            for item in items if kind != "DELETED" else ():
                try:
                    look(item)
                except (ApiError, urllib3.exceptions.HTTPError, OSError) as error:
                    if not self._stop.is_set():
                        self._trouble(f"storage: {error!r}")

    def _claim(self, claim: Json) -> None:
        kind = claim["spec"].get("storageClassName")
        chosen = claim["metadata"].get("annotations", {}).get(_CHOSEN)
        waits = _CLASSES.get(kind) == "WaitForFirstConsumer" and not chosen
        if kind not in _CLASSES or claim["spec"].get("volumeName") or waits:
            return
        name = f"pvc-{claim['metadata']['uid']}"
        place = self._folder / name
        place.mkdir(mode=0o755, exist_ok=True)
        try:
            self._api.post("/api/v1/persistentvolumes", self._made(name, place, claim, chosen))
        except ApiError as error:
            if error.code != 409:
                raise

    def _made(self, name: str, place: Path, claim: Json, node: str | None) -> Json:
        metadata, spec = claim["metadata"], claim["spec"]
        where = self._zone_of(node) if node else None
        return {
            "metadata": {"name": name, "annotations": {_MADE_BY: PROVISIONER}},
            "spec": {
                "capacity": {"storage": spec["resources"]["requests"]["storage"]},
                "accessModes": spec["accessModes"],
                "storageClassName": spec["storageClassName"],
                "persistentVolumeReclaimPolicy": "Delete",
                "hostPath": {"path": str(place), "type": "Directory"},
                "claimRef": {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "name": metadata["name"], "namespace": metadata["namespace"],
                    "uid": metadata["uid"],
                },
                **({"nodeAffinity": where} if where else {}),
            },
        }  # fmt: skip

    def _zone_of(self, node: str) -> Json | None:
        found = self._api.find(f"/api/v1/nodes/{node}") or {"metadata": {}}
        zone = found["metadata"].get("labels", {}).get(ZONE)
        if zone is None:
            return None
        term = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}
        return {"required": {"nodeSelectorTerms": [term]}}

    def _volume(self, volume: Json) -> None:
        metadata = volume["metadata"]
        ours = metadata.get("annotations", {}).get(_MADE_BY) == PROVISIONER
        if ours and volume.get("status", {}).get("phase") == "Released":
            shutil.rmtree(self._folder / metadata["name"], ignore_errors=True)
            self._api.delete(f"/api/v1/persistentvolumes/{metadata['name']}")
