"""Volumes of a pod, and the claim that a job makes. core/v1."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import KubeModel, Quantities

__all__ = [
    "AccessMode", "ClaimSpec", "ClaimTemplate", "ConfigMapVolume", "CsiVolume", "DownwardFile",
    "DownwardVolume", "EmptyDir", "EphemeralVolume", "FieldRef", "HostPath", "KeyToPath",
    "NfsVolume", "ObjectName", "PvcVolume", "ResourceFieldRef", "ResourceRequests",
    "SecretVolume", "Volume", "VolumeMount",
]  # fmt: skip

AccessMode = Literal["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]


class ObjectName(KubeModel):
    """A reference to an object by its name."""

    name: str


class FieldRef(KubeModel):
    """A field of the pod itself."""

    api_version: str | None = None
    field_path: str


class ResourceFieldRef(KubeModel):
    """A request or limit of a container."""

    container_name: str | None = None
    resource: str
    divisor: str | None = None


class KeyToPath(KubeModel):
    """One key of a ConfigMap or Secret, and the file it becomes."""

    key: str
    path: str
    mode: int | None = None


class ConfigMapVolume(KubeModel):
    """The keys of a ConfigMap as files."""

    name: str
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool | None = None


class SecretVolume(KubeModel):
    """The keys of a Secret as files."""

    secret_name: str
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool | None = None


class DownwardFile(KubeModel):
    """A field of the pod as a file."""

    path: str
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    mode: int | None = None


class DownwardVolume(KubeModel):
    """Fields of the pod as files."""

    items: tuple[DownwardFile, ...] = ()
    default_mode: int | None = None


class EmptyDir(KubeModel):
    """A directory that lives as long as the pod."""

    medium: Literal["", "Memory", "HugePages"] | None = None
    size_limit: str | None = None


class PvcVolume(KubeModel):
    """A claim that exists."""

    claim_name: str
    read_only: bool | None = None


class HostPath(KubeModel):
    """A path of the node; PodSecurity "restricted" refuses it."""

    path: str
    type: str | None = None


class NfsVolume(KubeModel):
    """A share of an NFS server."""

    server: str
    path: str
    read_only: bool | None = None


class CsiVolume(KubeModel):
    """An inline volume of a CSI driver."""

    driver: str
    fs_type: str | None = None
    node_publish_secret_ref: ObjectName | None = None
    read_only: bool | None = None
    volume_attributes: dict[str, str] = Field(default_factory=dict)


class ResourceRequests(KubeModel):
    """What a claim asks for."""

    requests: Quantities = Field(default_factory=dict)
    limits: Quantities = Field(default_factory=dict)


class ClaimSpec(KubeModel):
    """What storage a claim asks for."""

    access_modes: tuple[AccessMode, ...]
    storage_class_name: str | None = None
    volume_mode: Literal["Filesystem", "Block"] | None = None
    resources: ResourceRequests


class ClaimMetadata(KubeModel):
    """Labels and annotations of a pod's own claim."""

    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class ClaimTemplate(KubeModel):
    """A claim that is made for one pod and goes with it."""

    metadata: ClaimMetadata | None = None
    spec: ClaimSpec


class EphemeralVolume(KubeModel):
    """A volume of its own for each pod."""

    volume_claim_template: ClaimTemplate


class Volume(KubeModel):
    """A volume of a pod: a name, and one source."""

    name: str
    config_map: ConfigMapVolume | None = None
    csi: CsiVolume | None = None
    downward_api: DownwardVolume | None = Field(None, alias="downwardAPI")
    empty_dir: EmptyDir | None = None
    ephemeral: EphemeralVolume | None = None
    host_path: HostPath | None = None
    nfs: NfsVolume | None = None
    persistent_volume_claim: PvcVolume | None = None
    secret: SecretVolume | None = None


class VolumeMount(KubeModel):
    """Where a container sees a volume."""

    name: str
    mount_path: str
    sub_path: str | None = None
    sub_path_expr: str | None = None
    read_only: bool | None = None
    recursive_read_only: Literal["Disabled", "Enabled", "IfPossible"] | None = None
    mount_propagation: Literal["None", "HostToContainer", "Bidirectional"] | None = None
