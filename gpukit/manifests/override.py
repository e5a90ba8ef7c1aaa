"""The one escape hatch: a typed partial PodSpec, merged as Kubernetes merges.

The rules are those of a strategic merge patch: mappings merge by key, the lists below merge by
their key field, every other list is replaced, null removes a field. One thing is kinder than
there: a variable's ``value`` replaces its ``valueFrom``, where Kubernetes would refuse the two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidationError

from gpukit.contract import CONTAINER
from gpukit.errors import SpecError, did_you_mean

from .base import KubeModel
from .pods import PodSpec

__all__ = ["apply_override"]

_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}
_RETAIN_KEYS = frozenset({"volumes", "resourceClaims", "env"})  # one source replaces another
_AS_IN_A_MANIFEST = "write it as in a Kubernetes manifest"
_GPUKIT_OWN = ("command", "args", "restartPolicy", "terminationMessagePath")


def apply_override(pod: PodSpec, override: Mapping[str, Any]) -> PodSpec:
    """Return the pod with the user's partial PodSpec merged into it.

    Raises:
        SpecError: an unknown field, a wrong value, or a field that gpukit itself needs.
    """
    if not override:
        return pod
    patch = _checked(override)
    _refuse_own(patch)
    try:
        merged = PodSpec.model_validate(_merged(pod.to_dict(), patch))
    except ValidationError as error:
        raise _translated(error) or SpecError("pod-value", str(error), _AS_IN_A_MANIFEST) from None
    nameless = next((c for c in merged.containers if c.image is None), None)
    if nameless is not None:
        raise SpecError(
            "pod-container-unknown", f"pod.containers: {nameless.name!r} has no image",
            did_you_mean(nameless.name, (CONTAINER,))
            + f" gpukit's container is {CONTAINER!r}; another one needs an image",
        )  # fmt: skip
    return merged


def _checked(override: Mapping[str, Any]) -> dict[str, Any]:
    """Return the override as plain JSON data, all fields and values of it known."""
    try:
        text = json.dumps(override)
    except (TypeError, ValueError) as error:
        raise SpecError(
            "pod-not-json", f"pod cannot be written as JSON: {error}",
            "use text, numbers, booleans, lists and dictionaries",
        ) from None  # fmt: skip
    try:
        PodSpec.model_validate_json(text, strict=True)
    except ValidationError as error:
        wrong = _translated(error)
        if wrong is not None:
            raise wrong from None
    checked: dict[str, Any] = json.loads(text)
    return checked


def _translated(error: ValidationError) -> SpecError | None:
    """Return the first error for a person; null is no error, it removes a field."""
    for first in error.errors(include_url=False):
        path = ".".join(("pod", *(str(part) for part in first["loc"])))
        if first["type"] == "extra_forbidden":
            known = _fields_at(first["loc"][:-1])
            hint = did_you_mean(
                str(first["loc"][-1]), known, otherwise=f"known here: {', '.join(known)}"
            )
            return SpecError("pod-field-unknown", f"{path}: there is no such field", hint)
        if first["input"] is not None:
            message = f"{first['msg'][0].lower()}{first['msg'][1:]}"
            return SpecError(
                "pod-value", f"{path}={first['input']!r}: {message}", _AS_IN_A_MANIFEST
            )
    return None


def _fields_at(path: tuple[int | str, ...]) -> list[str]:
    """Return the fields of the model that a path of an error leads to."""
    model: type[KubeModel] = PodSpec
    for part in path:
        fields = {info.alias or name: info for name, info in model.model_fields.items()}
        if part in fields:
            model = _model_in(fields[str(part)].annotation) or model
    return sorted(info.alias or name for name, info in model.model_fields.items())


def _model_in(annotation: Any) -> type[KubeModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, KubeModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)


def _refuse_own(patch: Mapping[str, Any]) -> None:
    if patch.get("restartPolicy", "Never") != "Never":
        raise SpecError(
            "pod-restart-policy", f"pod.restartPolicy={patch['restartPolicy']!r}",
            "gpukit starts each attempt as a pod of its own: leave it out; see retries=",
        )  # fmt: skip
    _refuse_null("pod", patch, ("containers", "volumes"))
    for container in patch.get("containers") or ():
        if container.get("name") == CONTAINER:
            where = f"pod.containers[{CONTAINER}]"
            _refuse_null(where, container, ("env", "resources", "volumeMounts"))
        own = next((f for f in _GPUKIT_OWN if f in container), None)
        if container.get("name") == CONTAINER and own:
            raise SpecError(
                "pod-own-field", f"pod.containers[{CONTAINER}].{own} belongs to gpukit",
                "what runs there is your function; to run something else beside it, add an init "
                "container",
            )  # fmt: skip
        reserved = next((e.get("name") for e in container.get("env") or ()
                         if str(e.get("name")).startswith("GPUKIT_")), None)  # fmt: skip
        if reserved:
            raise SpecError(
                "pod-own-env", f"pod.containers[{container.get('name')}].env: {reserved} is set by "
                "gpukit",
                "choose another name",
            )  # fmt: skip


def _refuse_null(where: str, patch: Mapping[str, Any], needed: Sequence[str]) -> None:
    for name in needed:
        if name in patch and patch[name] is None:
            raise SpecError(
                "pod-null", f"{where}.{name}=None would remove what gpukit needs there",
                "add to it or replace parts of it: entries are merged by their names",
            )  # fmt: skip


def _merged(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = _merged(result[key], value)
        elif key in _MERGE_KEYS and isinstance(value, list | tuple):
            result[key] = _merged_list(key, result.get(key, []), value)
        else:
            result[key] = _without_null(value)
    return result


def _merged_list(key: str, base: list[dict[str, Any]], patch: Any) -> list[dict[str, Any]]:
    by = _MERGE_KEYS[key]
    result = {item[by]: item for item in base}
    for item in patch:
        if item.get(by) is None:
            raise SpecError(
                "pod-list-key", f"pod: an entry of {key} has no {by}",
                f"entries of {key} are merged by their {by}",
            )  # fmt: skip
        old = result.get(item[by], {})
        if key in _RETAIN_KEYS:
            old = {k: v for k, v in old.items() if k in item}
        result[item[by]] = _merged(old, item)
    return list(result.values())


def _without_null(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_null(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_without_null(item) for item in value]
    return value
