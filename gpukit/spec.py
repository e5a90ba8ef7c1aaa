"""JobSpec: what the user wants, and nothing about a cluster.

Every value is validated and canonical here: durations in seconds, memory in bytes, CPU in
millicores, money in US dollars as Decimal. ``profile`` and ``platform`` are checked for their form
only; whether there is such a GPU or platform is the catalog's knowledge and is judged by
:mod:`gpukit.placement`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from .checks import (
    DEFAULT_IMAGE,
    check_annotations,
    check_env,
    check_image,
    check_labels,
    check_platform,
    check_pod,
    check_secrets,
    check_selector,
    check_spot,
    check_text,
    count,
    dns,
    duration,
    label_option,
    maybe,
    one_of,
)
from .errors import SpecError, did_you_mean
from .locations import CheckpointLocation, parse_checkpoints, parse_volumes
from .naming import JOB_NAME_MAX
from .profile import Profile, parse_profiles
from .quantity import parse_bytes, parse_cpu, parse_money

__all__ = ["AUTO", "JobSpec", "TolerationSpec", "make_spec"]


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class TolerationSpec(_Closed):
    """A toleration in the words of Kubernetes."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    tolerationSeconds: int | None = None  # noqa: N815 - Kubernetes' own spelling


STAGES = ("dev", "training", "inference", "inference-sla")
AUTO = "auto"
"""The platform that is read off the cluster's nodes."""


class JobSpec(_Closed):
    """What a job asks for. All fields are options of ``@gpu_job`` under the same name."""

    name: Annotated[str | None, dns("name", JOB_NAME_MAX - 9)] = Field(
        None, description="Name of the job; default: the function's name."
    )
    namespace: Annotated[str | None, dns("namespace")] = Field(
        None, description="Kubernetes namespace; default: that of the context."
    )
    profile: Annotated[tuple[Profile, ...], BeforeValidator(parse_profiles)] = Field(
        (Profile(kind="cpu"),),
        description='GPU, MIG slice, "shared" or "cpu"; a list means any of them.',
    )
    gpu: str | None = Field(
        None, description="Constraint beside a MIG or shared profile: on this GPU only."
    )
    spot: Annotated[bool | Literal["prefer"], BeforeValidator(check_spot)] = Field(
        False, description='Spot capacity: True, False, or "prefer".'
    )
    platform: Annotated[str, BeforeValidator(check_platform)] = Field(
        "generic",
        description='What the cluster runs on: generic, eks, karpenter, gke, aks, … or "auto".',
    )
    image: Annotated[str, BeforeValidator(check_image)] = Field(
        DEFAULT_IMAGE, description="Container image; needs Python >= 3.10, not gpukit."
    )
    image_pull_secrets: tuple[Annotated[str, dns("image_pull_secrets")], ...] = Field(
        (), description="Names of Secrets with registry credentials."
    )
    packages: tuple[str, ...] = Field((), description="Packages that pip installs at start.")
    requirements: str | None = Field(
        None, description="A requirements file that is shipped and installed at start."
    )
    cpu: Annotated[int | None, BeforeValidator(maybe(parse_cpu, "cpu"))] = Field(
        None, description="CPU request, millicores; default: by profile."
    )
    memory: Annotated[int | None, BeforeValidator(maybe(parse_bytes, "memory"))] = Field(
        None,
        description="Memory request and limit, with what snapshots for checkpoints take, bytes; "
        "default: by profile.",
    )
    shm: Annotated[int | None, BeforeValidator(maybe(parse_bytes, "shm"))] = Field(
        None,
        description="Size of /dev/shm, bytes; default: half of memory, less what is there for "
        "snapshots.",
    )
    env: Annotated[dict[str, str], BeforeValidator(check_env)] = Field(
        {}, description="Environment variables."
    )
    secrets: Annotated[dict[str, str], BeforeValidator(check_secrets)] = Field(
        {}, description='Environment variables from Secrets: {"TOKEN": "secret/key"}.'
    )
    volumes: Annotated[dict[str, str], BeforeValidator(parse_volumes)] = Field(
        {}, description='Mounts: {"/data": "pvc:datasets/imagenet:ro"}; also empty:, secret:.'
    )
    checkpoint_every: Annotated[int | None, duration("checkpoint_every")] = Field(
        None, description="Upper bound on lost work, seconds; saves come as often as pays."
    )
    checkpoints: Annotated[
        CheckpointLocation | None, BeforeValidator(maybe(parse_checkpoints, "checkpoints"))
    ] = Field(None, description="s3://… | pvc:NAME[/path] | new:50Gi; default: new:20Gi if needed.")
    team: Annotated[str | None, label_option("team")] = Field(
        None, description="Label team, for cost allocation."
    )
    cost_center: Annotated[str | None, label_option("cost_center")] = Field(
        None, description="Label cost-center, for cost allocation."
    )
    stage: Annotated[str, BeforeValidator(one_of("stage", STAGES))] = Field(
        "training", description="dev, training, inference or inference-sla."
    )
    labels: Annotated[dict[str, str], BeforeValidator(check_labels)] = Field(
        {}, description="More labels, on the Job and the pod."
    )
    annotations: Annotated[dict[str, str], BeforeValidator(check_annotations)] = Field(
        {}, description="More annotations, on the Job and the pod."
    )
    retries: Annotated[int, count("retries", 0, 100)] = Field(
        1, description="Crashes that are retried; preemptions are never charged."
    )
    max_preemptions: Annotated[int, count("max_preemptions", 0, 1000)] = Field(
        100, description="Preemptions before the run ends."
    )
    max_cost: Annotated[Decimal | None, BeforeValidator(maybe(parse_money, "max_cost"))] = Field(
        None, description="Budget of the run, US dollars."
    )
    timeout: Annotated[int | None, duration("timeout")] = Field(
        None, description="Running time over all attempts, seconds."
    )
    deadline: Annotated[int | None, duration("deadline")] = Field(
        30 * 86400, description="Time since the first submission, queue included, seconds."
    )
    hang_timeout: Annotated[int | None, duration("hang_timeout")] = Field(
        None, description="Seconds without a step that are a hang; default: from the steps' time."
    )
    ttl: Annotated[int | None, duration("ttl")] = Field(
        7 * 86400, description="How long the ended Job stays in the cluster, seconds."
    )
    queue: Annotated[str | None, dns("queue")] = Field(None, description="Kueue's LocalQueue.")
    priority: Annotated[str | None, dns("priority")] = Field(
        None, description="PriorityClass (with a queue: WorkloadPriorityClass)."
    )
    node_selector: Annotated[dict[str, str], BeforeValidator(check_selector)] = Field(
        {}, description="Labels that the node must have."
    )
    tolerations: tuple[TolerationSpec, ...] = Field((), description="More tolerations.")
    service_account: Annotated[str | None, dns("service_account")] = Field(
        None, description="Service account; its token is not mounted."
    )
    pod: Annotated[dict[str, Any], BeforeValidator(check_pod)] = Field(
        {}, description="Partial PodSpec, merged into the rendered one as Kubernetes merges."
    )


def make_spec(values: dict[str, Any]) -> JobSpec:
    """Validate options and return the spec.

    Raises:
        SpecError: the first thing that is wrong, with what to write instead.
    """
    unknown = next((k for k in values if k not in JobSpec.model_fields), None)
    if unknown is not None:
        known = sorted(JobSpec.model_fields)
        raise SpecError(
            "option-unknown", f"there is no option {unknown!r}",
            did_you_mean(unknown, known, otherwise=f"the options are: {', '.join(known)}"),
        )  # fmt: skip
    for option, value in values.items():
        check_text(option, value)
    try:
        spec = JobSpec.model_validate(values)
    except ValidationError as error:
        raise _translated(error) from None
    check_together(spec)
    return spec


_FORMS = {  # how an option is written whose type pydantic judges
    "gpu": 'gpu="a100-80gb"',
    "image_pull_secrets": 'image_pull_secrets=["my-registry"], names of Secrets',
    "packages": 'packages=["numpy>=2"], a list of texts',
    "requirements": 'requirements="requirements.txt", a file beside the job',
    "annotations": 'annotations={"example.com/owner": "text"}',
    "tolerations": 'tolerations=[{"key": "team", "value": "a", "effect": "NoSchedule"}]',
    "checkpoints": 'checkpoints="s3://bucket/path", "pvc:NAME/path" or "new:50Gi"',
    "pod": 'pod={"dnsPolicy": "Default"}, a part of a PodSpec as a dictionary',
}


def _translated(error: ValidationError) -> SpecError:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    option = str(first["loc"][0]) if first["loc"] else "spec"
    near = ""
    if option == "tolerations" and first["type"] == "extra_forbidden":
        near = did_you_mean(str(first["loc"][-1]), TolerationSpec.model_fields)
    return SpecError(
        f"{option.replace('_', '-')}-form",
        f"{where}={first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}",
        f"{near} write {_FORMS.get(option, option)}".strip(),
    )


def check_together(spec: JobSpec) -> None:
    """Refuse combinations of options that cannot work.

    Raises:
        SpecError: which two options are at odds, and which to change.
    """
    both = set(spec.env) & set(spec.secrets)
    if both:
        raise SpecError(
            "env-and-secret", f"{sorted(both)[0]} is in env and in secrets",
            "keep it in secrets only",
        )  # fmt: skip
    if spec.gpu is not None and any(p.kind in ("full", "cpu") for p in spec.profile):
        raise SpecError(
            "gpu-beside-full", f"gpu={spec.gpu!r} beside profile={str(spec.profile[0])!r}",
            'gpu= narrows a "mig-…" or "shared" profile; for a whole GPU write profile="h100"',
        )  # fmt: skip
    if spec.packages and spec.requirements:
        raise SpecError(
            "packages-and-requirements", "packages and requirements are both given",
            "put the packages into the requirements file, or drop it",
        )  # fmt: skip
    if spec.spot is True and spec.stage == "inference-sla":
        raise SpecError(
            "spot-for-sla", 'spot=True with stage="inference-sla"',
            "spot nodes go away at two minutes' notice or less; use spot=False, or another stage",
        )  # fmt: skip
    if spec.shm is not None and spec.memory is not None and spec.shm > spec.memory:
        raise SpecError(
            "shm-over-memory", "shm is larger than memory, of which it is a part",
            "raise memory, or lower shm",
        )  # fmt: skip
    if spec.timeout is not None and spec.deadline is not None and spec.timeout > spec.deadline:
        raise SpecError(
            "timeout-over-deadline", "timeout is longer than deadline, which ends the run first",
            "raise deadline, or lower timeout",
        )  # fmt: skip
