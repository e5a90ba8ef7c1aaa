"""Spot capacity: what it takes to live with interruptions, and what cannot."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpukit.lint.documents import dig, listing, mapping, path_text, put
from gpukit.lint.jobs import JobFacts, options_fix
from gpukit.lint.model import Edit, Fix, Hit, Steps
from gpukit.lint.workloads import SPOT, Context, Workload
from gpukit.quantity import format_duration

from .types import JobChecks, ManifestChecks, WorkloadChecks

__all__ = ["JOBS", "MANIFESTS", "WORKLOADS"]

_SHORT = 1800
_OFTEN = 1800
_SAVES = re.compile(r"check-?_?point|ckpt|resume|snapshot|(s3|gs|az|abfss?)://", re.IGNORECASE)
_DISRUPT = "karpenter.sh/do-not-disrupt"
_NO_SLA = ("", "none", "false", "no", "best-effort")
_SLA_WORDS = ("inference-sla", "sla", "critical")
_GRACE = 30  # seconds, where nothing is said


def spot_job_without_checkpoint(job: JobFacts) -> Iterator[Hit]:
    """GK009."""
    spec, source = job.spec, job.source
    brief = spec.timeout is not None and spec.timeout <= _SHORT
    if spec.spot is False or brief or spec.stage not in ("dev", "training") or not source.is_open:
        return
    if not source.mentions("checkpoint", "ckpt", "resume", "gpukit.integrations"):
        said = " (checkpoint_every alone saves nothing)" if spec.checkpoint_every else ""
        yield Hit(
            f"spot={spec.spot!r}, and the code of {source.function} saves no checkpoint{said}",
            Fix("ckpt = Checkpointer(model=model, optimizer=optimizer) and `for batch in "
                "ckpt.batches(loader)`, from gpukit; or @gpu_job(spot=False)", {"spot": False}),
            option="spot",
        )  # fmt: skip


def spot_without_checkpoint(load: Workload, context: Context) -> Iterator[Hit]:
    """GK009."""
    spot, deadline = load.spot, load.job_spec.get("activeDeadlineSeconds")
    brief = isinstance(deadline, int) and deadline <= _SHORT
    if spot is None or load.job is None or not load.gpus or brief or _may_save(load):
        return
    at: Steps = (*load.spec_at, "volumes")
    yield Hit(
        "a Job for spot nodes without a volume, a URL or a word about checkpoints",
        Fix(f"mount a claim ({path_text(at)}: [{{name: checkpoints, persistentVolumeClaim: "
            "{claimName: …}}]) or an object store, save there, and resume from it; or run it "
            "on demand", patch=_on_demand(load, spot.at)),
        at=spot.at,
    )  # fmt: skip


def _may_save(load: Workload) -> bool:
    durable = ("persistentVolumeClaim", "csi", "nfs", "hostPath", "ephemeral", "cephfs",
               "glusterfs", "azureFile")  # fmt: skip
    volumes = listing(load.spec.get("volumes"))
    if any(kind in mapping(volume) for volume in volumes for kind in durable):
        return True
    if any(container.get("envFrom") for _, container in load.containers):
        return True
    texts = [f"{name}={value}" for _, name, value in load.env()]
    return any(_SAVES.search(text) for text in [*texts, *(word for _, word in load.words())])


def _on_demand(load: Workload, at: Steps) -> tuple[Edit, ...]:
    """Return the edit that takes the demand for spot nodes away."""
    return (Edit("remove", at),)


def spot_job_with_sla(job: JobFacts) -> Iterator[Hit]:
    """GK010."""
    if job.spec.stage == "inference-sla" and job.spec.spot is not False:
        yield Hit(f'spot="{job.spec.spot}" with stage="inference-sla"', options_fix(spot=False),
                  option="spot")  # fmt: skip


def spot_with_sla(load: Workload, context: Context) -> Iterator[Hit]:
    """GK010."""
    if load.spot is None or not load.gpus:
        return
    for key, value in load.labels.items():
        name = key.rpartition("/")[2].lower()
        named = name in ("sla", "slo") and value.lower() not in _NO_SLA
        if named or (name in ("stage", "tier", "workload") and value.lower() in _SLA_WORDS):
            yield Hit(f"{key}={value} on spot nodes ({load.spot.key})",
                      Fix(f"take {load.spot.key} away, or keep a part of the replicas on demand",
                          patch=_on_demand(load, load.spot.at)), at=load.spot.at)  # fmt: skip
            return


def save_of_job_over_grace(job: JobFacts) -> Iterator[Hit]:
    """GK016."""
    save, every, grace = job.needs.save_seconds, job.spec.checkpoint_every, job.placement.grace
    margin = min(2.0, grace / 5)
    if save is not None and save > grace - margin and not (every and every <= _OFTEN):
        yield Hit(
            f"a save takes {save} s, and the grace is {grace} s",
            options_fix(checkpoint_every=format_duration(_OFTEN)), option="checkpoint_every",
        )  # fmt: skip


def save_over_grace(load: Workload, context: Context) -> Iterator[Hit]:
    """GK016."""
    grace = load.spec.get("terminationGracePeriodSeconds", _GRACE)
    if not load.gpus or not isinstance(grace, int):
        return
    at: Steps = (*load.spec_at, "terminationGracePeriodSeconds")
    save = context.needs.save_seconds
    if save is not None and save > grace and "gpukit.dev/task" not in load.annotations:
        limit = SPOT[load.spot.key].seconds if load.spot else None
        wanted = save + max(10, save // 4)
        fix = Fix(f"{path_text(at)}: {wanted}", patch=(put(load.root, at, wanted),))
        if limit is not None and wanted > limit:
            fix = Fix("save every half hour at least, and leave at SIGTERM: spot nodes give "
                      f"{limit} s at most")  # fmt: skip
        yield Hit(f"a save takes {save} s, and the grace is {grace} s", fix, at=at)
    for container, _ in load.containers:
        hook: Steps = (*container, "lifecycle", "preStop")
        slept = _sleeps(dig(load.root, *hook))
        if slept and slept >= grace:
            yield Hit(
                f"preStop sleeps {slept} s of {grace} s, and SIGTERM comes after it",
                Fix(f"{path_text(at)}: {slept + 60}", patch=(put(load.root, at, slept + 60),)),
                at=hook,
            )  # fmt: skip


def _sleeps(hook: object) -> int:
    seconds = dig(hook, "sleep", "seconds")
    if isinstance(seconds, int):
        return seconds
    command = " ".join(str(word) for word in listing(dig(hook, "exec", "command")))
    found = re.search(r"\bsleep\s+(\d+)\b", command)
    return int(found[1]) if found else 0


def grace_over_notice(load: Workload, context: Context) -> Iterator[Hit]:
    """GK029."""
    grace, spot = load.spec.get("terminationGracePeriodSeconds"), load.spot
    if spot is None or not load.gpus or not isinstance(grace, int):
        return
    kind = SPOT[spot.key]
    if grace > kind.seconds:
        at: Steps = (*load.spec_at, "terminationGracePeriodSeconds")
        yield Hit(
            f"{grace} s of grace, and {kind.provider} gives {kind.seconds} s at most",
            Fix(f"{path_text(at)}: {kind.seconds}", patch=(put(load.root, at, kind.seconds),)),
            at=at,
        )  # fmt: skip


def preemption_counts(load: Workload, context: Context) -> Iterator[Hit]:
    """GK030."""
    if load.spot is None or not load.gpus or load.job is None:
        return
    if "podFailurePolicy" in load.job_spec:
        return
    at: Steps = (*load.job, "podFailurePolicy")
    condition = {"type": "DisruptionTarget", "status": "True"}
    rules = [{"action": "Ignore", "onPodConditions": [condition]}]
    edits = [put(load.root, at, {"rules": rules})]
    if load.spec.get("restartPolicy") != "Never":  # the API takes the policy with no other
        edits.append(put(load.root, (*load.spec_at, "restartPolicy"), "Never"))
    limit = load.job_spec.get("backoffLimit", 6)
    number = f"{limit + 1}" if isinstance(limit, int) else "one too many"
    yield Hit(
        f"preemption number {number} fails the Job",
        Fix(f"{path_text(at)}: {{rules: [{{action: Ignore, onPodConditions: [{{type: "
            'DisruptionTarget, status: "True"}]}]}, with restartPolicy: Never and '
            "activeDeadlineSeconds", patch=tuple(edits)),
        at=load.job,
    )  # fmt: skip


def do_not_disrupt(load: Workload, context: Context) -> Iterator[Hit]:
    """GK031."""
    if load.spot is None or load.annotations.get(_DISRUPT) in (None, "false"):
        return
    at: Steps = (*load.template, "metadata", "annotations", _DISRUPT)
    yield Hit(f"{_DISRUPT} on {load.spot.key}",
              Fix(f"take {_DISRUPT} away; cluster-autoscaler.kubernetes.io/safe-to-evict does no "
                  "harm", patch=(Edit("remove", at),)), at=at)  # fmt: skip


JOBS: JobChecks = {
    "GK009": spot_job_without_checkpoint,
    "GK010": spot_job_with_sla,
    "GK016": save_of_job_over_grace,
}
WORKLOADS: WorkloadChecks = {
    "GK009": spot_without_checkpoint,
    "GK010": spot_with_sla,
    "GK016": save_over_grace,
    "GK029": grace_over_notice,
    "GK030": preemption_counts,
    "GK031": do_not_disrupt,
}
MANIFESTS: ManifestChecks = {}
