"""From start to end: deadlines, what is left behind, what keeps a Job from ending, VPA."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from gpukit.lint.documents import Manifest, dig, listing, mapping, path_text, put
from gpukit.lint.jobs import JobFacts, options_fix
from gpukit.lint.model import Edit, Fix, Hit, Steps
from gpukit.lint.workloads import Context, Workload
from gpukit.locations import parse_volume

from .types import JobChecks, ManifestChecks, WorkloadChecks

__all__ = ["JOBS", "MANIFESTS", "WORKLOADS"]

_WEEK = 7 * 86400
_KUEUE_TIME = "kueue.x-k8s.io/max-exec-time-seconds"
_HOOKS = ("helm.sh/hook-delete-policy", "argocd.argoproj.io/hook-delete-policy")
_LASTING = ("persistentVolumeClaim", "csi", "nfs", "hostPath", "cephfs", "glusterfs", "azureFile",
            "awsElasticBlockStore", "gcePersistentDisk", "azureDisk", "iscsi", "fc", "rbd",
            "flexVolume", "portworxVolume")  # fmt: skip
_PLACE = re.compile(
    r"-{0,2}(?:[\w.]*[-_.])?(?:check-?_?point|ckpt)s?[-_.]?(?:dir|path|directory|folder|root)",
    re.IGNORECASE,
)
_SIDECARS = re.compile(
    r"(istio-proxy|linkerd-proxy|cloud-?sql-proxy|envoy|fluent-?bit|fluentd|filebeat|vault-agent|"
    r"promtail|otel-collector|opentelemetry-collector|datadog-agent|oauth2-proxy)"
)
_JOB_KINDS = ("Job", "CronJob", "JobSet", "TrainJob", "PyTorchJob", "TFJob", "MPIJob", "RayJob",
              "Workflow")  # fmt: skip
_ACTS = (None, "Auto", "Recreate", "InPlaceOrRecreate")


def no_deadline_of_job(job: JobFacts) -> Iterator[Hit]:
    """GK012."""
    if job.spec.deadline is None and job.placement.resource_name is not None:
        yield Hit("deadline=None", options_fix(deadline="7d"), option="deadline")


def no_deadline(load: Workload, context: Context) -> Iterator[Hit]:
    """GK012."""
    if load.job is None or not load.gpus or _KUEUE_TIME in _labels(load):
        return
    if "activeDeadlineSeconds" in load.job_spec or "activeDeadlineSeconds" in load.spec:
        return
    at: Steps = (*load.job, "activeDeadlineSeconds")
    fix = Fix(f"{path_text(at)}: 86400", patch=(put(load.root, at, 86400),))
    yield Hit("no activeDeadlineSeconds", fix, at=load.job)


def _labels(load: Workload) -> dict[str, object]:
    inner = dig(load.root, *(load.job or ())[:-1], "metadata", "labels")
    return {**mapping(dig(load.root, "metadata", "labels")), **mapping(inner)}


def no_ttl_of_job(job: JobFacts) -> Iterator[Hit]:
    """GK013."""
    if job.spec.ttl is None:
        yield Hit("ttl=None", options_fix(ttl="7d"), option="ttl")


def no_ttl(load: Workload, context: Context) -> Iterator[Hit]:
    """GK013."""
    annotations = mapping(dig(load.root, "metadata", "annotations"))
    if load.manifest.kind != "Job" or load.job is None or any(h in annotations for h in _HOOKS):
        return
    owned = listing(dig(load.root, "metadata", "ownerReferences"))
    if load.gpus and not owned and "ttlSecondsAfterFinished" not in load.job_spec:
        at: Steps = (*load.job, "ttlSecondsAfterFinished")
        yield Hit("no ttlSecondsAfterFinished",
                  Fix(f"{path_text(at)}: {_WEEK}", patch=(put(load.root, at, _WEEK),)),
                  at=load.job)  # fmt: skip


def job_checkpoint_dies(job: JobFacts) -> Iterator[Hit]:
    """GK015."""
    mounts = [mount for mount, text in job.spec.volumes.items()
              if parse_volume(mount, text).kind == "pvc"]  # fmt: skip
    used = 0
    for call, name in job.source.calls():
        if name != "Checkpointer":
            continue
        given = next((k.value for k in call.keywords if k.arg == "directory"), None)
        used = used or (call.lineno if given is None else 0)
        path = given.value if isinstance(given, ast.Constant) else None
        if isinstance(path, str) and "://" not in path and not _below(path, mounts):
            yield Hit(
                f"directory={path!r} is in the pod",
                Fix('leave directory= out, and write @gpu_job(checkpoints="new:20Gi"), or a place '
                    'that all nodes reach: "s3://bucket/path", "pvc:NAME"'),
                option="checkpoints", line=given.lineno if given else call.lineno,
            )  # fmt: skip
    if used and not job.placement.durable:
        yield Hit("a Checkpointer, and no place that outlives the pod",
                  options_fix(checkpoints="new:20Gi"), option="checkpoints", line=used)  # fmt: skip


def _below(path: str, mounts: list[str]) -> bool:
    return any(PurePosixPath(path).is_relative_to(mount) for mount in mounts)


def checkpoint_dies(load: Workload, context: Context) -> Iterator[Hit]:
    """GK015."""
    if not load.gpus:
        return
    volumes = {dig(v, "name"): mapping(v) for v in listing(load.spec.get("volumes"))}
    for container, data in load.containers:
        lasting = [str(dig(mount, "mountPath")) for mount in listing(data.get("volumeMounts"))
                   if any(k in volumes.get(dig(mount, "name"), {}) for k in _LASTING)]  # fmt: skip
        if load.manifest.kind == "StatefulSet":
            lasting += [str(dig(m, "mountPath")) for m in listing(data.get("volumeMounts"))
                        if dig(m, "name") not in volumes]  # fmt: skip
        for at, path in _places(load, container):
            if path.startswith("/") and "$" not in path and not _below(path, lasting):
                yield Hit(f"checkpoints in {path}, which is not on a volume that lasts",
                          _claim_for(load, container, path), at=at)  # fmt: skip


def _places(load: Workload, container: Steps) -> Iterator[tuple[Steps, str]]:
    size = len(container)
    for at, name, value in load.env():
        if at[:size] == container and _PLACE.fullmatch(name):
            yield at, value
    words = [(at, word) for at, word in load.words() if at[:size] == container]
    for index, (at, word) in enumerate(words):
        option, equals, value = word.partition("=")
        if _PLACE.fullmatch(option) and option.startswith("-"):
            if equals:
                yield at, value
            elif index + 1 < len(words):
                yield words[index + 1]


def _claim_for(load: Workload, container: Steps, path: str) -> Fix:
    """Return the fix that mounts a claim there; where something is mounted, only its words."""
    words = (f"mount a claim at {path} (volumes: [{{name: checkpoints, persistentVolumeClaim: "
             "{claimName: checkpoints}}]), or save to an object store")  # fmt: skip
    mounts = listing(dig(load.root, *container, "volumeMounts"))
    taken = {str(dig(mount, "mountPath")) for mount in mounts}
    if path in taken:
        name = next(dig(mount, "name") for mount in mounts if dig(mount, "mountPath") == path)
        for index, volume in enumerate(listing(load.spec.get("volumes"))):
            if dig(volume, "name") == name and "emptyDir" in mapping(volume):
                claim = {"name": name, "persistentVolumeClaim": {"claimName": "checkpoints"}}
                return Fix(
                    words, patch=(Edit("replace", (*load.spec_at, "volumes", index), claim),)
                )
        return Fix(words)
    volume = {"name": "checkpoints", "persistentVolumeClaim": {"claimName": "checkpoints"}}
    mount = {"name": "checkpoints", "mountPath": path}
    return Fix(words, patch=(
        _append(load, (*load.spec_at, "volumes"), volume),
        _append(load, (*container, "volumeMounts"), mount),
    ))  # fmt: skip


def _append(load: Workload, at: Steps, value: object) -> Edit:
    there = isinstance(dig(load.root, *at), list)
    return Edit("add", (*at, "-") if there else at, value if there else [value])


def sidecar(load: Workload, context: Context) -> Iterator[Hit]:
    """GK032."""
    containers = listing(load.spec.get("containers"))
    quits = any("quitquitquit" in word for _, word in load.words())
    if load.job is None or len(containers) < 2 or quits or load.spec.get("shareProcessNamespace"):
        return
    for index, container in enumerate(containers):
        names = f"{dig(container, 'name')} {str(dig(container, 'image')).rpartition('/')[2]}"
        if _SIDECARS.search(names):
            at: Steps = (*load.spec_at, "containers", index)
            moved = {**container, "restartPolicy": "Always"}
            yield Hit(
                f"{dig(container, 'name')} never ends by itself",
                Fix("move it to initContainers with restartPolicy: Always",
                    patch=(Edit("remove", at),
                           _append(load, (*load.spec_at, "initContainers"), moved))), at=at,
            )  # fmt: skip
            return


def vpa_restarts(item: Manifest, context: Context) -> Iterator[Hit]:
    """GK008."""
    if item.kind != "VerticalPodAutoscaler":
        return
    mode = dig(item.data, "spec", "updatePolicy", "updateMode")
    target = dig(item.data, "spec", "targetRef", "kind")
    policies = listing(dig(item.data, "spec", "resourcePolicy", "containerPolicies"))
    off = bool(policies) and all(dig(p, "mode") == "Off" for p in policies)
    if target in _JOB_KINDS and mode in _ACTS and not off and not isinstance(mode, bool):
        at: Steps = ("spec", "updatePolicy", "updateMode")
        yield Hit(f"updateMode {mode or 'not set'} on {target}/"
                  f"{dig(item.data, 'spec', 'targetRef', 'name')}",
                  Fix(f'{path_text(at)}: "Off" (quoted), and read what it recommends',
                      patch=(put(item.data, at, "Off"),)), at=at)  # fmt: skip


def vpa_boolean(item: Manifest, context: Context) -> Iterator[Hit]:
    """GK033."""
    at: Steps = ("spec", "updatePolicy", "updateMode")
    mode = dig(item.data, *at)
    if item.kind == "VerticalPodAutoscaler" and isinstance(mode, bool):
        fix = Fix(f'{path_text(at)}: "Off"', patch=(Edit("replace", at, "Off"),))
        yield Hit(f"updateMode is the boolean {str(mode).lower()}", fix, at=at)


JOBS: JobChecks = {
    "GK012": no_deadline_of_job,
    "GK013": no_ttl_of_job,
    "GK015": job_checkpoint_dies,
}
WORKLOADS: WorkloadChecks = {
    "GK012": no_deadline,
    "GK013": no_ttl,
    "GK015": checkpoint_dies,
    "GK032": sidecar,
}
MANIFESTS: ManifestChecks = {"GK008": vpa_restarts, "GK033": vpa_boolean}
