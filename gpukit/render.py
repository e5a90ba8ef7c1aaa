"""Rendering: a declaration and its placement become the objects that Kubernetes runs. Pure."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .contract import (
    ANNOTATION_SPEC,
    ANNOTATION_TASK,
    ARCHIVE_NAME,
    BOOTSTRAP_NAME,
    LABEL_JOB,
    LABEL_MANAGED,
    LABEL_RUN,
    LABEL_STAGE,
    MANAGED_BY,
    Task,
)
from .errors import SpecError
from .manifests import (
    ConfigMap,
    Job,
    KubeObject,
    Metadata,
    PodSpec,
    PodTemplate,
    apply_override,
    to_yaml,
)
from .manifests.admission import check_pod_spec
from .manifests.attempt_ladder import attempt_ladder
from .manifests.storage import checkpoint_claim, store_of
from .manifests.training_pod import training_pod
from .naming import json_digest, run_name
from .placement import Placement
from .spec import JobSpec

if TYPE_CHECKING:
    from .archive import Archive

__all__ = ["Bundle", "name_of_run", "render"]

_ANNOTATIONS_MAX = 262_144  # bytes over all annotations of an object (apimachinery validation)
_MANAGED = {LABEL_MANAGED: MANAGED_BY}
_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_QUEUE_PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"


@dataclass(frozen=True)
class Bundle:
    """Everything that a run is made of.

    Attributes:
        run: name of the run, and of its Job.
        task: what the runtime in the pod is told.
        spec: the declaration.
        placement: what it became on the platform.
        archive: the code that is shipped.
        objects: ConfigMap, PersistentVolumeClaim where one is asked for, Job, in this order.
    """

    run: str
    task: Task
    spec: JobSpec
    placement: Placement
    archive: Archive
    objects: tuple[KubeObject, ...]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the objects as plain JSON data."""
        return [item.to_dict() for item in self.objects]

    def to_yaml(self) -> str:
        """Return the objects as one YAML stream: the same bytes for the same input."""
        return to_yaml(self.to_dicts())


def render(
    spec: JobSpec,
    placement: Placement,
    archive: Archive,
    *,
    job: str,
    module: str,
    function: str,
    paths: tuple[str, ...],
    arguments: dict[str, Any],
    version: str,
    run: str | None = None,
) -> Bundle:
    """Return the bundle of a run.

    Args:
        spec: the declaration.
        placement: what :func:`gpukit.placement.resolve` made of it.
        archive: the code that is shipped.
        job: name of the job.
        module: dotted name by which the job file is imported in the pod.
        function: name of the function in it.
        paths: folders of the archive's ``src/`` for ``sys.path``.
        arguments: the function's arguments, encoded as JSON data.
        version: gpukit's own, recorded and not a part of the run's name.
        run: another name for the run; default: the job's, with a digest of what runs.

    Raises:
        SpecError: the pod override does not fit, or the arguments are too large.
    """
    run = run or name_of_run(
        spec, archive, job=job, module=module, function=function, arguments=arguments
    )
    task = _task(
        spec, placement, run=run, job=job, module=module, function=function, paths=paths,
        arguments=arguments, version=version, code=archive.user_digest,
    )  # fmt: skip
    code = _code(archive, spec.namespace)
    claim = checkpoint_claim(placement, job, spec.namespace, {**_MANAGED, LABEL_JOB: job})
    store = store_of(placement.checkpoints, run)
    pod = training_pod(spec, placement, code=str(code.metadata.name), job=job, store=store)
    if spec.pod:
        pod = apply_override(pod, spec.pod)
        check_pod_spec(pod)
    attempts = _job(spec, placement, task, pod)
    objects: tuple[KubeObject, ...] = (code, claim, attempts) if claim else (code, attempts)
    return Bundle(run, task, spec, placement, archive, objects)


def name_of_run(
    spec: JobSpec, archive: Archive, *, job: str, module: str, function: str,
    arguments: dict[str, Any],
) -> str:  # fmt: skip
    """Return the name of a run: the job's, with a digest of code, arguments and spec."""
    digest = json_digest(
        {
            "code": archive.user_digest,
            "function": f"{module}:{function}",
            "arguments": arguments,
            "spec": _declared(spec),
        }
    )
    return run_name(job, digest)


def _declared(spec: JobSpec) -> dict[str, Any]:
    """Return what differs from the defaults, so that a new option renames no run."""
    return spec.model_dump(mode="json", exclude_defaults=True)


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _task(
    spec: JobSpec, placement: Placement, *, run: str, job: str, module: str, function: str,
    paths: tuple[str, ...], arguments: dict[str, Any], version: str, code: str,
) -> Task:  # fmt: skip
    price, on_demand = placement.price_per_hour, placement.price.on_demand
    return Task(
        run=run,
        job=job,
        module=module,
        function=function,
        paths=paths,
        arguments=arguments,
        processes=placement.processes,
        spot=spec.spot is not False,
        grace=placement.grace,
        retries=spec.retries,
        max_preemptions=spec.max_preemptions,
        max_cost=None if spec.max_cost is None else str(spec.max_cost),
        price_per_hour=None if price is None else str(price),
        on_demand_per_hour=None if on_demand is None else str(on_demand),
        timeout=spec.timeout,
        deadline=spec.deadline,
        checkpoint_every=spec.checkpoint_every,
        hang_timeout=spec.hang_timeout,
        durable=placement.durable,
        packages=spec.packages,
        requirements=spec.requirements,
        gpukit=version,
        code=code,
    )


def _code(archive: Archive, namespace: str | None) -> ConfigMap:
    """Return the ConfigMap with the code: named by its content, shared by all runs of it."""
    files = {ARCHIVE_NAME: archive.data, BOOTSTRAP_NAME: archive.bootstrap}
    return ConfigMap(
        metadata=Metadata(
            name=f"gpukit-code-{archive.digest[:16]}", namespace=namespace, labels=dict(_MANAGED)
        ),
        immutable=True,
        binary_data={name: base64.b64encode(data).decode() for name, data in files.items()},
    )


def _job(spec: JobSpec, placement: Placement, task: Task, pod: PodSpec) -> Job:
    labels = _labels(spec, task.run, task.job)
    template = PodTemplate(
        metadata=Metadata(labels=labels, annotations=_pod_annotations(spec, placement, task)),
        spec=pod,
    )
    return Job(
        metadata=Metadata(
            name=task.run,
            namespace=spec.namespace,
            labels={**labels, **_queue_labels(spec)},
            annotations={**spec.annotations, ANNOTATION_SPEC: _json(_declared(spec))},
        ),
        spec=attempt_ladder(spec, placement, template),
    )


def _labels(spec: JobSpec, run: str, job: str) -> dict[str, str]:
    """Return the labels of Job and pod; cost tools read those of the pod."""
    cost = {"team": spec.team, "cost-center": spec.cost_center}
    return {
        "app.kubernetes.io/name": job,
        "app.kubernetes.io/instance": run,
        **_MANAGED,
        **spec.labels,
        **{key: value for key, value in cost.items() if value is not None},
        LABEL_RUN: run,
        LABEL_JOB: job,
        LABEL_STAGE: spec.stage,
    }


def _queue_labels(spec: JobSpec) -> dict[str, str]:
    """Return the labels by which Kueue takes the Job; it reads them on the Job, not the pod."""
    if spec.queue is None:
        return {}
    priority = {_QUEUE_PRIORITY_LABEL: spec.priority} if spec.priority else {}
    return {_QUEUE_LABEL: spec.queue, **priority}


def _pod_annotations(spec: JobSpec, placement: Placement, task: Task) -> dict[str, str]:
    found = {**placement.pod_annotations, **spec.annotations, ANNOTATION_TASK: task.to_json()}
    size = sum(len(key.encode()) + len(value.encode()) for key, value in found.items())
    if size > _ANNOTATIONS_MAX:
        raise SpecError(
            "arguments-too-large",
            f"the arguments and annotations are {size} bytes, and Kubernetes takes "
            f"{_ANNOTATIONS_MAX}",
            "put the data into a file that is shipped (include=) or mounted, and pass its path",
        )
    return found
