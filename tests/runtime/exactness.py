"""A training job that any wrong restore would change, and what must hold after interruptions."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from gpukit.runtime.checkpoint.manifest import FOLDER, checkpoint_names
from gpukit.runtime.record import RunRecord
from gpukit.runtime.store import DirectoryStore
from tests.runtime.pod import Pod, Run

EPOCHS, PER_EPOCH, EVERY = 3, 80, 3
STEPS = EPOCHS * PER_EPOCH

_TEMPLATE = """
import hashlib, random
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from gpukit import Checkpointer, run_info

{patch}

class Noisy(Dataset):
    def __len__(self):
        return 4 * PER_EPOCH
    def __getitem__(self, index):
        x = torch.arange(16.0) / 16 + index / 320 + torch.rand(16) * 0.1 + random.random() * 0.1
        return x, index % 2

def main(trace, workers=0, pause=0.0):
    torch.manual_seed(0); random.seed(0); torch.set_num_threads(1)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    loader = DataLoader(Noisy(), batch_size=4, shuffle=True, num_workers=workers)
    ckpt = Checkpointer(
        model=model, optimizer=optimizer, scheduler=scheduler, every_steps=EVERY
    )
    lines = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for epoch in ckpt.epochs(EPOCHS):
        for x, y in ckpt.batches(loader):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            ckpt.log(loss=loss.detach())
            os.write(lines, b"%d %d\\n" % (run_info().attempt, ckpt.step + 1))
            if pause:
                time.sleep(pause)
        scheduler.step()
    parts = [t.numpy().tobytes() for t in model.state_dict().values()]
    return {"sha256": hashlib.sha256(b"".join(parts)).hexdigest(), "steps": ckpt.step}
"""

PATCHES = {
    "none": "",
    "rng": """
from gpukit.runtime.checkpoint import rng
rng.restore = lambda state: None
""",
    "optimizer": """
from gpukit.runtime.checkpoint import state
state._optimizers = lambda objects: {}
whole = state._load
state._load = lambda name, value, saved: None if name == "optimizer" else whole(name, value, saved)
""",
    "position": """
from gpukit.runtime.checkpoint import loader
whole = loader._MapStyle.iterate
loader._MapStyle.iterate = lambda self, skip, state, go: whole(self, 0, state, go)
""",
}


def source(patch: str = "none") -> str:
    """The job's source with one part of the restore taken out."""
    numbers = {"EPOCHS": EPOCHS, "PER_EPOCH": PER_EPOCH, "EVERY": EVERY}
    head = "".join(f"{name} = {value}\n" for name, value in numbers.items())
    return head + _TEMPLATE.replace("{patch}", PATCHES[patch])


@dataclass(frozen=True)
class Executed:
    """Every step that was executed, as the job itself wrote it down: (attempt, step)."""

    steps: tuple[tuple[int, int], ...]

    @staticmethod
    def read(trace: Path) -> Executed:
        lines = trace.read_text().splitlines() if trace.exists() else []
        pairs = (line.split() for line in lines)
        return Executed(tuple((int(a), int(s)) for a, s in pairs))

    def of(self, attempt: int) -> list[int]:
        return [step for number, step in self.steps if number == attempt]


class Recorded(Protocol):
    """A run whose store can be read, wherever its pods were."""

    @property
    def store(self) -> Path: ...

    @property
    def record(self) -> RunRecord: ...


def newest_durable(run: Recorded) -> int:
    """The step of the newest checkpoint in the store."""
    names = checkpoint_names(DirectoryStore(run.store).list(FOLDER))
    return names[0].step if names else 0


@cache
def reference_weights(*, workers: int = 0) -> str:
    """The digest of the final weights of a run without an interruption."""
    with tempfile.TemporaryDirectory() as folder:
        trace = str(Path(folder) / "reference")
        run = Run(Path(folder), source(), {"arguments": {"trace": trace, "workers": workers}})
        try:
            code, pod = run.run()
            assert code == 0, pod.output
            return final_weights(run)
        finally:
            run.close()


def final_weights(run: Recorded) -> str:
    result = run.record.result()
    assert result is not None, "the run has not finished"
    assert result.value["steps"] == STEPS
    return str(result.value["sha256"])


def check_run(
    run: Recorded, trace: Path, began: dict[int, int], *, loss_per_attempt: int, total: int = STEPS
) -> None:
    """Assert from the run record that nothing was lost or done twice beyond the stated loss.

    Args:
        run: the run, finished.
        trace: what the job wrote down.
        began: for each attempt the newest durable step when it was started.
        loss_per_attempt: steps that an interruption may cost.
        total: steps of the job.
    """
    executed = Executed.read(trace)
    attempts = run.record.attempts()
    for attempt in attempts:
        steps = executed.of(attempt.number)
        if not steps and attempt.progress.first_step_at is None:
            continue  # ended before its first step
        expected = began[attempt.number]
        assert attempt.progress.start_step == expected, f"attempt {attempt.number}"
        assert steps == list(range(expected + 1, expected + 1 + len(steps)))
    assert {step for _, step in executed.steps} == set(range(1, total + 1))
    allowed = total + loss_per_attempt * (len(attempts) - 1)
    assert len(executed.steps) <= allowed, f"{len(executed.steps)} steps for {total}"


def assert_nothing_was_damaged(pods: list[Pod]) -> None:
    for pod in pods:
        assert "damaged" not in pod.output, pod.output
        assert not re.search(r"Traceback", pod.output), pod.output
