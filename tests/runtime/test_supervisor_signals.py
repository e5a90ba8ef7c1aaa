"""SIGTERM at every moment, kill -9, hangs and budgets: what the pod leaves behind."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gpukit.ladder import Cause
from gpukit.runtime.processes import descendants
from tests.runtime.pod import PATIENCE, Run

MakeRun = Callable[..., Run]

WAITS = """
def main():
    send("step", step=1)
    print("ready", flush=True)
    wait_for_ever()
"""

SAVES = """
def main():
    ctx = context.current()
    ctx.checkpointing = True
    send("restored", step=10, seconds=0.5)
    send("step", step=11)
    send("durable", step=11, seconds=0.1, bytes=1)
    print("ready", flush=True)
    while not ctx.stop_requested:
        time.sleep(0.01)
    send("durable", step=12, seconds=0.1, bytes=1)
    raise context.Preempted
"""


def gone(pid: int) -> bool:
    """Wait until a process is no more."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.01)
    return False


def test_sigterm_after_progress_asks_for_the_next_attempt_at_once(make_run: MakeRun) -> None:
    run = make_run(SAVES)
    pod = run.start()
    pod.wait_for("ready")
    pod.terminate()
    assert pod.wait() == 75
    assert pod.message["cause"] == "preempted"
    assert pod.message["reason"] == "SIGTERM; stopped at a safe point"
    assert pod.message["durable_step"] == 12
    assert pod.message["steps"] == 1
    assert pod.lines("restored")[0]["step"] == 10
    (attempt,) = run.record.attempts()
    assert attempt.cause is Cause.PREEMPTED
    assert (attempt.progress.start_step, attempt.progress.durable_step) == (10, 12)
    assert attempt.progress.restore_seconds == 0.5


def test_sigterm_without_progress_backs_off(make_run: MakeRun) -> None:
    pod = make_run(WAITS).start(grace=120)
    pod.wait_for("ready")
    began = time.monotonic()
    pod.terminate()
    assert pod.wait() == 76
    assert time.monotonic() - began < 30, "no checkpointer is active: it leaves at once"
    assert pod.message["cause"] == "preempted"


def test_sigint_is_sigterm(make_run: MakeRun) -> None:
    pod = make_run(WAITS).start()
    pod.wait_for("ready")
    pod.process.send_signal(signal.SIGINT)
    assert pod.wait() == 76


def test_sigterm_while_the_job_is_imported(make_run: MakeRun) -> None:
    pod = make_run("""
        print("importing", flush=True)
        wait_for_ever()
        def main(): pass
    """).start()
    pod.wait_for("importing")
    pod.terminate()
    assert pod.wait() == 76


def test_sigterm_as_soon_as_the_pod_exists(make_run: MakeRun) -> None:
    run = make_run(WAITS)
    pod = run.start()
    pod.wait_for('"gpukit":"attempt"')
    pod.terminate()
    assert pod.wait() == 76, pod.output
    assert run.record.attempts()[0].cause is Cause.PREEMPTED


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("sys.exit(0)", id="exit"),
        pytest.param("os._exit(0)", id="os._exit"),
        pytest.param("return 'done'", id="return"),
    ],
)
def test_a_handler_of_the_jobs_own_cannot_make_a_stop_a_success(
    make_run: MakeRun, body: str
) -> None:
    """transformers and lightning take SIGTERM themselves and leave with 0: not finished."""
    run = make_run(f"""
        def main():
            asked = threading.Event()
            signal.signal(signal.SIGTERM, lambda *_: asked.set())
            print("ready", flush=True)
            while not asked.is_set():
                time.sleep(0.01)
            {body}
    """)
    pod = run.start()
    pod.wait_for("ready")
    pod.terminate()
    assert pod.wait() == 76, pod.output
    assert pod.message["cause"] == "preempted"
    assert run.record.result() is None


def test_a_job_that_swallows_the_stop_is_not_finished(make_run: MakeRun) -> None:
    pod = make_run("""
        def main():
            try:
                print("ready", flush=True)
                wait_for_ever()
            except BaseException:
                return "half of it"
    """).start()
    pod.wait_for("ready")
    pod.terminate()
    assert pod.wait() == 76
    assert "taken for unfinished" in pod.message["reason"]


def test_a_training_that_finishes_within_the_grace_has_finished(make_run: MakeRun) -> None:
    pod = make_run("""
        def main():
            ctx = context.current()
            ctx.checkpointing = True
            print("ready", flush=True)
            while not ctx.stop_requested:
                time.sleep(0.01)
            return "last step done"
    """).start()
    pod.wait_for("ready")
    pod.terminate()
    assert pod.wait() == 0, pod.output
    assert pod.message["result"] == "last step done"


def test_what_does_not_stop_is_killed_before_the_grace_is_over(make_run: MakeRun) -> None:
    pod = make_run("""
        def main():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print("ready", flush=True)
            wait_for_ever()
    """).start(grace=5)
    pod.wait_for("ready")
    began = time.monotonic()
    pod.terminate()
    time.sleep(0.1)
    pod.terminate()  # a second one changes nothing
    assert pod.wait() == 76
    assert 3 < time.monotonic() - began < 60, "it had the time that there is, and no more"
    assert "stopping, at most 4 s" in pod.output, "the grace is 5 s"
    assert pod.message["reason"] == "SIGTERM; did not stop in time"


def test_a_crash_before_sigterm_stays_a_crash(make_run: MakeRun) -> None:
    pod = make_run("""
        import atexit
        def main():
            atexit.register(lambda: (print("ready", flush=True), time.sleep(1)))
            raise ValueError("first")
    """).start()
    pod.wait_for("ready")
    pod.terminate()
    assert pod.wait() == 1
    assert pod.message["cause"] == "crash"


def test_killing_the_supervisor_kills_the_trainer_and_leaves_a_lost_attempt(
    make_run: MakeRun,
) -> None:
    run = make_run(WAITS)
    pod = run.start(index=0)
    pod.wait_for("ready")
    (trainer,) = descendants(pod.process.pid)
    pod.process.kill()
    assert pod.wait() == -9
    assert gone(trainer), "the trainer outlived its supervisor"
    assert run.record.attempts()[0].cause is Cause.LOST
    assert not pod.message_file.exists()
    second = run.start(index=1)
    second.wait_for("ready")
    assert run.record.attempts()[0].cause is Cause.PREEMPTED, "its index was burned"
    second.terminate()
    second.wait()


def test_nothing_the_job_started_is_left_behind(make_run: MakeRun) -> None:
    run = make_run("""
        import subprocess
        def main():
            script = "import os, time; os.setsid() if os.fork() == 0 else None; time.sleep(600)"
            process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            while not (tasks := children.read_text().split()):
                time.sleep(0.01)
            return [process.pid, *map(int, tasks)]
    """)
    code, pod = run.run()
    assert code == 0
    pids = pod.message["result"]
    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)


def test_a_forked_worker_dies_of_sigterm(make_run: MakeRun) -> None:
    """Pools and data loaders end their forked workers with SIGTERM."""
    code, pod = make_run("""
        import multiprocessing
        def main():
            worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
            worker.start()
            worker.terminate()
            worker.join(10)
            return worker.exitcode
    """).run()
    assert code == 0
    assert pod.message["result"] == -signal.SIGTERM


def test_a_job_that_kills_its_own_process_group_does_not_hit_the_supervisor(
    make_run: MakeRun,
) -> None:
    code, pod = make_run("""
        def main():
            os.killpg(os.getpgid(0), signal.SIGKILL)
    """).run()
    assert code == 1
    assert pod.message["cause"] == "crash"


def test_a_hang_shows_where_and_is_charged(make_run: MakeRun) -> None:
    run = make_run("""
        def stuck_in_a_collective():
            try:
                wait_for_ever()
            finally:
                left = context.current().remaining()
                print(f"{left:.0f} s were left", flush=True)
        def main():
            send("step", step=1)
            stuck_in_a_collective()
    """)
    code, pod = run.run(hang_timeout=1)
    assert code == 77
    (left,) = re.findall(r"(\d+) s were left", pod.output)
    assert int(left) > 55, (
        "a hang in Python is left at the first signal; 5 s later comes a second one"
    )
    assert pod.message["cause"] == "hang"
    assert "in stuck_in_a_collective" in pod.output
    assert run.record.attempts()[0].past().cause is Cause.HANG


@pytest.mark.parametrize(
    ("budget", "name"),
    [
        ({"timeout": 6}, "timeout=6 s"),
        ({"deadline": 6}, "deadline=6 s"),
        ({"max_cost": "0.0006", "price_per_hour": "0.36"}, "max_cost=0.0006"),
    ],
)
def test_a_budget_that_runs_out_ends_the_run(
    make_run: MakeRun, budget: dict[str, object], name: str
) -> None:
    run = make_run(SAVES, **budget)
    code, pod = run.run()
    assert code == 64
    assert pod.message["cause"] == "budget"
    assert name in pod.message["reason"]
    assert pod.message["durable_step"] == 12, "it saved before it left"
    code, pod = run.run(index=1)
    assert code == 64
    assert "used up" in pod.message["reason"] or "passed" in pod.message["reason"]
    assert len(run.record.attempts()) == 1, "the second pod did not begin an attempt"


def test_ranks_are_told_what_a_launcher_says_and_one_that_fails_ends_all(
    make_run: MakeRun,
) -> None:
    run = make_run("""
        def main():
            names = "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR"
            print(*(os.environ[name] for name in names), flush=True)
            assert int(os.environ["MASTER_PORT"]) > 0
            said = Path(os.environ["GPUKIT_WORK"]) / "said"
            if os.environ["RANK"] == "0":
                said.touch()
                wait_for_ever()
            while not said.exists():
                time.sleep(0.01)
            raise ValueError("on rank 1")
    """)
    code, pod = run.run(processes=2)
    assert code == 1
    assert "0 0 2 2 127.0.0.1" in pod.output
    assert "1 1 2 2 127.0.0.1" in pod.output
    assert pod.message["reason"] == "rank 1: ValueError: on rank 1"


def test_the_run_finishes_when_all_ranks_have_and_rank_0_has_the_result(
    make_run: MakeRun,
) -> None:
    code, pod = make_run("""
        def main():
            rank = int(os.environ["RANK"])
            time.sleep(0.2 * rank)
            return rank
    """).run(processes=2)
    assert code == 0
    assert pod.message["result"] == 0


def test_a_single_process_is_not_told_that_it_is_distributed(make_run: MakeRun) -> None:
    _, pod = make_run("""
        def main():
            return sorted({"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"} & set(os.environ))
    """).run()
    assert pod.message["result"] == []


def test_sigterm_at_any_moment_of_the_start_never_makes_a_success(make_run: MakeRun) -> None:
    run = make_run(WAITS, retries=0)
    for index in range(6):
        pod = run.start(index=index)
        if index:
            time.sleep(0.05 * index)  # before Python has handlers, too: then it dies of the signal
        else:
            pod.wait_for("ready")
        with suppress(ProcessLookupError):
            os.kill(pod.process.pid, signal.SIGTERM)
        assert pod.wait() in (75, 76, -signal.SIGTERM), pod.output
    assert run.record.result() is None
