"""Writes the pages of the reference that are made from the code: ``make docs``.

``python -m docs.generate --check`` only says whether they are up to date.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gpukit.cli.options import SECTIONS
from gpukit.quantize import BenchmarkReport, Report
from gpukit.spec import JobSpec
from tests.lint import page as lint

from . import gpus_page as gpus

__all__ = ["main", "options_page", "pages"]

REFERENCE = Path(__file__).parent / "reference"

SECONDS = {"checkpoint_every", "timeout", "deadline", "hang_timeout", "ttl"}

EXAMPLES = {
    "name": '"train-large"', "namespace": '"research"', "profile": '"a100-80gb:2"',
    "gpu": '"h100"', "spot": "True", "platform": '"generic"', "image": '"ghcr.io/team/train:1.4"',
    "image_pull_secrets": '["registry"]', "packages": '["scikit-learn>=1.4"]',
    "requirements": '"requirements.txt"', "cpu": '"500m"', "memory": '"32Gi"', "shm": '"8Gi"',
    "env": '{"NCCL_DEBUG": "WARN"}', "secrets": '{"WANDB_API_KEY": "wandb/api-key"}',
    "volumes": '{"/data": "pvc:imagenet"}', "checkpoint_every": '"10m"',
    "checkpoints": '"pvc:team-store/train"', "team": '"recsys"', "cost_center": '"ml-platform"',
    "stage": '"dev"', "labels": '{"environment": "prod"}',
    "annotations": '{"example.com/ticket": "ML-12"}', "retries": "3", "max_preemptions": "500",
    "max_cost": '"$40"', "timeout": '"12h"', "deadline": '"3d"', "hang_timeout": '"15m"',
    "ttl": '"1d"', "queue": '"gpu-queue"', "priority": '"low"',
    "node_selector": '{"karpenter.sh/capacity-type": "spot"}',
    "tolerations": '[{"key": "team", "value": "recsys", "effect": "NoSchedule"}]',
    "service_account": '"trainer"', "pod": '{"dnsPolicy": "Default"}',
}  # fmt: skip
"""How each option is written; a test gives them all to ``@gpu_job``."""

HEAD = """# Options of `@gpu_job`

<!-- Written by `make docs` from gpukit/spec.py; do not edit. -->

Each option can be given in five places; a later one wins over an earlier one:
the user's file (`~/.config/gpukit/config.toml`), the project (`[tool.gpukit]` of `pyproject.toml`),
the decorator, the environment (`GPUKIT_PROFILE=…`), and a flag (`--profile …`).
`labels`, `annotations`, `env`, `secrets`, `volumes` and `node_selector` are merged key by key.
`gpukit explain FILE` says of every value where it came from and why.

Times are written `"90s"`, `"10m"`, `"1h"`, `"7d"`; sizes `"512Mi"`, `"50Gi"`; money `"$40"`.
"""


def pages() -> dict[Path, str]:
    """Return the generated pages by path."""
    return {
        REFERENCE / "options.md": options_page(),
        gpus.PAGE: gpus.gpus_page(),
        lint.FILE: lint.page(),
        REFERENCE / "quantize-report.schema.json": _schema(Report),
        REFERENCE / "benchmark-report.schema.json": _schema(BenchmarkReport),
    }


def _schema(model: type[BaseModel]) -> str:
    return json.dumps(model.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def options_page() -> str:
    """Return the reference of all options."""
    parts = [HEAD]
    for section, names in SECTIONS.items():
        rows = [_row(name) for name in names]
        head = ["| option | default | example | |", "|---|---|---|---|"]
        parts.append("\n".join([f"## {section}", "", *head, *rows, ""]))
    return "\n".join(parts)


def _row(name: str) -> str:
    field = JobSpec.model_fields[name]
    text = (field.description or "").replace("|", "\\|")
    for unit in (", seconds.", ", millicores;", ", bytes;", ", US dollars."):
        text = text.replace(unit, unit[-1])
    return f"| `{name}` | {_default(name, field.default)} | `{EXAMPLES[name]}` | {text} |"


def _default(name: str, value: Any) -> str:
    if value is None or value in ((), {}):
        return "–"
    if name in SECONDS:
        return f"`{_duration(value)}`"
    if isinstance(value, tuple):
        return ", ".join(f'`"{item}"`' for item in value)
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def _duration(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f'"{seconds // size}{unit}"'
    return f'"{seconds}s"'


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` tell whether they are up to date."""
    stale = [
        path
        for path, text in pages().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if arguments == ["--check"]:
        for path in stale:
            print(f"{path} is out of date: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(pages()[path], encoding="utf-8")
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
