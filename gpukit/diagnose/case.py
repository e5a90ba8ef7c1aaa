"""The case of one run: its Job, its pod, and what was declared, out of a snapshot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gpukit.catalog import Catalog, Platform
from gpukit.contract import ANNOTATION_SPEC, ANNOTATION_TASK, LABEL_JOB, LABEL_RUN
from gpukit.errors import PlacementError, SpecError
from gpukit.profile import Profile

from .filters import Usage, usage_of
from .nodes import GPU_PREFIX, NodeFacts
from .offers import Offer, offers_of
from .platforms import recognise_facts
from .snapshot import ClusterSnapshot, EventFacts, JobFacts, PodFacts, PodShape

__all__ = ["Case", "find_case", "task_of"]

_JOB_NAME = "batch.kubernetes.io/job-name"


@dataclass(frozen=True)
class Case:
    """One run in a snapshot.

    Attributes:
        name: of the run.
        snapshot: what is seen of the cluster.
        catalog: the facts.
        job: the run's Job; None where only a pod of that name is there.
        pods: of the run, the newest first.
    """

    name: str
    snapshot: ClusterSnapshot
    catalog: Catalog
    job: JobFacts | None
    pods: tuple[PodFacts, ...]

    @property
    def live(self) -> tuple[PodFacts, ...]:
        """The pods that have not ended."""
        return tuple(pod for pod in self.pods if not pod.ended)

    @property
    def pod(self) -> PodFacts | None:
        """The pod that counts: the newest that has not ended and is not on its way out."""
        staying = (pod for pod in self.live if pod.deleted is None)
        return next(staying, next(iter(self.live), None))

    @property
    def shape(self) -> PodShape:
        """What a pod of the run asks for."""
        if self.pod is not None:
            return self.pod.shape
        return self.job.shape if self.job else self.pods[0].shape

    @cached_property
    def declared(self) -> Mapping[str, Any]:
        """What ``@gpu_job`` declared, without the defaults; empty where gpukit did not make it."""
        text = self.job.annotations.get(ANNOTATION_SPEC, "") if self.job else ""
        return _mapping(text)

    @cached_property
    def job_name(self) -> str:
        """Name of the job that this is a run of."""
        return self.job.labels.get(LABEL_JOB, self.job.name) if self.job else self.name

    @cached_property
    def profiles(self) -> tuple[Profile, ...]:
        """What was asked for, in the words of ``profile``."""
        declared = [p for p in self.declared.get("profile") or () if isinstance(p, dict)]
        try:
            found = tuple(Profile.model_validate(p) for p in declared)
        except (SpecError, ValueError):
            found = ()
        return found or (self._from_requests(),)

    def _from_requests(self) -> Profile:
        """Read the profile off the pod, where gpukit did not write it."""
        for name, count in self.shape.requests.items():
            if name.startswith(f"{GPU_PREFIX}mig-"):
                mig = name.removeprefix(f"{GPU_PREFIX}mig-").replace("gb.", "gb+")
                return Profile(kind="mig", mig=mig)
            if name.startswith(GPU_PREFIX):
                kind = "shared" if name.endswith(".shared") else "full"
                return Profile(kind=kind, count=count)
        return Profile(kind="cpu")

    @cached_property
    def device(self) -> str:
        """The resource name of the GPUs that are asked for; empty for none."""
        return next((n for n in self.shape.requests if n.startswith(GPU_PREFIX)), "")

    @cached_property
    def usage(self) -> Mapping[str, Usage]:
        """What is used on each node."""
        return usage_of(self.snapshot)

    def used(self, node: NodeFacts) -> Usage:
        """Return what is used on a node."""
        return self.usage.get(node.name, Usage())

    @cached_property
    def offers(self) -> tuple[Offer, ...]:
        """What all nodes offer."""
        return tuple(o for node in self.snapshot.nodes for o in offers_of(node, self.catalog))

    @cached_property
    def _offers_by_node(self) -> Mapping[str, Sequence[Offer]]:
        found: dict[str, list[Offer]] = {}
        for offer in self.offers:
            found.setdefault(offer.node.name, []).append(offer)
        return found

    def offers_on(self, node: NodeFacts) -> Sequence[Offer]:
        """Return what one node offers."""
        return self._offers_by_node.get(node.name, ())

    @cached_property
    def recognised(self) -> Platform | None:
        """What ``platform="auto"`` leads to; None where it cannot tell."""
        try:
            return recognise_facts(self.snapshot.nodes, self.catalog.platforms).platform
        except PlacementError:
            return None

    def node(self, name: str) -> NodeFacts | None:
        """Return the node of that name."""
        return next((node for node in self.snapshot.nodes if node.name == name), None)

    def events(self, *reasons: str, of: PodFacts | JobFacts | None = None) -> list[EventFacts]:
        """Return the events about the pod, the newest first; of the reasons, if any are given."""
        about = of or self.pod
        if about is None:
            return []
        kind = "Job" if isinstance(about, JobFacts) else "Pod"
        found = [
            event for event in self.snapshot.events
            if event.kind == kind and event.name == about.name
            and (not event.uid or not about.uid or event.uid == about.uid)
            and (not reasons or event.reason in reasons)
        ]  # fmt: skip
        return sorted(found, key=lambda event: event.seen or 0.0, reverse=True)

    @property
    def waited(self) -> float:
        """Seconds since the pod, or the Job, was made."""
        about = self.pod or self.job
        return (self.snapshot.ago(about.created) if about else None) or 0.0


def find_case(snapshot: ClusterSnapshot, run: str, catalog: Catalog) -> Case | None:
    """Return the case of a run, of a Job or of a pod of that name; None where there is none."""
    space = snapshot.namespace
    jobs = [j for j in snapshot.jobs if run in (j.labels.get(LABEL_RUN), j.name)]
    job = max(jobs, key=lambda j: j.created or 0.0, default=None)
    own = [
        pod for pod in snapshot.pods
        if pod.namespace == space and (
            pod.name == run if job is None else _belongs(pod, job)
        )
    ]  # fmt: skip
    if job is None and not own:
        return None
    newest = sorted(own, key=lambda pod: (pod.created or 0.0, pod.name), reverse=True)
    return Case(run, snapshot, catalog, job, tuple(newest))


def _belongs(pod: PodFacts, job: JobFacts) -> bool:
    return pod.owner == ("Job", job.name) or pod.labels.get(_JOB_NAME) == job.name


def task_of(pod: PodFacts) -> Mapping[str, Any]:
    """Return the task that gpukit wrote on a pod; empty for a pod that is not gpukit's."""
    return _mapping(pod.annotations.get(ANNOTATION_TASK, ""))


def _mapping(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
