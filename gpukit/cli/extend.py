"""``gpukit extend``."""

from __future__ import annotations

import re
from typing import Any

import click

from gpukit.errors import UsageError

from . import output
from .run_options import cluster_run_of, run_argument

__all__ = ["extend"]


@click.command("extend")
@run_argument
@click.option("--preemptions", required=True, metavar="+N", help="Allow so many preemptions more.")
def extend(preemptions: str, **params: Any) -> int:
    """Raise a budget of a run that goes on."""
    if not re.fullmatch(r"\+?[1-9][0-9]{0,3}", preemptions):
        raise UsageError(
            "extend-form", f"--preemptions {preemptions!r} is not a number to add", "write +50"
        )
    run = cluster_run_of(params, "budget that can be raised")
    allowed = run.extend(int(preemptions))
    output.talk(f"{run.name} may now be preempted {allowed} times")
    return 0
