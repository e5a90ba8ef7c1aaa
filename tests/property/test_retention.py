"""What is kept of a run's checkpoints, over histories of saves, attempts and restores."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpukit.errors import StoreError
from gpukit.runtime.checkpoint.commit import Publisher, Writer
from gpukit.runtime.checkpoint.manifest import FOLDER, MANIFEST, CheckpointName, checkpoint_names
from gpukit.runtime.checkpoint.retention import Policy, superseded
from gpukit.runtime.store import DirectoryStore


@dataclass
class History:
    """The checkpoints of a run as they come and go."""

    last: int
    every: float
    there: dict[CheckpointName, float] = field(default_factory=dict)  # complete, with their times
    scraps: set[CheckpointName] = field(default_factory=set)
    verified: CheckpointName | None = None
    first_of_span: dict[int, CheckpointName] = field(default_factory=dict)

    def commit(self, name: CheckpointName, now: float) -> list[CheckpointName]:
        """Make one durable; return what is dropped for it."""
        self.there[name] = now
        if self.every:
            self.first_of_span.setdefault(int(now // self.every), name)
        complete = sorted(self.there, reverse=True)
        policy = Policy(self.last, self.every, self.verified)
        dropped = superseded(name, complete, {*complete, *self.scraps}, policy, self.there)
        for one in dropped:
            self.there.pop(one, None)
            self.scraps.discard(one)
        return dropped


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["save", "save", "save", "cut short", "next attempt"]),
        st.floats(0, 5000),
    ),
    max_size=40,
)


@given(EVENTS, st.integers(1, 4), st.sampled_from([0.0, 600.0, 3600.0]))
def test_whatever_happens_what_is_needed_is_kept(
    events: list[tuple[str, float]], last: int, every: float
) -> None:
    history = History(last, every)
    attempt, numbers, now = 1, itertools.count(1), 1.7e9
    for kind, seconds in events:
        now += seconds
        number = next(numbers)
        name = CheckpointName(attempt, number, number)
        if kind == "next attempt":
            attempt, numbers = attempt + 1, itertools.count(1)
            history.verified = max(history.there, default=None)
        elif kind == "cut short":
            history.scraps.add(name)
        else:
            before = sorted({**history.there, name: now}, reverse=True)
            dropped = history.commit(name, now)
            assert set(before[:last]) <= set(history.there), "the last K"
            assert history.verified is None or history.verified in history.there
            assert not any(one > name for one in dropped), "nothing newer"
            assert not any(one < name for one in history.scraps), "no scraps"
            assert set(history.first_of_span.values()) <= set(history.there), "kept for good"
            most = last + 1 + len(history.first_of_span)
            assert len(history.there) <= most, "and no more than that"


@given(st.integers(1, 3), st.integers(1, 30))
def test_of_each_span_of_time_one_stays(last: int, saves: int) -> None:
    """Saves every 10 minutes, one kept of each hour: the first of each."""
    history = History(last, 3600.0)
    for number in range(1, saves + 1):
        history.commit(CheckpointName(1, number, number), 600.0 * (number - 1))
    hourly = {1 + 6 * hour for hour in range(-(-saves // 6))}
    newest = set(range(max(saves - last, 0) + 1, saves + 1))
    assert {name.number for name in history.there} == hourly | newest


@given(st.lists(st.integers(1, 9), unique=True), st.integers(1, 9))
def test_a_late_commit_drops_nothing_that_is_newer(numbers: list[int], late: int) -> None:
    """A pod that was taken for lost commits beside the next attempt, which is saving."""
    newer = [CheckpointName(2, number, number) for number in numbers]
    name = CheckpointName(1, late, late)
    older = [CheckpointName(1, number, number) for number in range(1, late)]
    complete = sorted([*newer[::2], name, *older], reverse=True)
    dropped = superseded(name, complete, [*complete, *newer], Policy(1), {})
    assert set(dropped) == set(older) - set(complete[:1])


class Watched(DirectoryStore):
    """A directory that notes what is made durable and what is dropped, and can fail."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.calls: list[tuple[str, str]] = []
        self.refuse = False

    def create(self, key: str, data: bytes) -> bool:
        if self.refuse:
            raise StoreError("store-unusable", "the store is gone", "try again")
        made = super().create(key, data)
        self.calls.append(("create", key))
        return made

    def delete(self, prefix: str) -> None:
        self.calls.append(("delete", prefix))
        super().delete(prefix)


def commit(store: Watched, number: int, policy: Policy) -> None:
    publisher, name = Publisher(store, Writer("run", 1)), CheckpointName(1, number, number)
    with store.open_write(name.key("rank-0.safetensors")) as sink:
        sink.write(b"data")
    publisher.put_tree(name, 0, "{}", {"size": 4, "chunk": 4096, "crc32": [0]})
    publisher.commit(name, policy)


def test_nothing_is_dropped_before_the_newer_one_is_durable(tmp_path: Path) -> None:
    store = Watched(tmp_path)
    for number in range(1, 6):
        del store.calls[:]
        commit(store, number, Policy(1))
        name = CheckpointName(1, number, number)
        assert store.calls[0] == ("create", name.key(MANIFEST))
        dropped = [key for call, key in store.calls if call == "delete"]
        assert (number > 1) == bool(dropped)
        if dropped:  # the manifest goes first: what is half gone is no checkpoint
            older = CheckpointName(1, number - 1, number - 1)
            assert dropped == [older.key(MANIFEST), older.folder]


def test_a_save_that_fails_at_its_manifest_drops_nothing(tmp_path: Path) -> None:
    store = Watched(tmp_path)
    commit(store, 1, Policy(1))
    store.refuse = True
    with pytest.raises(StoreError):
        commit(store, 2, Policy(1))
    assert [call for call, _ in store.calls if call == "delete"] == []
    assert [name.number for name in checkpoint_names(store.list(FOLDER))] == [1]


def test_manifests_tell_the_spans_and_the_verified_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same through the files of a store: times are read from the manifests."""
    store, clock = Watched(tmp_path), itertools.count(0, 600)
    monkeypatch.setattr("gpukit.runtime.checkpoint.commit.time.time", lambda: float(next(clock)))
    verified = CheckpointName(1, 3, 3)
    for number in range(1, 15):
        commit(store, number, Policy(2, 3600.0, verified if number > 3 else None))
    kept = {name.number for name in checkpoint_names(store.list(FOLDER))}
    assert kept == {1, 3, 7, 13, 14}
