"""``make demo``: train a real model twice, once in peace and once interrupted, and compare.

Both runs go through the local backend: the archive, the runtime and the rules that a cluster would
use. The second one is interrupted by turns with SIGTERM and a grace period (a spot preemption) and
with SIGKILL of everything (a lost node). What is claimed at the end is checked first, from the
run's record and from the weights it left; if anything is not as claimed, the exit code is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from gpukit.cli import output
from gpukit.cli.amounts import duration
from gpukit.cli.output import Column
from gpukit.cli.view import make_view
from gpukit.jobfile import load_job
from gpukit.local.follow import Follower
from gpukit.local.simulate import Simulation
from gpukit.runs.plan import Plan, plan_call
from gpukit.runs.submit import submit
from gpukit.runtime.checkpoint.manifest import FOLDER, checkpoint_names
from gpukit.runtime.store import DirectoryStore

if TYPE_CHECKING:
    from gpukit.runs.local_run import LocalRun

JOB = Path(__file__).with_name("01_digits.py")
INTERRUPTIONS, AT_LEAST = 4, 3


def main() -> int:
    """Run the demonstration and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--epochs", type=int, default=40, help="of each of the two trainings")
    parser.add_argument("--save-every", type=int, default=50, help="steps between checkpoints")
    parser.add_argument("--keep", type=Path, help="put the runs here, and keep them")
    options = parser.parse_args()
    home = options.keep or Path(tempfile.mkdtemp(prefix="gpukit-demo-"))
    began = time.monotonic()

    arguments = {"epochs": options.epochs, "save_every": options.save_every}
    # What the job needs is in this environment; a pod would have pip install the rest.
    plan = plan_call(load_job(str(JOB)), (), arguments, flags={"packages": ()})
    quiet, _ = train(plan, home / "undisturbed", None, "Training in peace")
    between = steps_between(quiet)
    simulation = Simulation("mixed", after=between, limit=INTERRUPTIONS, unit="steps")
    stormy, left = train(plan, home / "interrupted", simulation, "The same, interrupted")

    complaints = [*judge_record(stormy, left), *judge_weights(quiet, stormy)]
    show(quiet, stormy, time.monotonic() - began)
    for complaint in complaints:
        output.talk(output.style(f"{output.mark('✗')} {complaint}", fg="red"))
    if complaints:
        output.talk(f"the runs are kept in {home}")
        return 1
    if options.keep is None:
        shutil.rmtree(home)
    say("✓", "final weights bitwise equal", fg="green", bold=True)
    return 0


def train(
    plan: Plan, home: Path, simulation: Simulation | None, title: str
) -> tuple[LocalRun, dict[int, int]]:
    """Run the plan to its end, and show how it goes; also return what each attempt left durable."""
    output.talk("\n" + output.style(title, bold=True))
    run = submit(plan, simulation=simulation, home=home).run
    follower, left = Follower(run.directory), dict[int, int]()
    try:
        with make_view(run.directory.task()) as view:
            while not follower.done:
                for item in follower.poll():
                    view.show(item)
                    if isinstance(item, dict) and item["event"] == "exited":
                        number = int(str(item["attempt"]))
                        left[number] = newest_step(run, number)
                time.sleep(0.05)
    except KeyboardInterrupt:
        run.cancel(now=True)  # the backend is a process of its own, and would go on
        raise
    if run.status() != "succeeded":
        raise run.failure()
    return run, left


def newest_step(run: LocalRun, attempt: int) -> int:
    """Return the step of the newest checkpoint in the store that is of no later attempt."""
    names = checkpoint_names(DirectoryStore(run.directory.store).list(FOLDER))
    return next((name.step for name in names if name.attempt <= attempt), 0)


def steps_between(quiet: LocalRun) -> int:
    """Return the steps between interruptions: four fit, though a busy machine notices each late."""
    return int(quiet.result()["steps"] * 0.1)


def judge_record(run: LocalRun, left: dict[int, int]) -> list[str]:
    """Return what the run's record says against the claims; nothing if they hold."""
    complaints = []
    attempts, rows = run.attempts(), run.summary().rows
    if len(attempts) - 1 < AT_LEAST:
        complaints.append(f"only {len(attempts) - 1} interruptions: train longer, with --epochs")
    for before, after in pairwise(attempts):
        began, durable = after.progress.start_step, left[before.number]
        if began != durable:
            complaints.append(
                f"attempt {after.number} began at step {began}, but step {durable} was durable"
            )
        if durable < before.progress.durable_step:
            complaints.append(
                f"step {before.progress.durable_step} was said to be durable, and {durable} was"
            )
    result = run.result()
    if rows[-1].end_step != result["steps"]:
        complaints.append(f"the record ends at step {rows[-1].end_step}, not {result['steps']}")
    return complaints


def judge_weights(quiet: LocalRun, stormy: LocalRun) -> list[str]:
    """Return what speaks against the weights being equal; nothing if they are."""
    complaints = []
    if digest(quiet) != digest(stormy):
        complaints.append("the final weights differ")
    if quiet.result() != stormy.result():
        complaints.append(f"the results differ: {quiet.result()} and {stormy.result()}")
    return complaints


def weights(run: LocalRun) -> Path:
    """Return the file of the final weights."""
    return run.output_dir / "weights.pt"


def digest(run: LocalRun) -> str:
    """Return the SHA-256 of the final weights."""
    return hashlib.sha256(weights(run).read_bytes()).hexdigest()


def show(quiet: LocalRun, stormy: LocalRun, seconds: float) -> None:
    """Write what happened."""
    columns = [
        Column("attempt", right=True), Column("began at", right=True),
        Column("saved up to", right=True), Column("ended by"), Column("done again", right=True),
        Column("next step after", right=True),
    ]  # fmt: skip
    summary = stormy.summary()
    rows = []
    for row, attempt in zip(summary.rows, stormy.attempts(), strict=True):
        lost = row.restart.seconds if row.restart else None
        rows.append([
            str(row.number), str(row.start_step), str(attempt.progress.durable_step),
            row.ended_by, str(row.redone) if row.restart else "",
            duration(lost) if lost is not None else "",
        ])  # fmt: skip
    output.talk()
    output.table(columns, rows, err=True)
    output.talk()
    result = stormy.result()
    say(" ", f"accuracy on held-out digits  {result['accuracy']:.1%}, in both runs")
    say(
        " ", f"steps                        {result['steps']}, of which {summary.redone} done again"
    )
    say(" ", f"sha256, in peace             {digest(quiet)[:32]}…")
    say(" ", f"sha256, interrupted          {digest(stormy)[:32]}…")
    output.talk()
    say("✓", f"interrupted {summary.interruptions} times in {duration(seconds)} altogether")
    say("✓", "every attempt began at the last step that was durable")


def say(symbol: str, text: str, **style: object) -> None:
    """Write one line of the summary."""
    output.talk(output.style(f"{output.mark(symbol)} {output.mark(text)}", **style))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
