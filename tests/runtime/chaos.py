"""Kill a training at random moments, start it again, and compare the end with an undisturbed one.

    python -m tests.runtime.chaos KILLS [--seed N] [--without all | PART] [--root FOLDER]

One process imports torch, and each attempt is a fork of it: a thousand of them take minutes.
A victim is the trainer alone, whose writer then finishes, or all of it, as when a node is lost. At
least six of ten kills fall into a save. Prints one line of JSON, and what was wrong.

``--without`` takes a part of the restore out, to see that this is noticed; ``all``: each in turn.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import mmap
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from gpukit import Checkpointer
from gpukit.runtime.checkpoint import setup
from gpukit.runtime.checkpoint.arena_engine import ArenaEngine
from gpukit.runtime.checkpoint.manifest import FOLDER, checkpoint_names
from gpukit.runtime.processes import become_reaper, descendants
from gpukit.runtime.store import DirectoryStore
from tests.runtime.exactness import PATCHES

EPOCHS, PER_EPOCH, EVERY = 30, 4, 2
STEPS = EPOCHS * PER_EPOCH
_FIELDS = struct.Struct("<qqq")  # a save is in flight, safe points passed, step of the restore


class Noisy(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 4 * PER_EPOCH

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full((64,), index / 240) + torch.rand(64) * 0.1 + random.random() * 0.1


@dataclass
class Report:
    """What came of it."""

    kills: int = 0
    in_a_save: int = 0
    runs: int = 0
    restores: int = 0
    redone: int = 0
    problems: list[str] = field(default_factory=list)
    noticed: list[str] = field(default_factory=list)  # parts without which the weights differed


def train(folder: Path, board: mmap.mmap, pause: float) -> str:
    """Train to the end, saying on the board where it is; return the digest of the weights."""
    torch.manual_seed(0)
    random.seed(0)
    model = nn.Sequential(
        nn.Linear(64, 600), nn.Dropout(0.2), nn.Linear(600, 600), nn.Linear(600, 1)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(Noisy(), batch_size=4, shuffle=True, generator=generator)
    fly = ArenaEngine._fly

    def flying(self: ArenaEngine, flight: Any) -> None:
        board[:8] = struct.pack("<q", 1)
        fly(self, flight)
        board[:8] = struct.pack("<q", 0)

    ArenaEngine._fly = flying  # type: ignore[method-assign]
    ckpt = Checkpointer(
        model=model, optimizer=optimizer, scheduler=scheduler, directory=folder, every_steps=EVERY
    )
    if ckpt.resumed is not None and ckpt.resumed.skipped:
        (folder / "unreadable").write_text(str(ckpt.resumed.skipped))
    board[16:24] = struct.pack("<q", ckpt.step)
    for _ in ckpt.epochs(EPOCHS):
        for x in ckpt.batches(loader):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
            scheduler.step()
            board[8:16] = struct.pack("<q", ckpt.step + 1)
            time.sleep(pause)
    parts = [t.numpy().tobytes() for t in model.state_dict().values()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


class Chaos:
    """Runs attempts and kills them."""

    def __init__(self, seed: int, pause: float) -> None:
        self.without = "none"
        self.chance = random.Random(seed)
        self.pause = pause
        self.report = Report()
        self.board = mmap.mmap(-1, 4096)
        become_reaper()

    def fork(self, folder: Path) -> int:
        self.board[: _FIELDS.size] = _FIELDS.pack(0, 0, -1)
        pid = os.fork()
        if pid:
            return pid
        try:
            setup._started.clear()
            exec(PATCHES[self.without], {})
            (folder / "weights").write_text(train(folder, self.board, self.pause))
        except BaseException:
            (folder / "traceback").write_text(traceback.format_exc())
        os._exit(0)

    def read(self) -> tuple[int, int, int]:
        return _FIELDS.unpack(self.board[: _FIELDS.size])

    def run(self, folder: Path, kills: int) -> str:
        """One run to its end, with at most so many kills; return the digest of its weights."""
        folder.mkdir()
        self.report.runs += 1
        reached = 0
        while True:
            newest = newest_step(folder)
            pid = self.fork(folder)
            killed = kills > 0 and self.kill(pid)
            self.wait_for_all(pid)
            _, step, restored = self.read()
            if restored >= 0 and restored != newest:
                self.report.problems.append(f"began at {restored}, durable was {newest}")
            for sign in ("unreadable", "traceback"):
                if (folder / sign).exists():
                    self.report.problems.append((folder / sign).read_text())
                    (folder / sign).unlink()
            if restored >= 0:
                self.report.restores += restored > 0
                self.report.redone += max(reached - restored, 0)
            reached = max(step, reached)
            if (folder / "weights").exists():
                return (folder / "weights").read_text()
            if not killed:
                self.report.problems.append("an attempt ended before its end")
                return ""
            kills -= 1

    def compare(self, root: Path, kills: int, expected: str) -> bool:
        """Make a run; note, and return, whether its end is not that of an undisturbed one."""
        folder = root / f"run-{self.report.runs}"
        differs = self.run(folder, kills) != expected
        if differs:
            self.report.problems.append(f"{folder.name}: the weights differ")
        shutil.rmtree(folder)
        return differs

    def look_without(self, part: str, root: Path, kills: int, expected: str) -> None:
        """Take a part of the restore out, and make runs until that is noticed.

        Not every kill makes a difference: where none of twenty runs does, nothing notices. With
        nothing taken out, three runs are made.
        """
        self.without = part
        runs = 3 if part == "none" else 20
        if any(self.compare(root, kills, expected) for _ in range(runs)):
            self.report.noticed.append(part)

    def kill(self, pid: int) -> bool:
        """Kill the attempt at a random moment; False where it had ended before."""
        in_a_save = self.chance.random() < 0.8
        end = time.monotonic() + 60
        start = self.chance.random() < 0.1  # while it starts, or loads
        goal = 0 if start else self.chance.randrange(1, 12)
        passed = -1
        while time.monotonic() < end:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return False
            flying, step, restored = self.read()
            if start and self.chance.random() < 0.05:
                break
            passed = step - restored if restored >= 0 and step else -1
            if passed >= goal and (flying or not in_a_save):
                time.sleep(self.chance.random() * 0.004)
                break
        victims = [pid, *descendants(pid)] if self.chance.random() < 0.5 else [pid]
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return False
        self.report.in_a_save += self.read()[0]
        self.report.kills += 1
        for victim in victims:
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        return True

    def wait_for_all(self, pid: int) -> None:
        """Wait until the attempt and its writer are gone."""
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)


def warm_up() -> None:
    """Load what torch loads at the first step, once for all attempts."""
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(2, 2)).sum().backward()
    optimizer.step()


def newest_step(folder: Path) -> int:
    names = checkpoint_names(DirectoryStore(folder).list(FOLDER))
    return names[0].step if names else 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without", default="none", choices=["all", *PATCHES])
    parser.add_argument("--root", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warm_up()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.root) as folder:
        chaos = Chaos(options.seed, 0.003)
        expected = chaos.run(Path(folder, "reference"), 0)
        if options.without == "all":
            for part in PATCHES:
                chaos.look_without(part, Path(folder), options.kills, expected)
        else:
            chaos.without = options.without
            while chaos.report.kills < options.kills:
                left = options.kills - chaos.report.kills
                chaos.compare(Path(folder), min(40, left), expected)
    seconds = round(time.monotonic() - began)
    print(json.dumps({**asdict(chaos.report), "seed": options.seed, "seconds": seconds}))
    return 1 if chaos.report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
