"""SIGTERM: a last checkpoint within the grace period, and the exit code that starts the next."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gpukit.ladder import Cause, ExitCode
from tests.runtime.exactness import (
    PER_EPOCH,
    STEPS,
    assert_nothing_was_damaged,
    check_run,
    final_weights,
    newest_durable,
    reference_weights,
    source,
)
from tests.runtime.pod import Run
from tests.runtime.test_kill import pod_runs_until

MakeRun = Callable[..., Run]


def preempted_run(
    make_run: MakeRun, tmp_path: Path, stops: list[int], patch: str = "none", workers: int = 0
) -> tuple[Run, Path, dict[int, int]]:
    """Run with a SIGTERM after each number of executed steps, and to the end."""
    trace, leash = tmp_path / f"trace-{patch}", tmp_path / "leash"
    leash.touch()
    arguments = {"trace": str(trace), "pause": 0.002, "workers": workers, "leash": str(leash)}
    run = make_run(source(patch), arguments=arguments, retries=0)
    began = {}
    for number, stop in enumerate(stops, start=1):
        began[number] = newest_durable(run)
        os.truncate(leash, stop + 10)
        pod = run.start(index=number)
        pod_runs_until(pod, trace, stop)
        pod.terminate()
        assert pod.wait() == ExitCode.PREEMPTED, pod.output
        assert pod.message["cause"] == "preempted"
    began[len(stops) + 1] = newest_durable(run)
    os.truncate(leash, 10 * STEPS)  # without its position a job makes more steps
    code, pod = run.run(index=len(stops) + 1)
    assert code == 0, pod.output
    return run, trace, began


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.e2e)])
def test_three_preemptions_in_one_epoch_lose_no_step(
    make_run: MakeRun, tmp_path: Path, workers: int
) -> None:
    run, trace, began = preempted_run(make_run, tmp_path, [20, 35, 50], workers=workers)
    assert final_weights(run) == reference_weights(workers=workers)
    assert_nothing_was_damaged(run.pods)
    check_run(run, trace, began, loss_per_attempt=0)
    assert [a.cause for a in run.record.attempts()] == [*[Cause.PREEMPTED] * 3, Cause.FINISHED]
    assert run.record.attempts()[-1].progress.last_step == STEPS


def test_sigterm_between_the_epochs_and_their_batches_changes_nothing(
    make_run: MakeRun, tmp_path: Path
) -> None:
    """What the beginning of a pass draws, for its order, is drawn once."""
    here = "        for x, y in ckpt.batches(loader):"
    stops = """        if epoch == 1 and run_info().attempt == 1:
            os.kill(os.getppid(), signal.SIGTERM)
            while not ckpt.stopping:
                time.sleep(0.001)
"""
    job = source().replace(here, stops + here)
    run = make_run(job, arguments={"trace": str(tmp_path / "trace")})
    code, pod = run.run(index=0)
    assert code == ExitCode.PREEMPTED, pod.output
    assert pod.message["durable_step"] == PER_EPOCH
    code, pod = run.run(index=1)
    assert code == 0, pod.output
    assert final_weights(run) == reference_weights()


@pytest.mark.e2e
def test_the_tests_notice_when_a_part_of_the_restore_is_missing(
    make_run: MakeRun, tmp_path: Path
) -> None:
    for patch in ("rng", "optimizer", "position"):
        run, trace, began = preempted_run(make_run, tmp_path, [25], patch)
        with pytest.raises(AssertionError):  # noqa: PT012 - either of them notices
            assert final_weights(run) == reference_weights()
            check_run(run, trace, began, loss_per_attempt=0)
