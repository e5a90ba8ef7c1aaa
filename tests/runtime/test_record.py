"""The run record: numbers, causes, budgets over attempts, and what a kill leaves of it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gpukit.errors import StoreError
from gpukit.ladder import Cause
from gpukit.runtime.record import (
    End,
    Progress,
    Result,
    RunRecord,
    Start,
    since_submission,
)
from gpukit.runtime.remote import FsspecStore
from gpukit.runtime.store import DirectoryStore, Store, open_store
from tests.runtime.pod import Run

MakeRun = Callable[..., Run]


@pytest.fixture(params=["directory", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "directory":
        return DirectoryStore(tmp_path / "store")
    return FsspecStore(f"memory://{tmp_path.name}")


def test_a_store_keeps_what_it_is_given(store: Store, tmp_path: Path) -> None:
    assert store.get("a/b") is None
    assert store.list("") == []
    assert store.create("a/b", b"1") is True
    assert store.create("a/b", b"2") is False
    assert store.get("a/b") == b"1"
    store.put("a/b", b"3")
    store.put("a/c/d", b"")
    (tmp_path / "file").write_bytes(b"content")
    store.put_file("ab", tmp_path / "file")
    assert store.get("a/b") == b"3"
    assert store.get("ab") == b"content"
    assert store.list("") == ["a/b", "a/c/d", "ab"]
    assert store.list("a/") == ["a/b", "a/c/d"]
    assert store.list("a/c") == ["a/c/d"]
    store.delete("a")
    store.delete("never/there")
    assert store.list("") == ["ab"]


@pytest.mark.parametrize("key", ["", "/a", "a//b", "../a", "a/../b", ".hidden", "a/"])
def test_a_key_cannot_leave_the_store(store: Store, key: str) -> None:
    with pytest.raises(StoreError) as caught:
        store.put(key, b"")
    assert caught.value.id == "store-key"


def test_a_store_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        DirectoryStore(tmp_path / "file").put("a", b"")
    assert caught.value.id == "store-unusable"
    with pytest.raises(StoreError) as caught:
        open_store("nonsense://bucket")
    assert caught.value.id == "store-scheme"


def test_create_has_one_winner_among_processes(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from gpukit.runtime.store import DirectoryStore\n"
        "store = DirectoryStore(Path(sys.argv[1])); sys.stdin.readline()\n"
        "print(sum(store.create(f'k/{n}', sys.argv[2].encode()) for n in range(200)))"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    racers = [
        subprocess.Popen([*command, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for n in range(3)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(b"go\n")
        racer.stdin.flush()
    won = [int(racer.communicate()[0]) for racer in racers]
    assert sum(won) == 200
    assert len(DirectoryStore(tmp_path).list("k/")) == 200
    assert not list(tmp_path.rglob(".tmp-*"))


def test_attempt_numbers_are_handed_out_once(store: Store) -> None:
    numbers: list[int] = []

    def begin(who: int) -> None:
        numbers.extend(RunRecord(store).begin(Start(pod_uid=str(who))) for _ in range(5))

    threads = [threading.Thread(target=begin, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 16))
    assert [a.number for a in RunRecord(store).attempts()] == list(range(1, 16))


def test_two_pods_at_once_have_two_numbers(make_run: MakeRun) -> None:
    run = make_run("""
        def main():
            record = Path(context.current().store) / "record"
            while len(list(record.glob("attempt-?????.json"))) < 2:
                time.sleep(0.01)
    """)
    pods = [run.start(index=0), run.start(index=0)]
    assert [pod.wait() for pod in pods] == [0, 0]
    assert sorted(pod.attempt for pod in pods) == [1, 2]
    starts = run.record.attempts()
    assert sorted(a.start.pod_uid for a in starts) == ["uid-1", "uid-2"]


@pytest.mark.parametrize(
    ("indexes", "causes"),
    [
        ((0, 0), [Cause.LOST, Cause.LOST]),
        ((0, 1), [Cause.PREEMPTED, Cause.LOST]),
        ((0, 0, 1), [Cause.LOST, Cause.PREEMPTED, Cause.LOST]),
        ((None, None), [Cause.LOST, Cause.LOST]),
        ((1, 0), [Cause.LOST, Cause.LOST]),
    ],
)
def test_a_burned_index_tells_a_disruption_from_a_crash(
    store: Store, indexes: tuple[int | None, ...], causes: list[Cause]
) -> None:
    record = RunRecord(store)
    for index in indexes:
        record.begin(Start(index=index))
    assert [a.cause for a in record.attempts()] == causes
    assert record.attempts(Start(index=7))[-1].cause is (
        Cause.LOST if indexes[-1] is None else Cause.PREEMPTED
    )


def test_a_submission_starts_the_counting_anew(store: Store) -> None:
    record = RunRecord(store)
    record.mark_submission(100.0)
    first = record.begin(Start(index=0))
    record.put_end(first, End(Cause.CRASH, 1, "boom", "d1", 110.0))
    record.begin(Start(index=0))
    record.mark_submission(100.0)  # every pod of a submission says the same
    record.mark_submission(200.0)
    record.begin(Start(index=1))
    assert [s.time for s in record.submissions()] == [100.0, 200.0]
    counted = since_submission(record.attempts(), record.submissions())
    assert [a.number for a in counted] == [3]
    assert record.attempts()[1].cause is Cause.LOST, "an index of another Job says nothing"


def test_what_was_written_is_read_back(store: Store) -> None:
    record = RunRecord(store)
    number = record.begin(Start(0, "uid", "pod", "node", 3, 50.0))
    record.put_progress(number, Progress(5, 9, 20, 8, 4, 51.0, 0.5, 60.0))
    record.put_result(Result({"loss": [1]}, 9, number, 61.0))
    record.put_result(Result("a second one", 9, 2, 62.0))
    (attempt,) = record.attempts()
    assert attempt.start == Start(1, "uid", "pod", "node", 3, 50.0)
    assert attempt.progress == Progress(5, 9, 20, 8, 4, 51.0, 0.5, 60.0)
    assert attempt.seconds == 10.0
    past = attempt.past()
    assert (past.cause, past.start_step, past.end_step) == (Cause.LOST, 5, 8)
    assert record.result() == Result({"loss": [1]}, 9, 1, 61.0)


def test_a_torn_start_record_still_counts_as_an_attempt(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("record/attempt-00001.json", b'{"pod_uid": "ui')
    record = RunRecord(store)
    assert record.begin(Start()) == 2
    assert [a.number for a in record.attempts()] == [1, 2]


def test_a_crash_is_retried_as_often_as_retries_allows(make_run: MakeRun) -> None:
    run = make_run("""
        def main():
            # another line each time: not the same error twice
            line = len(list(Path(os.environ["GPUKIT_STORE"]).glob("record/*.end.json")))
            exec(compile("\\n" * line + "raise ValueError(line)", "x.py", "exec"), {"line": line})
    """)
    codes = [run.run(index=0, retries=2)[0] for _ in range(4)]
    assert codes == [1, 1, 64, 64]
    assert "retries=2 used up: 3 attempts ended by crash" in run.pods[-1].message["reason"]
    assert len(run.record.attempts()) == 3
    code, pod = run.run(index=0, retries=2, environ={"GPUKIT_SUBMITTED_AT": "2000000000"})
    assert code == 1, "a new submission may try again"
    assert pod.message["totals"]["attempts"] == 4


def test_the_same_error_twice_without_progress_is_permanent(make_run: MakeRun) -> None:
    run = make_run("""
        def main():
            raise ValueError(f"at {time.time()}")
    """)
    codes = [run.run(index=0, retries=9)[0] for _ in range(3)]
    assert codes == [1, 64, 64]
    assert "same error came twice" in run.pods[-1].message["reason"]


def test_the_same_error_after_progress_is_tried_again(make_run: MakeRun) -> None:
    run = make_run("""
        def main():
            send("durable", step=len(list(Path(os.environ["GPUKIT_STORE"]).rglob("*.end.json"))))
            raise ValueError
    """)
    assert [run.run(index=0, retries=9)[0] for _ in range(3)] == [1, 1, 1]


def test_preemptions_are_not_charged(make_run: MakeRun) -> None:
    run = make_run("""
        def main():
            done = len(list(Path(os.environ["GPUKIT_STORE"]).rglob("*.end.json")))
            if done == 3:
                return done
            send("restored", step=done, seconds=0)
            send("durable", step=done + 1)
            os.kill(os.getppid(), signal.SIGTERM)
            wait_for_ever()
    """)
    codes = [run.run(index=index, retries=0)[0] for index in range(4)]
    assert codes == [75, 75, 75, 0]
    message = run.pods[-1].message
    assert message["totals"]["preempted"] == 3
    assert [row["cause"] for row in message["attempts"]] == ["preempted"] * 3 + ["finished"]
    assert [row["start"] for row in message["attempts"]][:3] == [0, 1, 2]
    assert message["durable_step"] == 3


def test_the_message_keeps_the_newest_attempts(make_run: MakeRun) -> None:
    run = make_run("def main(): pass\n")
    for index in range(150):
        number = run.record.begin(Start(index=index, started=1000.0))
        run.record.put_end(number, End(Cause.PREEMPTED, 75, "SIGTERM", None, 1010.0))
    code, pod = run.run(index=150, price_per_hour="3.6")
    assert code == 0
    rows = pod.message["attempts"]
    assert rows[-1]["n"] == 151
    assert 20 < len(rows) < 151
    totals = pod.message["totals"]
    assert (totals["attempts"], totals["preempted"]) == (151, 150)
    assert 1.5 <= float(totals["cost"]) < 1.6
