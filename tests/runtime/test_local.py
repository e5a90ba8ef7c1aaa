"""The local backend: real runs in real processes, interrupted in every way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from gpukit import open_run
from gpukit.errors import RunFailedError, UsageError, WaitTimeoutError
from gpukit.ladder import Cause
from gpukit.local.simulate import Simulation
from gpukit.runs.local_run import LocalRun
from gpukit.runtime.checkpoint.manifest import FOLDER, checkpoint_names
from gpukit.runtime.store import DirectoryStore
from tests.runtime.local import PATIENCE, Desk, processes_of, wait_for


def steps_of(run: LocalRun) -> list[tuple[int, int]]:
    return [(a.progress.start_step, a.progress.durable_step) for a in run.attempts()]


def at_step(run: LocalRun, step: int) -> bool:
    return any(a.progress.durable_step >= step for a in run.attempts())


def test_a_run_returns_its_result_and_keeps_logs_and_outputs(desk: Desk) -> None:
    run = desk.run(desk.plan(desk.counting(), steps=20))

    assert run.result() == {"total": 210}
    assert run.status() == "succeeded"
    assert [a.cause for a in run.attempts()] == [Cause.FINISHED]
    assert (run.output_dir / "total.txt").read_text() == "210"
    assert '"gpukit":"end"' in run.logs()
    assert processes_of(run) == []
    assert not any((run.directory.root / "work").iterdir())


def test_the_same_again_shows_the_result_without_running(desk: Desk) -> None:
    plan = desk.plan(desk.counting(), steps=5)
    first = desk.run(plan)
    again = desk.submit(plan)

    assert again.action == "finished"
    assert again.run.name == first.name
    assert len(again.run.attempts()) == 1


def test_other_arguments_are_another_run(desk: Desk) -> None:
    file = desk.counting()
    assert desk.plan(file, steps=5).bundle.run != desk.plan(file, steps=6).bundle.run


def test_preempted_attempts_lose_no_step(desk: Desk) -> None:
    plan = desk.plan(desk.counting(), steps=60, pause=0.02, holds=3)
    run = desk.run(plan, simulation=Simulation("preemption", after=0.3, limit=3))

    assert run.result() == {"total": sum(range(61))}
    causes = [a.cause for a in run.attempts()]
    assert causes == [Cause.PREEMPTED, Cause.PREEMPTED, Cause.PREEMPTED, Cause.FINISHED]
    ends = [end for _, end in steps_of(run)]
    assert [start for start, _ in steps_of(run)][1:] == ends[:-1]
    assert [a.start.index for a in run.attempts()] == [0, 1, 2, 3]
    summary = run.summary()
    assert summary.interruptions == 3
    assert summary.redone == 0
    assert all(row.restart.seconds for row in summary.rows if row.restart)
    assert [row.ended_by for row in summary.rows] == ["preempted"] * 3 + ["finished"]


def test_after_a_node_loss_the_run_goes_on_at_the_last_durable_step(desk: Desk) -> None:
    plan = desk.plan(desk.counting(), steps=60, pause=0.02, every=7, holds=2)
    run = desk.run(plan, simulation=Simulation("node-loss", after=14, limit=2, unit="steps"))

    assert run.result() == {"total": sum(range(61))}
    assert [a.cause for a in run.attempts()] == [Cause.PREEMPTED, Cause.PREEMPTED, Cause.FINISHED]
    starts = [start for start, _ in steps_of(run)]
    assert starts[0] == 0
    assert all(start % 7 == 0 and start > 0 for start in starts[1:])
    lost = [row for row in run.summary().rows if row.ended_by == "node lost"]
    assert len(lost) == 2
    assert all(0 <= row.redone < 2 * 7 for row in lost)
    assert processes_of(run) == []


def test_max_preemptions_ends_the_run_as_the_job_controller_would(desk: Desk) -> None:
    plan = desk.plan(desk.counting("max_preemptions=1"), steps=1000, pause=0.02)
    run = desk.run(plan, simulation=Simulation("preemption", after=0.1))

    assert run.status() == "failed"
    assert len(run.attempts()) == 2
    with pytest.raises(RunFailedError, match="max_preemptions=1 used up"):
        run.result()


CRASHING = """
from gpukit import gpu_job

@gpu_job(retries={retries})
def crash(code: int = 0) -> None:
    print("working")
    if code:
        import os
        os._exit(code)
    raise ValueError("the data is empty")
"""


def test_crashes_are_retried_and_a_new_submission_has_retries_again(desk: Desk) -> None:
    plan = desk.plan(desk.write(CRASHING, retries="1"), code=7)
    run = desk.run(plan)
    assert run.status() == "failed"
    assert [a.cause for a in run.attempts()] == [Cause.CRASH] * 2
    assert [a.start.index for a in run.attempts()] == [0, 0]

    again = desk.submit(plan)
    again.run.wait(PATIENCE)
    assert again.action == "continued"
    assert len(again.run.attempts()) == 4


def test_the_error_of_a_failed_run_has_the_jobs_own_words(desk: Desk) -> None:
    run = desk.run(desk.plan(desk.write(CRASHING, retries="0")))

    with pytest.raises(RunFailedError, match="the data is empty") as caught:
        run.result()
    assert caught.value.id == "run-failed"
    assert "attempt-1.log" in caught.value.hint
    assert "working" in run.logs(1)


def test_a_stopped_run_goes_on_where_it_left(desk: Desk) -> None:
    plan = desk.plan(desk.counting(), steps=60, pause=0.02, holds=1)
    run = desk.submit(plan).run
    wait_for(lambda: at_step(run, 5), "the first checkpoint")
    assert run.status() == "running"
    with pytest.raises(WaitTimeoutError):
        run.wait(0.0)
    assert run.cancel()
    assert run.wait(PATIENCE) == "interrupted"
    left = steps_of(run)[0][1]

    again = desk.submit(plan)
    assert again.action == "continued"
    again.run.wait(PATIENCE)
    assert again.run.result() == {"total": sum(range(61))}
    assert steps_of(again.run)[1][0] == left


def test_a_second_submission_attaches_to_the_run(desk: Desk) -> None:
    plan = desk.plan(desk.counting(), steps=10_000, pause=0.02)
    first = desk.submit(plan)
    second = desk.submit(plan)

    assert (first.action, second.action) == ("started", "attached")
    with pytest.raises(UsageError, match="is running"):
        desk.submit(plan, fresh=True)
    assert first.run.cancel(now=True)
    assert second.run.wait(PATIENCE) == "interrupted"
    assert len(second.run.attempts()) <= 1
    assert processes_of(first.run) == []


def test_a_run_whose_backend_was_killed_can_go_on(desk: Desk) -> None:
    plan = desk.plan(desk.counting(), steps=60, pause=0.05, holds=1)
    run = desk.submit(plan).run
    wait_for(lambda: at_step(run, 5), "the first checkpoint")
    backend = int(run.directory.lock_file.read_text())
    os.kill(backend, signal.SIGKILL)
    assert run.wait(PATIENCE) == "interrupted"
    orphans = processes_of(run)
    assert orphans

    again = desk.submit(plan)
    again.run.wait(PATIENCE)
    assert again.run.result() == {"total": sum(range(61))}
    assert not set(orphans) & set(processes_of(run))


def test_fresh_keeps_the_old_run_aside(desk: Desk) -> None:
    plan = desk.plan(desk.counting(), steps=5)
    desk.run(plan)
    fresh = desk.submit(plan, fresh=True)
    fresh.run.wait(PATIENCE)

    assert fresh.action == "started"
    assert [a.number for a in fresh.run.attempts()] == [1]
    old = open_run(f"{fresh.run.name}.old-1", home=desk.home)
    assert old.result() == {"total": 15}


def test_force_makes_a_separate_run(desk: Desk) -> None:
    plan = desk.plan(desk.counting(), steps=5)
    first = desk.run(plan)
    forced = desk.run(plan, force=True)

    assert forced.name == f"{first.name}-2"
    assert forced.result() == {"total": 15}
    assert forced.directory.task().run == forced.name


def test_resume_from_needs_a_checkpoint(desk: Desk) -> None:
    other = desk.run(desk.plan(desk.counting(), steps=5))
    with pytest.raises(UsageError, match="no checkpoint"):
        desk.submit(desk.plan(desk.counting(), steps=6), resume_from=other.name)
    with pytest.raises(UsageError, match="there is no run"):
        desk.submit(desk.plan(desk.counting(), steps=7), resume_from="nothing")


SECRETIVE = """
import os
from gpukit import gpu_job

@gpu_job(secrets={"TOKEN": "wandb/api-key"}, env={"COLOUR": "$(HOME) is $$5 `x`"})
def look() -> dict:
    names = ["TOKEN", "COLOUR", "NOT_DECLARED", "HOME", "JOB_COMPLETION_INDEX"]
    return {"length": len(os.environ["TOKEN"]), **{n: os.environ.get(n) for n in names[1:]},
            "here": os.getcwd()}
"""


def test_a_pod_has_the_environment_that_it_declares(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = desk.plan(desk.write(SECRETIVE))
    monkeypatch.delenv("TOKEN", raising=False)
    with pytest.raises(UsageError, match="TOKEN is not set") as caught:
        desk.submit(plan)
    assert caught.value.id == "secret-local"

    monkeypatch.setenv("TOKEN", "do-not-write-me")
    monkeypatch.setenv("NOT_DECLARED", "x")
    run = desk.run(plan)
    seen = run.result()
    assert seen["length"] == len("do-not-write-me")
    assert (seen["COLOUR"], seen["NOT_DECLARED"], seen["JOB_COMPLETION_INDEX"]) == (
        "$(HOME) is $$5 `x`", None, None,
    )  # fmt: skip
    assert seen["HOME"].startswith(str(run.directory.root / "work"))
    written = [p for p in run.directory.root.rglob("*") if p.is_file()]
    assert not [p for p in written if b"do-not-write-me" in p.read_bytes()]


def test_runs_are_never_committed_by_accident(desk: Desk) -> None:
    desk.run(desk.plan(desk.counting(), steps=1))
    assert (desk.home / ".gitignore").read_text() == "*\n"


def test_a_script_can_submit_its_own_job(desk: Desk) -> None:
    file = desk.counting()
    script = (
        file.read_text()
        + "\nif __name__ == '__main__':\n    print(count.submit_local(4).result())\n"
    )
    file.write_text(script)
    shown = subprocess.run(
        [sys.executable, str(file)],
        cwd=desk.folder, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert (shown.stdout.strip(), shown.returncode) == ("{'total': 10}", 0), shown.stderr


class TestCommandLine:
    def test_result_on_stdout_and_talk_on_stderr(self, desk: Desk) -> None:
        file = desk.counting()
        process = desk.cli("submit", "--local", "--simulate-preemption", "300ms",
                           "--max-interruptions", "1", file.name, "--steps", "50",
                           "--pause", "0.02", "--holds", "1")  # fmt: skip
        out, err = process.communicate(timeout=PATIENCE)

        assert process.returncode == 0, err
        assert json.loads(out) == {"total": sum(range(51))}
        assert "preemption (simulated)" in err
        assert "succeeded in" in err
        assert "1 interruption: 0 steps redone" in err
        assert '"gpukit"' not in err
        assert "\x1b" not in out + err

    def test_a_failed_run_is_exit_code_4(self, desk: Desk) -> None:
        file = desk.write(CRASHING, retries="0")
        process = desk.cli("submit", "--local", "-o", "json", file.name)
        out, err = process.communicate(timeout=PATIENCE)

        assert process.returncode == 4
        assert json.loads(out)["status"] == "failed"
        assert "ValueError: the data is empty" in err
        assert "error: " in err.splitlines()[-2]
        assert "hint: " in err.splitlines()[-1]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
    def test_ctrl_c_saves_and_the_same_command_goes_on(
        self, desk: Desk, number: signal.Signals
    ) -> None:
        file = desk.counting()
        words = ["submit", "--local", file.name, "--steps", "60", "--holds", "1"]
        process = desk.cli(*words)
        wait_for(lambda: list(desk.home.glob("runs/*/store/count.json")), "the first checkpoint")
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130, err
        assert "Traceback" not in err

        out, err = desk.cli(*words).communicate(timeout=PATIENCE)
        assert "goes on" in err
        assert json.loads(out) == {"total": sum(range(61))}

    def test_two_submissions_at_once_are_one_run(self, desk: Desk) -> None:
        file = desk.counting()
        both = [desk.cli("submit", "--local", file.name, "--pause", "0.02") for _ in range(2)]
        ends = [(p.communicate(timeout=PATIENCE), p.returncode) for p in both]

        assert [code for _, code in ends] == [0, 0], ends
        assert {out for (out, _), _ in ends} == {'{"total": 210}\n'}
        (folder,) = (desk.home / "runs").iterdir()
        assert len(list(folder.glob("store/record/attempt-?????.json"))) == 1

    def test_detached(self, desk: Desk) -> None:
        file = desk.counting()
        process = desk.cli("submit", "--local", "-d", file.name)
        out, _ = process.communicate(timeout=PATIENCE)
        run = open_run(out.strip(), home=desk.home)
        assert run.result(PATIENCE) == {"total": 210}


SUMMING = """
import time
from gpukit import Checkpointer, gpu_job, run_info


class Sum:
    value = 0

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


@gpu_job()
def add(steps: int = 60, epochs: int = 1) -> int:
    total = Sum()
    ckpt = Checkpointer(total=total, every_steps=10, keep=99)
    for _ in ckpt.epochs(epochs):
        for n in ckpt.batches(range(steps)):
            if n in (25, 42):
                ckpt.save()  # else what is durable at the interruption depends on the disk
            while n == 45 and epochs == run_info().attempt == 1:
                time.sleep(0.01)  # until it is interrupted
            total.value += n
            time.sleep(0.02)
    return total.value
"""


def test_the_checkpointer_goes_on_here_and_in_a_run_that_resumes_from_this_one(desk: Desk) -> None:
    file = desk.write(SUMMING)
    run = desk.run(
        desk.plan(file), simulation=Simulation("node-loss", after=40, limit=1, unit="steps")
    )
    assert run.result() == sum(range(60))
    first, second = run.attempts()
    # All of them are kept, so the store still shows what was durable when the node was lost. The
    # record may know less: nobody was left to write down a save that became whole with the kill.
    names = checkpoint_names(DirectoryStore(run.directory.store).list(FOLDER))
    assert second.progress.start_step == next(name.step for name in names if name.attempt == 1)
    assert second.progress.start_step >= max(first.progress.durable_step, 25)

    longer = desk.submit(desk.plan(file, epochs=2), resume_from=run.name)
    longer.run.wait(PATIENCE)
    assert (longer.action, longer.from_step) == ("started", 60)
    assert longer.run.result() == 2 * sum(range(60))
    assert longer.run.attempts()[0].progress.start_step == 60
