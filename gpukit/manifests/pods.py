"""The pod. core/v1."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import KubeModel, Metadata
from .containers import Container, SeccompProfile
from .scheduling import Affinity, Toleration, TopologySpread
from .volumes import ObjectName, Volume

__all__ = ["DnsConfig", "HostAlias", "PodSecurity", "PodSpec", "PodTemplate"]


class PodSecurity(KubeModel):
    """What all containers of a pod may do, and as whom."""

    fs_group: int | None = None
    fs_group_change_policy: Literal["OnRootMismatch", "Always"] | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    run_as_user: int | None = None
    seccomp_profile: SeccompProfile | None = None
    supplemental_groups: tuple[int, ...] = ()


class HostAlias(KubeModel):
    """A line of /etc/hosts."""

    ip: str
    hostnames: tuple[str, ...] = ()


class DnsOption(KubeModel):
    """An option of /etc/resolv.conf."""

    name: str
    value: str | None = None


class DnsConfig(KubeModel):
    """Additions to /etc/resolv.conf."""

    nameservers: tuple[str, ...] = ()
    options: tuple[DnsOption, ...] = ()
    searches: tuple[str, ...] = ()


class PodResourceClaim(KubeModel):
    """A device claim of the pod (dynamic resource allocation)."""

    name: str
    resource_claim_name: str | None = None
    resource_claim_template_name: str | None = None


class PodSpec(KubeModel):
    """A pod; everything is optional, since overrides are partial."""

    restart_policy: Literal["Always", "OnFailure", "Never"] | None = None
    termination_grace_period_seconds: int | None = None
    active_deadline_seconds: int | None = None
    automount_service_account_token: bool | None = None
    enable_service_links: bool | None = None
    service_account_name: str | None = None
    priority_class_name: str | None = None
    preemption_policy: Literal["Never", "PreemptLowerPriority"] | None = None
    scheduler_name: str | None = None
    runtime_class_name: str | None = None
    node_name: str | None = None
    node_selector: dict[str, str] = Field(default_factory=dict)
    affinity: Affinity | None = None
    tolerations: tuple[Toleration, ...] = ()
    topology_spread_constraints: tuple[TopologySpread, ...] = ()
    image_pull_secrets: tuple[ObjectName, ...] = ()
    security_context: PodSecurity | None = None
    share_process_namespace: bool | None = None
    host_network: bool | None = None
    host_ipc: bool | None = Field(None, alias="hostIPC")
    host_pid: bool | None = Field(None, alias="hostPID")
    host_users: bool | None = None
    hostname: str | None = None
    subdomain: str | None = None
    set_hostname_as_fqdn: bool | None = Field(None, alias="setHostnameAsFQDN")
    host_aliases: tuple[HostAlias, ...] = ()
    dns_policy: Literal["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"] | None = None
    dns_config: DnsConfig | None = None
    resource_claims: tuple[PodResourceClaim, ...] = ()
    init_containers: tuple[Container, ...] = ()
    containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()


class PodTemplate(KubeModel):
    """What pods of a Job look like."""

    metadata: Metadata
    spec: PodSpec
