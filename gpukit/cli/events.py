"""``gpukit events``."""

from __future__ import annotations

import time
from typing import Any

import click

from . import output
from .amounts import duration
from .output import Column
from .run_options import cluster_run_of, run_argument

__all__ = ["events"]


@click.command("events")
@run_argument
@output.format_option("table", "json", "yaml")
def events(output_format: str, **params: Any) -> None:
    """List what Kubernetes says of a run's Job and pods; it forgets after an hour."""
    from gpukit.cluster.state import unix

    run = cluster_run_of(params, "events")
    found = run.events()
    if output_format != "table":
        output.data(found, output_format)
        return
    if not found:
        output.talk(f"no events of {run.name}: Kubernetes keeps them for an hour")
        return
    now = time.time()
    columns = [Column("age", right=True), Column("type"), Column("object"), Column("reason"),
               Column("message", wrap=True)]  # fmt: skip
    rows = []
    for event in found:
        when = unix(event.get("lastTimestamp") or event.get("eventTime"))
        about = event.get("involvedObject") or {}
        rows.append([
            "-" if when is None else duration(now - when), str(event.get("type", "")),
            f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}",
            str(event.get("reason", "")), str(event.get("message", "")).strip(),
        ])  # fmt: skip
    output.table(columns, rows)
