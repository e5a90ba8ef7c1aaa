"""``gpukit submit`` to a cluster: what is said before, the run as it goes on, and its end."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from . import output
from .estimates import check
from .following import polite_signals
from .introduction import capacity_words, introduce
from .lint import notice

if TYPE_CHECKING:
    from gpukit.cluster.client import Client
    from gpukit.runs.cluster_run import ClusterRun
    from gpukit.runs.cluster_submit import ClusterSubmission
    from gpukit.runs.plan import Plan

__all__ = ["conclude", "follow_run", "submit_cluster"]

_INTERRUPTED = 130


def submit_cluster(plan: Plan, client: Client, params: dict[str, Any]) -> int:
    """Run the plan on the cluster and return the exit code."""
    from gpukit.runs.cluster_submit import submit_to_cluster

    check(plan, params)
    where = client.access.context or client.access.server
    namespace = plan.resolved.spec.namespace or client.namespace
    introduce(plan, plan.bundle.run, [*capacity_words(plan), f"{where}/{namespace}"])
    for warning in (*plan.placement.warnings, *plan.price_warnings):
        output.warn(warning)
    notice(plan)
    submission = submit_to_cluster(
        plan, client, fresh=params["fresh"], force=params["force"],
        resume_from=params["resume_from"], dry_run=params["dry_run"] == "server",
        tell=output.talk,
    )  # fmt: skip
    for warning in submission.warnings:
        output.warn(f"the API server says: {warning}")
    run = submission.run
    if submission.action == "checked":
        output.talk(f"the API server takes all {len(plan.bundle.objects)} objects; none was made")
        return 0
    _say(submission)
    if params["detach"]:
        output.text(run.name)
        return 0
    if submission.action != "finished" and not follow_run(run):
        return _INTERRUPTED
    return conclude(run, params["output_format"])


def _say(submission: ClusterSubmission) -> None:
    name = submission.run.name
    words = {
        "started": "",
        "continued": "submitted again; it goes on from its newest checkpoint, if it has one",
        "attached": "goes on already; this shows it",
        "finished": "has finished before; --fresh runs it again",
    }.get(submission.action, "")
    if submission.run.name and words:
        output.talk(f"{name} {words}" if submission.action == "finished" else words)


def follow_run(run: ClusterRun) -> bool:
    """Show the run until it ends; tell whether it has, or the person has left."""
    from gpukit.cluster.follow import Change
    from gpukit.contract import Task

    from .cluster_view import cluster_view
    from .pending import PendingWatch

    job = run.job()
    task = (job.task if job else None) or Task(run.name, "", "", "")
    follower = run.follower()
    with polite_signals(), cluster_view(task) as view:
        pending = PendingWatch(run.client, run.name, run.namespace, view.bar.write)
        try:
            while not follower.done:
                for item in follower.poll(0.2):
                    view.take(item)
                    if isinstance(item, Change):
                        pending.take(item)
                pending.look()
        except KeyboardInterrupt:
            view.say(
                f"left; the run goes on. Come back: gpukit logs -f {run.name}   end it: "
                f"gpukit cancel {run.name}"
            )
            return False
        finally:
            follower.close()
    return True


def conclude(run: ClusterRun, output_format: str) -> int:
    """Print how the run ended, and its result; return the exit code.

    Raises:
        RunFailedError: it did not succeed.
    """
    from .fit_run import hint
    from .status import show_end, view_data

    job = run.job()
    if job is None or job.phase != "succeeded":
        raise run.failure()
    view = run.view()
    show_end(view, time.time())
    hint(run)
    value = run.value()
    if output_format != "table":
        output.data({**view_data(view), "result": value}, output_format)
    else:
        output.text(json.dumps(value, ensure_ascii=False))
    return 0
