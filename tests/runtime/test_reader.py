"""Checkpoints on a claim, looked at by the script of the reader pod: the same is seen as here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gpukit.cluster import reader
from gpukit.cluster.reader import There, read_files
from gpukit.runs.store_access import kept_checkpoints
from gpukit.runtime.checkpoint.engine import SyncEngine, Writer
from gpukit.runtime.checkpoint.inspection import list_checkpoints, verify
from gpukit.runtime.directio import CHUNK
from gpukit.runtime.store import DirectoryStore


@pytest.fixture
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder with three checkpoints; the pod's script runs here instead of in a pod."""
    root = tmp_path / "claim"
    saver = SyncEngine(DirectoryStore(root), Writer("run", 1), keep=3)
    for step in (1, 2, 3):
        saver.save(step, {"w": torch.full((CHUNK // 4 + 9,), float(step)), "step": step})

    def pod(_: Any, __: Any, wanted: dict[str, Any], *___: Any) -> Any:
        script = [sys.executable, "-I", "-c", reader._SCRIPT.read_text(), json.dumps(wanted)]
        done = subprocess.run(script, stdout=subprocess.PIPE, check=True)
        return reader._said(iter(done.stdout.splitlines()))

    monkeypatch.setattr(reader, "_through_pod", pod)
    return root


class Job:
    def __init__(self, root: Path) -> None:
        self.store = str(root)


def seen(root: Path, *, sums: bool) -> list[tuple[str, str, str, int | None]]:
    store, measure = kept_checkpoints(None, Job(root), sums=sums)  # type: ignore[arg-type]
    listed = list_checkpoints(store)
    if sums:
        listed = [verify(store, one, measure) for one in listed]
    return [(str(one.name), one.state, one.problem, one.bytes) for one in listed]


def seen_here(root: Path, *, sums: bool) -> list[tuple[str, str, str, int | None]]:
    store = DirectoryStore(root)
    listed = list_checkpoints(store)
    if sums:
        listed = [verify(store, one) for one in listed]
    return [(str(one.name), one.state, one.problem, one.bytes) for one in listed]


def flip(file: Path, spot: int) -> None:
    data = bytearray(file.read_bytes())
    data[spot] ^= 1
    file.write_bytes(data)


HARM: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda folder: None, "intact"),
    "second chunk": (lambda folder: flip(folder / "rank-0.safetensors", CHUNK + 5), "damaged"),
    "other state": (lambda folder: flip(folder / "rank-0.json", 60), "damaged"),
    "manifest": (lambda folder: flip(folder / "manifest.json", 40), "damaged"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "incomplete"),
    "no file": (lambda folder: (folder / "rank-0.safetensors").unlink(), "damaged"),
    "cut": (lambda folder: (folder / "rank-0.safetensors").write_bytes(b""), "damaged"),
}


@pytest.mark.parametrize("harm", HARM)
def test_what_is_seen_from_outside_is_what_is_there(claim: Path, harm: str) -> None:
    folder = sorted((claim / "checkpoints").iterdir())[-1]
    HARM[harm][0](folder)
    for sums in (False, True):
        assert seen(claim, sums=sums) == seen_here(claim, sums=sums)
    assert [state for _, state, *_ in seen(claim, sums=True)] == [HARM[harm][1], "intact", "intact"]


def test_large_files_stay_where_they_are(claim: Path) -> None:
    files, there = reader.look_at(None, Job(claim), ["record/"], ["checkpoints/"])  # type: ignore[arg-type]
    assert {name.rpartition("/")[2] for name in files} == {"manifest.json"}
    assert {name.rpartition("/")[2] for name in there} == {"rank-0.json", "rank-0.safetensors"}
    assert all(isinstance(one, There) and one.crc32 == () for one in there.values())
    names = {name for name, _ in read_files(None, Job(claim), ["checkpoints/"])}  # type: ignore[arg-type]
    assert len(names) == 9
