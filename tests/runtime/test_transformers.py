"""The Hugging Face Trainer, interrupted: exact resume, and the right exit code."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpukit.ladder import Cause, ExitCode
from gpukit.runtime.checkpoint.manifest import FOLDER, checkpoint_names
from gpukit.runtime.store import DirectoryStore
from tests.runtime.exactness import (
    assert_long_evaluation_is_left,
    assert_ranks_stop_together,
    passing,
)
from tests.runtime.pod import Pod, Run

pytest.importorskip("transformers")
pytestmark = pytest.mark.e2e

SOURCE = """
import hashlib
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
from gpukit import run_info
from gpukit.integrations.transformers import GpukitCallback

STOP_AFTER = {1: 7, 2: 11, 3: 14}

class Pace:
    def __getitem__(self, index):
        g = torch.Generator().manual_seed(index)
        ids = torch.randint(0, 90, (8,), generator=g)
        return {"input_ids": ids, "labels": int(ids.sum() % 2)}
    def __len__(self):
        return 48

class Interrupt(GpukitCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if interrupted and STOP_AFTER.get(run_info().attempt) == state.global_step:
            kind = signal.SIGKILL if run_info().attempt == 2 else signal.SIGTERM
            os.kill(os.getppid() if kind == signal.SIGTERM else os.getpid(), kind)
            while not context.current().stop_requested:
                time.sleep(0.01)
        super().on_step_end(args, state, control, **kwargs)

def main(with_interruptions, options={}):
    global interrupted
    interrupted = with_interruptions
    torch.manual_seed(0); torch.set_num_threads(1)
    config = BertConfig(vocab_size=90, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=64, max_position_embeddings=16)
    ckpt = Interrupt(every_steps=2)
    trainer = Trainer(
        model=BertForSequenceClassification(config), callbacks=[ckpt], train_dataset=Pace(),
        args=TrainingArguments(output_dir=str(Path(os.environ["GPUKIT_WORK"]) / "hf"), seed=3,
            per_device_train_batch_size=4, num_train_epochs=2, learning_rate=1e-3,
            **{"save_strategy": "no", **options}, report_to=[], disable_tqdm=True, use_cpu=True),
        eval_dataset=Pace() if options.get("eval_strategy") else None)
    start = ckpt.resume()
    trainer.train(resume_from_checkpoint=start)
    h = hashlib.sha256()
    for t in trainer.model.state_dict().values():
        h.update(t.numpy().tobytes())
    return {"sha256": h.hexdigest(), "steps": trainer.state.global_step}
"""


PASSING = passing(SOURCE, "        super().on_step_end(", step="state.global_step")
BUSY = {"logging_steps": 3, "eval_strategy": "steps", "eval_steps": 14, "save_strategy": "steps",
        "save_steps": 8}  # fmt: skip
"""Saves at steps with nothing else, with a log, with an evaluation (the last SIGTERM too)."""


def test_a_trainer_goes_on_exactly_after_sigterm_and_sigkill(make_run: Callable[..., Run]) -> None:
    whole = make_run(SOURCE, arguments={"with_interruptions": False, "options": BUSY})
    code, pod = whole.run()
    assert code == 0, pod.output
    arguments = {"with_interruptions": True, "options": BUSY}
    run = make_run(SOURCE, arguments=arguments, retries=1, grace=30)
    codes: list[tuple[int, Pod]] = [run.run(index=i) for i in range(4)]
    expected = [ExitCode.PREEMPTED, ExitCode.CRASH, ExitCode.PREEMPTED, ExitCode.FINISHED]
    assert [code for code, _ in codes] == expected, codes[-1][1].output
    attempts = run.record.attempts()
    starts = [a.progress.start_step for a in attempts]
    killed = starts.pop(2)
    assert starts == [0, 7, 14], "SIGTERM costs no step"
    assert killed == attempts[1].progress.durable_step
    assert 7 <= killed <= 10, "saved at 8 and 10; one is in flight, the next waits for it"
    assert attempts[1].cause is Cause.CRASH
    first, second = run.record.result(), whole.record.result()
    assert first is not None
    assert second is not None
    assert first.value == second.value
    assert first.value["steps"] == 24
    names = checkpoint_names(DirectoryStore(run.store).list(FOLDER))
    assert 1 <= len(names) <= 3  # the one that was resumed from is kept too
    assert "training waits for it" not in pod.output


def test_an_evaluation_that_outlasts_the_grace_is_left(make_run: Callable[..., Run]) -> None:
    source = SOURCE.replace(
        "def main(with_interruptions, options={}):\n    global interrupted",
        """    def on_prediction_step(self, args, state, control, **kwargs):
        super().on_prediction_step(args, state, control, **kwargs)
        if lingering and run_info().attempt == 1:
            print("lingers at", state.global_step, flush=True)
            wait_for_ever()

def main(with_interruptions, options={}, linger=False):
    global interrupted, lingering
    lingering = linger""",
    )
    arguments = {"with_interruptions": False, "options": BUSY}
    assert_long_evaluation_is_left(make_run, source, arguments)


def test_two_ranks_of_a_trainer_stop_at_one_step_and_resume_exactly(
    make_run: Callable[..., Run],
) -> None:
    assert_ranks_stop_together(make_run, SOURCE, PASSING, {"with_interruptions": False})
