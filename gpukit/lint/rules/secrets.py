"""Secrets in plain text. The value itself is never a part of a finding."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpukit.leaks import secret_in
from gpukit.lint.documents import Manifest, dig, listing, mapping
from gpukit.lint.jobs import JobFacts
from gpukit.lint.model import Edit, Fix, Hit, Steps
from gpukit.lint.workloads import Context, Workload

from .types import JobChecks, ManifestChecks, WorkloadChecks

__all__ = ["JOBS", "MANIFESTS", "WORKLOADS"]

_NAME = re.compile(
    r"(?:.*_)?(PASSWORD|PASSWD|SECRET|SECRET_KEY|API_?KEY|ACCESS_KEY|PRIVATE_KEY|"
    r"(?:AUTH|ACCESS|API|BEARER|HF|HUB|GITHUB|GITLAB|SLACK|WANDB|BOT|SECURITY)_TOKEN)",
    re.IGNORECASE,
)
_PUBLIC = re.compile(r"(?:.*_)?(?:PUBLIC|IS|USE|DISABLE|ENABLE)_.*|AWS_ACCESS_KEY", re.IGNORECASE)
_PLACEHOLDER = re.compile(
    r"<.*>|\*+|x+|.*(?:change-?_?me|placeholder|your[-_ ]|example|dummy|replace|redacted).*|"
    r"empty|none|null|true|false|yes|no|not[-_]?(?:needed|used|set|required)|test(?:ing)?|0|1|.{0,5}",
    re.IGNORECASE,
)
_RANDOM = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z]).{16,}")
"""What a generated key looks like: YOUR-KEY-HERE and the like do not."""
_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@$]+:([^/\s@$<{]{3,})@")


def _problem(name: str, value: str) -> str | None:
    """Return what a variable seems to hold; None where it looks harmless."""
    if found := secret_in("value", f'{name}="{value}"'.encode()):
        return found.removeprefix("it seems to hold ")
    url = _IN_URL.search(value)
    if url and not _PLACEHOLDER.fullmatch(url[1]):
        return "a URL with a password"
    if not _NAME.fullmatch(name) or _PUBLIC.fullmatch(name) or _PLACEHOLDER.fullmatch(value):
        return None
    if value.startswith(("/", "./", "~", "$", "{", "file:", "http:", "https:", "vault:", "arn:",
                         "ref+", "op://", "ssm:", "projects/")) or " " in value:  # fmt: skip
        return None
    is_password = re.search("passw", name, re.IGNORECASE) is not None
    if not is_password and not _RANDOM.fullmatch(value):
        return None
    return "a secret, by its name"


def _key_of(name: str) -> str:
    return name.lower().replace("_", "-")


def secret_in_job(job: JobFacts) -> Iterator[Hit]:
    """GK014."""
    for name, value in job.spec.env.items():
        if problem := _problem(name, value):
            kept = {k: v for k, v in job.spec.env.items() if k != name}
            reference = f"my-secrets/{_key_of(name)}"
            yield Hit(
                f"env {name} holds {problem}",
                Fix(f'@gpu_job(secrets={{"{name}": "{reference}"}}), and once: kubectl create '
                    f"secret generic my-secrets --from-literal={_key_of(name)}=…",
                    {"env": kept, "secrets": {**job.spec.secrets, name: reference}}),
                option="env",
            )  # fmt: skip
    containers = listing(job.spec.pod.get("containers"))
    for container in (*containers, *listing(job.spec.pod.get("initContainers"))):
        for item in listing(dig(container, "env")):
            name, value = str(dig(item, "name")), dig(item, "value")
            if isinstance(value, str) and (problem := _problem(name, value)):
                yield Hit(f"env {name} in pod holds {problem}",
                          Fix(f"valueFrom: {{secretKeyRef: {{name: my-secrets, key: "
                              f"{_key_of(name)}}}}}"), option="pod")  # fmt: skip


def secret_in_pod(load: Workload, context: Context) -> Iterator[Hit]:
    """GK014."""
    parts = [(*load.spec_at, part, index) for part in ("containers", "initContainers")
             for index in range(len(listing(load.spec.get(part))))]  # fmt: skip
    for container in parts:
        for index, item in enumerate(listing(dig(load.root, *container, "env"))):
            name, value = dig(item, "name"), dig(item, "value")
            if (
                isinstance(name, str)
                and isinstance(value, str)
                and (found := _problem(name, value))
            ):
                at: Steps = (*container, "env", index)
                reference = {"secretKeyRef": {"name": "my-secrets", "key": _key_of(name)}}
                yield Hit(
                    f"env {name} holds {found}",
                    Fix(f"valueFrom: {{secretKeyRef: {{name: my-secrets, key: {_key_of(name)}}}}}, "
                        "with a Secret of that name",
                        patch=(Edit("replace", at, {"name": name, "valueFrom": reference}),)),
                    at=at,
                )  # fmt: skip
        for part in ("command", "args"):
            for index, word in enumerate(listing(dig(load.root, *container, part))):
                if secret := (secret_in("value", word.encode()) if isinstance(word, str) else None):
                    yield Hit(f"{part} hold{'s' * (part == 'command')} "
                              f"{secret.removeprefix('it seems to hold ')}",
                              Fix("hand it over by a variable with valueFrom.secretKeyRef, and "
                                  "write $(NAME) in the arguments"),
                              at=(*container, part, index))  # fmt: skip


def secret_in_config(item: Manifest, context: Context) -> Iterator[Hit]:
    """GK014."""
    if item.kind != "ConfigMap":
        return
    for key, value in mapping(item.data.get("data")).items():
        text = value if isinstance(value, str) else ""
        found = secret_in("value", f'{key}="{text}"'.encode()) if text else None
        if found:
            yield Hit(f"{key} holds {found.removeprefix('it seems to hold ')}",
                      Fix("keep it in a Secret", patch=(Edit("remove", ("data", key)),)),
                      at=("data", key))  # fmt: skip


JOBS: JobChecks = {"GK014": secret_in_job}
WORKLOADS: WorkloadChecks = {"GK014": secret_in_pod}
MANIFESTS: ManifestChecks = {"GK014": secret_in_config}
