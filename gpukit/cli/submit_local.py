"""``gpukit submit --local``: the run, its end, and its summary."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import estimates, output
from .following import polite_signals
from .introduction import capacity_words, introduce
from .lint import notice

if TYPE_CHECKING:
    from gpukit.runs.local_run import LocalRun
    from gpukit.runs.plan import Plan
    from gpukit.runs.submit import Submission

__all__ = ["submit_local"]

_POLL_SECONDS = 0.05
_INTERRUPTED = 130


def submit_local(plan: Plan, params: dict[str, Any]) -> int:
    """Run the plan on this machine and return the exit code."""
    from gpukit.local.simulate import make_simulation
    from gpukit.runs.submit import submit as start

    simulation = make_simulation(
        params["simulate_preemption"], params["simulate_node_loss"],
        limit=params["max_interruptions"], seed=params["seed"],
    )  # fmt: skip
    estimate = estimates.say_before(plan, params)
    submission = start(
        plan, simulation=simulation, fresh=params["fresh"], force=params["force"],
        resume_from=params["resume_from"], estimate=estimate,
    )  # fmt: skip
    _introduce(plan, submission, params["target"])
    if params["detach"]:
        output.text(submission.run.name)
        return 0
    stopped = _follow(submission)
    return _conclude(submission.run, params["output_format"], stopped=stopped)


def _introduce(plan: Plan, submission: Submission, target: str) -> None:
    """Say in a few lines what runs, and what the person should know of it."""
    introduce(plan, submission.run.name, capacity_words(plan))
    for mount in plan.resolved.spec.volumes:
        if not Path(mount).exists():
            output.warn(f"there is no {mount} on this machine, where the pod has a volume")
    if notes := len(plan.placement.warnings):
        output.talk(
            output.style(
                f"{notes} thing{'s' * (notes != 1)} to know before it runs on a cluster: "
                f"gpukit explain {target}",
                dim=True,
            )
        )
    notice(plan)
    words = {
        "started": "",
        "continued": "goes on from step {step}"
        if submission.from_step
        else "starts over: no checkpoint was saved",
        "attached": "runs already; this shows it, and Ctrl-C only leaves it",
        "finished": "has finished before; --fresh runs it again",
    }[submission.action]
    if words:
        output.talk(words.format(step=submission.from_step))


def _follow(submission: Submission) -> bool:
    """Show the run until it ends; tell whether the person stopped it or left."""
    from gpukit.local.follow import Follower

    from .view import make_view

    run, follower, asked = submission.run, Follower(submission.run.directory), 0
    if submission.action == "finished":
        return False
    with polite_signals(), make_view(run.directory.task()) as view:
        while not follower.done:
            try:
                items = follower.poll()
                for item in items:
                    view.show(item)
                if not items:
                    time.sleep(_POLL_SECONDS)
            except KeyboardInterrupt:
                asked += 1
                if submission.action == "attached":
                    view.say("left; the run goes on")
                    return True
                run.cancel(now=asked > 1)
                view.stopping(asked)
    return asked > 0


def _conclude(run: LocalRun, output_format: str, *, stopped: bool) -> int:
    """Print summary and result, and return the exit code."""
    from .fit_run import hint
    from .summary import show_summary, summary_data

    status = run.status()
    if status == "running":
        return _INTERRUPTED
    summary = run.summary()
    show_summary(run, summary)
    estimates.compare(run)
    hint(run)
    result = run.record.result()
    if output_format != "table":
        found = summary_data(run, summary)
        output.data({**found, "result": result.value if result else None}, output_format)
    elif status == "succeeded" and result is not None:
        output.text(json.dumps(result.value, ensure_ascii=False))
    if status == "succeeded":
        return 0
    if stopped:
        output.talk("  submit it again to go on from its newest checkpoint")
        return _INTERRUPTED
    raise run.failure()
