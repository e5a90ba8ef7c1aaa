"""``gpukit download``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import output
from .run_options import run_argument, run_of

__all__ = ["download"]


@click.command("download")
@run_argument
@click.option("--to", "target", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Folder to write to; default: ./RUN.")  # fmt: skip
def download(target: Path | None, **params: Any) -> int:
    """Copy what the function left in gpukit.output_dir() to this machine."""
    run = run_of(params)
    goal = target or Path(run.name)
    files = run.download(goal)
    for path in files:
        output.text(str(path))
    if not files:
        output.talk(f"{run.name} has left nothing in gpukit.output_dir()")
    return 0
