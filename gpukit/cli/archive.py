"""``gpukit archive``."""

from __future__ import annotations

from typing import Any

import click

from . import output
from .amounts import size
from .output import Column
from .target import plan_archive, target_command

__all__ = ["archive"]

_FORMAT = click.Option(
    ["-o", "--output-format"], type=click.Choice(["table", "json", "yaml"]), default="table",
    show_default=True, help="Form of what is printed on stdout.",
)  # fmt: skip
_WHY = {
    "job": "the job",
    "import": "imported",
    "workdir": "--workdir",
    "extra": "--include",
    "gpukit": "gpukit itself",
}


@target_command("archive", params=[_FORMAT])
def archive(output_format: str, **params: Any) -> None:
    """List the files that a job ships, with their sizes, and warn of what looks like a secret."""
    from gpukit.archive import LIMIT

    built = plan_archive(params)
    own = [f for f in built.files if f.kind != "gpukit"]
    ours = [f for f in built.files if f.kind == "gpukit"]
    if output_format != "table":
        files = [{"name": f.name, "bytes": f.size, "kind": f.kind} for f in built.files]
        output.data(
            {"digest": built.digest, "bytes": len(built.data), "files": files,
             "warnings": list(built.warnings)},
            output_format,
        )  # fmt: skip
    else:
        rows = [[f.name, size(f.size), _WHY[f.kind]] for f in own]
        total = sum(f.size for f in ours)
        rows.append([f"gpukit ({len(ours)} files)", size(total), _WHY["gpukit"]])
        output.table([Column("file"), Column("size", right=True), Column("why", dim=True)], rows)
    for warning in built.warnings:
        output.warn(warning)
    output.talk(
        f"{len(built.files)} files, {size(len(built.data))} packed (at most {size(LIMIT)}), "
        f"digest {built.digest[:16]}"
    )
