"""Local runs for tests: a job that counts, keeps its own checkpoint, and needs no torch."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpukit import open_run
from gpukit.errors import GpukitError
from gpukit.jobfile import load_job
from gpukit.runs.local_run import LocalRun
from gpukit.runs.plan import Plan, plan_call
from gpukit.runs.submit import Submission, submit

PATIENCE = 240.0

COUNTING = '''
import json, os, time
from pathlib import Path

from gpukit import gpu_job, output_dir
from gpukit.runtime import context


@gpu_job({options})
def count(steps: int = 20, pause: float = 0.0, every: int = 5, holds: int = 0) -> dict:
    """Add up the steps.

    Args:
        steps: how many.
        holds: the first so many attempts wait after 15 steps until they are interrupted.
    """
    ctx = context.current()
    ctx.checkpointing = True
    file = Path(ctx.store) / "count.json"
    start, total = json.loads(file.read_text()) if file.exists() else (0, 0)
    ctx.send({{"event": "restored", "step": start, "seconds": 0.0}})
    for step in range(start + 1, steps + 1):
        total += step
        ctx.send({{"event": "step", "step": step, "total": steps}})
        time.sleep(pause)
        while ctx.attempt <= holds and step - start >= 15 and not ctx.stop_requested:
            time.sleep(0.01)
        if step % every == 0 or ctx.stop_requested:
            file.with_suffix(".new").write_text(json.dumps([step, total]))
            os.replace(file.with_suffix(".new"), file)
            ctx.send({{"event": "durable", "step": step, "seconds": 0.0, "bytes": 1}})
        if ctx.stop_requested:
            ctx.send({{"event": "stopped", "step": step}})
            raise context.Preempted
    (output_dir() / "total.txt").write_text(str(total))
    return {{"total": total}}
'''

_numbers = itertools.count(1)


class Desk:
    """A person's folder with a job file in it, and a home for local runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".gpukit"

    def write(self, source: str, **values: str) -> Path:
        """Write a job file under a name that no other test uses, since jobs are imported once."""
        path = self.folder / f"job_of_test_{os.getpid()}_{next(_numbers)}.py"
        path.write_text(source.format(**values) if values else source, encoding="utf-8")
        return path

    def counting(self, options: str = "") -> Path:
        return self.write(COUNTING, options=options)

    def plan(self, file: Path, **arguments: Any) -> Plan:
        return plan_call(load_job(str(file)), (), arguments)

    def submit(self, plan: Plan, **options: Any) -> Submission:
        return submit(plan, home=self.home, **options)

    def run(self, plan: Plan, **options: Any) -> LocalRun:
        run = self.submit(plan, **options).run
        run.wait(PATIENCE)
        return run

    def cli(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "gpukit.cli", *words], cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environ},
        )  # fmt: skip

    def close(self) -> None:
        for folder in (self.home / "runs").glob("*"):  # also those that a command has started
            with suppress(GpukitError):
                run = open_run(folder.name, home=self.home)
                if run.cancel(now=True):
                    run.wait(PATIENCE)


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until the other process has done something that can only be seen by looking."""
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {PATIENCE:.0f} s: {what}")
        time.sleep(0.02)


def processes_of(run: LocalRun) -> list[int]:
    """Return the processes that carry the uid of one of the run's pods."""
    uids = [str(e["uid"]) for e in run.directory.events() if "uid" in e]
    return [pid for uid in uids for pid in processes_with(f"GPUKIT_POD_UID={uid}")]


def processes_with(variable: str) -> list[int]:
    """Return the processes that have this in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environ = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        found += [int(entry.name)] * (variable.encode() in environ)
    return found
