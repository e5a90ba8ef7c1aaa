"""Containers of a pod. core/v1."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import KubeModel, Quantities
from .volumes import FieldRef, ObjectName, ResourceFieldRef, VolumeMount

__all__ = [
    "Capabilities", "Container", "EnvFrom", "EnvSource", "EnvVar", "KeyRef", "Lifecycle", "Port",
    "Probe", "Resources", "SeccompProfile", "SecurityContext",
]  # fmt: skip


class KeyRef(KubeModel):
    """A key of a Secret or ConfigMap."""

    name: str
    key: str
    optional: bool | None = None


class EnvSource(KubeModel):
    """Where the value of a variable comes from: one of these."""

    config_map_key_ref: KeyRef | None = None
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    secret_key_ref: KeyRef | None = None


class EnvVar(KubeModel):
    """An environment variable: a value, or where it comes from."""

    name: str
    value: str | None = None
    value_from: EnvSource | None = None


class EnvFrom(KubeModel):
    """All keys of a ConfigMap or Secret as environment variables."""

    prefix: str | None = None
    config_map_ref: ObjectName | None = None
    secret_ref: ObjectName | None = None


class ResourceClaim(KubeModel):
    """A claim of the pod that the container uses (dynamic resource allocation)."""

    name: str
    request: str | None = None


class Resources(KubeModel):
    """Requests and limits."""

    requests: Quantities = Field(default_factory=dict)
    limits: Quantities = Field(default_factory=dict)
    claims: tuple[ResourceClaim, ...] = ()


class Capabilities(KubeModel):
    """Linux capabilities."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SeccompProfile(KubeModel):
    """Which system calls are allowed."""

    type: Literal["RuntimeDefault", "Localhost", "Unconfined"]
    localhost_profile: str | None = None


class SecurityContext(KubeModel):
    """What a container may do."""

    allow_privilege_escalation: bool | None = None
    capabilities: Capabilities | None = None
    privileged: bool | None = None
    read_only_root_filesystem: bool | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    run_as_user: int | None = None
    seccomp_profile: SeccompProfile | None = None


class Port(KubeModel):
    """A port that a container listens on."""

    container_port: int
    name: str | None = None
    protocol: Literal["TCP", "UDP", "SCTP"] | None = None
    host_port: int | None = None


class Exec(KubeModel):
    """A command to run in the container."""

    command: tuple[str, ...]


class HttpGet(KubeModel):
    """A request to the container."""

    port: int | str
    path: str | None = None
    scheme: Literal["HTTP", "HTTPS"] | None = None


class TcpSocket(KubeModel):
    """A connection to the container."""

    port: int | str


class Probe(KubeModel):
    """How the kubelet asks a container for its health."""

    exec_: Exec | None = Field(None, alias="exec")
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    failure_threshold: int | None = None
    initial_delay_seconds: int | None = None
    period_seconds: int | None = None
    success_threshold: int | None = None
    termination_grace_period_seconds: int | None = None
    timeout_seconds: int | None = None


class Handler(KubeModel):
    """What happens at a moment of a container's life."""

    exec_: Exec | None = Field(None, alias="exec")
    http_get: HttpGet | None = None


class Lifecycle(KubeModel):
    """What happens after a container's start and before its end."""

    post_start: Handler | None = None
    pre_stop: Handler | None = None


class Container(KubeModel):
    """A container; everything but its name is optional, since overrides are partial."""

    name: str
    image: str | None = None
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str | None = None
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    ports: tuple[Port, ...] = ()
    resources: Resources | None = None
    volume_mounts: tuple[VolumeMount, ...] = ()
    security_context: SecurityContext | None = None
    lifecycle: Lifecycle | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    restart_policy: Literal["Always"] | None = None
    stdin: bool | None = None
    tty: bool | None = None
    termination_message_path: str | None = None
    termination_message_policy: Literal["File", "FallbackToLogsOnError"] | None = None
