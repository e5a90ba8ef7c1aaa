"""Checkpoint and resume for the Hugging Face Trainer, in three lines.

::

    from gpukit.integrations.transformers import GpukitCallback

    ckpt = GpukitCallback()
    trainer = Trainer(..., callbacks=[ckpt])
    trainer.train(resume_from_checkpoint=ckpt.resume())

The Trainer writes its own checkpoint directory, which knows all that the Trainer needs; gpukit
makes it atomic, verified and fenced, and leaves with the exit code that starts the next attempt
(the Trainer alone would return normally after SIGTERM, and the Job would count as complete).
Data augmentation that draws random numbers in the main process is not exact: the Trainer loads
one batch ahead of the state that it saves.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from gpukit.runtime.checkpoint.engine import Saved
from gpukit.runtime.checkpoint.metrics import Metrics
from gpukit.runtime.checkpoint.schedule import Schedule
from gpukit.runtime.checkpoint.setup import open_engine
from gpukit.runtime.context import Preempted, current

__all__ = ["GpukitCallback"]


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
        self._ctx = current()
        self._engine = open_engine(self._ctx, None, keep)
        self._schedule = Schedule(self._ctx, every, every_steps)
        self._metrics = Metrics(self._ctx)
        self._saved: Saved | None = None
        self._asked = False
        self._save_began = 0.0
        if self._ctx is not None:
            self._ctx.checkpointing = True
            self._ctx.hopeless = self._schedule.hopeless

    def resume(self) -> str | None:
        """Return the directory to give to ``Trainer.train``; None where there is no checkpoint.

        Raises:
            CheckpointError: there are checkpoints, but none is intact.
        """
        if self._engine is None or self._ctx is None:
            return None
        loaded = self._engine.load_newest()
        step = loaded.name.step if loaded is not None else 0
        seconds = loaded.seconds if loaded is not None else 0.0
        self._ctx.send({"event": "restored", "step": step, "seconds": seconds})
        if loaded is None:
            return None
        folder = self._ctx.work / "resume" / f"checkpoint-{step}"
        _unpack(loaded.state["files"], folder)
        return str(folder)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take note that a step begins."""
        self._schedule.step_begins()

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say that an evaluation is no hang."""
        self._metrics.alive()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a save when one is due, or when SIGTERM has come."""
        if self._ctx is None:
            return
        self._schedule.step_ends()
        last = state.global_step >= state.max_steps or self._ctx.stop_requested
        self._metrics.at(state.global_step, int(state.epoch or 0), state.max_steps, last=last)
        if self._ctx.stop_requested and not self._schedule.fits():
            self._leave(state.global_step)
        if self._schedule.due(state.global_step) or self._ctx.stop_requested:
            self._asked = not control.should_save
            control.should_save = True
        self._save_began = time.monotonic()

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take note that an evaluation, not a save, took the time until here."""
        self._save_began = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Report the Trainer's metrics."""
        self._metrics.log(dict(logs or {}))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Make the directory that the Trainer has written durable; leave after SIGTERM."""
        if self._engine is None or self._ctx is None:
            return
        self._schedule.began()
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        self._saved = self._engine.save(state.global_step, {"files": _packed(folder)})
        seconds = time.monotonic() - self._save_began  # the Trainer's own writing is part of it
        self._schedule.durable(seconds, seconds)
        self._ctx.send({"event": "durable", **asdict(self._saved)})
        if self._asked:  # the user's own schedule did not ask for this directory
            shutil.rmtree(folder)
            self._asked = False
        if self._ctx.stop_requested:
            self._leave(state.global_step)

    def _leave(self, step: int) -> None:
        if self._ctx is not None:
            self._ctx.send({"event": "stopped", "step": step})
        raise Preempted


def _packed(folder: Path) -> dict[str, Any]:
    import torch

    return {
        path.relative_to(folder).as_posix(): torch.frombuffer(
            bytearray(path.read_bytes()) or bytearray(1), dtype=torch.uint8
        )[: path.stat().st_size]
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _unpack(files: dict[str, Any], folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.numpy().tobytes())
