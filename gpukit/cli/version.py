"""``gpukit version``."""

from __future__ import annotations

import platform

import click

from gpukit import __version__

from . import output

__all__ = ["version"]


@click.command()
@output.format_option("table", "json", "yaml")
def version(output_format: str) -> None:
    """Print the version of gpukit, and of the Python that runs it."""
    if output_format == "table":
        output.text(f"gpukit {__version__} (Python {platform.python_version()})")
    else:
        output.data({"gpukit": __version__, "python": platform.python_version()}, output_format)
