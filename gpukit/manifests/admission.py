"""What the API server checks of a pod beyond its schema, said before anything is sent.

By the rules of k8s.io/kubernetes pkg/apis/core/validation. Only a pod override can break them:
what gpukit renders by itself follows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from gpukit.errors import SpecError
from gpukit.naming import is_dns_label, validate_label_key, validate_label_value
from gpukit.quantity import parse_quantity

from .containers import Container
from .pods import PodSpec
from .scheduling import Toleration

__all__ = ["check_pod_spec"]

_MAX_ID = 2**31 - 1
_OWN_DOMAINS = ("kubernetes.io",)


def check_pod_spec(pod: PodSpec) -> None:
    """Refuse a pod that the API server would refuse.

    Raises:
        SpecError: what is wrong and what to write instead.
    """
    _check_containers(pod)
    for toleration in pod.tolerations:
        _check_toleration(toleration)
    for key, value in pod.node_selector.items():
        validate_label_key(key, "pod.nodeSelector")
        validate_label_value(value, f"pod.nodeSelector[{key}]")
    _at_least("terminationGracePeriodSeconds", pod.termination_grace_period_seconds, 0)
    _at_least("activeDeadlineSeconds", pod.active_deadline_seconds, 1)
    security = pod.security_context
    if security is not None:
        ids = {"runAsUser": security.run_as_user, "runAsGroup": security.run_as_group,
               "fsGroup": security.fs_group}  # fmt: skip
        for field, number in ids.items():
            _at_least(f"securityContext.{field}", number, 0, _MAX_ID)
    if pod.dns_policy == "None" and not (pod.dns_config and pod.dns_config.nameservers):
        raise SpecError(
            "pod-dns", 'pod.dnsPolicy="None" without nameservers',
            'add dnsConfig={"nameservers": ["10.0.0.10"]}, or leave dnsPolicy out',
        )  # fmt: skip


def _check_containers(pod: PodSpec) -> None:
    volumes = {volume.name for volume in pod.volumes}
    names: set[str] = set()
    for kind, containers in (
        ("initContainers", pod.init_containers),
        ("containers", pod.containers),
    ):
        for container in containers:
            where = f"pod.{kind}[{container.name}]"
            if not is_dns_label(container.name) or container.name in names:
                raise SpecError(
                    "pod-container-name",
                    f"{where}: the name is taken" if container.name in names else
                    f"{where}: not a name that Kubernetes accepts",
                    "use small letters, digits and hyphens, and each name once",
                )  # fmt: skip
            names.add(container.name)
            if not container.image:
                raise SpecError("pod-image", f"{where} has no image", "say which image it runs")
            _check_mounts(where, container, volumes)
            _check_resources(where, container)
            if pod.host_network and any(
                port.host_port not in (None, port.container_port) for port in container.ports
            ):
                raise SpecError(
                    "pod-host-port", f"{where}: hostPort and containerPort differ",
                    "with hostNetwork they are the same port: leave hostPort out",
                )  # fmt: skip


def _check_mounts(where: str, container: Container, volumes: Iterable[str]) -> None:
    paths: set[str] = set()
    for mount in container.volume_mounts:
        if mount.name not in volumes:
            raise SpecError(
                "pod-mount", f"{where}.volumeMounts: there is no volume {mount.name!r}",
                "add it to volumes, or use the option volumes=",
            )  # fmt: skip
        if mount.mount_path in paths:
            raise SpecError(
                "pod-mount", f"{where}.volumeMounts: {mount.mount_path} is mounted twice",
                "mount each volume at a path of its own",
            )  # fmt: skip
        paths.add(str(mount.mount_path))


def _check_resources(where: str, container: Container) -> None:
    if container.resources is None:
        return
    limits = _amounts(f"{where}.resources.limits", container.resources.limits)
    requests = _amounts(f"{where}.resources.requests", container.resources.requests)
    for name, amount in {**requests, **limits}.items():
        if _is_device(name) and amount != amount.to_integral_value():
            raise SpecError(
                "pod-device-fraction", f"{where}.resources: {name}: {amount.normalize()}",
                'devices are counted whole: write "1"; for a part of a GPU use '
                'profile="mig-1g.10gb" or "shared"',
            )  # fmt: skip
    for name, amount in requests.items():
        if _is_device(name) and limits.get(name) != amount:
            raise SpecError(
                "pod-device-requests", f"{where}.resources.requests: {name}: {amount.normalize()}, "
                + ("and no limit" if name not in limits else f"and a limit of {limits[name]}"),
                "a device is not shared, so both are the same: name it in limits only",
            )  # fmt: skip
        if name in limits and amount > limits[name]:
            raise SpecError(
                "pod-request-over-limit",
                f"{where}.resources: the request of {name} is more than its limit",
                "raise the limit as well; for memory, use the option memory=, which sets both",
            )  # fmt: skip


def _amounts(where: str, resources: Mapping[str, str]) -> dict[str, Decimal]:
    return {name: parse_quantity(text, f"{where}.{name}") for name, text in resources.items()}


def _is_device(name: str) -> bool:
    domain, slash, _ = name.partition("/")
    return bool(slash) and not domain.endswith(_OWN_DOMAINS)


def _check_toleration(toleration: Toleration) -> None:
    if toleration.operator == "Exists" and toleration.value:
        raise SpecError(
            "pod-toleration", f"pod.tolerations: Exists and the value {toleration.value!r}",
            "Exists means any value: leave value out",
        )  # fmt: skip
    if not toleration.key and toleration.operator != "Exists":
        raise SpecError(
            "pod-toleration", "pod.tolerations: Equal without a key",
            'write the taint\'s key, or operator "Exists" to tolerate every taint',
        )  # fmt: skip
    if toleration.toleration_seconds is not None and toleration.effect != "NoExecute":
        raise SpecError(
            "pod-toleration", "pod.tolerations: tolerationSeconds without the effect NoExecute",
            "only NoExecute taints end a running pod, so only they have a time",
        )  # fmt: skip


def _at_least(field: str, number: int | None, least: int, most: int | None = None) -> None:
    if number is None or (number >= least and (most is None or number <= most)):
        return
    raise SpecError(
        "pod-number", f"pod.{field}={number} is out of range",
        f"write {least} or more" + (f", at most {most}" if most else ""),
    )  # fmt: skip
