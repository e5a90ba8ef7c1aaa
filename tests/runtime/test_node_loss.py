"""Node loss: the writer's writes, syncs and renames are replayed with what was not synced dropped.

The code that persists runs here, on memory as the writer process has it, and what it asks of the
kernel is written down. A state of the disk after a power cut is then: everything that was synced,
and of everything else any part, in any order that a file system may choose.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from gpukit.errors import CheckpointError
from gpukit.runtime import directio, store
from gpukit.runtime.checkpoint.codec import Tensors, encode
from gpukit.runtime.checkpoint.commit import Publisher
from gpukit.runtime.checkpoint.engine import SyncEngine, Writer
from gpukit.runtime.checkpoint.manifest import CheckpointName
from gpukit.runtime.checkpoint.retention import Policy
from gpukit.runtime.checkpoint.tensorfile import write
from gpukit.runtime.store import DirectoryStore

pytestmark = pytest.mark.e2e
POINTS, SAVES = 200, 6
SECTOR = 4096


@dataclass
class Inode:
    """A file: what has been written to it, in order, and how much of that is surely on disk."""

    writes: list[tuple[int, bytes | int]] = field(default_factory=list)  # (offset, data | size)
    synced: int = 0
    is_folder: bool = False

    def content(self, chosen: list[bool]) -> bytes:
        data = bytearray()
        for (offset, what), there in zip(self.writes, chosen, strict=True):
            if not there:
                continue
            if isinstance(what, int):
                del data[what:]
                data.extend(bytes(what - len(data)))
            else:
                data.extend(bytes(max(offset - len(data), 0)))
                data[offset : offset + len(what)] = what
        return bytes(data)


@dataclass
class Folder:
    """A directory: the changes of its entries, in order, and how many are surely on disk."""

    changes: list[tuple[str, Inode | None]] = field(default_factory=list)
    synced: int = 0


@dataclass
class Disk:
    """What the kernel was asked to do so far, under a directory."""

    root: Path
    names: dict[str, Inode] = field(default_factory=dict)
    folders: dict[str, Folder] = field(default_factory=lambda: {".": Folder()})
    handles: dict[int, tuple[str, Inode | None]] = field(default_factory=dict)
    reported: int = 0

    def relative(self, path: Any, **more: Any) -> str | None:
        text = os.fspath(path)
        if more.get("dir_fd") is not None:
            folder = Path("/proc/self/fd", str(more["dir_fd"])).readlink()
            text = f"{folder}/{text}"
        inside = text == str(self.root) or text.startswith(f"{self.root}/")
        return os.path.relpath(text, self.root) if inside else None

    def entry(self, name: str | None, inode: Inode | None) -> None:
        """An entry appears, is replaced, or (None) disappears."""
        if name is None:
            return
        self.folders.setdefault(str(Path(name).parent), Folder()).changes.append((name, inode))
        if inode is None:
            self.names.pop(name, None)
        else:
            self.names[name] = inode

    def crash(self, chance: random.Random, target: Path) -> None:
        """Make the directory that is found after a power cut now.

        Of each directory the changes after its last sync got to the disk up to some point; of each
        file any part of the writes after its last sync did. Nothing holds between two of them.
        """
        names: dict[str, Inode] = {}
        for folder in self.folders.values():
            upto = chance.randint(folder.synced, len(folder.changes))
            for name, inode in folder.changes[:upto]:
                names.pop(name, None)
                if inode is not None:
                    names[name] = inode
        kept = chance.choice([0.0, 0.5, 0.9, 1.0])
        for name, inode in names.items():
            parents = [str(parent) for parent in Path(name).parents][:-1]
            if inode.is_folder or not all(parent in names for parent in parents):
                continue
            sure = [True] * inode.synced
            rest = [chance.random() < kept for _ in inode.writes[inode.synced :]]
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(inode.content(sure + rest))


@contextmanager
def recorded(disk: Disk, step: Any, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Note what is asked of the kernel; ``step`` is called after each of it."""
    real = {n: getattr(os, n) for n in ("open", "write", "pwrite", "fsync", "close", "replace",
            "link", "unlink", "rmdir", "mkdir", "ftruncate", "posix_fallocate")}  # fmt: skip

    def opened(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        handle: int = real["open"](path, flags, mode, **more)
        name = disk.relative(path) if not more else None
        if name is not None:
            inode = disk.names.get(name)
            if inode is None and flags & os.O_CREAT:
                inode = Inode()
                disk.entry(name, inode)
            disk.handles[handle] = (name, inode)
        step()
        return handle

    def wrote(handle: int, data: Any, offset: int | None = None) -> int:
        count: int = (
            real["write"](handle, data) if offset is None else real["pwrite"](handle, data, offset)
        )
        inode = disk.handles.get(handle, ("", None))[1]
        if inode is not None:
            at = offset if offset is not None else len(inode.content([True] * len(inode.writes)))
            whole = bytes(data[:count])
            for start in range(0, max(count, 1), SECTOR * 64):  # in parts: a cut may tear it
                inode.writes.append((at + start, whole[start : start + SECTOR * 64]))
                step()
        return count

    def sized(handle: int, *size: int) -> None:
        real["ftruncate" if len(size) == 1 else "posix_fallocate"](handle, *size)
        inode = disk.handles.get(handle, ("", None))[1]
        if inode is not None and len(size) == 1:
            inode.writes.append((0, size[0]))
        step()

    def synced(handle: int) -> None:
        real["fsync"](handle)
        name, inode = disk.handles.get(handle, ("", None))
        if inode is not None:
            inode.synced = len(inode.writes)
        if name in disk.folders:
            disk.folders[name].synced = len(disk.folders[name].changes)
        step()

    def closed(handle: int) -> None:
        disk.handles.pop(handle, None)
        real["close"](handle)

    def moved(old: Any, new: Any, **_: Any) -> None:
        real["replace"](old, new)
        before, after = disk.relative(old), disk.relative(new)
        if before and after:
            disk.entry(after, disk.names[before])
            disk.entry(before, None)
        step()

    def linked(old: Any, new: Any, **_: Any) -> None:
        real["link"](old, new)
        before, after = disk.relative(old), disk.relative(new)
        if before and after:
            disk.entry(after, disk.names[before])
        step()

    def made(path: Any, *mode: int, **more: Any) -> None:
        real["mkdir"](path, *mode, **more)
        disk.entry(disk.relative(path, **more), Inode(is_folder=True))
        step()

    def removed(path: Any, **more: Any) -> None:
        name = disk.relative(path, **more)
        real["unlink"](path, **more)
        disk.entry(name, None)
        step()

    def emptied(path: Any, **more: Any) -> None:
        name = disk.relative(path, **more)
        real["rmdir"](path, **more)
        disk.entry(name, None)
        step()

    for name, replacement in {
        "open": opened, "write": wrote, "pwrite": wrote, "fsync": synced, "close": closed,
        "replace": moved, "link": linked, "unlink": removed, "rmdir": emptied,
        "mkdir": made, "ftruncate": sized, "posix_fallocate": sized,
    }.items():  # fmt: skip
        patch.setattr(os, name, replacement)
    try:
        yield
    finally:
        patch.undo()


def save(root: Path, number: int) -> None:
    """Persist a state as the writer process does."""
    publisher = Publisher(DirectoryStore(root), Writer("run", 1, "pod"))
    tensors = Tensors()
    generator = torch.Generator().manual_seed(number)
    weights = torch.rand(700_000, generator=generator)
    tree = encode({"step": number, "weights": weights}, tensors, "")
    memory = bytearray()
    write(tensors, memory.extend)
    size = len(memory)
    memory.extend(bytes(-size % 4096))
    name = CheckpointName(1, number, number)
    publisher.put_rank(name, 0, json.dumps(tree), memoryview(memory), size)
    publisher.commit(name, Policy(2))


def recovered(root: Path) -> int:
    """The step that the next attempt would begin at; 0 without a checkpoint."""
    found = SyncEngine(DirectoryStore(root), Writer("run", 0)).load_newest()
    if found is None:
        return 0
    generator = torch.Generator().manual_seed(found.state["step"])
    assert torch.equal(found.state["weights"], torch.rand(700_000, generator=generator))
    return int(found.state["step"])


def test_any_power_cut_leaves_what_was_reported_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = crash_states(tmp_path, monkeypatch)
    assert len(states) == POINTS
    assert {reported for _, reported in states} >= set(range(1, SAVES - 1))
    for folder, reported in states:
        assert recovered(folder) >= reported, f"{folder}: {reported} had been durable"


def crash_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, int]]:
    """Directories as power cuts at random moments leave them, and what was durable before."""
    monkeypatch.setattr(directio, "_DIRECT", 0)  # a bytearray is not aligned
    monkeypatch.setattr(directio, "THREADS", 1)
    chance = random.Random(7)
    total = count_steps(tmp_path / "count", monkeypatch)
    points = sorted(chance.sample(range(total), min(POINTS, total)))
    disk = Disk(tmp_path / "live")
    states: list[tuple[Path, int]] = []
    seen, cutting = 0, False

    def step() -> None:
        nonlocal seen, cutting
        if cutting:
            return  # making the directory that is found is no step of the writer
        if points and seen == points[0]:
            cutting = True
            points.pop(0)
            folder = tmp_path / f"crash-{len(states)}"
            folder.mkdir()
            disk.crash(chance, folder)
            states.append((folder, disk.reported))
            cutting = False
        seen += 1

    run(disk, step, monkeypatch)
    return states


def count_steps(root: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    seen = 0

    def step() -> None:
        nonlocal seen
        seen += 1

    run(Disk(root), step, monkeypatch)
    return seen


def run(disk: Disk, step: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.root.mkdir()
    with monkeypatch.context() as patch, recorded(disk, step, patch):
        for number in range(1, SAVES + 1):
            save(disk.root, number)
            disk.reported = number


@pytest.mark.parametrize("missing", ["of directories", "of data"])
def test_it_would_be_noticed_if_a_sync_were_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def without() -> Iterator[bool]:
        with monkeypatch.context() as patch:
            if missing == "of directories":
                patch.setattr(store, "_sync_directory", lambda path: None)
            else:
                patch.setattr(directio, "_sync", lambda handle: None)
            states = crash_states(tmp_path, monkeypatch)
        for folder, reported in states:
            try:
                yield recovered(folder) >= reported
            except CheckpointError:
                yield False

    assert not all(without())
