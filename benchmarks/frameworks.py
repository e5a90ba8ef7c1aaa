"""What a save costs Lightning and the Trainer: taken from memory, and written by the framework.

    python -m benchmarks.frameworks [--mib 300] [--saves 5]

Each training runs under the real supervisor, twice: as the callbacks save now, from memory, while
training goes on; and as they would without it: the framework writes its checkpoint, which then
goes to the store while training waits (``GPUKIT_SNAPSHOT=stream``). *Stall* is how much longer the
step of a save takes than one without; *lost* adds the slower steps behind it, until the next save.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from gpukit.contract import Env
from tests.runtime.pod import Run

__all__ = ["main"]

_FREE, _EVERY = 8, 8  # steps before the first save, to know a step by; and between two saves

_HEAD = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

times = []

def net(mib):
    width = 1024  # a layer is 4 MiB, and three times that with the moments of AdamW
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(max(mib // 12, 1))))

def data(steps):
    return TensorDataset(torch.rand(16 * steps, 1024))
"""

_JOBS = {
    "lightning": _HEAD
    + """
import lightning.pytorch as pl
from gpukit.integrations import lightning
from gpukit.integrations.lightning import GpukitCallback

class Model(pl.LightningModule):
    def __init__(self, mib):
        super().__init__()
        self.net = net(mib)
    def on_train_batch_start(self, *_):
        times.append(time.monotonic())
    def training_step(self, batch, index):
        return self.net(batch[0]).square().mean()
    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters())

def main(mib, steps, every, free, written):
    torch.set_num_threads(1)
    if written:
        lightning._WHOLE = ()
    ckpt = GpukitCallback(every="1h")
    ckpt._saver.schedule.due = lambda step, fresh=True: step >= free and step % every == 0
    trainer = pl.Trainer(
        max_epochs=1, callbacks=[ckpt], accelerator="cpu", devices=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(Model(mib), DataLoader(data(steps), batch_size=16), ckpt_path=ckpt.resume())
    return times
""",
    "transformers": _HEAD
    + """
from transformers import Trainer, TrainingArguments
from gpukit.integrations import transformers
from gpukit.integrations.transformers import GpukitCallback

class Timed(GpukitCallback):
    def on_step_begin(self, *arguments, **more):
        times.append(time.monotonic())
        super().on_step_begin(*arguments, **more)

class Model(nn.Module):
    def __init__(self, mib):
        super().__init__()
        self.net = net(mib)
    def forward(self, x):
        return {"loss": self.net(x).square().mean()}

def main(mib, steps, every, free, written):
    torch.set_num_threads(1)
    if written:
        transformers._why_not_from_memory = lambda *_: "it is measured"
    ckpt = Timed(every="1h")
    ckpt._saver.schedule.due = lambda step, fresh=True: step >= free and step % every == 0
    rows = [{"x": x} for x, in data(steps)]
    trainer = Trainer(
        model=Model(mib), callbacks=[ckpt], train_dataset=rows,
        args=TrainingArguments(output_dir=str(Path(os.environ["GPUKIT_WORK"]) / "hf"),
            per_device_train_batch_size=16, num_train_epochs=1, save_strategy="no",
            logging_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True))
    trainer.train(resume_from_checkpoint=ckpt.resume())
    return times
""",
}


@dataclass(frozen=True)
class Cost:
    """Seconds, medians over the saves: of the save's own step, and until the next save."""

    step: float
    stall: float
    lost: float


def measure(root: Path, job: str, mib: int, saves: int, *, written: bool) -> Cost:
    """Train under a supervisor, and read what its saves cost off the times of the steps."""
    steps = _FREE + _EVERY * saves + 1
    arguments = {
        "mib": mib, "steps": steps, "every": _EVERY, "free": _FREE, "written": written,
    }  # fmt: skip
    run = Run(root, _JOBS[job], {"arguments": arguments})
    try:
        code, pod = run.run(environ={Env.SNAPSHOT: "stream"} if written else {})
        if code != 0:
            raise SystemExit(pod.output)
        result = run.record.result()
        durable = len(pod.lines("checkpoint"))
    finally:
        run.close()
    if result is None or durable < saves - 1:
        raise SystemExit(f"{durable} of {saves} saves became durable:\n{pod.output}")
    took = [after - before for before, after in pairwise(result.value)]
    free = median(took[2:_FREE])
    # Step n + 1 begins at times[n]: the save at step n is in took[n - 1].
    first = range(_FREE - 1, _FREE - 1 + _EVERY * saves, _EVERY)
    windows = [took[start : start + _EVERY] for start in first]
    whole = [window for window in windows if len(window) == _EVERY]
    return Cost(
        free,
        median(window[0] - free for window in whole),
        median(sum(window) - free * _EVERY for window in whole),
    )


def main() -> int:
    """Print the table; return 1 where the way from memory stalls longer than the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frameworks", description=__doc__)
    parser.add_argument("--mib", type=int, default=300, help="of weights and moments")
    parser.add_argument("--saves", type=int, default=5)
    options = parser.parse_args()
    worse = False
    print(f"{options.mib} MiB of state, one save in {_EVERY} steps")
    print(f"{'':14}{'step':>8}{'stall':>22}{'lost':>22}")
    for job in _JOBS:
        costs = {}
        for written in (True, False):
            with tempfile.TemporaryDirectory() as root:
                costs[written] = measure(
                    Path(root), job, options.mib, options.saves, written=written
                )
        before, now = costs[True], costs[False]
        print(
            f"{job:14}{now.step:6.2f} s{before.stall:9.2f} s → {now.stall:6.3f} s"
            f"{before.lost:9.2f} s → {now.lost:6.3f} s"
            f"   {before.stall / max(now.stall, 1e-3):.0f} × less stall"
        )
        worse = worse or now.stall > before.stall
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
