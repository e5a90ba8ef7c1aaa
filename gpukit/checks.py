"""What each single option may be: the checks behind the fields of :class:`gpukit.spec.JobSpec`.

Every check raises a SpecError that says what to write instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from pydantic import BeforeValidator

from .errors import SpecError, did_you_mean
from .naming import dns_label, validate_env_name, validate_label_key, validate_label_value
from .quantity import parse_duration

__all__ = [
    "DEFAULT_IMAGE", "check_annotations", "check_env", "check_image", "check_labels",
    "check_platform", "check_pod", "check_secrets", "check_selector", "check_spot", "check_text",
    "count", "dns", "duration", "label_option", "maybe", "one_of",
]  # fmt: skip

_LONGEST = 10_000 * 86400  # seconds; Kubernetes keeps them in 32 bits
_ENV_LIMIT = 100_000  # bytes; Linux takes no variable of more than 128 KiB
DEFAULT_IMAGE = "pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime"


def check_spot(value: object) -> object:
    """Return ``spot`` if it is a choice."""
    if value is True or value is False or value == "prefer":
        return value
    raise SpecError(
        "spot-value", f"spot={value!r} is not a choice",
        'write True (spot only), False (on-demand only) or "prefer" (spot first)',
    )  # fmt: skip


def one_of(what: str, choices: tuple[str, ...]) -> Callable[[object], object]:
    """Return a check of a word out of ``choices``."""

    def check(value: object) -> object:
        if value not in choices:
            raise SpecError(
                f"{what}-unknown", f"{what}={value!r} is not known",
                did_you_mean(str(value), choices, otherwise=f"choose from {', '.join(choices)}"),
            )  # fmt: skip
        return value

    return check


def check_labels(value: object) -> object:
    """Check keys and values of ``labels``."""
    for key, text in _mapping("labels", value).items():
        validate_label_key(key)
        validate_label_value(text, f"labels[{key!r}]")
        _not_ours("labels", key)
    return value


def check_annotations(value: object) -> object:
    """Check the keys of ``annotations``."""
    for key in _mapping("annotations", value):
        validate_label_key(key, "annotations")
        _not_ours("annotations", key)
    return value


def _not_ours(what: str, key: str) -> None:
    if key.startswith("gpukit.dev/"):
        raise SpecError(
            "label-reserved", f"{what}: {key!r} belongs to gpukit",
            "use a prefix of your own, for example example.com/",
        )  # fmt: skip


def check_selector(value: object) -> object:
    """Check keys and values of ``node_selector``."""
    for key, text in _mapping("node_selector", value).items():
        validate_label_key(key, "node_selector")
        validate_label_value(text, f"node_selector[{key!r}]")
    return value


def check_env(value: object) -> object:
    """Check names and values of ``env``."""
    for key, text in _mapping("env", value).items():
        validate_env_name(key)
        _not_reserved(key)
        if not isinstance(text, str):
            raise SpecError(
                "env-value", f"env[{key!r}]={text!r} is not text",
                f"write env={{{key!r}: {str(text)!r}}}",
            )  # fmt: skip
        _starts_a_process(key, text)
    return value


def _starts_a_process(key: str, text: str) -> None:
    """Refuse what no process can be started with; the value may hold what must not be shown."""
    try:
        size = -1 if "\0" in text else len(text.encode())
    except UnicodeEncodeError:
        size = -1
    if not 0 <= size <= _ENV_LIMIT:
        raise SpecError(
            "env-bytes", f"env[{key!r}] cannot be an environment variable: "
            + ("it is not plain text" if size < 0 else f"it is {size // 1000} kB long"),
            "put it into a file beside the job, and ship that with --include",
        )  # fmt: skip


def _not_reserved(name: str) -> None:
    if name.startswith("GPUKIT_") or name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        raise SpecError(
            "env-reserved", f"env: {name} is set by gpukit in the pod",
            "choose another name",
        )  # fmt: skip


_SECRET_REF = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/[-._a-zA-Z0-9]{1,253}")


def check_secrets(value: object) -> object:
    """Check names and references of ``secrets``; a value is never shown."""
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
            f"{what.replace('_', '-')}-form",
            f"{what}={_shown(what, value)} is not a mapping of names to values",
            f'write {what}={{"name": "value"}}',
        )  # fmt: skip
    return value


def _shown(option: str, value: object) -> str:
    """Return the value for a message; of secrets and env, which may hold one, nothing."""
    return "…" if option in ("secrets", "env") else repr(value)


def maybe(parse: Callable[[Any, str], Any], what: str) -> Callable[[Any], Any]:
    """Return a check by ``parse`` that lets None pass."""
    return lambda value: None if value is None else parse(value, what)


def duration(what: str) -> BeforeValidator:
    """Return a check of a time in whole seconds."""

    def check(value: Any) -> int | None:
        seconds = None if value is None else parse_duration(value, what)
        if seconds is not None and not 1 <= seconds <= _LONGEST:
            raise SpecError(
                "duration-range", f"{what}={value!r} is out of range",
                'write from "1s" to "10000d"; leave the option out where there is to be no limit',
            )  # fmt: skip
        return seconds

    return BeforeValidator(check)


def dns(what: str, limit: int = 63) -> BeforeValidator:
    """Return a check of a name of an object in Kubernetes."""
    return BeforeValidator(
        lambda value: None if value is None else dns_label(str(value), what, limit)
    )


def label_option(what: str) -> BeforeValidator:
    """Return a check of an option that becomes a label."""
    return BeforeValidator(
        lambda value: None if value is None else validate_label_value(value, what)
    )


def count(what: str, low: int, high: int) -> BeforeValidator:
    """Return a check of a whole number from ``low`` to ``high``."""

    def check(value: object) -> object:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise SpecError(
                f"{what.replace('_', '-')}-range", f"{what}={value!r} is out of range",
                f"write a whole number from {low} to {high}",
            )  # fmt: skip
        return value

    return BeforeValidator(check)


_PLATFORM = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def check_platform(value: object) -> object:
    """Return ``platform`` if it can be the name of one; the catalog knows which there are."""
    if not isinstance(value, str) or not _PLATFORM.fullmatch(value):
        raise SpecError(
            "platform-form", f"platform={value!r} is not the name of a platform",
            'write for example "generic", "karpenter" or "auto"',
        )  # fmt: skip
    return value


_IMAGE = re.compile(r"[a-z0-9]+([._:/-][a-zA-Z0-9._-]+)*(@sha256:[0-9a-f]{64})?")


def check_image(value: object) -> object:
    """Return ``image`` if it is a reference to one."""
    if not isinstance(value, str) or not _IMAGE.fullmatch(value):
        raise SpecError(
            "image-form", f"image={value!r} is not a reference to an image",
            f'write "registry/name:tag", for example {DEFAULT_IMAGE!r}',
        )  # fmt: skip
    return value


def check_pod(value: object) -> object:
    """Refuse a pod override that a manifest cannot hold, before anything is made of it."""
    if isinstance(value, dict):
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise SpecError(
                "pod-not-json", f"pod cannot be written as JSON: {error}",
                "use text, numbers, booleans, lists and dictionaries",
            ) from None  # fmt: skip
    return value


def check_text(option: str, value: object) -> None:
    """Refuse text that is not Unicode, such as bytes of a command line in another encoding."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise SpecError(
                "option-text", f"{option} holds {_shown(option, value)}, which is not Unicode text",
                "write it in UTF-8",
            ) from None  # fmt: skip
    elif isinstance(value, dict):
        for pair in value.items():
            check_text(option, pair)
    elif isinstance(value, list | tuple):
        for item in value:
            check_text(option, item)
