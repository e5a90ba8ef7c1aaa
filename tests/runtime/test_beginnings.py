"""What a submission asks of its first pod, who may write a store, and logs that are kept in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gpukit.contract import Env
from gpukit.errors import StoreError
from gpukit.runtime.checkpoint.manifest import FOLDER, MANIFEST, CheckpointName, checkpoint_names
from gpukit.runtime.keeper import LogKeeper, join_segments, log_prefix
from gpukit.runtime.record import Start
from gpukit.runtime.store import DirectoryStore
from tests.runtime.local import wait_for
from tests.runtime.pod import Run

MakeRun = Callable[..., Run]
QUICK = "def main():\n    print('ran', flush=True)\n    return 1\n"


def test_a_store_that_another_namespace_writes_is_left_alone(make_run: MakeRun) -> None:
    run = make_run("def main():\n    print('begun', flush=True)\n    wait_for_ever()\n")
    first = run.start(environ={Env.OWNER: "team-a", Env.SUBMITTED_AT: "1000"})
    first.wait_for("begun")
    asked = {Env.OWNER: "team-b", Env.SUBMITTED_AT: "2000", Env.FRESH: "1"}
    code, second = run.run(environ=asked)
    assert code == 1, "it is tried again: the other run ends some day"
    assert "of another namespace or cluster, writes this store" in second.message["reason"]
    assert len(run.record.attempts()) == 1
    assert [s.time for s in run.record.submissions()] == [1000.0]
    assert not list(run.root.glob("store.old-*"))
    first.terminate()
    first.wait()
    third = run.start(environ={Env.OWNER: "team-b"})
    third.wait_for("begun")
    assert third.attempt == 2


def test_the_same_namespace_goes_on_at_once_after_a_node_was_lost(make_run: MakeRun) -> None:
    run = make_run(QUICK)
    run.record.begin(Start(0, "uid-0", "demo-0", "lost", 0, 9e9, "team-a"))
    code, pod = run.run(environ={Env.OWNER: "team-a"})
    assert (code, pod.attempt) == (0, 2)


def test_a_fresh_submission_sets_the_store_aside_once(make_run: MakeRun) -> None:
    run = make_run(QUICK)
    run.run(environ={Env.SUBMITTED_AT: "1000"})
    asked = {Env.SUBMITTED_AT: "2000", Env.FRESH: "1"}
    code, fresh = run.run(environ=asked)
    assert (code, fresh.attempt) == (0, 1)
    assert "begins afresh; what there was is kept as store.old-1" in fresh.output
    assert (run.root / "store.old-1" / "record" / "result.json").exists()
    code, again = run.run(environ=asked)
    assert (code, "afresh" in again.output) == (0, False)
    assert not (run.root / "store.old-2").exists()


def test_the_newest_checkpoint_of_another_run_is_taken_once(make_run: MakeRun) -> None:
    run = make_run(QUICK)
    other = DirectoryStore(run.root / "other")
    for name in (CheckpointName(1, 1, 10), CheckpointName(3, 2, 40)):
        other.put(name.key("rank-0.safetensors"), b"data of %d" % name.step)
        other.put(name.key(MANIFEST), b"manifest")
    asked = {Env.RESUME_FROM: str(run.root / "other")}
    code, pod = run.run(environ=asked)
    assert code == 0
    assert "goes on from step 40 of other" in pod.output
    store = DirectoryStore(run.store)
    [name] = checkpoint_names(store.list(f"{FOLDER}/"))
    assert (name.attempt, name.step) == (0, 40), "older than any that this run will save"
    assert store.get(name.key("rank-0.safetensors")) == b"data of 40"


def test_resuming_from_a_run_without_checkpoints_is_refused(make_run: MakeRun) -> None:
    run = make_run(QUICK)
    code, pod = run.run(environ={Env.RESUME_FROM: str(run.root / "nothing")})
    assert code == 64
    assert "there is no checkpoint to go on from" in pod.message["reason"]


def kept(store: DirectoryStore, number: int = 1) -> tuple[bytes, int]:
    keys = store.list(log_prefix(number))
    return join_segments([(key, store.get(key) or b"") for key in keys])


def test_the_log_of_an_attempt_is_kept_as_it_was_printed(make_run: MakeRun) -> None:
    run = make_run(
        "def main():\n    for n in range(1000):\n        print('line', n)\n    return 1\n"
    )
    _, pod = run.run()
    data, missing = kept(DirectoryStore(run.store))
    printed = pod.output[pod.output.index('{"gpukit":"attempt"') :]
    assert (data.decode(), missing) == (printed, 0)


def test_a_very_long_log_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    keeper = LogKeeper(store, 1, every=0.01, most=1 << 20)
    lines = [b"%07d\n" % n for n in range(1 << 19)]  # 4 MiB
    for start in range(0, len(lines), 1 << 14):
        keeper.offer(b"".join(lines[start : start + (1 << 14)]))
        wait_for(lambda: not keeper._pending, "the store")  # long logs take hours
    keeper.close(30.0)
    data, missing = kept(store)
    assert data.startswith(lines[0])
    assert data.endswith(lines[-1])
    assert len(data) + missing >= 1 << 22
    assert len(data) < 3 << 20
    assert {line for line in data.splitlines(keepends=True) if len(line) == 8} <= set(lines)


class Failing(DirectoryStore):
    """A store that is away for a while."""

    away = True

    def put(self, key: str, data: bytes) -> None:
        if self.away:
            raise StoreError("store-unusable", "away", "wait")
        super().put(key, data)


def test_what_was_printed_while_the_store_was_away_is_kept(tmp_path: Path) -> None:
    store = Failing(tmp_path)
    keeper = LogKeeper(store, 1, every=0.01)
    keeper.offer(b"one\n")
    keeper.offer(b"two\n")
    store.away = False
    keeper.offer(b"three\n")
    keeper.close(30.0)
    assert kept(store) == (b"one\ntwo\nthree\n", 0)


@pytest.mark.parametrize(
    ("segments", "whole", "missing"),
    [
        ([], b"", 0),
        ([("a/000000000004.log", b"b\n"), ("a/000000000000.log", b"aaa\n")], b"aaa\nb\n", 0),
        ([("a/000000000000.log", b"aaa"), ("a/000000000009.log", b"b\n")], b"aaa\nb\n", 6),
        ([("a/000000000000.log", b"aaa\nb\n"), ("a/000000000004.log", b"b\nc\n")],
         b"aaa\nb\nc\n", 0),
    ],
)  # fmt: skip
def test_segments_are_joined_by_their_offsets(
    segments: list[tuple[str, bytes]], whole: bytes, missing: int
) -> None:
    assert join_segments(segments) == (whole, missing)
