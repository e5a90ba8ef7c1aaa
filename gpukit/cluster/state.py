"""What the objects of a cluster say of a run: the Job, its pods, and what those left behind. Pure.

A pod's termination message tells of all earlier attempts, and so does the first line that a
running attempt writes: a run can be shown without its store.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import Any, Literal

from gpukit.contract import (
    ANNOTATION_SUBMITTED,
    ANNOTATION_TASK,
    CONTAINER,
    LABEL_JOB,
    LABEL_SWEEP,
    Env,
    Task,
)
from gpukit.errors import GpukitError

from .client import Object

__all__ = ["JobState", "Phase", "PodState", "unix"]

Phase = Literal["pending", "running", "suspended", "stopping", "succeeded", "failed"]

_DISRUPTIONS = {
    "PreemptionByScheduler": "preempted by a pod of higher priority",
    "DeletionByTaintManager": "node lost",
    "EvictionByEvictionAPI": "evicted (drain)",
    "DeletionByPodGC": "node deleted",
    "TerminationByKubelet": "ended by the node (pressure or shutdown)",
}

_SHORT_OF = re.compile(r"node was low on resource: ([\w.-]+)\. ")  # the kubelet's words


@dataclass(frozen=True)
class _State:
    """An object of the API server, read.

    Attributes:
        raw: the object.
    """

    raw: Object = field(repr=False)

    @property
    def _meta(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.raw.get("metadata") or {}
        return found

    @property
    def status(self) -> Mapping[str, Any]:
        """Its status, as the cluster keeps it."""
        found: Mapping[str, Any] = self.raw.get("status") or {}
        return found

    @property
    def name(self) -> str:
        """Its name; a Job's is that of the run."""
        return str(self._meta.get("name", ""))

    @property
    def uid(self) -> str:
        """Its UID."""
        return str(self._meta.get("uid", ""))


@dataclass(frozen=True)
class JobState(_State):
    """A Job of gpukit, as far as the Job itself tells."""

    @property
    def _spec(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.raw.get("spec") or {}
        return found

    @property
    def namespace(self) -> str:
        """Namespace of the run."""
        return str(self._meta.get("namespace", ""))

    @property
    def version(self) -> str:
        """Resource version, to watch from."""
        return str(self._meta.get("resourceVersion", ""))

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of the Job."""
        return self._meta.get("labels") or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        """Annotations of the Job."""
        return self._meta.get("annotations") or {}

    @property
    def job(self) -> str:
        """Name of the job."""
        return str(self.labels.get(LABEL_JOB, ""))

    @property
    def sweep(self) -> str | None:
        """The sweep that it belongs to."""
        return self.labels.get(LABEL_SWEEP)

    @property
    def created(self) -> float | None:
        """Unix seconds of its creation."""
        return unix(self._meta.get("creationTimestamp"))

    @property
    def submitted(self) -> float | None:
        """Unix seconds of the submission."""
        text = self.annotations.get(ANNOTATION_SUBMITTED, "")
        return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else self.created

    @property
    def finished(self) -> float | None:
        """Unix seconds of its end."""
        ended = self._condition("Complete") or self._condition("Failed")
        return unix(ended.get("lastTransitionTime")) if ended else None

    @property
    def phase(self) -> Phase:
        """Where it stands."""
        if self._condition("Complete"):
            return "succeeded"
        if self._condition("Failed"):
            return "failed"
        if self._meta.get("deletionTimestamp"):
            return "stopping"
        if self._spec.get("suspend"):
            return "suspended"
        return "running" if self.status.get("ready") else "pending"

    @property
    def over(self) -> bool:
        """It has succeeded or failed."""
        return self.phase in ("succeeded", "failed")

    @property
    def failure(self) -> tuple[str, str]:
        """Kubernetes' reason and message of the failure; empty ones without it."""
        found = self._condition("Failed") or self._condition("FailureTarget") or {}
        return str(found.get("reason") or ""), str(found.get("message") or "")

    @property
    def max_preemptions(self) -> int | None:
        """How many preemptions Kubernetes allows, now."""
        found = self._spec.get("maxFailedIndexes")
        return None if found is None else int(found)

    @property
    def completions(self) -> int:
        """How many indexes there are: attempts that may be preempted, and one more."""
        return int(self._spec.get("completions") or 0)

    @property
    def burned(self) -> int:
        """How many indexes were burned: preemptions and drains."""
        return _indexes(str(self.status.get("failedIndexes") or ""))

    @property
    def pods_ended(self) -> int:
        """How many of its pods have failed or succeeded."""
        return int(self.status.get("failed") or 0) + int(self.status.get("succeeded") or 0)

    @property
    def template(self) -> Mapping[str, Any]:
        """The pod's template."""
        return self._spec.get("template") or {}

    @property
    def pod_spec(self) -> Mapping[str, Any]:
        """The pod's spec."""
        return self.template.get("spec") or {}

    @property
    def container(self) -> Mapping[str, Any]:
        """The container that runs the function."""
        found = self.pod_spec.get("containers") or [{}]
        return next((c for c in found if c.get("name") == CONTAINER), found[0])

    @property
    def store(self) -> str:
        """Directory (in the pod) or URL of the run's store."""
        return next(
            (str(e.get("value", "")) for e in self.container.get("env") or ()
             if e.get("name") == Env.STORE), "",
        )  # fmt: skip

    @property
    def code(self) -> str:
        """Name of the ConfigMap with the code."""
        for volume in self.pod_spec.get("volumes") or ():
            if volume.get("name") == "code":
                return str((volume.get("configMap") or {}).get("name", ""))
        return ""

    @cached_property
    def task(self) -> Task | None:
        """What the pod is told to run; None where the Job is none of gpukit's."""
        notes = (self.template.get("metadata") or {}).get("annotations") or {}
        try:
            return Task.from_json(notes.get(ANNOTATION_TASK, ""))
        except GpukitError:
            return None

    def _condition(self, kind: str) -> Mapping[str, Any] | None:
        for condition in self.status.get("conditions") or ():
            if condition.get("type") == kind and condition.get("status") == "True":
                found: Mapping[str, Any] = condition
                return found
        return None


@dataclass(frozen=True)
class PodState(_State):
    """A pod of a run."""

    @property
    def node(self) -> str:
        """Its node; empty before it has one."""
        return str((self.raw.get("spec") or {}).get("nodeName") or "")

    @property
    def index(self) -> int | None:
        """Its completion index."""
        text = str((self._meta.get("annotations") or {}).get(
            "batch.kubernetes.io/job-completion-index", ""))  # fmt: skip
        return int(text) if text.isdigit() else None

    @property
    def phase(self) -> str:
        """Kubernetes' phase."""
        return str(self.status.get("phase") or "Pending")

    @property
    def created(self) -> float | None:
        """Unix seconds of its creation."""
        return unix(self._meta.get("creationTimestamp"))

    @property
    def scheduled(self) -> float | None:
        """Unix seconds at which it got its node."""
        found = self._condition("PodScheduled", "True")
        return unix(found.get("lastTransitionTime")) if found else None

    @property
    def started(self) -> float | None:
        """Unix seconds at which its container started."""
        state = self._container_state
        inner = state.get("running") or state.get("terminated") or {}
        return unix(inner.get("startedAt"))

    @property
    def finished(self) -> float | None:
        """Unix seconds at which its container ended."""
        return unix((self._container_state.get("terminated") or {}).get("finishedAt"))

    @property
    def over(self) -> bool:
        """Its container has ended, or never will start."""
        return self.phase in ("Succeeded", "Failed") or self.exit_code is not None

    @property
    def exit_code(self) -> int | None:
        """Exit code of its container."""
        found = self._container_state.get("terminated")
        return None if not found else int(found.get("exitCode", 0))

    @property
    def end_reason(self) -> str:
        """Kubernetes' word for its end: ``OOMKilled`` for example."""
        found = self._container_state.get("terminated") or {}
        return str(found.get("reason") or self.status.get("reason") or "")

    @property
    def leaving(self) -> float | None:
        """Unix seconds at which it was asked to end (with the grace period's end taken off)."""
        until = unix(self._meta.get("deletionTimestamp"))
        grace = self._meta.get("deletionGracePeriodSeconds")
        return None if until is None else until - float(grace or 0)

    @property
    def disruption(self) -> str | None:
        """Why the cluster ended it, in words; None where it did not."""
        found = self._condition("DisruptionTarget", "True")
        if found is None:
            return None
        reason = str(found.get("reason") or "disrupted")
        short = _SHORT_OF.search(str(self.status.get("message") or ""))
        if reason == "TerminationByKubelet" and short:
            return f"evicted: its node was low on {short[1]}"
        return _DISRUPTIONS.get(reason, reason)

    @property
    def disrupted_at(self) -> float | None:
        """Unix seconds of the disruption."""
        found = self._condition("DisruptionTarget", "True")
        return unix(found.get("lastTransitionTime")) if found else None

    @property
    def waiting(self) -> tuple[str, str]:
        """Why it does not run yet: a word and a sentence; empty ones if nothing is said."""
        inner = self._container_state.get("waiting") or {}
        if inner.get("reason"):
            return str(inner["reason"]), str(inner.get("message") or "")
        found = self._condition("PodScheduled", "False")
        if found:
            return str(found.get("reason") or ""), str(found.get("message") or "")
        return "", ""

    @cached_property
    def message(self) -> Mapping[str, Any]:
        """What gpukit's runtime left as termination message; empty without one."""
        text = (self._container_state.get("terminated") or {}).get("message") or ""
        try:
            found = json.loads(text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def _container_state(self) -> Mapping[str, Any]:
        statuses: Sequence[Mapping[str, Any]] = self.status.get("containerStatuses") or ()
        for status in statuses:
            if status.get("name") == CONTAINER:
                found: Mapping[str, Any] = status.get("state") or {}
                return found
        return {}

    def _condition(self, kind: str, status: str) -> Mapping[str, Any] | None:
        for condition in self.status.get("conditions") or ():
            if condition.get("type") == kind and condition.get("status") == status:
                found: Mapping[str, Any] = condition
                return found
        return None


def unix(text: object) -> float | None:
    """Return unix seconds of Kubernetes' time; None for no time."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).astimezone(
            timezone.utc).timestamp()  # fmt: skip
    except ValueError:
        return None


def _indexes(text: str) -> int:
    """Count ``0-3,7``: five."""
    total = 0
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return total
