"""What a disk can do to a save: the failure is told, training goes on, the last good one stays."""

from __future__ import annotations

import errno
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import torch

from gpukit.runtime import directio, store
from gpukit.runtime.checkpoint.commit import Publisher
from gpukit.runtime.checkpoint.engine import Failed, Stable, SyncEngine, Writer
from gpukit.runtime.checkpoint.link import Settings
from gpukit.runtime.checkpoint.manifest import FOLDER, CheckpointName, checkpoint_names
from gpukit.runtime.checkpoint.saves import Saves
from gpukit.runtime.checkpoint.schedule import Schedule
from gpukit.runtime.checkpoint.writer import Request, Service
from gpukit.runtime.directio import CHUNK
from gpukit.runtime.store import DirectoryStore


def request(step: int, memory: bytearray) -> Request:
    """A snapshot as a trainer hands it over: three chunks of tensors."""
    from gpukit.runtime.checkpoint.codec import Tensors, encode
    from gpukit.runtime.checkpoint.tensorfile import write

    tensors = Tensors()
    weights = torch.full((5_500_000,), float(step))
    tree = encode({"step": step, "weights": weights}, tensors, "")
    memory.clear()
    write(tensors, memory.extend)
    size = len(memory)
    memory.extend(bytes(-size % 4096))
    return Request(0, 1, step, step, size, json.dumps(tree), 0.0)


def persist(root: Path, step: int) -> dict[str, Any]:
    """Have the writer's own code make a snapshot durable; return its answer."""
    service = Service(DirectoryStore(root), Settings(str(root), "run", 1, "pod"))
    memory = bytearray()
    asked = request(step, memory)
    try:
        return service._persist(asked, memory)  # type: ignore[arg-type]
    except Exception as error:
        return service._failure(asked, error)


def newest(root: Path) -> int:
    found = SyncEngine(DirectoryStore(root), Writer("run", 0)).load_newest()
    assert found is not None
    assert float(found.state["weights"][-1]) == found.state["step"]
    return int(found.state["step"])


FAULTS = ["pwrite", "fsync", "replace", "link", "open", "posix_fallocate"]


@pytest.mark.parametrize("call", FAULTS)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_an_error_of_the_disk_anywhere_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    """The call fails the first, the second, the third … time that it is made in a save."""
    monkeypatch.setattr(directio, "_DIRECT", 0)
    assert persist(tmp_path, 1)["event"] == "durable"
    failed = 0
    for step, skip in enumerate((0, 1, 2, 5), start=2):
        with monkeypatch.context() as patch:
            hit = fail(patch, call, skip, code, tmp_path)
            answer = persist(tmp_path, step)
        if answer["event"] == "durable":
            assert newest(tmp_path) == step  # not called so often, or it does not matter
            assert not hit or call in ("posix_fallocate", "link")
        else:
            failed += 1
            assert os.strerror(code) in answer["message"]
            assert not answer["fenced"]
            assert newest(tmp_path) < step
    assert failed or (call == "posix_fallocate" and code != errno.ENOSPC) or call == "link"
    assert persist(tmp_path, 9)["event"] == "durable"
    assert newest(tmp_path) == 9
    names = {p.name for p in (tmp_path / FOLDER).iterdir()}
    assert len(names) == 2  # no scraps are left


def fail(patch: pytest.MonkeyPatch, call: str, skip: int, code: int, root: Path) -> list[int]:
    """Have a system call fail once, after so many that do not; returns what tells that it did."""
    real: Callable[..., Any] = getattr(os, call)
    seen, hit = [0], list[int]()

    def failing(*arguments: Any, **more: Any) -> Any:
        if call == "open" and not (arguments[1] & os.O_CREAT):
            return real(*arguments, **more)
        seen[0] += 1
        if seen[0] == skip + 1:
            hit.append(1)
            raise OSError(code, os.strerror(code))
        return real(*arguments, **more)

    patch.setattr(os, call, failing)
    return hit


def test_a_flipped_bit_or_a_cut_at_every_chunk_is_seen(tmp_path: Path) -> None:
    for step in (1, 2):
        assert persist(tmp_path, step)["event"] == "durable"
    assert newest(tmp_path) == 2
    chance = random.Random(0)
    name = checkpoint_names(DirectoryStore(tmp_path).list(FOLDER))[0]
    file = tmp_path / name.key("rank-0.safetensors")
    good = file.read_bytes()
    starts = range(0, len(good), CHUNK)
    assert len(starts) == 3
    for start in starts:
        for spot in (start, start + chance.randrange(min(CHUNK, len(good) - start))):
            damaged = bytearray(good)
            damaged[spot] ^= 1 << chance.randrange(8)
            file.write_bytes(damaged)
            assert newest(tmp_path) == 1, f"a bit at {spot}"
        file.write_bytes(good[:start])
        assert newest(tmp_path) == 1, f"cut to {start}"
    file.write_bytes(good)
    assert newest(tmp_path) == 2


def regions(file: Path) -> dict[str, tuple[int, int]]:
    """Where a file of a checkpoint has what: from, and to."""
    data = file.read_bytes()
    if file.suffix == ".json":
        body = data.index(b'"body"')
        return {"checksum": (0, body), "name": (body, body + 9), "body": (body + 9, len(data))}
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    text = 8 + len(data[8:begin].rstrip(b" "))
    found = {"length": (0, 8), "header": (8, text), "padding": (text, begin)}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            found[f"tensor {name}"] = (begin + first, begin + last)
    return found


def test_a_flipped_bit_in_any_region_of_any_file_is_seen(tmp_path: Path) -> None:
    for step in (1, 2):
        state = {"a": torch.full((1000,), float(step)), "b": torch.full((7,), step), "step": step}
        SyncEngine(DirectoryStore(tmp_path), Writer("run", 1), numbers=iter([step])).save(
            step, {**state, "weights": torch.full((2,), float(step))}
        )
    chance = random.Random(0)
    name = checkpoint_names(DirectoryStore(tmp_path).list(FOLDER))[0]
    seen = set()
    for file in sorted((tmp_path / name.folder).iterdir()):
        good = file.read_bytes()
        for region, (begin, end) in regions(file).items():
            assert begin < end, region
            for _ in range(8):
                damaged = bytearray(good)
                spot = chance.randrange(begin, end)
                damaged[spot] ^= 1 << chance.randrange(8)
                file.write_bytes(damaged)
                harmless = file.suffix == ".json" and json_of(damaged) == json_of(good)
                assert newest(tmp_path) == (2 if harmless else 1), f"{file.name} {region} {spot}"
            seen.add(f"{file.name} {region}")
        file.write_bytes(good)
        assert newest(tmp_path) == 2
    assert len(seen) == 3 + 3 + 3 + 3, seen


def json_of(data: bytes | bytearray) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def test_direct_io_that_is_refused_goes_through_the_page_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(random.Random(1).randbytes(3 * 4096))
    sums = directio.write_synced(tmp_path / "unaligned", memoryview(data)[1:], 2 * 4096)
    assert (tmp_path / "unaligned").read_bytes() == data[1 : 1 + 2 * 4096]
    assert len(sums) == 1
    real = os.open

    def refusing(path: Any, flags: int, *mode: int, **more: Any) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no direct I/O here")
        return real(path, flags, *mode, **more)

    monkeypatch.setattr(os, "open", refusing)
    assert directio.write_synced(tmp_path / "refused", memoryview(data)[1:], 2 * 4096) == sums


def test_old_checkpoints_that_cannot_be_removed_fail_no_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        persist(tmp_path, step)

    def refuse(self: DirectoryStore, prefix: str) -> None:
        raise store._unusable(self.root, OSError(errno.EROFS, "read-only"))

    with monkeypatch.context() as patch:
        patch.setattr(DirectoryStore, "delete", refuse)
        assert persist(tmp_path, 3)["event"] == "durable"
    assert newest(tmp_path) == 3


def test_what_is_committed_is_not_discarded(tmp_path: Path) -> None:
    persist(tmp_path, 1)
    publisher = Publisher(DirectoryStore(tmp_path), Writer("run", 1, "pod"))
    publisher.discard(CheckpointName(1, 1, 1))
    assert newest(tmp_path) == 1


@pytest.mark.parametrize(
    ("reason", "third"), [("killed by SIGSEGV", 1), ("killed by SIGKILL (out of memory?)", 2)]
)
def test_a_checkpoint_that_crashed_two_attempts_is_passed_over(
    tmp_path: Path, reason: str, third: int
) -> None:
    for step in (1, 2):
        persist(tmp_path, step)
    disk, began, skipped = DirectoryStore(tmp_path), [], ""
    for attempt in (2, 3, 4):
        engine = SyncEngine(disk, Writer("run", attempt))
        found = engine.load_newest()
        assert found is not None
        engine.begins_at(found.name)
        began.append(found.state["step"])
        skipped = " ".join(found.skipped)
        end = {"cause": "crash", "reason": reason}
        disk.put(f"record/attempt-{attempt:05d}.end.json", json.dumps(end).encode())
    assert began == [2, 2, third]
    assert ("quarantined: attempts 2 and 3" in skipped) == (third == 1)


def test_a_save_that_waits_behind_one_that_fails_is_made() -> None:
    class Failing:
        """An engine whose first save is in flight until it has failed."""

        flying = ""
        begun: ClassVar[list[int]] = []
        failed: ClassVar[list[Failed]] = []

        def busy(self) -> str:
            return self.flying

        def begin(self, step: int, state: object, stable: object = None) -> str:
            self.begun.append(step)
            return ""

        def outcomes(self) -> list[Failed]:
            found, self.failed[:] = list(self.failed), []
            return found

    engine = Failing()
    saves = Saves(None, cast(Any, engine), Schedule(None, every=1e9, every_steps=3))
    assert saves.wanted(3)
    saves.begin(3, dict, Stable())
    engine.flying = "that of step 3 is not durable yet"
    assert not saves.wanted(6)
    engine.flying = ""
    engine.failed.append(Failed(3, OSError("no space left")))
    saves.collect()
    assert saves.wanted(7), "that of step 6 was put off, not dropped"
