"""Reading what a pod asks for: of a pod, or of the template of a Job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .amounts import amounts
from .snapshot import NodeTerm, PodShape, Reference, Requirement, TolerationFacts

__all__ = ["is_native", "node_terms", "read_shape"]

_Json = Mapping[str, Any]


def read_shape(spec: _Json) -> PodShape:
    """Return what a PodSpec asks for."""
    containers = spec.get("containers") or []
    starters = spec.get("initContainers") or []
    affinity = spec.get("affinity") or {}
    required = (affinity.get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    volumes = spec.get("volumes") or ()
    return PodShape(
        requests=_effective(spec, containers, starters),
        selector=dict(spec.get("nodeSelector") or {}),
        terms=node_terms(required.get("nodeSelectorTerms")),
        tolerations=tuple(
            TolerationFacts(
                t.get("key") or "", t.get("operator") or "Equal", t.get("value") or "",
                t.get("effect") or "",
            )
            for t in spec.get("tolerations") or ()
        ),
        claims=tuple(dict.fromkeys(
            v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v
        )),
        references=tuple(dict.fromkeys(_references([*starters, *containers], volumes))),
        images={str(c["name"]): str(c.get("image", "")) for c in (*starters, *containers)},
        containers=tuple(str(c["name"]) for c in containers),
        scheduler=spec.get("schedulerName") or "default-scheduler",
        host=tuple(_of_the_host(spec, [*starters, *containers], volumes)),
        beyond=tuple(_beyond(spec, affinity)),
    )  # fmt: skip


def node_terms(terms: Iterable[_Json] | None) -> tuple[NodeTerm, ...]:
    """Return node selector terms; of these a node must meet one."""
    return tuple(
        NodeTerm(
            tuple(_requirement(r) for r in term.get("matchExpressions") or ()),
            tuple(_requirement(r) for r in term.get("matchFields") or ()),
        )
        for term in terms or ()
    )


def is_native(container: _Json) -> bool:
    """Tell whether an init container is a sidecar, which Kubernetes itself ends."""
    return container.get("restartPolicy") == "Always"


def _requirement(raw: _Json) -> Requirement:
    return Requirement(str(raw["key"]), str(raw["operator"]), tuple(raw.get("values") or ()))


def _effective(
    spec: _Json, containers: Sequence[_Json], starters: Sequence[_Json]
) -> dict[str, int]:
    """Return what the scheduler counts (k8s.io/component-helpers resource, PodRequests).

    Containers and sidecars together; or one init container with the sidecars before it, where that
    is more; and the overhead of the runtime class.
    """
    total: dict[str, int] = {}
    for container in containers:
        _add(total, _requests(container))
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in starters:
        own = _requests(container)
        if is_native(container):
            _add(total, own)
            _add(sidecars, own)
            own = {}
        for name in {*own, *sidecars}:
            peak[name] = max(peak.get(name, 0), own.get(name, 0) + sidecars.get(name, 0))
    for name, count in peak.items():
        total[name] = max(total.get(name, 0), count)
    total.update(amounts((spec.get("resources") or {}).get("requests")))
    _add(total, amounts(spec.get("overhead")))
    return {name: count for name, count in total.items() if count}


def _requests(container: _Json) -> dict[str, int]:
    resources = container.get("resources") or {}
    return {**amounts(resources.get("limits")), **amounts(resources.get("requests"))}


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, count in more.items():
        total[name] = total.get(name, 0) + count


def _references(containers: Sequence[_Json], volumes: Iterable[_Json]) -> Iterator[Reference]:
    for container in containers:
        for variable in container.get("env") or ():
            source = variable.get("valueFrom") or {}
            for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                found = source.get(field)
                if found and not found.get("optional"):
                    name, key = found.get("name", ""), found.get("key", "")
                    yield Reference(kind, name, key, variable["name"])  # type: ignore[arg-type]
        for group in container.get("envFrom") or ():
            for field, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
                found = group.get(field)
                if found and not found.get("optional"):
                    yield Reference(kind, found.get("name", ""))  # type: ignore[arg-type]
    for volume in volumes:
        secret, config = volume.get("secret"), volume.get("configMap")
        if secret and not secret.get("optional"):
            yield Reference("Secret", secret.get("secretName", ""))
        if config and not config.get("optional"):
            yield Reference("ConfigMap", config.get("name", ""))


_HOST_FIELDS = ("hostNetwork", "hostPID", "hostIPC")
_BASELINE_CAPABILITIES = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)


def _of_the_host(
    spec: _Json, containers: Sequence[_Json], volumes: Iterable[_Json]
) -> Iterator[str]:
    """Yield what PodSecurity's "baseline" refuses (kubernetes.io, Pod Security Standards)."""
    yield from (field for field in _HOST_FIELDS if spec.get(field))
    if any("hostPath" in volume for volume in volumes):
        yield "hostPath"
    for container in containers:
        security = container.get("securityContext") or {}
        if security.get("privileged"):
            yield "privileged"
        added = set((security.get("capabilities") or {}).get("add") or ())
        yield from sorted(added - _BASELINE_CAPABILITIES)
        if any(port.get("hostPort") for port in container.get("ports") or ()):
            yield "hostPort"
    for security in [spec, *containers]:
        profile = (security.get("securityContext") or {}).get("seccompProfile") or {}
        if profile.get("type") == "Unconfined":
            yield "seccompProfile Unconfined"


def _beyond(spec: _Json, affinity: _Json) -> Iterator[str]:
    """Yield what the scheduler weighs and this package does not compute."""
    key = "requiredDuringSchedulingIgnoredDuringExecution"
    for field in ("podAffinity", "podAntiAffinity"):
        if (affinity.get(field) or {}).get(key):
            yield field
    spreads = spec.get("topologySpreadConstraints") or ()
    if any(s.get("whenUnsatisfiable") == "DoNotSchedule" for s in spreads):
        yield "topologySpreadConstraints"
    if spec.get("resourceClaims"):
        yield "resourceClaims"
