"""The replay of spot traces: its arithmetic by hand, its formats, its goal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.goodput import Cost, Life, lives, main, replay
from benchmarks.spot_traces import Trace, load_trace

SHARED = Path(__file__).parents[3] / "shared" / "data" / "traces"
FREE = Cost(0.0, 0.0)


def test_fixed_intervals_by_hand() -> None:
    """1000 s of life, 100 s to start, a save of 10 s every 300 s: at 400 and 700."""
    found = replay([Life(1000.0, killed=True)], Cost(10.0, 20.0), 100.0, fixed=300.0)
    assert (found.useful, found.bound, found.lived) == (300 + 290, 900, 1000)
    late = replay([Life(715.0, killed=True)], Cost(10.0, 20.0), 100.0, fixed=300.0)
    assert late.useful == 300, "the save of 700 s was not durable yet"
    whole = replay([Life(1000.0, killed=False)], Cost(10.0, 20.0), 100.0, fixed=300.0)
    assert whole.useful == 880, "nobody killed it"


def test_a_life_shorter_than_a_restart_brings_nothing_and_is_not_held_against_it() -> None:
    found = replay([Life(50.0, killed=True), Life(120.0, killed=True)], FREE, 120.0)
    assert (found.useful, found.bound, found.interruptions) == (0.0, 0.0, 2)


def test_saves_at_no_cost_come_as_often_as_they_may() -> None:
    found = replay([Life(7320.0, killed=True)] * 5, FREE, 120.0)
    assert found.useful / found.bound > 0.99
    assert replay([Life(7320.0, killed=True)], FREE, 120.0, fixed=1e9).useful == 0.0


def test_the_interval_learns_from_attempt_to_attempt() -> None:
    cost = Cost(5.0, 5.0)
    storm = [Life(600.0, killed=True)] * 40
    learned = replay(storm, cost, 20.0).useful / 40
    first = replay(storm[:1], cost, 20.0).useful
    assert learned > first


def test_the_three_formats(tmp_path: Path) -> None:
    changes = tmp_path / "a.csv"
    changes.write_text("0,add,n1\n0, add, n2\n3600000,remove,n1\n7200000,remove,n2\n")
    assert load_trace(changes).events == ((0.0, 1), (0.0, 2), (1.0, 1), (2.0, 0))
    counts = tmp_path / "b.txt"
    counts.write_text("2021-12-11, 11:00:00, 5\n2021-12-11, 12:30:00, 4\n")
    assert load_trace(counts).events == ((0.0, 5), (1.5, 4))
    grid = tmp_path / "c.json"
    grid.write_text(json.dumps({"metadata": {"gap_seconds": 1800}, "data": [1, 1, 0, 1]}))
    found = load_trace(grid)
    assert (found.events, found.length) == (((0.0, 1), (1.0, 0), (1.5, 1)), 2.0)
    assert list(lives(found, 0)) == [Life(3600.0, killed=True), Life(1800.0, killed=False)]


@pytest.mark.parametrize("text", ["", "hello", "1,add", "{}", '{"metadata": {}, "data": [1]}'])
def test_what_is_no_trace_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(text)
    with pytest.raises(SystemExit) as caught:
        main([str(file), "--lost", "1"])
    assert caught.value.code == 2
    assert str(file) in capsys.readouterr().err


def test_one_machine_that_never_goes_is_no_reason_to_fail() -> None:
    (only,) = lives(Trace(((0.0, 1),), 5.0), 0)
    assert only == Life(5 * 3600.0, killed=False)


@pytest.mark.skipif(not SHARED.exists(), reason="the traces are not here")
def test_half_a_second_a_save_reaches_the_goal_on_real_traces(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--traces", str(SHARED), "--lost", "0.5", "--durable", "1.3", "--check"]
    assert main(words) == 0
    assert capsys.readouterr().out.count("adaptive") == 4
