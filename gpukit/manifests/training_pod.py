"""The pod of an attempt: one container that runs the user's function under the supervisor."""

from __future__ import annotations

from gpukit.contract import BOOTSTRAP_NAME, CODE_MOUNT, CONTAINER, WORK_MOUNT
from gpukit.placement import NodeTerm, Placement
from gpukit.quantity import format_bytes, format_cpu
from gpukit.spec import JobSpec, TolerationSpec

from .containers import Capabilities, Container, Resources, SeccompProfile, SecurityContext
from .environment import TERMINATION_LOG, trainer_env
from .pods import PodSecurity, PodSpec
from .scheduling import (
    Affinity,
    NodeAffinity,
    NodeRequirement,
    NodeSelector,
    NodeSelectorTerm,
    PreferredNodes,
    Toleration,
)
from .storage import mounted_volumes
from .volumes import ObjectName, VolumeMount

__all__ = ["training_pod"]

USER_ID = 1000


def training_pod(
    spec: JobSpec, placement: Placement, *, code: str, job: str, store: str
) -> PodSpec:
    """Return the pod: it passes PodSecurity "restricted" and works in images without the user.

    Args:
        spec: the declaration.
        placement: what it became on the platform.
        code: name of the ConfigMap with the archive.
        job: name of the job.
        store: directory or URL of the run.
    """
    volumes, mounts = mounted_volumes(spec, placement, code=code, job=job)
    return PodSpec(
        restart_policy="Never",  # each attempt is a pod of its own
        termination_grace_period_seconds=placement.grace,
        automount_service_account_token=False,
        enable_service_links=False,
        service_account_name=spec.service_account,
        priority_class_name=None if spec.queue else spec.priority,  # a queue has its own
        node_selector=placement.node_selector,
        affinity=_affinity(placement),
        tolerations=tuple(_toleration(t) for t in placement.tolerations),
        image_pull_secrets=tuple(ObjectName(name=name) for name in spec.image_pull_secrets),
        security_context=PodSecurity(
            run_as_non_root=True, run_as_user=USER_ID, run_as_group=USER_ID, fs_group=USER_ID,
            fs_group_change_policy="OnRootMismatch", seccomp_profile=_seccomp(),
        ),
        containers=(_container(spec, placement, mounts, store),),
        volumes=volumes,
    )  # fmt: skip


def _container(
    spec: JobSpec, placement: Placement, mounts: tuple[VolumeMount, ...], store: str
) -> Container:
    return Container(
        name=CONTAINER,
        image=spec.image,
        command=("python3", "-u", f"{CODE_MOUNT}/{BOOTSTRAP_NAME}"),
        working_dir=WORK_MOUNT,
        env=trainer_env(spec, placement, store),
        resources=_resources(placement),
        volume_mounts=mounts,
        security_context=SecurityContext(
            allow_privilege_escalation=False,
            capabilities=Capabilities(drop=("ALL",)),
            run_as_non_root=True,
            seccomp_profile=_seccomp(),
        ),
        termination_message_path=TERMINATION_LOG,
        termination_message_policy="File",
    )


def _resources(placement: Placement) -> Resources:
    """CPU has a request and no limit (a limit only throttles); memory has both, equal."""
    memory = format_bytes(placement.memory)
    limits = {"memory": memory}
    if placement.resource_name is not None:  # in limits only: the request follows from it
        limits[placement.resource_name] = str(placement.count)
    return Resources(requests={"cpu": format_cpu(placement.cpu), "memory": memory}, limits=limits)


def _seccomp() -> SeccompProfile:
    return SeccompProfile(type="RuntimeDefault")


def _affinity(placement: Placement) -> Affinity | None:
    required = tuple(_requirement(term) for term in placement.node_terms)
    preferred = tuple(
        PreferredNodes(
            weight=term.weight,
            preference=NodeSelectorTerm(match_expressions=(_requirement(term),)),
        )
        for term in placement.preferred_terms
    )
    if not required and not preferred:
        return None
    return Affinity(
        node_affinity=NodeAffinity(
            required_during_scheduling_ignored_during_execution=NodeSelector(
                node_selector_terms=(NodeSelectorTerm(match_expressions=required),)
            )
            if required
            else None,
            preferred_during_scheduling_ignored_during_execution=preferred,
        )
    )


def _requirement(term: NodeTerm) -> NodeRequirement:
    return NodeRequirement(key=term.key, operator=term.operator, values=term.values)


def _toleration(toleration: TolerationSpec) -> Toleration:
    return Toleration(
        key=toleration.key,
        operator=toleration.operator,
        value=toleration.value,
        effect=toleration.effect,
        toleration_seconds=toleration.tolerationSeconds,
    )
