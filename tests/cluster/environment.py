"""What the kubelet resolves for a container: fields of the pod, keys of objects, variables."""

from __future__ import annotations

import base64
import math
import re
from typing import Any

from gpukit.quantity import parse_bytes, parse_cpu

from .api import Api, Json

__all__ = ["Missing", "container_environment", "data_of", "expand", "field_of"]

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]\Z")
_REFERENCE = re.compile(r"\$(\$|\(([A-Za-z_.-][A-Za-z0-9_.-]*)\))")


class Missing(Exception):  # noqa: N818 - the pod waits until it is there
    """An object or key that the pod names is not there."""


def container_environment(api: Api, pod: Json, container: Json) -> dict[str, str]:
    """Return the variables of a container.

    Raises:
        Missing: a reference that is not optional leads to nothing.
    """
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        for kind in ("configMap", "secret"):
            reference = source.get(f"{kind}Ref")
            if reference:
                values = data_of(api, pod, kind, reference["name"], bool(reference.get("optional")))
                prefix = source.get("prefix", "")
                found |= {prefix + key: value.decode() for key, value in values.items()}
    for entry in container.get("env", []):
        if "valueFrom" not in entry:
            found[entry["name"]] = expand(entry.get("value", ""), found)
        elif (value := _value_from(api, pod, container, entry["valueFrom"])) is not None:
            found[entry["name"]] = value
    return found


def expand(text: str, variables: dict[str, str]) -> str:
    """Replace ``$(NAME)`` as Kubernetes does: unknown names stay, ``$$`` is a dollar."""

    def value(match: re.Match[str]) -> str:
        return "$" if match[1] == "$" else variables.get(match[2], match[0])

    return _REFERENCE.sub(value, text)


def data_of(api: Api, pod: Json, kind: str, name: str, optional: bool) -> dict[str, bytes]:
    """Return the content of a ConfigMap or Secret (``kind`` configMap or secret).

    Raises:
        Missing: it is not there, and not optional.
    """
    namespace = pod["metadata"]["namespace"]
    found = api.find(f"/api/v1/namespaces/{namespace}/{kind.lower()}s/{name}")
    if found is None:
        if optional:
            return {}
        raise Missing(f'{kind.lower()} "{name}" not found')
    encoded = {**found.get("binaryData", {}), **(found.get("data", {}) if kind == "secret" else {})}
    plain = found.get("data", {}) if kind == "configMap" else {}
    decoded = {key: base64.b64decode(value) for key, value in encoded.items()}
    return {**decoded, **{key: value.encode() for key, value in plain.items()}}


def _value_from(api: Api, pod: Json, container: Json, source: Json) -> str | None:
    if "fieldRef" in source:
        return field_of(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return _resource_of(container, source["resourceFieldRef"])
    for kind in ("configMap", "secret"):
        reference = source.get(f"{kind}KeyRef")
        if reference:
            optional = bool(reference.get("optional"))
            values = data_of(api, pod, kind, reference["name"], optional)
            if reference["key"] in values:
                return values[reference["key"]].decode()
            if not optional:
                raise Missing(f"couldn't find key {reference['key']} in {kind} {reference['name']}")
    return None


def field_of(pod: Json, path: str) -> str:
    """Return a field of the pod, as the downward API names it."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
    if subscript := _SUBSCRIPT.match(path):
        return str(metadata.get(subscript[1], {}).get(subscript[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        entries = sorted(metadata.get(path.partition(".")[2], {}).items())
        return "\n".join(f'{key}="{value}"' for key, value in entries)
    values: dict[str, Any] = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.podIP": status.get("podIP", "127.0.0.1"),
        "status.podIPs": status.get("podIP", "127.0.0.1"),
        "status.hostIP": "127.0.0.1",
        "status.hostIPs": "127.0.0.1",
    }
    return str(values[path])


def _resource_of(container: Json, reference: Json) -> str:
    where, _, resource = reference["resource"].partition(".")
    quantity = container.get("resources", {}).get(where, {}).get(resource)
    if quantity is None:
        return "0"
    parse = parse_cpu if resource == "cpu" else parse_bytes
    return str(math.ceil(parse(quantity) / parse(reference.get("divisor") or "1")))
