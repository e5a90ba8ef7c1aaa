"""``gpukit wait``."""

from __future__ import annotations

import json
from typing import Any

import click

from . import output
from .run_options import run_argument, run_of

__all__ = ["wait"]


@click.command("wait")
@run_argument
@click.option("--timeout", metavar="TIME", help="Give up after this long, with exit code 5.")
def wait(timeout: str | None, **params: Any) -> int:
    """Wait for the end of a run and print its result.

    The exit code is 0 if it succeeded, 4 if not, and 5 if it still goes on
    after --timeout.
    """
    from gpukit.quantity import parse_duration

    run = run_of(params)
    seconds = None if timeout is None else float(parse_duration(timeout, "--timeout"))
    output.text(json.dumps(run.result(seconds), ensure_ascii=False))
    return 0
