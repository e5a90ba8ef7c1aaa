"""The life of one pod on a node: prepared, started, running, ended, as the kubelet reports it."""

from __future__ import annotations

import shutil
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .api import ApiError, Json
from .environment import Missing, container_environment
from .runtime import Container, StartError, view_of
from .volumes import mounts_of, prepare_volumes

if TYPE_CHECKING:
    from .kubelet import Kubelet
    from .node import Node

__all__ = ["PodLife"]

MESSAGE_LIMIT = 4096  # kubernetes pkg/kubelet/container: what is kept of a termination message
_RETRY = 0.3  # seconds between two looks at what is missing
_UNKNOWN = {
    "exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None,
    "message": "The container could not be located when the pod was terminated",
}  # fmt: skip
"""What the kubelet says of containers that had not started when their pod was deleted."""


class PodLife:
    """One pod, from the moment that it is bound to its end; a thread of its own."""

    def __init__(self, kubelet: Kubelet, node: Node, pod: Json) -> None:
        self.kubelet, self.node, self.pod = kubelet, node, pod
        self.uid = str(pod["metadata"]["uid"])
        self.folder = kubelet.folder / "pods" / self.uid
        self.containers: dict[str, Container] = {}
        self._states: dict[str, Json] = {}
        self._started = _now()
        self._change = threading.Condition()
        self._grace: float | None = None
        self._gone = False
        self._dead = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def saw(self, pod: Json) -> None:
        """Take a newer state of the object; a deletion ends the pod with its grace."""
        with self._change:
            self.pod = pod
            if pod["metadata"].get("deletionTimestamp") and self._grace is None:
                self._grace = float(pod["metadata"].get("deletionGracePeriodSeconds", 30))
            self._change.notify_all()

    def gone(self) -> None:
        """The object is no longer there."""
        with self._change:
            self._gone = True
            if self._grace is None:
                self._grace = 0.0
            self._change.notify_all()

    def power_off(self) -> None:
        """End all processes at once; nobody is left to report anything."""
        with self._change:
            self._dead = True
            self._grace = 0
            self._change.notify_all()
        for container in list(self.containers.values()):
            container.kill()

    def join(self, seconds: float) -> None:
        """Wait for the end."""
        self._thread.join(seconds)

    @property
    def where(self) -> str:
        """The path of the object."""
        metadata = self.pod["metadata"]
        return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"

    def _run(self) -> None:
        try:
            places = self._prepared()
            ok = places is not None
            for container in self.pod["spec"].get("initContainers", []):
                ok = ok and self._run_to_end(container, places or {})
            if ok:
                self._run_main(places or {})
            self._finish()
        except Exception as error:
            if not self._dead:
                self.kubelet.trouble(f"{self.where}: {error!r}")
        finally:
            for each in list(self.containers.values()):
                each.kill()

    def _prepared(self) -> dict[str, Path] | None:
        """Wait until all volumes are there; None if the pod is deleted before."""
        while self._grace is None:
            try:
                places = prepare_volumes(self.kubelet.api, self.pod, self.folder / "volumes")
            except Missing as reason:
                self._event("Warning", "FailedMount", f"MountVolume.SetUp failed: {reason}")
                self._waiting("ContainerCreating", "")
                self._pause()
            else:
                return places
        return None

    def _pause(self) -> None:
        with self._change:
            self._change.wait_for(lambda: self._grace is not None, _RETRY)

    def _started_container(self, spec: Json, places: dict[str, Path]) -> Container | None:
        """Start a container as soon as its image and variables are there."""
        tries = 0
        while self._grace is None:
            tries += 1
            python = self.kubelet.images.find(spec["image"])
            if python is None:
                self._no_image(spec, tries)
            elif reason := _refused(self.pod, spec):
                self._waiting("CreateContainerConfigError", reason, spec)
            else:
                try:
                    return self._launch(spec, places, python)
                except Missing as missing:
                    self._event("Warning", "Failed", f"Error: {missing}")
                    self._waiting("CreateContainerConfigError", str(missing), spec)
                except StartError as error:
                    self._not_started(spec, str(error))
                    return None
            self._pause()
        return None

    def _launch(self, spec: Json, places: dict[str, Path], python: Path) -> Container:
        environment = container_environment(self.kubelet.api, self.pod, spec)
        mounts = mounts_of(self.pod, spec, places, environment)
        folder = self.folder / "containers" / spec["name"]
        view = view_of(self.pod, spec, folder, mounts, environment, python)
        container = Container(view)
        self.containers[spec["name"]] = container
        self._states[spec["name"]] = {"running": {"startedAt": _now()}}
        threading.Thread(target=self._notice_end, args=(container,), daemon=True).start()
        return container

    def _notice_end(self, container: Container) -> None:
        container.ended.wait()
        with self._change:
            self._change.notify_all()

    def _run_to_end(self, spec: Json, places: dict[str, Path]) -> bool:
        """Run an init container; tell whether the pod may go on."""
        container = self._started_container(spec, places)
        if container is None:
            return False
        self._publish("Pending")
        self._wait_or_stop([container])
        self._states[spec["name"]] = self._ended_state(spec, container)
        return container.code == 0

    def _run_main(self, places: dict[str, Path]) -> None:
        running = []
        for spec in self.pod["spec"]["containers"]:
            container = self._started_container(spec, places)
            if container is not None:
                running.append(container)
        if running:
            self._publish("Running")
        left = list(running)
        while left and not self._wait_or_stop(left, first=True):
            for spec in self.pod["spec"]["containers"]:
                ended = self.containers.get(spec["name"])
                if ended in left and ended is not None and ended.ended.is_set():
                    left.remove(ended)
                    self._states[spec["name"]] = self._ended_state(spec, ended)
            if left:
                self._publish("Running")

    def _wait_or_stop(self, running: list[Container], *, first: bool = False) -> bool:
        """Wait for the end of all (or the first); a deletion ends them all. Tell if it did."""
        how = any if first else all
        with self._change:
            self._change.wait_for(
                lambda: self._grace is not None or how(c.ended.is_set() for c in running)
            )
            stop, grace = self._grace is not None, self._grace or 0.0
        if not stop:
            return False
        until = time.monotonic() + grace
        for container in running:
            container.terminate() if grace > 0 else container.kill()
        for container in running:
            with self._change:
                self._change.wait_for(
                    lambda c=container: c.ended.is_set() or self._dead or self._gone,  # type: ignore[misc]
                    max(0.0, until - time.monotonic()),
                )
            container.kill()
            container.ended.wait()
        return True

    def _finish(self) -> None:
        """Report the end, and take the object away if that was asked for."""
        if self._dead:
            return
        specs = self.pod["spec"].get("initContainers", []) + self.pod["spec"]["containers"]
        for spec in specs:
            container = self.containers.get(spec["name"])
            if container is not None:
                self._states[spec["name"]] = self._ended_state(spec, container)
            elif "terminated" not in self._states.get(spec["name"], {}):
                self._states[spec["name"]] = {"terminated": _UNKNOWN}
        mains = [self._states.get(spec["name"], {}) for spec in self.pod["spec"]["containers"]]
        codes = [state.get("terminated", {}).get("exitCode") for state in mains]
        self._publish("Succeeded" if all(code == 0 for code in codes) else "Failed")
        with self._change:
            self._change.wait_for(lambda: self._grace is not None)
        if not self._gone and not self._dead:
            self.node.connected()
            body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
            self.kubelet.api.delete(self.where, body)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ended_state(self, spec: Json, container: Container) -> Json:
        known = self._states[spec["name"]]
        if "terminated" in known:
            return known
        reason = "Completed" if container.code == 0 else "Error"
        return {
            "terminated": {
                "exitCode": container.code,
                "reason": "OOMKilled" if container.oom else reason,
                "message": self._message(spec, container),
                "startedAt": known["running"]["startedAt"],
                "finishedAt": _now(),
            }
        }

    def _message(self, spec: Json, container: Container) -> str:
        path = self.folder / "containers" / spec["name"] / "termination-log"
        text = path.read_bytes()[-MESSAGE_LIMIT:].decode(errors="replace") if path.exists() else ""
        if not text and container.code and spec.get("terminationMessagePolicy") != "File":
            return container.log.text()[-2048:]
        return text

    def _no_image(self, spec: Json, tries: int) -> None:
        what = f'failed to pull image "{spec["image"]}": not found'
        if tries == 1:
            self._event("Warning", "Failed", f"Failed to pull image: {what}")
        waiting = ("ErrImagePull", what) if tries < 3 else (
            "ImagePullBackOff", f'Back-off pulling image "{spec["image"]}": {what}')  # fmt: skip
        self._waiting(*waiting, spec)

    def _not_started(self, spec: Json, error: str) -> None:
        ended = {"exitCode": 128, "reason": "StartError", "message": error,
                 "startedAt": "1970-01-01T00:00:00Z", "finishedAt": _now()}  # fmt: skip
        self._event("Warning", "Failed", f"Error: {error}")
        self._states[spec["name"]] = {"terminated": ended}

    def _waiting(self, reason: str, message: str, only: Json | None = None) -> None:
        """Report that containers wait, when that is news."""
        state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        specs = [only] if only else self.pod["spec"]["containers"]
        if any(self._states.get(spec["name"]) != state for spec in specs):
            self._states |= {spec["name"]: state for spec in specs}
            self._publish("Pending")

    def _publish(self, phase: str) -> None:
        """Write the status; while the node is cut off, wait until it is not."""
        self.node.connected()
        if self._dead or self._gone:
            return
        self._patch({"phase": phase, "startTime": self._started, **self._container_statuses()})

    def _container_statuses(self) -> Json:
        found: Json = {"hostIP": "127.0.0.1", "podIP": "127.0.0.1", "conditions": []}
        spec = self.pod["spec"]
        ready = all("running" in self._states.get(c["name"], {}) for c in spec["containers"])
        for name in ("Ready", "ContainersReady", "Initialized", "PodReadyToStartContainers"):
            good = ready or name in ("Initialized", "PodReadyToStartContainers")
            found["conditions"].append({"type": name, "status": "True" if good else "False"})
        kinds = (("initContainers", "initContainerStatuses"), ("containers", "containerStatuses"))
        for kind, target in kinds:
            if spec.get(kind):
                found[target] = [self._container_status(c) for c in spec[kind]]
        return found

    def _container_status(self, spec: Json) -> Json:
        state = self._states.get(spec["name"], {"waiting": {"reason": "ContainerCreating"}})
        known = spec["name"] in self.containers
        return {
            "name": spec["name"], "image": spec["image"], "restartCount": 0, "state": state,
            "imageID": f"test://{spec['image']}" if known else "", "ready": "running" in state,
            "started": "running" in state,
            **({"containerID": f"test://{self.uid}/{spec['name']}"} if known else {}),
        }  # fmt: skip

    def _patch(self, status: Json) -> None:
        body = {"metadata": {"uid": self.uid}, "status": status}
        try:
            self.kubelet.api.patch(f"{self.where}/status", body, "strategic-merge-patch")
        except ApiError as error:
            if error.code not in (404, 409):  # gone, or another pod has the name by now
                raise

    def _event(self, kind: str, reason: str, message: str) -> None:
        self.kubelet.event(self.pod, kind, reason, message)


def _refused(pod: Json, container: Json) -> str:
    """Return why the kubelet does not start the container, if it does not."""
    whole, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    settings: dict[str, Any] = {**whole, **own}
    if settings.get("runAsNonRoot") and settings.get("runAsUser", 0) == 0:
        return "container has runAsNonRoot and image will run as root"
    if pod["spec"].get("restartPolicy") != "Never":
        return "the test kubelet restarts nothing: use restartPolicy Never"
    return ""


def _now() -> str:
    return f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
