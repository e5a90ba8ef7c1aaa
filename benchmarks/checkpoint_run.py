"""Measure one system in a process of its own; benchmarks/checkpoint.py starts it.

    python -m benchmarks.checkpoint_run save|load|job SYSTEM GB FOLDER

Prints one line of JSON. Limits of the machine are measured in the same process, beside what is
measured against them.
"""

from __future__ import annotations

import json
import mmap
import os
import statistics
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gpukit.runtime.directio import write_synced

from .checkpoint_systems import SYSTEMS, System

__all__ = ["main"]

BLOCKS, WARM, FREE, SAVES, MOST, LOADS = 43, 3, 4, 7, 60, 7
JOB_STEPS, JOB_EVERY, WARM_UP = 40, 5, 8


def build(gigabytes: float) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A stack of square layers; with AdamW's moments its state has about that size."""
    torch.manual_seed(0)
    width = int((gigabytes * 1e9 / 12 / BLOCKS / 3) ** 0.5) // 8 * 8
    layers = [nn.Linear(width, width, bias=False) for _ in range(BLOCKS * 3)]
    model = nn.Sequential(*layers)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-5)


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """One step; gradients stay where they are.

    Made anew in each step, they would have the allocator give memory back to the kernel and get it
    again, in some steps and not in others: up to a third of a step, more than what a save costs.
    """
    optimizer.zero_grad(set_to_none=False)
    first: Any = model[0]  # type: ignore[index]
    model(torch.rand(4, first.in_features)).square().mean().backward()
    optimizer.step()


def size_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    tensors = [*model.state_dict().values()]
    tensors += [v for s in optimizer.state.values() for v in s.values()]
    return sum(t.numel() * t.element_size() for t in tensors)


class Memory:
    """The most memory that this process and its children have taken, beyond the beginning."""

    def __init__(self) -> None:
        self.base = self.most = _resident()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._end.wait(0.02):
            self.most = max(self.most, _resident())

    def extra(self) -> int:
        self._end.set()
        self._thread.join()
        return self.most - self.base


def _resident() -> int:
    """Anonymous and shared memory of this process, anonymous memory of its children."""
    total = 0
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    for pid in [str(os.getpid()), *children.read_text().split()]:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                shared = line.startswith("RssShmem") and pid == str(os.getpid())
                if line.startswith("RssAnon") or shared:
                    total += int(line.split()[1]) * 1024
    return total


def memcpy(size: int, times: int = 5) -> list[float]:
    """Seconds to copy that much between two pieces of memory that are there already."""
    source, target = torch.ones(size, dtype=torch.uint8), torch.zeros(size, dtype=torch.uint8)
    found = []
    for _ in range(times):
        began = time.perf_counter()
        target.copy_(source)
        found.append(time.perf_counter() - began)
    return found


def write_limit(size: int, folder: Path, times: int = 2) -> list[float]:
    """Seconds to write and sync that much from memory to a new file, the best way we know."""
    whole = -(-size // 4096) * 4096
    found = []
    with mmap.mmap(-1, whole) as memory:
        torch.frombuffer(memory, dtype=torch.uint8).fill_(1)
        for threads in (1, 4) * times:
            path = folder / "limit"
            path.unlink(missing_ok=True)
            view = memoryview(memory)
            began = time.perf_counter()
            write_synced(path, view, size, threads=threads)
            found.append(time.perf_counter() - began)
            view.release()
            path.unlink()
    return found


def run_save(
    system: System, model: Any, optimizer: Any, folder: Path, memory: Memory
) -> dict[str, Any]:
    """Saves, each with free steps before it, and steps behind it until it is durable."""
    free: list[list[float]] = [[]]  # of before each save, and after the last one
    saves: list[dict[str, Any]] = []
    current: dict[str, Any] | None = None
    size = 0
    ended = time.perf_counter()
    for number in system.loop(WARM + SAVES * MOST):
        gap = time.perf_counter() - ended
        if current is not None and "stall" not in current:
            current["stall"] = gap
        elif current is not None and current["durable"] is None:
            current["durable"] = system.durable()
        if current is not None and current["durable"] is not None:
            saves.append(current)
            current = None
            free.append([])
        if len(saves) == SAVES and len(free[-1]) == FREE:
            break
        began = time.perf_counter()
        step(model, optimizer)
        ended = time.perf_counter()
        if current is not None:
            current["behind"].append(ended - began)
        elif number >= WARM:
            free[-1].append(ended - began)
        if len(saves) < SAVES and current is None and len(free[-1]) == FREE:
            size = size or size_of(model, optimizer)
            current = {"durable": None, "behind": []}
            system.save()
            ended = time.perf_counter()
    extra = memory.extra()
    system.close()
    for save, before, after in zip(saves, free, free[1:], strict=False):
        save["slower"] = slower(save["behind"], [*before, *after])
    step_time = statistics.mean(time for times in free for time in times)
    return {
        "bytes": size, "step": step_time, "saves": saves, "extra": extra,
        "memcpy": memcpy(size), "write": write_limit(size, folder),
    }  # fmt: skip


def slower(behind: list[float], near: list[float]) -> float:
    """Return by how much steps behind a save took longer than as many free ones near it, seconds.

    Means are compared, since steps are now and then slow by themselves, and near ones, since the
    machine's pace drifts. One save's figure may be below zero.
    """
    return sum(behind) - len(behind) * statistics.mean(near)


def run_load(system: System, model: Any, optimizer: Any, folder: Path, _: Memory) -> dict[str, Any]:
    """Save once; then read the file cold, and load it cold, by turns.

    What is loaded counts as loaded when it can be used: a mapped file has been read by then too.
    """
    for number in system.loop(8):
        step(model, optimizer)
        if number == 7:  # what is loaded is to equal what is there at the end
            system.save()
    while system.durable() is None:
        for _ in system.loop(2):
            time.sleep(0.2)
    system.close()
    expected = [p.detach().clone() for p in model.parameters()]
    raw, loads = [], []
    for _ in range(LOADS):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        system.forget()  # first: pages that are mapped stay in memory
        raw.append(cold_read(folder))
        drop(folder)
        began = time.perf_counter()
        system.load()
        touch(model, optimizer)
        loads.append(time.perf_counter() - began)
    same = all(torch.equal(a, b) for a, b in zip(model.parameters(), expected, strict=True))
    return {"bytes": size_of(model, optimizer), "raw": raw, "load": loads, "equal": same}


def touch(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Look at every page of the state, as the next step does."""
    moments = (v for s in optimizer.state.values() for v in s.values())
    for tensor in (*model.parameters(), *moments):
        tensor.detach().view(-1)[:: mmap.PAGESIZE // tensor.element_size()].sum()


def run_job(system: System, model: Any, optimizer: Any, folder: Path, _: Memory) -> dict[str, Any]:
    """The whole time of a job, without saves and with one every few steps.

    In an order in which a machine that becomes slower or faster all the time changes nothing, and
    after steps that no run is charged for: the first ones are slower.
    """
    for _ in range(WARM_UP):
        step(model, optimizer)
    found: dict[str, list[float]] = {"without": [], "with": []}
    for kind in ("without", "with", "with", "without"):
        began = time.perf_counter()
        for number in system.loop(JOB_STEPS):
            step(model, optimizer)
            if kind == "with" and number % JOB_EVERY == JOB_EVERY - 1:
                system.save()
        system.close()
        found[kind].append(time.perf_counter() - began)
    return {**found, "saves": JOB_STEPS // JOB_EVERY, "bytes": size_of(model, optimizer)}


def _files(folder: Path) -> list[Path]:
    newest: dict[Path, float] = {p: p.stat().st_mtime for p in folder.rglob("*") if p.is_file()}
    large = [p for p in newest if p.stat().st_size > 1 << 20]
    return sorted(large, key=lambda p: newest[p])


def drop(folder: Path) -> None:
    """Have the kernel forget the files."""
    for path in _files(folder):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def cold_read(folder: Path) -> float:
    """Seconds to read the newest checkpoint's files front to back, cold, into one buffer."""
    drop(folder)
    buffer = memoryview(bytearray(8 << 20))
    began = time.perf_counter()
    for path in _files(folder):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):  # type: ignore[attr-defined]
                pass
    return time.perf_counter() - began


def main() -> None:
    what, name, gigabytes, path = sys.argv[1:]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    folder = Path(path)
    model, optimizer = build(float(gigabytes))
    step(model, optimizer)  # the optimizer's state and the gradients are no cost of a save
    memory = Memory()
    system = SYSTEMS[name](model, optimizer, folder)
    run = {"save": run_save, "load": run_load, "job": run_job}[what]
    print(json.dumps(run(system, model, optimizer, folder, memory)))


if __name__ == "__main__":
    main()
