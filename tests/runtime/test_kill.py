"""SIGKILL at random moments, of the trainer, the writer, the pod: nothing is lost but time."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.runtime.exactness import (
    EVERY,
    STEPS,
    Executed,
    assert_nothing_was_damaged,
    begun,
    check_losses,
    check_run,
    final_weights,
    newest_durable,
    reference_weights,
    saves,
    source,
)
from tests.runtime.pod import Pod, Run

MakeRun = Callable[..., Run]
pytestmark = pytest.mark.e2e
WRITER_KILLS = 6
DURABLE = '"gpukit":"checkpoint"'
KILLS, RUNS = 12, 8 if os.environ.get("GPUKIT_SOAK") else 1  # of each victim


def children(pod: Pod, what: str) -> list[int]:
    """Children of the supervisor: its trainer, or the writer of checkpoints."""
    pid, found = pod.process.pid, []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(OSError):
            if what in Path(f"/proc/{child}/cmdline").read_text():
                found.append(int(child))
    return found


def kill(pids: list[int]) -> int:
    """Kill processes; return how many of them were still there."""
    killed = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed


def kill_trainer(pod: Pod, _: random.Random) -> None:
    """It dies alone: the writer finishes what it was given."""
    while not kill(children(pod, "gpukit.runtime.trainer")):  # it is being started
        assert pod.process.poll() is None, pod.output


def kill_both(pod: Pod, chance: random.Random) -> None:
    """The writer first, perhaps in the middle of a file; then the trainer, which asks another."""
    kill(children(pod, "checkpoint.writer"))
    time.sleep(chance.random() * 0.05)
    kill_trainer(pod, chance)


def kill_pod(pod: Pod, _: random.Random) -> None:
    """What the kernel does to a pid namespace whose first process dies."""
    pod.process.kill()  # trainer and writer die with their parent


VICTIMS = {"trainer": kill_trainer, "writer and trainer": kill_both, "pod": kill_pod}


@pytest.mark.parametrize("seed", range(RUNS))
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.timeout(1800)
def test_kill_at_random_moments(make_run: MakeRun, tmp_path: Path, victim: str, seed: int) -> None:
    """Kills at any moment of the start, of a step or of a save."""
    trace, leash = tmp_path / "trace", tmp_path / "leash"
    leash.touch()
    arguments = {"trace": str(trace), "pause": 0.002, "leash": str(leash)}
    run = make_run(source(), arguments=arguments, retries=1000)
    chance, began = random.Random(f"{victim}/{seed}"), {}
    for number in range(1, KILLS + 1):
        began[number] = newest_durable(run)
        done = len(Executed.read(trace).steps)
        steps = chance.randrange(1, STEPS // KILLS) if chance.random() < 0.85 else 0
        steps = min(steps, STEPS - 2 - began[number])
        os.truncate(leash, min(began[number] + steps + 2 * EVERY, STEPS - 1))  # it might end else
        pod = run.start(index=number)
        if number % 4 == 0 and began[number] + 40 < STEPS:  # on any disk some attempt gets on
            os.truncate(leash, began[number] + 40)
            pod.wait_for(DURABLE)
        elif steps:
            pod_runs_until(pod, trace, done + steps)
        else:
            pod.wait_for('"gpukit":"attempt"')  # while it starts
        VICTIMS[victim](pod, chance)
        assert pod.wait() != 0
    os.truncate(leash, STEPS + 1)
    began[KILLS + 1] = newest_durable(run)
    code, pod = run.run(index=KILLS + 1)
    assert code == 0, pod.output
    assert final_weights(run) == reference_weights()
    assert_nothing_was_damaged(run.pods)
    check_run(run, trace, began)
    check_losses(trace, began)
    assert len(set(began.values())) > 1, "no attempt began where another had been"


def test_a_writer_that_is_killed_again_and_again_costs_no_save(
    make_run: MakeRun, tmp_path: Path
) -> None:
    """The job is on a leash: training goes on without a writer, and would end before the kills."""
    trace, leash, chance = tmp_path / "trace", tmp_path / "leash", random.Random(0)
    leash.touch()
    run = make_run(source(), arguments={"trace": str(trace), "pause": 0.005, "leash": str(leash)})
    pod, share, durable = run.start(), STEPS // (WRITER_KILLS + 2), 0
    for _ in range(WRITER_KILLS):
        begins = len(Executed.read(trace).steps)
        os.truncate(leash, begins + share)  # some saves: one of them asks for a writer
        pod_runs_until(pod, trace, begins + chance.randrange(1, share))
        pod.wait_for(DURABLE, durable + 1)  # a save that is hit three times would fail
        durable = pod.output.count(DURABLE)
        while not kill(children(pod, "checkpoint.writer")):  # it is being started
            assert pod.process.poll() is None, pod.output
    os.truncate(leash, STEPS + 1)
    assert pod.wait() == 0, pod.output
    assert final_weights(run) == reference_weights()
    assert pod.output.count("left with code -9") == WRITER_KILLS
    assert "failed" not in pod.output, "each checkpoint came all the same"
    check_losses(trace, {1: 0})
    assert {line["step"] for line in pod.lines("checkpoint")} == set(begun(saves(trace)))


def pod_runs_until(pod: Pod, trace: Path, lines: int) -> None:
    """Wait, spinning so that the moment is not tied to a step, until the job is so far."""
    while len(Executed.read(trace).steps) < lines:
        assert pod.process.poll() is None, pod.output
