"""SIGKILL at random moments, of the trainer and of the whole pod: nothing is lost but time."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runtime.exactness import (
    EVERY,
    STEPS,
    Executed,
    assert_nothing_was_damaged,
    check_run,
    final_weights,
    newest_durable,
    reference_weights,
    source,
)
from tests.runtime.pod import Pod, Run

MakeRun = Callable[..., Run]
pytestmark = pytest.mark.e2e
KILLS = 100 if os.environ.get("GPUKIT_SOAK") else 16  # of each victim


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def kill_trainer(pod: Pod) -> None:
    while not (trainers := children(pod.process.pid)):  # it is being started
        assert pod.process.poll() is None, pod.output
    for trainer in trainers:
        os.kill(trainer, signal.SIGKILL)


def kill_pod(pod: Pod) -> None:
    """What the kernel does to a pid namespace whose first process dies."""
    pod.process.kill()  # the trainer dies with its parent


@pytest.mark.parametrize("victim", ["trainer", "pod"])
@pytest.mark.timeout(1800)
def test_kill_at_random_moments(make_run: MakeRun, tmp_path: Path, victim: str) -> None:
    """Kills at any moment of the start, of a step or of a save."""
    trace = tmp_path / "trace"
    run = make_run(source(), arguments={"trace": str(trace), "pause": 0.002}, retries=1000)
    chance, began = random.Random(victim), {}
    for number in range(1, KILLS + 1):
        began[number] = newest_durable(run)
        pod = run.start(index=number)
        if chance.random() < 0.85:
            target = len(Executed.read(trace).steps) + chance.randrange(1, STEPS // KILLS)
            pod_runs_until(pod, trace, target)
        else:
            pod.wait_for('"gpukit":"attempt"')  # while it starts
        (kill_trainer if victim == "trainer" else kill_pod)(pod)
        assert pod.wait() != 0
    began[KILLS + 1] = newest_durable(run)
    code, pod = run.run(index=KILLS + 1)
    assert code == 0, pod.output
    assert final_weights(run) == reference_weights()
    assert_nothing_was_damaged(run.pods)
    check_run(run, trace, began, loss_per_attempt=4 * EVERY)  # one is in flight, others wait


def pod_runs_until(pod: Pod, trace: Path, lines: int) -> None:
    """Wait, spinning so that the moment is not tied to a step, until the job is so far."""
    while len(Executed.read(trace).steps) < lines:
        assert pod.process.poll() is None, pod.output
