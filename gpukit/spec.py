"""JobSpec: what the user wants, and nothing about a cluster.

Every value is validated and canonical here: durations in seconds, memory in bytes, CPU in
millicores, money in US dollars as Decimal. ``profile`` is checked for its form only; whether such
a GPU exists is the catalog's knowledge and is judged by :mod:`gpukit.placement`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from .errors import SpecError, did_you_mean
from .locations import CheckpointLocation, parse_checkpoints, parse_volumes
from .naming import (
    JOB_NAME_MAX,
    dns_label,
    validate_env_name,
    validate_label_key,
    validate_label_value,
)
from .profile import Profile, parse_profiles
from .quantity import parse_bytes, parse_cpu, parse_duration, parse_money

__all__ = ["JobSpec", "TolerationSpec", "make_spec"]

DEFAULT_IMAGE = "pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime"


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class TolerationSpec(_Closed):
    """A toleration in the words of Kubernetes."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    tolerationSeconds: int | None = None  # noqa: N815 - Kubernetes' own spelling


def _spot(value: object) -> object:
    if value is True or value is False or value == "prefer":
        return value
    raise SpecError(
        "spot-value", f"spot={value!r} is not a choice",
        'write True (spot only), False (on-demand only) or "prefer" (spot first)',
    )  # fmt: skip


def _word(what: str, choices: tuple[str, ...]) -> Callable[[object], object]:
    def check(value: object) -> object:
        if value not in choices:
            raise SpecError(
                f"{what}-unknown", f"{what}={value!r} is not known",
                did_you_mean(str(value), choices, otherwise=f"choose from {', '.join(choices)}"),
            )  # fmt: skip
        return value

    return check


def _labels(value: object) -> object:
    for key, text in _mapping("labels", value).items():
        validate_label_key(key)
        validate_label_value(text, f"labels[{key!r}]")
        if key.startswith("gpukit.dev/"):
            raise SpecError(
                "label-reserved", f"labels: {key!r} belongs to gpukit",
                "use a prefix of your own, for example example.com/",
            )  # fmt: skip
    return value


def _annotations(value: object) -> object:
    for key in _mapping("annotations", value):
        validate_label_key(key, "annotations")
    return value


def _selector(value: object) -> object:
    for key, text in _mapping("node_selector", value).items():
        validate_label_key(key, "node_selector")
        validate_label_value(text, f"node_selector[{key!r}]")
    return value


def _env(value: object) -> object:
    for key, text in _mapping("env", value).items():
        validate_env_name(key)
        _not_reserved(key)
        if not isinstance(text, str):
            raise SpecError(
                "env-value", f"env[{key!r}]={text!r} is not text",
                f"write env={{{key!r}: {str(text)!r}}}",
            )  # fmt: skip
    return value


def _not_reserved(name: str) -> None:
    if name.startswith("GPUKIT_") or name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        raise SpecError(
            "env-reserved", f"env: {name} is set by gpukit in the pod",
            "choose another name",
        )  # fmt: skip


_SECRET_REF = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/[-._a-zA-Z0-9]{1,253}")


def _secrets(value: object) -> object:
    for key, reference in _mapping("secrets", value).items():
        validate_env_name(key)
        _not_reserved(key)
        if not isinstance(reference, str) or not _SECRET_REF.fullmatch(reference):
            raise SpecError(
                "secret-reference",
                f"secrets[{key!r}] is not a reference to a Secret",  # never print the value
                'write "NAME/KEY" of a Secret of the namespace, for example '
                f'{{"{key}": "wandb/api-key"}}; a value itself never belongs in code',
            )
    return value


def _mapping(what: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
        raise SpecError(
            f"{what}-form", f"{what}={value!r} is not a mapping of names to values",
            f'write {what}={{"name": "value"}}',
        )  # fmt: skip
    return value


def _maybe(parse: Callable[[Any, str], Any], what: str) -> Callable[[Any], Any]:
    return lambda value: None if value is None else parse(value, what)


def _dns(what: str, limit: int = 63) -> BeforeValidator:
    return BeforeValidator(
        lambda value: None if value is None else dns_label(str(value), what, limit)
    )


def _label_option(what: str) -> BeforeValidator:
    return BeforeValidator(
        lambda value: None if value is None else validate_label_value(value, what)
    )


def _count(what: str, low: int, high: int) -> BeforeValidator:
    def check(value: object) -> object:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise SpecError(
                f"{what.replace('_', '-')}-range", f"{what}={value!r} is out of range",
                f"write a whole number from {low} to {high}",
            )  # fmt: skip
        return value

    return BeforeValidator(check)


_IMAGE = re.compile(r"[a-z0-9]+([._:/-][a-zA-Z0-9._-]+)*(@sha256:[0-9a-f]{64})?")


def _image(value: object) -> object:
    if not isinstance(value, str) or not _IMAGE.fullmatch(value):
        raise SpecError(
            "image-form", f"image={value!r} is not a reference to an image",
            f'write "registry/name:tag", for example {DEFAULT_IMAGE!r}',
        )  # fmt: skip
    return value


STAGES = ("dev", "training", "inference", "inference-sla")
PLATFORMS = ("generic",)

Seconds = Annotated[int | None, Field(ge=1)]


class JobSpec(_Closed):
    """What a job asks for. All fields are options of ``@gpu_job`` under the same name."""

    name: Annotated[str | None, _dns("name", JOB_NAME_MAX - 9)] = Field(
        None, description="Name of the job; default: the function's name."
    )
    namespace: Annotated[str | None, _dns("namespace")] = Field(
        None, description="Kubernetes namespace; default: that of the context."
    )
    profile: Annotated[tuple[Profile, ...], BeforeValidator(parse_profiles)] = Field(
        (Profile(kind="cpu"),),
        description='GPU, MIG slice, "shared" or "cpu"; a list means any of them.',
    )
    gpu: str | None = Field(
        None, description="Constraint beside a MIG or shared profile: on this GPU only."
    )
    spot: Annotated[bool | Literal["prefer"], BeforeValidator(_spot)] = Field(
        False, description='Spot capacity: True, False, or "prefer".'
    )
    platform: Annotated[str, BeforeValidator(_word("platform", PLATFORMS))] = Field(
        "generic", description="What the cluster runs on; generic: NVIDIA GPU Operator."
    )
    image: Annotated[str, BeforeValidator(_image)] = Field(
        DEFAULT_IMAGE, description="Container image; needs Python >= 3.10, not gpukit."
    )
    image_pull_secrets: tuple[Annotated[str, _dns("image_pull_secrets")], ...] = Field(
        (), description="Names of Secrets with registry credentials."
    )
    packages: tuple[str, ...] = Field((), description="Packages that pip installs at start.")
    requirements: str | None = Field(
        None, description="A requirements file that is shipped and installed at start."
    )
    cpu: Annotated[int | None, BeforeValidator(_maybe(parse_cpu, "cpu"))] = Field(
        None, description="CPU request, millicores; default: by profile."
    )
    memory: Annotated[int | None, BeforeValidator(_maybe(parse_bytes, "memory"))] = Field(
        None, description="Memory request and limit, bytes; default: by profile."
    )
    shm: Annotated[int | None, BeforeValidator(_maybe(parse_bytes, "shm"))] = Field(
        None, description="Size of /dev/shm, bytes; default: half of memory."
    )
    env: Annotated[dict[str, str], BeforeValidator(_env)] = Field(
        {}, description="Environment variables."
    )
    secrets: Annotated[dict[str, str], BeforeValidator(_secrets)] = Field(
        {}, description='Environment variables from Secrets: {"TOKEN": "secret/key"}.'
    )
    volumes: Annotated[dict[str, str], BeforeValidator(parse_volumes)] = Field(
        {}, description='Mounts: {"/data": "pvc:datasets/imagenet:ro"}; also empty:, secret:.'
    )
    checkpoint_every: Annotated[
        Seconds, BeforeValidator(_maybe(parse_duration, "checkpoint_every"))
    ] = Field(None, description="Upper bound on lost work, seconds.")
    checkpoints: Annotated[
        CheckpointLocation | None, BeforeValidator(_maybe(parse_checkpoints, "checkpoints"))
    ] = Field(None, description="s3://… | pvc:NAME[/path] | new:50Gi; default: new:20Gi if needed.")
    team: Annotated[str | None, _label_option("team")] = Field(
        None, description="Label team, for cost allocation."
    )
    cost_center: Annotated[str | None, _label_option("cost_center")] = Field(
        None, description="Label cost-center, for cost allocation."
    )
    stage: Annotated[str, BeforeValidator(_word("stage", STAGES))] = Field(
        "training", description="dev, training, inference or inference-sla."
    )
    labels: Annotated[dict[str, str], BeforeValidator(_labels)] = Field(
        {}, description="More labels, on the Job and the pod."
    )
    annotations: Annotated[dict[str, str], BeforeValidator(_annotations)] = Field(
        {}, description="More annotations, on the Job and the pod."
    )
    retries: Annotated[int, _count("retries", 0, 100)] = Field(
        1, description="Crashes that are retried; preemptions are never charged."
    )
    max_preemptions: Annotated[int, _count("max_preemptions", 0, 1000)] = Field(
        100, description="Preemptions before the run ends."
    )
    max_cost: Annotated[Decimal | None, BeforeValidator(_maybe(parse_money, "max_cost"))] = Field(
        None, description="Budget of the run, US dollars."
    )
    timeout: Annotated[Seconds, BeforeValidator(_maybe(parse_duration, "timeout"))] = Field(
        None, description="Running time over all attempts, seconds."
    )
    deadline: Annotated[Seconds, BeforeValidator(_maybe(parse_duration, "deadline"))] = Field(
        30 * 86400, description="Time since the first submission, queue included, seconds."
    )
    hang_timeout: Annotated[Seconds, BeforeValidator(_maybe(parse_duration, "hang_timeout"))] = (
        Field(None, description="A step may take this long before it counts as a hang, seconds.")
    )
    ttl: Annotated[Seconds, BeforeValidator(_maybe(parse_duration, "ttl"))] = Field(
        7 * 86400, description="How long the ended Job stays in the cluster, seconds."
    )
    queue: Annotated[str | None, _dns("queue")] = Field(None, description="Kueue's LocalQueue.")
    priority: Annotated[str | None, _dns("priority")] = Field(
        None, description="PriorityClass (with a queue: WorkloadPriorityClass)."
    )
    node_selector: Annotated[dict[str, str], BeforeValidator(_selector)] = Field(
        {}, description="Labels that the node must have."
    )
    tolerations: tuple[TolerationSpec, ...] = Field((), description="More tolerations.")
    service_account: Annotated[str | None, _dns("service_account")] = Field(
        None, description="Service account; its token is not mounted."
    )
    pod: dict[str, Any] = Field(
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
    try:
        spec = JobSpec.model_validate(values)
    except ValidationError as error:
        raise _translated(error) from None
    check_together(spec)
    return spec


def _translated(error: ValidationError) -> SpecError:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    option = str(first["loc"][0]) if first["loc"] else "spec"
    field = JobSpec.model_fields.get(option)
    return SpecError(
        "option-type",
        f"{where}={first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}",
        (field.description or "") if field else "",
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
