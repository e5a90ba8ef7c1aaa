"""A training job that any wrong restore would change, and what must hold after interruptions."""

from __future__ import annotations

import re
import tempfile
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from gpukit.ladder import ExitCode
from gpukit.runtime.checkpoint.manifest import FOLDER, checkpoint_names
from gpukit.runtime.record import RunRecord
from gpukit.runtime.store import DirectoryStore
from tests.runtime.pod import Pod, Run

EPOCHS, PER_EPOCH, EVERY = 3, 80, 3
STEPS = EPOCHS * PER_EPOCH

NOTE_SAVES = """
def note_saves(path):  # of each safe point: whether a save was begun there, or put off
    from gpukit.runtime.checkpoint.saves import Saves
    begin, wanted = Saves.begin, Saves.wanted
    lines = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    def note(what, step):
        os.write(lines, b"%d %s %d\\n" % (run_info().attempt, what, step))
    def noted_wanted(self, step):
        answer = wanted(self, step)
        if self._owed and not answer:
            note(b"busy", step)
        return answer
    def noted_begin(self, step, capture, stable, **options):
        note(b"begins", step)  # before: a kill may come at any moment
        begin(self, step, capture, stable, **options)
        if self._owed:
            note(b"busy", step)
    Saves.begin, Saves.wanted = noted_begin, noted_wanted
"""
"""Source for a job: :func:`check_losses` reads what it writes."""

FAILS_A_READ = """
def fail_a_read():  # a disk that fails rank 1 of the second attempt, which finds an older one
    from gpukit.runtime.checkpoint.reading import Reader
    ctx, load, tried = context.current(), Reader._load, []
    def failing(self, name, into):
        tried.append(name)
        if len(tried) == 1 and (ctx.attempt, ctx.rank) == (2, 1):
            raise OSError(5, "Input/output error")
        return load(self, name, into)
    Reader._load = failing
"""
"""Source for a job: :func:`assert_ranks_do_not_part` makes the runs."""

_TEMPLATE = """
import hashlib, random
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from gpukit import Checkpointer, run_info

{patch}

{note_saves}

class Noisy(Dataset):
    def __len__(self):
        return 4 * PER_EPOCH
    def __getitem__(self, index):
        x = torch.arange(16.0) / 16 + index / 320 + torch.rand(16) * 0.1 + random.random() * 0.1
        return x, index % 2

def main(trace, workers=0, pause=0.0, leash=""):  # as many steps as the leash has bytes
    torch.manual_seed(0); random.seed(0); torch.set_num_threads(1)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    loader = DataLoader(Noisy(), batch_size=4, shuffle=True, num_workers=workers)
    ckpt = Checkpointer(
        model=model, optimizer=optimizer, scheduler=scheduler, every_steps=EVERY
    )
    lines = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    note_saves(trace + ".saves")
    for epoch in ckpt.epochs(EPOCHS):
        for x, y in ckpt.batches(loader):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            ckpt.log(loss=loss.detach())
            os.write(lines, b"%d %d\\n" % (run_info().attempt, ckpt.step + 1))
            if pause:
                time.sleep(pause)
            while leash and ckpt.step + 1 >= os.stat(leash).st_size and not ckpt.stopping:
                time.sleep(0.001)
        scheduler.step()
    parts = [t.numpy().tobytes() for t in model.state_dict().values()]
    return {"sha256": hashlib.sha256(b"".join(parts)).hexdigest(), "steps": ckpt.step}
"""


def _without(name: str) -> str:
    return f"""
from gpukit.runtime.checkpoint import state
state._optimizers = lambda objects: {{}}
state.Registry.targets = lambda self, path: {{}}
whole = state._load
state._load = lambda name, value, saved: None if name == {name!r} else whole(name, value, saved)
"""


PATCHES = {
    "none": "",
    "model": _without("model"),
    "optimizer": _without("optimizer"),
    "scheduler": _without("scheduler"),
    "rng": """
from gpukit.runtime.checkpoint import rng
rng.restore = lambda state: None
""",
    "rng of Python": """
from gpukit.runtime.checkpoint import rng
rng.random.setstate = lambda state: None
""",
    "rng of torch": """
import torch
torch.set_rng_state = lambda state: None
""",
    "generator of the loader": """
from gpukit.runtime.checkpoint import loader
loader._MapStyle._set_generators = lambda self, states: None
""",
    "position": """
from gpukit.runtime.checkpoint import loader
whole = loader._MapStyle.iterate
loader._MapStyle.iterate = lambda self, skip, state, go: whole(self, 0, state, go)
""",
}


def source(patch: str = "none") -> str:
    """The job's source with one part of the restore taken out."""
    numbers = {"EPOCHS": EPOCHS, "PER_EPOCH": PER_EPOCH, "EVERY": EVERY}
    head = "".join(f"{name} = {value}\n" for name, value in numbers.items())
    whole = _TEMPLATE.replace("{note_saves}", NOTE_SAVES)
    return head + whole.replace("{patch}", PATCHES[patch])


@dataclass(frozen=True)
class Executed:
    """Every step that was executed, as the job itself wrote it down: (attempt, step)."""

    steps: tuple[tuple[int, int], ...]

    @staticmethod
    def read(trace: Path) -> Executed:
        lines = trace.read_text().splitlines() if trace.exists() else []
        pairs = (line.split() for line in lines)
        return Executed(tuple((int(a), int(s)) for a, s in pairs))

    def of(self, attempt: int) -> list[int]:
        return [step for number, step in self.steps if number == attempt]


class Recorded(Protocol):
    """A run whose store can be read, wherever its pods were."""

    @property
    def store(self) -> Path: ...

    @property
    def record(self) -> RunRecord: ...


def newest_durable(run: Recorded) -> int:
    """The step of the newest checkpoint in the store."""
    names = checkpoint_names(DirectoryStore(run.store).list(FOLDER))
    return names[0].step if names else 0


@cache
def reference_weights(*, workers: int = 0) -> str:
    """The digest of the final weights of a run without an interruption."""
    with tempfile.TemporaryDirectory() as folder:
        trace = str(Path(folder) / "reference")
        run = Run(Path(folder), source(), {"arguments": {"trace": trace, "workers": workers}})
        try:
            code, pod = run.run()
            assert code == 0, pod.output
            return final_weights(run)
        finally:
            run.close()


def final_weights(run: Recorded) -> str:
    result = run.record.result()
    assert result is not None, "the run has not finished"
    assert result.value["steps"] == STEPS
    return str(result.value["sha256"])


def check_run(
    run: Recorded, trace: Path, began: dict[int, int], *, total: int = STEPS,
    loss_per_attempt: int | None = None,
) -> None:  # fmt: skip
    """Assert from the run record that nothing was lost or done twice beyond the stated loss.

    Args:
        run: the run, finished.
        trace: what the job wrote down.
        began: for each attempt the newest durable step when it was started.
        total: steps of the job.
        loss_per_attempt: steps that an interruption may cost; None: see :func:`check_losses`.
    """
    executed = Executed.read(trace)
    attempts = run.record.attempts()
    for attempt in attempts:
        steps = executed.of(attempt.number)
        if not steps and attempt.progress.first_step_at is None:
            continue  # ended before its first step
        expected = began[attempt.number]
        if attempt.end or attempt.progress.restore_seconds is not None:  # it was written down
            assert attempt.progress.start_step == expected, f"attempt {attempt.number}"
        assert steps == list(range(expected + 1, expected + 1 + len(steps)))
    assert {step for _, step in executed.steps} == set(range(1, total + 1))
    if loss_per_attempt is not None:
        allowed = total + loss_per_attempt * (len(attempts) - 1)
        assert len(executed.steps) <= allowed, f"{len(executed.steps)} steps for {total}"


def saves(trace: Path) -> list[tuple[int, str, int]]:
    """Return attempt, ``begins`` or ``busy``, and step of all safe points that wanted a save."""
    lines = (line.split() for line in Path(f"{trace}.saves").read_text().splitlines())
    return [(int(attempt), what, int(step)) for attempt, what, step in lines]


def begun(events: list[tuple[int, str, int]]) -> list[int]:
    """Return the steps of the saves that were begun, in order.

    One that turns out to be busy is begun at a later safe point, which may be of the same step:
    the end of an epoch is one more after that of its last batch.
    """
    steps: list[int] = []
    for _, what, step in events:
        if what == "begins":
            steps.append(step)
        elif steps[-1:] == [step]:
            steps.pop()
    return steps


def check_losses(trace: Path, began: dict[int, int], *, every: int = EVERY) -> None:
    """Assert of each attempt that was killed that no step was lost but those that have to be.

    How many that are follows from two rules, and from nothing else:

    1. One save is in flight, so the one before the newest that was begun is durable, and the next
       attempt begins at the newest or at that one.
    2. A save is due every so many steps, and is begun at once unless one is in flight (or the
       memory for the first one is still being prepared): then at the first safe point after that.

    So a kill costs ``max(every, F) + F`` steps at most, and the one that has not reached its safe
    point, with F the steps made while a save is in flight. F is what the disk makes of it: the
    rules are checked at every safe point, and not a number.

    Args:
        trace: what the job wrote down; its saves are beside it.
        began: for each attempt the newest durable step when it was started.
        every: steps from one save to the next.
    """
    events, executed = saves(trace), Executed.read(trace)
    for attempt, start in began.items():
        mine = [event for event in events if event[0] == attempt]
        busy = {step for _, what, step in mine if what == "busy"}
        saved = [start, *begun(mine)]
        if attempt + 1 in began:
            assert began[attempt + 1] in saved[-2:], f"attempt {attempt} had begun {saved}"
        reached = max(executed.of(attempt), default=start) - 1  # surely at its safe point
        for here, following in pairwise([*saved, reached + 1]):
            due = range((here // every + 1) * every, following)
            why = f"attempt {attempt}: no save between {here} and {following} in {mine}"
            assert set(due) <= busy, why


def assert_nothing_was_damaged(pods: list[Pod]) -> None:
    for pod in pods:
        assert "damaged" not in pod.output, pod.output
        assert not re.search(r"Traceback", pod.output), pod.output


def assert_long_evaluation_is_left(
    make_run: Callable[..., Run], source: str, arguments: dict[str, Any]
) -> None:
    """Assert that SIGTERM in an evaluation that outlasts the grace costs no more than it has to.

    It comes once a checkpoint is durable.

    Args:
        make_run: makes a run of a source.
        source: of a job that prints ``lingers at STEP`` in an evaluation of its first attempt, and
            does not come back from there.
        arguments: of the job; with ``linger=False`` it does not.
    """
    run = make_run(source, arguments={**arguments, "linger": True}, grace=12)
    pod = run.start(index=0)
    pod.wait_for("lingers at ")
    pod.wait_for('"gpukit":"checkpoint"')
    pod.terminate()
    assert pod.wait() == ExitCode.PREEMPTED, pod.output
    (at,) = map(int, re.findall(r"lingers at (\d+)", pod.output))
    durable = newest_durable(run)
    assert durable == pod.message["durable_step"]
    assert 0 < durable <= at
    code, second = run.run(index=1)
    assert code == 0, second.output
    assert run.record.attempts()[1].progress.start_step == durable
    code, undisturbed = make_run(source, arguments={**arguments, "linger": False}).run()
    assert code == 0, undisturbed.output
    assert second.message["result"] == undisturbed.message["result"]


def passing(source: str, line: str, *, step: str) -> str:
    """Return a job that prints ``passes STEP`` in each step, and waits in one to be interrupted.

    Args:
        source: of the job.
        line: before which it does so, once a step.
        step: what the step's number is called there.
    """
    indent = " " * (len(line) - len(line.lstrip()))
    added = f"""print("passes", {step}, flush=True)
while {step} == 7 and run_info().attempt == 1 and not context.current().stop_requested:
    time.sleep(0.01)
"""
    return source.replace(line, textwrap.indent(added, indent) + line)


def assert_ranks_stop_together(
    make_run: Callable[..., Run], quiet: str, printing: str, arguments: dict[str, Any]
) -> None:
    """Assert that two ranks stop at one step after SIGTERM, lose nothing, and end as undisturbed.

    Args:
        make_run: makes a run of a source.
        quiet: source of the job.
        printing: what :func:`passing` made of it.
        arguments: of the job.
    """
    whole = make_run(quiet, arguments=arguments, processes=2)
    code, undisturbed = whole.run()
    assert code == 0, undisturbed.output
    run = make_run(printing, arguments=arguments, processes=2, grace=30)
    first = run.start(index=0)
    first.wait_for("passes 5")
    first.terminate()
    assert first.wait() == ExitCode.PREEMPTED, first.output
    stopped = max(map(int, re.findall(r"passes (\d+)", first.output)))
    assert first.output.count(f"passes {stopped}\n") == 2, "both ranks made that step"
    assert first.message["durable_step"] == stopped
    code, second = run.run(index=1)
    assert code == 0, second.output
    assert run.record.attempts()[1].progress.start_step == stopped
    assert second.message["result"] == undisturbed.message["result"]


def assert_ranks_do_not_part(run: Run, stop: Callable[[Pod], object]) -> None:
    """Assert that two ranks never go on from different checkpoints, and that the next try does.

    Args:
        run: of a job that calls what :data:`FAILS_A_READ` defines.
        stop: waits until the first attempt has a checkpoint and is to be interrupted.
    """
    pod = run.start(index=0)
    stop(pod)
    pod.terminate()
    assert pod.wait() == ExitCode.PREEMPTED, pod.output
    newest, before = checkpoint_names(DirectoryStore(run.store).list(FOLDER))[:2]
    code, pod = run.run(index=1)
    assert code == ExitCode.CRASH, pod.output
    assert f"different checkpoints: rank 0 from {newest}, rank 1 from {before}" in pod.output
    assert f"passed over a checkpoint: {newest}: [Errno 5]" in pod.output
    assert run.record.attempts()[1].progress.first_step_at is None
    code, pod = run.run(index=1)
    assert code == 0, pod.output
    assert run.record.attempts()[2].progress.start_step == newest.step
