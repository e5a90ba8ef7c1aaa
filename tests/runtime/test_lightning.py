"""Lightning, interrupted: exact resume in the middle of an epoch, and the right exit code."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpukit.ladder import ExitCode
from tests.runtime.pod import Pod, Run

pytest.importorskip("lightning")
pytestmark = pytest.mark.e2e

SOURCE = """
import hashlib, warnings
import torch, lightning.pytorch as pl
from torch import nn
from torch.utils.data import DataLoader, Dataset
from gpukit import run_info
from gpukit.integrations.lightning import GpukitCallback

warnings.filterwarnings("ignore", module="lightning")
STOP_AFTER = {1: 4, 2: 11, 3: 13}

class Noisy(Dataset):
    def __len__(self):
        return 48
    def __getitem__(self, index):
        return torch.arange(8.0) / 8 + index / 48 + torch.rand(8) * 0.1, index % 2

class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])
    def validation_step(self, batch, index):
        self.log("rand", torch.rand(1))
    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.7)
        return {"optimizer": optimizer, "lr_scheduler": schedule}
    def on_train_batch_end(self, *_):
        torch.rand(3)  # after the callbacks: the state of a safe point is later still
        if interrupted and STOP_AFTER.get(run_info().attempt) == self.global_step:
            kind = signal.SIGKILL if run_info().attempt == 2 else signal.SIGTERM
            os.kill(os.getppid() if kind == signal.SIGTERM else os.getpid(), kind)
            while not context.current().stop_requested:
                time.sleep(0.01)

def main(with_interruptions, workers, accumulate):
    global interrupted
    interrupted = with_interruptions
    pl.seed_everything(0); torch.set_num_threads(1)
    model = Model()
    ckpt = GpukitCallback(every_steps=2)
    trainer = pl.Trainer(
        max_epochs=3, callbacks=[ckpt], accelerator="cpu", devices=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accumulate_grad_batches=accumulate, val_check_interval=0.5,
    )
    loader = DataLoader(Noisy(), batch_size=8 // accumulate, shuffle=True, num_workers=workers)
    trainer.fit(model, loader, DataLoader(Noisy(), batch_size=16), ckpt_path=ckpt.resume())
    h = hashlib.sha256()
    for t in model.state_dict().values():
        h.update(t.numpy().tobytes())
    return {"sha256": h.hexdigest(), "steps": trainer.global_step}
"""


@pytest.mark.parametrize(("workers", "accumulate"), [(0, 1), (2, 2)])
def test_lightning_goes_on_exactly_after_sigterm_and_sigkill(
    make_run: Callable[..., Run], workers: int, accumulate: int
) -> None:
    options = {"workers": workers, "accumulate": accumulate}
    whole = make_run(SOURCE, arguments={"with_interruptions": False, **options})
    code, pod = whole.run()
    assert code == 0, pod.output
    run = make_run(SOURCE, arguments={"with_interruptions": True, **options}, grace=30)
    codes: list[tuple[int, Pod]] = [run.run(index=i) for i in range(4)]
    expected = [ExitCode.PREEMPTED, ExitCode.CRASH, ExitCode.PREEMPTED, ExitCode.FINISHED]
    assert [code for code, _ in codes] == expected, codes[-1][1].output
    starts = [a.progress.start_step for a in run.record.attempts()]
    assert starts == [0, 4, 10, 13]  # the kill costs a step, SIGTERM none
    first, second = run.record.result(), whole.record.result()
    assert first is not None
    assert second is not None
    assert first.value == second.value
    assert first.value["steps"] == 18
