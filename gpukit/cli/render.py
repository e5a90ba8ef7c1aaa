"""``gpukit render``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gpukit.errors import UsageError

from . import output
from .lint import notice
from .target import plan_of, target_command

__all__ = ["render"]

_OUTPUT = click.Option(
    ["--output", "-f", "file"], type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write the manifests into a file.",
)  # fmt: skip
_FORMAT = click.Option(
    ["-o", "--output-format"], type=click.Choice(["yaml", "json"]), default="yaml",
    show_default=True, help="Form of the manifests; json is a Kubernetes List.",
)  # fmt: skip


@target_command("render", params=[_FORMAT, _OUTPUT])
def render(output_format: str, file: Path | None, **params: Any) -> None:
    """Print the Kubernetes manifests of a job, without a cluster.

    \b
    gpukit render train.py --epochs 3 | kubectl apply --server-side -f -
    """  # noqa: D301 - click's mark of a block
    plan = plan_of(params)
    if output_format == "yaml":
        content = plan.bundle.to_yaml()
    else:
        import json

        items = plan.bundle.to_dicts()
        manifest = {"apiVersion": "v1", "kind": "List", "items": items}
        content = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    if file is None:
        output.text(content)
    else:
        _write(file, content)
        output.talk(f"wrote {file} ({len(plan.bundle.objects)} objects, run {plan.bundle.run})")
    for warning in plan.warnings:
        output.warn(warning)
    notice(plan)


def _write(file: Path, content: str) -> None:
    try:
        file.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            "output-file", f"{file} cannot be written: {error.strerror}", "choose another file"
        ) from None
