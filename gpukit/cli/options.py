"""Every option of a job as a flag: the names and types of JobOptions, the help of JobSpec."""

from __future__ import annotations

import json
import os
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import click

from gpukit.errors import UsageError
from gpukit.job import JobOptions
from gpukit.spec import JobSpec

__all__ = ["SECTIONS", "flags_of", "spec_options"]

SECTIONS: dict[str, tuple[str, ...]] = {
    "Where it runs": (
        "profile", "gpu", "spot", "platform", "cpu", "memory", "shm", "node_selector",
        "tolerations", "queue", "priority",
    ),
    "What runs": (
        "image", "image_pull_secrets", "packages", "requirements", "env", "secrets", "volumes",
        "service_account", "pod",
    ),
    "Checkpoints and budgets": (
        "checkpoint_every", "checkpoints", "retries", "max_preemptions", "max_cost", "timeout",
        "deadline", "hang_timeout", "ttl",
    ),
    "Names and labels": (
        "name", "namespace", "team", "cost_center", "stage", "labels", "annotations",
    ),
}  # fmt: skip

_METAVARS = {
    "profile": "PROFILE", "gpu": "GPU", "cpu": "CPU", "memory": "SIZE", "shm": "SIZE",
    "checkpoint_every": "TIME", "timeout": "TIME", "deadline": "TIME", "hang_timeout": "TIME",
    "ttl": "TIME", "max_cost": "DOLLARS", "checkpoints": "PLACE", "requirements": "FILE",
    "pod": "JSON", "tolerations": "KEY[=VALUE][:EFFECT]", "secrets": "NAME=SECRET/KEY",
    "volumes": "PATH=VOLUME", "env": "NAME[=VALUE]",
}  # fmt: skip
_SPOT = ("true", "false", "prefer")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def spec_options() -> list[tuple[str, list[click.Option]]]:
    """Return the flags of all options, by section."""
    hints = typing.get_type_hints(JobOptions)
    return [
        (section, [option for name in names for option in _options(name, hints[name])])
        for section, names in SECTIONS.items()
    ]


def flags_of(params: Mapping[str, Any]) -> dict[str, object]:
    """Return the options that were given as flags, as ``resolve_spec`` takes them."""
    given = {
        name: params[name]
        for name in JobOptions.__annotations__
        if params.get(name) not in (None, ())
    }
    return {name: _parsed(name, value) for name, value in given.items()}


def _options(name: str, hint: Any) -> list[click.Option]:
    text = (JobSpec.model_fields[name].description or "").replace(", seconds.", ".")
    text = text.replace(", millicores;", ";").replace(", bytes;", ";")
    flag = "--" + name.replace("_", "-")
    metavar = _METAVARS.get(name)
    if name == "spot":
        return [
            click.Option(["--spot"], type=click.Choice(_SPOT), metavar="[prefer]", help=text),
            click.Option(["--no-spot", "spot"], flag_value="false", help="On-demand only."),
        ]  # fmt: skip
    if hint is int:
        return [click.Option([flag], type=int, metavar="N", help=text)]
    multiple = typing.get_origin(hint) in _MANY or _Sequence in typing.get_args(hint)
    return [click.Option([flag], metavar=metavar or "TEXT", multiple=multiple, help=text)]


_Sequence = Sequence[str]
_MANY = (typing.get_origin(Sequence[str]), typing.get_origin(Mapping[str, str]))


def _parsed(name: str, value: Any) -> object:
    if name == "spot":
        return value if value == "prefer" else value == "true"
    if name == "pod":
        return _pod(value)
    if name == "tolerations":
        return [_toleration(text) for text in value]
    if name == "profile":
        return value[0] if len(value) == 1 else list(value)
    if _is_mapping(name):
        return dict(_pair(name, text) for text in value)
    return list(value) if isinstance(value, tuple) else value


def _is_mapping(name: str) -> bool:
    return isinstance(JobSpec.model_fields[name].default, dict)


def _pair(name: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    flag = "--" + name.replace("_", "-")
    if name == "env" and not equals:  # as docker and others do: hand on what is set here
        if key in os.environ:
            return key, os.environ[key]
        raise UsageError(
            "env-not-set", f"{flag} {key}: {key} is not set here",
            f"write {flag} {key}=VALUE, or set it first",
        )  # fmt: skip
    if not equals or not key:
        raise UsageError(
            "flag-pair", f"{flag} {text!r} is not NAME=VALUE",
            f"write {flag} NAME=VALUE, once for each name",
        )  # fmt: skip
    return key, value


def _pod(text: tuple[str, ...] | str) -> object:
    try:
        value: object = json.loads(text if isinstance(text, str) else text[-1])
    except ValueError as error:
        raise UsageError(
            "flag-json", f"--pod is not JSON: {error}",
            """write --pod '{"dnsPolicy": "Default"}', or pod={…} in @gpu_job""",
        ) from None  # fmt: skip
    return value


def _toleration(text: str) -> dict[str, object]:
    rest, colon, effect = text.partition(":")
    key, equals, value = rest.partition("=")
    if not key or (colon and effect not in _EFFECTS):
        raise UsageError(
            "flag-toleration", f"--tolerations {text!r} is not a toleration",
            f"write KEY[=VALUE][:EFFECT], with one of the effects {', '.join(_EFFECTS)}",
        )  # fmt: skip
    found: dict[str, object] = {"key": key, "operator": "Equal" if equals else "Exists"}
    if equals:
        found["value"] = value
    if colon:
        found["effect"] = effect
    return found
