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
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from .saver import Saver, packed, unpacked

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
        self._saver = Saver(every, every_steps, keep)
        self._asked = False
        self._stop = False
        self._began = 0.0

    def resume(self) -> str | None:
        """Return the directory to give to ``Trainer.train``; None where there is no checkpoint.

        Raises:
            CheckpointError: there are checkpoints, but none is intact.
        """
        loaded = self._saver.load()
        if loaded is None:
            return None
        name = f"checkpoint-{loaded.name.step}"
        folder = self._saver.work / f"resume-{self._saver.rank}" / name
        return str(unpacked(loaded.state["files"], folder))

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take note that a step begins."""
        self._saver.schedule.step_begins()

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say that an evaluation is no hang."""
        self._saver.metrics.alive()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a save when one is due, or when SIGTERM has come."""
        saver, step = self._saver, state.global_step
        if not saver.active:
            return
        saver.schedule.step_ends()
        last = step >= state.max_steps or saver.stopping
        saver.metrics.at(step, int(state.epoch or 0), state.max_steps, last=last)
        action = saver.decide(step)
        self._stop = action == "stop"
        if self._stop and not saver.worthwhile(step):
            saver.leave(step)
        if action is not None:
            self._asked = not control.should_save
            control.should_save = True
        self._began = time.monotonic()

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take note that an evaluation, not a save, took the time until here."""
        self._began = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Report the Trainer's metrics."""
        self._saver.metrics.log(dict(logs or {}))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Make the directory that the Trainer has written durable; leave after SIGTERM."""
        if not self._saver.active:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        files = {
            path.relative_to(folder).as_posix(): packed(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self._saver.save(state.global_step, {"files": files}, self._began)
        if self._asked:  # the user's own schedule did not ask for this directory
            shutil.rmtree(folder)
            self._asked = False
        if self._stop:
            self._saver.leave(state.global_step)
