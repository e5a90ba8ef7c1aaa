"""`gpukit checkpoints` and `gpukit interruptions`: on a local run, a directory and a URL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpukit.cli.main import main
from gpukit.ladder import Cause
from gpukit.local.simulate import Simulation
from gpukit.runtime.checkpoint.engine import SyncEngine, Writer
from gpukit.runtime.record import About, End, Progress, RunRecord, Start
from gpukit.runtime.store import DirectoryStore, Store, open_store
from tests.runtime.local import Desk


def fill(store: Store) -> None:
    """A run of two attempts with two checkpoints."""
    torch = pytest.importorskip("torch")
    record = RunRecord(store)
    record.put_about(About("train-1", "train", True, "0.5", "2.0", 600))
    record.begin(Start(started=1000.0, index=0))
    record.put_progress(1, Progress(
        0, 10, 20, 8, 10, 1010.0, 0.0, 1100.0, save_cost=0.5, save_seconds=1.5, interval=60.0,
    ))  # fmt: skip
    for step in (4, 8):
        SyncEngine(store, Writer("train-1", 1), keep=3).save(step, {"w": torch.ones(3) * step})
    record.begin(Start(started=1110.0, index=1))
    record.put_progress(2, Progress(8, 20, 20, 20, 12, 1120.0, 0.25, 1200.0, redone=2))
    record.put_end(2, End(Cause.FINISHED, 0, ended=1200.0))


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main([*words, "-o", "json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.fixture(params=["directory", "url"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "directory":
        return str(tmp_path / "store")
    pytest.importorskip("fsspec")
    return f"memory://watch-{tmp_path.name}/run"


def test_a_store_tells_what_was_saved_and_what_it_cost(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(open_store(place))
    found = said(capsys, "checkpoints", place)
    assert [c["step"] for c in found["checkpoints"]] == [8, 4]
    assert {c["state"] for c in found["checkpoints"]} == {"complete"}
    assert (found["interval_seconds"], found["save_cost_seconds"]) == (60.0, 0.5)
    assert (found["steps_redone"], found["restore_seconds"]) == (2, 0.25)
    found = said(capsys, "checkpoints", place, "--verify")
    assert {c["state"] for c in found["checkpoints"]} == {"intact"}
    assert all(c["bytes"] > 4096 for c in found["checkpoints"])


def test_a_store_tells_of_its_interruptions(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    fill(open_store(place))
    found = said(capsys, "interruptions", place)
    assert (found["run"], found["interruptions"]) == ("train-1", 1)
    assert found["recovery_seconds"] == {"p50": 20.0, "p95": 20.0}
    assert found["attempts"][0]["cause"] == "preempted", "its index was burned"
    assert float(found["cost"]["paid"]) == pytest.approx(0.5 * 190 / 3600, abs=1e-6)
    assert found["verdict"] == "leave"


@pytest.mark.parametrize("damage", ["flip", "shorten", "lengthen", "remove", "manifest"])
def test_verify_finds_damage_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    fill(DirectoryStore(tmp_path))
    folder = max((tmp_path / "checkpoints").iterdir())
    file = folder / ("manifest.json" if damage == "manifest" else "rank-0.safetensors")
    data = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    else:
        data[-1] ^= 1
        changed = {"flip": data, "manifest": data, "shorten": data[:-1], "lengthen": data + b"x"}
        file.write_bytes(changed[damage])
    found = said(capsys, "checkpoints", str(tmp_path), "--verify", code=3)
    newest, older = found["checkpoints"]
    assert (newest["state"], older["state"]) == ("damaged", "intact")
    assert "manifest" in newest["problem"] or "rank-0.safetensors" in newest["problem"]


def test_a_save_that_was_cut_short_is_shown_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(DirectoryStore(tmp_path))
    max((tmp_path / "checkpoints").iterdir()).joinpath("manifest.json").unlink()
    found = said(capsys, "checkpoints", str(tmp_path), "--verify")
    assert [c["state"] for c in found["checkpoints"]] == ["incomplete", "intact"]


def test_what_crashed_two_attempts_is_shown_as_quarantined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = DirectoryStore(tmp_path)
    fill(store)
    record = RunRecord(store)
    newest = said(capsys, "checkpoints", str(tmp_path))["checkpoints"][0]["name"]
    for number in (3, 4):
        record.begin(Start(started=2000.0, index=2))
        store.put(f"record/restore-{number:05d}.json", json.dumps({"checkpoint": newest}).encode())
        record.put_end(number, End(Cause.CRASH, 1, "ValueError: no", ended=2001.0))
    first, second = said(capsys, "checkpoints", str(tmp_path))["checkpoints"]
    assert (first["state"], second["state"]) == ("quarantined", "complete")
    assert "attempts 3 and 4" in first["problem"]


def test_a_local_run_is_found_by_its_name(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = desk.plan(
        desk.counting('spot=True, profile="mig-1g.10gb"'), steps=30, pause=0.02, holds=1
    )
    run = desk.run(plan, simulation=Simulation("preemption", after=0.0, limit=1))
    monkeypatch.setenv("GPUKIT_HOME", str(desk.home))
    found = said(capsys, "interruptions", run.name)
    assert found["run"] == run.name
    assert [a["cause"] for a in found["attempts"]] == ["preempted", "finished"]
    assert found["attempts"][0]["redone"] == 0
    assert float(found["cost"]["on_demand"]) > 0
    assert found["recovery_seconds"]["p50"] > 0
    assert main(["interruptions", run.name]) == 0
    told = capsys.readouterr()
    assert "preempted" in told.out
    assert "1 interruption in" in told.err
    assert said(capsys, "interruptions", str(run.directory.root))["interruptions"] == 1
    message = json.loads(run.directory.termination_log(run.directory.last_log()).read_text())
    assert [row.get("redone") for row in message["attempts"]] == [None, 0]


@pytest.mark.parametrize("command", ["checkpoints", "interruptions"])
def test_a_place_without_a_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([command, str(tmp_path)]) == 2
    assert "neither a run's record nor checkpoints" in capsys.readouterr().err
    assert main([command, str(tmp_path / "nothing")]) == 2
    assert main([command, "no-such-run"]) == 2
