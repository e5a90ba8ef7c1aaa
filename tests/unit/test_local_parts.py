"""The parts of the local backend that need no run: schedules, the lock, following, sums."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gpukit.cli.amounts import duration, money, size
from gpukit.errors import UsageError
from gpukit.ladder import Cause
from gpukit.local import lock
from gpukit.local.directory import RunDirectory
from gpukit.local.follow import Follower, LogLine
from gpukit.local.pod import pod_environment
from gpukit.local.simulate import Simulation, make_simulation
from gpukit.local.summary import Prices, summarize
from gpukit.runtime.record import Attempt, End, Progress, Start


@pytest.mark.parametrize(
    ("text", "after", "jitter"),
    [("30s", 30, 0), ("1m30s,±10s", 90, 10), ("250ms, +/-50ms", 0.25, 0.05), ("1h,+-1m", 3600, 60)],
)
def test_a_schedule_is_read(text: str, after: float, jitter: float) -> None:
    found = make_simulation(text, None, limit=2, seed=7)
    assert found == Simulation("preemption", after, jitter, limit=2, seed=7)
    other = make_simulation(None, text)
    assert other is not None
    assert other.kind == "node-loss"


def test_a_schedule_counts_steps() -> None:
    found = make_simulation("200 steps,±50steps", None)
    assert found == Simulation("preemption", 200.0, 50.0, unit="steps")
    first = found.interruption(0)
    assert first is not None
    assert first.unit == "steps"
    assert 150 <= first.after <= 250


@pytest.mark.parametrize(
    "text",
    ["", ",", "soon", "30s,10s", "30s,±", "-1s", "30", "9 steps,±1s", "9s,±1 step", "-1 steps"],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_simulation(text, None)
    assert caught.value.hint


def test_the_same_seed_gives_the_same_interruptions() -> None:
    def times(seed: int) -> list[float]:
        schedule = Simulation("preemption", 10.0, jitter=5.0, limit=20, seed=seed)
        found = [schedule.interruption(n) for n in range(21)]
        assert found[20] is None
        return [i.after for i in found if i]

    assert times(1) == times(1) != times(2)
    assert all(5.0 <= t <= 15.0 for t in times(1))
    assert len(set(times(1))) == 20


def test_the_lock_has_one_holder_and_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "run.lock"
    assert lock.holder(path) is None
    held = lock.take(path)
    assert held is not None
    lock.sign(held, os.getpid())
    assert lock.take(path) is None
    assert lock.holder(path) == os.getpid()
    lock.release(held)
    assert lock.holder(path) is None


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    held = lock.take(path)
    assert held is not None
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE,
                               pass_fds=(held,))  # fmt: skip
    lock.sign(held, sleeper.pid)
    lock.release(held)
    assert lock.holder(path) == sleeper.pid
    sleeper.kill()
    sleeper.communicate()
    again = lock.take(path)
    assert again is not None
    lock.release(again)


def test_following_keeps_lines_and_events_in_order(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, "run-1")
    run.make()
    run.record_event("submitted", simulate=None)
    held = lock.take(run.lock_file)
    assert held is not None
    lock.sign(held, os.getpid())
    follower = Follower(run)

    def words() -> list[str]:
        return [i.text if isinstance(i, LogLine) else str(i["event"]) for i in follower.poll()]

    assert words() == ["submitted"]
    run.log(1).write_text("old\n")
    run.record_event("started", attempt=1, uid="u", log_offset=4)
    with run.log(1).open("a") as log:
        log.write("one\ntw")
        log.flush()
        assert words() == ["started", "one"]
        log.write("o\nthree")
    run.record_event("exited", attempt=1, uid="u", code=75)
    run.record_event("started", attempt=2, uid="v", log_offset=0)
    run.log(2).write_text("four\n")
    assert words() == ["two", "three", "exited", "started", "four"]
    assert not follower.done
    lock.release(held)
    run.record_event("ended", phase="failed", reason="")
    assert words() == ["ended"]
    assert follower.done


def test_a_half_written_event_is_left_for_the_next_look(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, "run-1")
    run.make()
    run.record_event("submitted", simulate=None)
    with run.events_file.open("a") as file:
        file.write('{"event": "star')
    assert [e["event"] for e in run.events()] == ["submitted"]


def test_a_pods_environment_is_what_is_declared() -> None:
    declared: list[dict[str, Any]] = [
        {"name": "GPUKIT_STORE", "value": "/opt/gpukit/checkpoints/run"},
        {"name": "PLAIN", "value": "/opt/gpukit/checkpointsx"},
        {"name": "UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    env = pod_environment(
        declared, {"/opt/gpukit/checkpoints": "/here"}, {"metadata.uid": "u-1"},
        {"TOKEN": "t", "PATH": "/bin", "LC_ALL": "C", "PYTHONPATH": "/mine", "OTHER": "x"},
    )  # fmt: skip
    assert env["GPUKIT_STORE"] == "/here/run"
    assert env["PLAIN"] == "/opt/gpukit/checkpointsx"
    assert (env["UID"], env["TOKEN"], env["PATH"], env["LC_ALL"]) == ("u-1", "t", "/bin", "C")
    assert not {"PYTHONPATH", "OTHER"} & set(env)


def attempt(number: int, start: int, end: int, cause: Cause, **progress: Any) -> Attempt:
    return Attempt(
        Start(number, pod_uid=f"u{number}"),
        Progress(start_step=start, last_step=end, **progress),
        End(cause) if cause is not Cause.LOST else None,
        cause,
    )


def test_the_summary_adds_up_what_an_interruption_cost() -> None:
    attempts = [
        attempt(1, 0, 0, Cause.LOST),
        attempt(2, 40, 90, Cause.PREEMPTED, first_step_at=114.0, restore_seconds=1.0),
        attempt(3, 90, 100, Cause.FINISHED, first_step_at=134.0, restore_seconds=0.5),
    ]
    events: list[dict[str, object]] = [
        {"event": "submitted", "time": 99.0},
        {"event": "started", "time": 100.0, "uid": "u1"},
        {"event": "notice", "time": 110.0, "kind": "node-loss"},
        {"event": "exited", "time": 110.0, "first_step_at": 101.0, "last_step": 47},
        {"event": "started", "time": 111.0, "uid": "u2"},
        {"event": "notice", "time": 125.0, "kind": "preemption"},
        {"event": "exited", "time": 127.0},
        {"event": "started", "time": 128.0, "uid": "u3"},
        {"event": "exited", "time": 136.0},
        {"event": "ended", "time": 136.0},
    ]
    summary = summarize(attempts, events, Prices(Decimal(3), None))

    lost, left, finished = summary.rows
    assert (lost.ended_by, lost.redone, lost.exact) == ("node lost", 7, False)
    assert (left.ended_by, left.redone, left.exact) == ("preempted", 0, True)
    assert lost.restart is not None
    assert left.restart is not None
    assert (lost.restart.leaving, lost.restart.waiting) == (0.0, 1.0)
    assert (lost.restart.starting, lost.restart.restoring) == (2.0, 1.0)
    assert (left.restart.leaving, left.restart.seconds) == (2.0, 9.0)
    assert (finished.restart, finished.first_step) == (None, 6.0)
    assert (summary.steps, summary.redone, summary.lost_seconds) == (100, 7, 13.0)
    assert summary.seconds == 37.0
    assert summary.cost(summary.prices.on_demand) == Decimal(3) * 34 / 3600
    assert summary.cost(summary.prices.spot) is None


def test_amounts_are_written_for_people() -> None:
    assert [size(n) for n in (0, 1023, 1536, 700 * 1024, 3 * 2**30)] == [
        "0 B", "1023 B", "1.5 KiB", "700 KiB", "3.0 GiB",
    ]  # fmt: skip
    assert [duration(s) for s in (None, 0.04, 9.94, 9.96, 59.6, 3599.6, 7500)] == [
        "-", "0.0 s", "9.9 s", "10 s", "1 min 00 s", "1 h 00 min", "2 h 05 min",
    ]  # fmt: skip
    assert [money(None), money(Decimal("1234.5")), money(Decimal("0.0123"))] == [
        "unknown", "$1,234.50", "$0.012",
    ]  # fmt: skip


def test_about_is_plain_json(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, "r")
    assert run.about() == {}
    run.make()
    (run.root / "about.json").write_text(json.dumps({"prices": {}}))
    assert run.about() == {"prices": {}}
