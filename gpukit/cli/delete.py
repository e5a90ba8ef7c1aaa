"""``gpukit delete``."""

from __future__ import annotations

from typing import Any

import click

from . import output
from .run_options import run_argument, run_of

__all__ = ["delete"]


@click.command("delete")
@run_argument
@click.option("--checkpoints", is_flag=True, help="Its checkpoints, record and outputs too.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def delete(checkpoints: bool, yes: bool, **params: Any) -> int:
    """Remove a run that has ended. Its checkpoints stay, unless they are to go too."""
    run = run_of(params)
    if checkpoints and not yes:
        click.confirm(
            f"delete the checkpoints, record and outputs of {run.name} for good?",
            abort=True, err=True,
        )  # fmt: skip
    run.delete(checkpoints=checkpoints)
    kept = "" if checkpoints else "; its checkpoints stay"
    output.talk(f"{run.name} is deleted{kept}")
    return 0
