"""Lightning, interrupted: exact resume in the middle of an epoch, and the right exit code."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpukit.ladder import ExitCode
from tests.runtime.exactness import (
    FAILS_A_READ,
    assert_long_evaluation_is_left,
    assert_ranks_do_not_part,
    assert_ranks_stop_together,
    passing,
)
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

def main(with_interruptions, workers=0, accumulate=1, devices=1):
    global interrupted
    interrupted = with_interruptions
    pl.seed_everything(0); torch.set_num_threads(1)
    model = Model()
    ckpt = GpukitCallback(every_steps=2)
    trainer = pl.Trainer(
        max_epochs=3, callbacks=[ckpt], accelerator="cpu", devices=devices, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accumulate_grad_batches=accumulate, val_check_interval=0.5,
        strategy="ddp" if devices > 1 else "auto",
    )
    loader = DataLoader(Noisy(), batch_size=8 // accumulate, shuffle=True, num_workers=workers)
    trainer.fit(model, loader, DataLoader(Noisy(), batch_size=16), ckpt_path=ckpt.resume())
    h = hashlib.sha256()
    for t in model.state_dict().values():
        h.update(t.numpy().tobytes())
    return {"sha256": h.hexdigest(), "steps": trainer.global_step}
"""


PASSING = passing(SOURCE, "        torch.rand(3)", step="self.global_step")


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
    attempts = run.record.attempts()
    starts = [a.progress.start_step for a in attempts]
    killed = starts.pop(2)
    assert starts == [0, 4, 13], "SIGTERM costs no step"
    assert killed == attempts[1].progress.durable_step
    assert 4 <= killed <= 10, "saved at 6, 8 and 10; one is in flight, the next waits for it"
    first, second = run.record.result(), whole.record.result()
    assert first is not None
    assert second is not None
    assert first.value == second.value
    assert first.value["steps"] == 18
    assert "training waits for it" not in pod.output


def test_two_ranks_of_lightning_stop_at_one_step_and_resume_exactly(
    make_run: Callable[..., Run],
) -> None:
    arguments = {"with_interruptions": False, "devices": 2}
    assert_ranks_stop_together(make_run, SOURCE, PASSING, arguments)


def test_two_ranks_of_lightning_never_go_on_from_different_checkpoints(
    make_run: Callable[..., Run],
) -> None:
    source = PASSING.replace("    model = Model()", "    fail_a_read(); model = Model()")
    arguments = {"with_interruptions": False, "devices": 2}
    run = make_run(source + FAILS_A_READ, arguments=arguments, processes=2)
    assert_ranks_do_not_part(run, lambda pod: pod.wait_for("passes 7"))


def test_a_validation_that_outlasts_the_grace_is_left(make_run: Callable[..., Run]) -> None:
    source = SOURCE.replace(
        '        self.log("rand", torch.rand(1))',
        """        self.log("rand", torch.rand(1))
        if lingering and self.global_step > 8 and run_info().attempt == 1:
            print("lingers at", self.global_step, flush=True)
            wait_for_ever()""",
    ).replace(
        "devices=1):\n    global interrupted",
        "devices=1, linger=False):\n    global interrupted, lingering\n    lingering = linger",
    )
    assert_long_evaluation_is_left(make_run, source, {"with_interruptions": False})


def test_what_is_no_plain_value_is_written_by_lightning(make_run: Callable[..., Run]) -> None:
    source = SOURCE.replace(
        "    def training_step(",
        """    def on_save_checkpoint(self, checkpoint):
        checkpoint["path"] = Path("/somewhere")
    def on_load_checkpoint(self, checkpoint):
        print("loaded", checkpoint["path"], flush=True)
    def training_step(""",
    ).replace("ckpt_path=ckpt.resume())", "ckpt_path=ckpt.resume(), weights_only=False)")
    run = make_run(source, arguments={"with_interruptions": True}, grace=30)
    code, pod = run.run(index=0)
    assert code == ExitCode.PREEMPTED, pod.output
    assert ".path is a pathlib." in pod.output
    assert pod.output.count("training waits for it") == 1
    code, pod = run.run(index=1)
    assert code == ExitCode.CRASH
    assert "loaded /somewhere" in pod.output
    assert run.record.attempts()[1].progress.start_step == 4
