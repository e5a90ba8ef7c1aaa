"""Names that Kubernetes accepts, and digests that name content.

Limits: DNS-1123 labels of at most 63 characters, label values the same with ``_`` and ``.``;
a Job of the attempt ladder at most 50, since pods add ``-<index>-<random>`` to it.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata

from .errors import SpecError

__all__ = [
    "JOB_NAME_MAX", "dns_label", "is_dns_label", "json_digest", "run_name", "slug",
    "validate_env_name", "validate_label_key", "validate_label_value",
]  # fmt: skip

JOB_NAME_MAX = 50
_DIGEST_CHARS = 8
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def is_dns_label(name: str) -> bool:
    """Tell whether ``name`` is a DNS-1123 label (RFC 1123, at most 63 characters)."""
    return _DNS_LABEL.fullmatch(name) is not None


def slug(text: str, limit: int = 63) -> str:
    """Return the nearest DNS label to ``text``: ``"Train MNIST!"`` gives ``"train-mnist"``."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "-", ascii_text.lower()).strip("-")[:limit].rstrip("-")
    return name or "job"


def dns_label(name: str, what: str, limit: int = 63) -> str:
    """Return ``name`` if it is a DNS label of at most ``limit`` characters.

    Raises:
        SpecError: with the nearest valid name as a suggestion.
    """
    if not is_dns_label(name) or len(name) > limit:
        raise SpecError(
            "name-invalid",
            f"{what}={name!r} is not a name that Kubernetes accepts",
            f"use at most {limit} small letters, digits and hyphens, "
            f"for example {slug(name, limit)!r}",
        )
    return name


def validate_label_key(key: str, what: str = "labels") -> str:
    """Return ``key`` if it is a label key: an optional DNS prefix, ``/``, and a name.

    Raises:
        SpecError: with what a key may look like.
    """
    prefix, slash, name = key.rpartition("/")
    ok = name and _LABEL_VALUE.fullmatch(name) and (not slash or _PREFIX.fullmatch(prefix))
    if not ok:
        raise SpecError(
            "label-key", f"{what}: {key!r} is not a key that Kubernetes accepts",
            'write "environment" or "example.com/environment": letters, digits, "-", "_", ".", '
            "at most 63 characters",
        )  # fmt: skip
    return key


def validate_label_value(value: str, what: str) -> str:
    """Return ``value`` if it can be a label's value.

    Raises:
        SpecError: with the rule and the nearest valid value.
    """
    if not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
        near = re.sub(r"[^A-Za-z0-9_.-]+", "-", str(value)).strip("-_.")[:63]
        raise SpecError(
            "label-value",
            f"{what}={value!r} cannot be the value of a Kubernetes label",
            f"use at most 63 letters, digits, '-', '_' and '.', for example {near!r}",
        )
    return value


def validate_env_name(name: str) -> str:
    """Return ``name`` if it can be the name of an environment variable.

    Raises:
        SpecError: with the rule.
    """
    if not _ENV_NAME.fullmatch(name):
        raise SpecError(
            "env-name", f"env: {name!r} is not a name of an environment variable",
            "use letters, digits and underscores, and no digit first",
        )  # fmt: skip
    return name


def json_digest(value: object) -> str:
    """Return the SHA-256 (hex) of ``value`` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def run_name(job: str, digest: str) -> str:
    """Return the name of a run: the job's name and the first characters of a digest."""
    return f"{job[: JOB_NAME_MAX - _DIGEST_CHARS - 1].rstrip('-')}-{digest[:_DIGEST_CHARS]}"
