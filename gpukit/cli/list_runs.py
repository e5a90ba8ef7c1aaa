"""``gpukit list``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from gpukit.contract import ANNOTATION_SPEC, LABEL_JOB, LABEL_MANAGED, LABEL_SWEEP, MANAGED_BY

from . import output
from .amounts import duration
from .output import Column
from .run_options import cluster_of, only_local, place_options

if TYPE_CHECKING:
    from gpukit.cluster.state import JobState

__all__ = ["list_runs"]


@click.command("list")
@place_options
@click.option("--job", metavar="NAME", help="Only runs of this job.")
@click.option("--sweep", metavar="NAME", help="Only runs of this sweep.")
@click.option("--status", "wanted", multiple=True, metavar="STATUS",
    help="Only runs that are so: pending, running, succeeded, failed, …")  # fmt: skip
@click.option("-A", "--all-namespaces", is_flag=True, help="Runs of all namespaces.")
@output.format_option("table", "json", "yaml", "name")
def list_runs(output_format: str, **params: Any) -> None:
    """List the runs of a namespace, newest first; with --local those of this machine."""
    if params["local"]:
        only_local(params)
        _show_local(params, output_format)
        return
    from gpukit.cluster.state import JobState

    client, namespace = cluster_of(params)
    labels = [f"{LABEL_MANAGED}={MANAGED_BY}"]
    labels += [f"{key}={params[name]}" for key, name in ((LABEL_JOB, "job"), (LABEL_SWEEP, "sweep"))
               if params[name]]  # fmt: skip
    found = client.list(
        "Job", None if params["all_namespaces"] else namespace, labels=",".join(labels)
    )
    jobs = sorted(map(JobState, found), key=lambda job: job.submitted or 0.0, reverse=True)
    rows = [_row(job) for job in jobs if not params["wanted"] or job.phase in params["wanted"]]
    if not rows and output_format == "table":
        output.talk(f"no runs in {'any namespace' if params['all_namespaces'] else namespace}")
        return
    _show(rows, output_format, namespaces=params["all_namespaces"])


def _row(job: JobState) -> dict[str, Any]:
    return {
        "run": job.name,
        "namespace": job.namespace,
        "job": job.job,
        "status": job.phase,
        "profile": _profile(job),
        "attempts": job.pods_ended + int(job.status.get("active") or 0),
        "preemptions": job.burned,
        "submitted": job.submitted,
        "finished": job.finished,
        "sweep": job.sweep,
    }


def _profile(job: JobState) -> str:
    try:
        found = json.loads(job.annotations.get(ANNOTATION_SPEC, "{}")).get("profile") or ["cpu"]
    except ValueError:
        return ""
    names = found if isinstance(found, list) else [found]
    return " or ".join(_name(one) for one in names)


def _name(profile: object) -> str:
    from gpukit.profile import Profile

    if isinstance(profile, dict):
        return str(Profile.model_validate(profile))
    return str(profile)


def _show(rows: list[dict[str, Any]], form: str, *, namespaces: bool) -> None:
    if form == "name":
        for row in rows:
            output.text(row["run"])
        return
    if form != "table":
        output.data(rows, form)
        return
    now = time.time()
    columns = [
        Column("run"), *([Column("namespace")] if namespaces else []), Column("status"),
        Column("profile"), Column("attempts", right=True), Column("age", right=True),
        Column("took", right=True),
    ]  # fmt: skip
    output.table(columns, [
        [row["run"], *([row["namespace"]] if namespaces else []), row["status"], row["profile"],
         str(row["attempts"]), _since(row["submitted"], now),
         _since(row["submitted"], row["finished"])]
        for row in rows
    ])  # fmt: skip


def _since(start: float | None, end: float | None) -> str:
    return "-" if start is None or end is None else duration(end - start)


def _show_local(params: dict[str, Any], form: str) -> None:
    from gpukit.local.directory import home_of
    from gpukit.runs.local_run import local_names, open_local

    rows = []
    for name in local_names(home_of()):
        run = open_local(name)
        task, events = run.directory.task(), run.directory.submission()
        if params["job"] not in (None, task.job) or not events:
            continue
        rows.append({
            "run": name, "namespace": "local", "job": task.job, "status": run.status(),
            "profile": _local_profile(run.directory.about().get("profile")),
            "attempts": len(run.attempts()), "preemptions": None,
            "submitted": float(str(events[0]["time"])), "finished": float(str(events[-1]["time"])),
            "sweep": None,
        })  # fmt: skip
    rows = [row for row in rows if not params["wanted"] or row["status"] in params["wanted"]]
    rows.sort(key=lambda row: -float(str(row["submitted"])))
    if not rows and form == "table":
        output.talk("no runs here")
        return
    _show(rows, form, namespaces=False)


def _local_profile(found: object) -> str:
    return " or ".join(map(str, found)) if isinstance(found, Iterable) else ""
