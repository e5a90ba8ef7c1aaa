"""``gpukit submit``."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from gpukit.errors import UsageError

from . import estimates, output
from .amounts import money, size
from .lint import notice
from .target import plan_of, target_command

if TYPE_CHECKING:
    from gpukit.runs.handle import Run
    from gpukit.runs.plan import Plan
    from gpukit.runs.submit import Submission

__all__ = ["submit"]

_POLL_SECONDS = 0.05
_INTERRUPTED = 130

_OPTIONS = [
    click.Option(["--local"], is_flag=True,
        help="Run on this machine, as a pod would; all of it is kept in .gpukit."),
    click.Option(["--detach", "-d"], is_flag=True, help="Return at once; the run goes on."),
    click.Option(["--fresh"], is_flag=True,
        help="Begin at step 0 again; what there was is kept as RUN.old-1."),
    click.Option(["--force"], is_flag=True, help="Make a separate run, whatever there is."),
    click.Option(["--resume-from"], metavar="RUN",
        help="Begin at the newest checkpoint of another run."),
    click.Option(["--simulate-preemption"], metavar="TIME[,±JITTER]",
        help='Preempt every attempt this long ("30s", "200 steps") after its first step: SIGTERM, '
        "grace, SIGKILL."),
    click.Option(["--simulate-node-loss"], metavar="TIME[,±JITTER]",
        help="Kill every attempt this long after its first step, without notice."),
    click.Option(["--max-interruptions"], type=click.IntRange(min=0), metavar="N",
        help="Stop simulating after this many."),
    click.Option(["--seed"], type=int, default=0, metavar="N", help="Of the jitter."),
    *estimates.OPTIONS,
    click.Option(["-o", "--output-format"], type=click.Choice(["table", "json", "yaml"]),
        default="table", show_default=True, help="Form of what is printed on stdout at the end."),
]  # fmt: skip


@target_command("submit", params=_OPTIONS)
def submit(**params: Any) -> int:
    """Run a job and wait for its end; what it returns is printed on stdout.

    Submitting the same again attaches to the run, shows its result, or goes on
    where it failed or was interrupted.
    """
    from gpukit.local.simulate import make_simulation
    from gpukit.runs.submit import submit as start

    simulation = make_simulation(
        params["simulate_preemption"], params["simulate_node_loss"],
        limit=params["max_interruptions"], seed=params["seed"],
    )  # fmt: skip
    plan = plan_of(params)
    _only_local(params)
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


def _only_local(params: dict[str, Any]) -> None:
    if not params["local"]:
        raise UsageError(
            "submit-local-only", "this version of gpukit submits with --local only",
            f"run it here: gpukit submit --local {params['target']}; or on a cluster: "
            f"gpukit render {params['target']} | kubectl apply --server-side -f -",
        )  # fmt: skip


def _introduce(plan: Plan, submission: Submission, target: str) -> None:
    """Say in a few lines what runs, and what the person should know of it."""
    spec, placement = plan.resolved.spec, plan.placement
    price = placement.price_per_hour
    own = sum(1 for f in plan.archive.files if f.kind != "gpukit")
    capacity = {True: ["spot"], False: [], "prefer": ["spot preferred"]}[spec.spot]
    facts = [
        " or ".join(str(p) for p in spec.profile),
        *capacity,
        "price unknown" if price is None else f"{money(price)}/h",
        f"{own} file{'s' * (own != 1)}, {size(len(plan.archive.data))} with gpukit",
    ]
    output.talk(
        output.style(submission.run.name, bold=True)
        + output.style("  " + " · ".join(facts), dim=True)
    )
    for warning in plan.archive.warnings:
        output.warn(warning)
    for mount in spec.volumes:
        if not Path(mount).exists():
            output.warn(f"there is no {mount} on this machine, where the pod has a volume")
    if notes := len(placement.warnings):
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
    with _polite_signals(), make_view(run.directory.task()) as view:
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
                run.stop(at_once=asked > 1)
                view.stopping(asked)
    return asked > 0


@contextmanager
def _polite_signals() -> Iterator[None]:
    """Take SIGTERM and a closed terminal as Ctrl-C: the job saves a checkpoint."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _conclude(run: Run, output_format: str, *, stopped: bool) -> int:
    """Print summary and result, and return the exit code."""
    from .summary import show_summary, summary_data

    status = run.status()
    if status == "running":
        return _INTERRUPTED
    summary = run.summary()
    show_summary(run, summary)
    estimates.compare(run)
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
