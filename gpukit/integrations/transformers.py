"""Checkpoint and resume for the Hugging Face Trainer, in three lines.

::

    from gpukit.integrations.transformers import GpukitCallback

    ckpt = GpukitCallback()
    trainer = Trainer(..., callbacks=[ckpt])
    trainer.train(resume_from_checkpoint=ckpt.resume())

The callback takes what the Trainer would write into its checkpoint directory from memory, in the
background, and makes that directory again where a run is resumed. Where it cannot (an evaluation at
the same step, adapters, FSDP, DeepSpeed, a directory that the Trainer writes anyway), the Trainer
writes its directory, training waits for that, and the files are kept. Either way the checkpoint is
atomic, verified and fenced, and the process leaves with the exit code that starts the next attempt
(the Trainer alone would return normally after SIGTERM, and the Job would count as complete).
Data augmentation that draws random numbers in the main process is not exact: the Trainer loads
one batch ahead of the state that it saves.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy
import torch
from transformers import TrainerCallback

from .saver import Saver, packed, say, shared_folder, unpacked, why_not_kept

__all__ = ["GpukitCallback"]

_ELSEWHERE = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")


class GpukitCallback(TrainerCallback):  # type: ignore[misc]
    """Makes the Trainer's checkpoints durable in the run, and resumes from the newest one.

    Outside of a run it does nothing.

    Args:
        every: seconds, or ``"10m"``: an upper bound on lost work; default: the job's
            ``checkpoint_every``, else 10 minutes. The Trainer's own ``save_steps`` are kept too.
        every_steps: save after so many optimizer steps as well.
        keep: how many checkpoints are kept in the run.
    """

    def __init__(
        self, *, every: str | float | None = None, every_steps: int | None = None, keep: int = 2
    ) -> None:
        self._saver = Saver(every, every_steps, keep)
        self._from_memory = False
        self._asked = False  # the Trainer writes a directory for this callback alone
        self._stop = False
        self._at_log: str | None = None  # what is to be done once this step's log is written

    def resume(self) -> str | None:
        """Return the directory to give to ``Trainer.train``; None where there is no checkpoint.

        Raises:
            CheckpointError: there are checkpoints, but none is intact; the ranks found different
                ones, or one of them did not call this.
        """
        loaded = self._saver.load()
        if loaded is None:
            return None
        state, rank = loaded.state, self._saver.rank
        folder = self._saver.resume_folder / f"checkpoint-{loaded.name.step}"
        if "files" in state:
            shared_folder(folder, rank, lambda part: unpacked(state["files"], part))
        else:
            shared_folder(folder, rank, lambda part: _write(state["parts"], part))
            torch.save(state["rng"], folder / state["rng_file"])
        return str(folder)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look whether all that the Trainer would save can be taken from memory."""
        model, optimizer = kwargs["model"], kwargs["optimizer"]
        if not self._saver.active or optimizer is None:
            return
        why = _why_not_from_memory(args, model) or why_not_kept(_parts(state, kwargs))
        self._from_memory = not why
        if why:
            say(f"the Trainer writes each checkpoint, and training waits for it: {why}")
        else:
            self._saver.watch(model, [getattr(optimizer, "optimizer", optimizer)])

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take note that a step begins."""
        self._saver.schedule.step_begins()

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say that an evaluation is no hang."""
        self._saver.metrics.alive()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save when it is due, or when SIGTERM has come; or ask the Trainer to."""
        saver, step = self._saver, state.global_step
        if not saver.active:
            return
        saver.step_ends()
        last = step >= state.max_steps or saver.stopping
        saver.metrics.at(step, int(state.epoch or 0), state.max_steps, last=last)
        action = saver.decide(step)
        if action is None:
            return
        if self._from_memory and not control.should_evaluate and not control.should_save:
            self._at_log = action
            if not control.should_log:  # else the log is part of what is saved
                self._act(args, state, kwargs)
            return
        self._stop = action == "stop"
        if self._stop and not saver.worthwhile(step):
            saver.leave(step)
        self._asked = not control.should_save
        control.should_save = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Report the Trainer's metrics."""
        self._saver.metrics.log(dict(logs or {}))
        self._act(args, state, kwargs)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the directory that the Trainer has written; leave after SIGTERM."""
        saver, step = self._saver, state.global_step
        if not saver.active:
            return
        folder = Path(args.output_dir) / f"checkpoint-{step}"
        _barrier()  # every rank has written its part
        files = _files(folder) if saver.rank == 0 else {}
        if self._stop:
            saver.last(step, lambda: {"files": files})
        else:
            saver.begin(step, lambda: {"files": files})
        if self._asked and saver.rank == 0:  # the user's own schedule did not ask for it
            shutil.rmtree(folder)
        self._asked = False
        if self._stop:
            saver.leave(step)

    def _act(self, args: Any, state: Any, kwargs: Mapping[str, Any]) -> None:
        """Do from memory what has been decided."""
        saver, step = self._saver, state.global_step
        action, self._at_log = self._at_log, None

        def capture() -> dict[str, Any]:
            parts = _parts(state, kwargs) if saver.rank == 0 else {}
            return {"parts": parts, **_rng(args)}

        if action == "save":
            saver.begin(step, capture)
        elif action == "stop":
            saver.last(step, capture)
            saver.leave(step)


def _why_not_from_memory(args: Any, model: Any) -> str:
    """Return why the Trainer has to write its own directory; "" where it has not."""
    if args.fsdp or args.deepspeed or any(os.environ.get(n) == "true" for n in _ELSEWHERE):
        return "the model is in parts (FSDP or DeepSpeed)"
    if any(hasattr(tensor, "device_mesh") for tensor in model.parameters()):
        return "the model is in parts"
    own = type(model).__module__.partition(".")[0] == "peft"
    if own or getattr(model, "_hf_peft_config_loaded", False):
        return "of adapters, it saves no more than they are"
    if args.restore_callback_states_from_checkpoint:
        return "restore_callback_states_from_checkpoint needs what only the Trainer knows"
    return ""


def _parts(state: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the Trainer would write on rank 0, by the names of its files."""
    optimizer, scheduler = kwargs["optimizer"], kwargs["lr_scheduler"]
    parts = {
        "pytorch_model.bin": kwargs["model"].state_dict(),
        "optimizer.pt": optimizer.state_dict(),
        "scheduler.pt": scheduler.state_dict(),
        "trainer_state.json": asdict(state),
    }
    scaler = getattr(optimizer, "scaler", None)
    return parts if scaler is None else {**parts, "scaler.pt": scaler.state_dict()}


def _write(parts: Mapping[str, Any], folder: Path) -> None:
    """Write a directory that ``Trainer.train`` resumes from."""
    from transformers import TrainerState

    for name, part in parts.items():
        if name == "trainer_state.json":
            TrainerState(**part).save_to_json(str(folder / name))
        else:
            torch.save(part, folder / name)


def _rng(args: Any) -> dict[str, Any]:
    """Return the states of this rank's generators, and the Trainer's name for their file."""
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": numpy.random.get_state(),
        "cpu": torch.get_rng_state(),
    }
    alone = args.world_size <= 1
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state() if alone else torch.cuda.get_rng_state_all()
    return {
        "rng": states,
        "rng_file": "rng_state.pth" if alone else f"rng_state_{args.process_index}.pth",
    }


def _files(folder: Path) -> dict[str, Any]:
    return {
        path.relative_to(folder).as_posix(): packed(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _barrier() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
