"""Checkpoint and exact resume for Lightning, in three lines.

::

    from gpukit.integrations.lightning import GpukitCallback

    ckpt = GpukitCallback()
    trainer = Trainer(..., callbacks=[ckpt])
    trainer.fit(model, loader, ckpt_path=ckpt.resume())

Lightning's checkpoint knows models, optimizers, schedulers and loops, but neither the random
numbers nor the position in an ordinary loader, so that a run resumed in the middle of an epoch sees
its first batches twice. The callback keeps both, makes the checkpoint atomic, verified and fenced,
and leaves with the exit code that starts the next attempt (Lightning alone leaves with 0 after
SIGTERM, and the Job would count as complete).

A *safe point* is where the training loop asks for the next batch of an epoch, and gradients are not
being accumulated. Not exact: several training loaders at once; what metrics have gathered of an
epoch for its end (``self.log(..., on_epoch=True)``) before the interruption.
"""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from gpukit.runtime.checkpoint import rng
from gpukit.runtime.checkpoint.loader import source_of
from gpukit.runtime.context import current

from .saver import Saver, packed, say, shared_folder, unpacked, why_not_kept

__all__ = ["GpukitCallback"]

_FILE = "lightning.ckpt"
_WHOLE = (DDPStrategy, SingleDeviceStrategy)  # each rank has all of the model
_RESUMED_INSIDE = "You're resuming from a checkpoint that ended before the epoch ended"


class GpukitCallback(Callback):  # type: ignore[misc]
    """Keeps Lightning's checkpoints in the run, with random numbers and position in the data.

    Outside of a run it does nothing.

    Args:
        every: seconds, or ``"10m"``: an upper bound on lost work; default: the job's
            ``checkpoint_every``, else 10 minutes.
        every_steps: save after so many optimizer steps as well.
        keep: how many checkpoints are kept in the run.
    """

    def __init__(
        self, *, every: str | float | None = None, every_steps: int | None = None, keep: int = 2
    ) -> None:
        self._saver = Saver(every, every_steps, keep)
        self._loaded: dict[str, Any] | None = None
        self._loader: _Loader | None = None
        self._why_not = ""

    def resume(self) -> str | None:
        """Return the file to give to ``Trainer.fit`` as ``ckpt_path``; None without a checkpoint.

        Raises:
            CheckpointError: there are checkpoints, but none is intact; the ranks found different
                ones, or one of them did not call this.
        """
        loaded = self._saver.load()
        if loaded is None:
            return None
        self._loaded = state = loaded.state

        def write(folder: Path) -> None:
            if "files" in state:
                unpacked(state["files"], folder)
            else:
                torch.save(state["checkpoint"], folder / _FILE)

        return str(shared_folder(self._saver.resume_folder, self._saver.rank, write) / _FILE)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Take SIGTERM back, which Lightning answers with exit code 0, and look at the loader."""
        ctx = current()
        if ctx is None:
            return
        signal.signal(signal.SIGTERM, ctx.on_sigterm)
        warnings.filterwarnings("ignore", message=_RESUMED_INSIDE)
        self._saver.watch(pl_module, trainer.optimizers)
        self._watch(trainer)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Look at the loader again: Lightning may have made a new one."""
        if self._saver.active:
            self._watch(trainer)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report the metrics of the step."""
        self._saver.metrics.log(dict(trainer.callback_metrics))
        last = trainer.is_last_batch
        self._report(trainer, last=last)

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Say that a validation is no hang."""
        self._saver.metrics.alive()

    def _watch(self, trainer: Any) -> None:
        """Have the training loop take its batches through :class:`_Loader`."""
        combined = trainer.fit_loop._combined_loader
        if combined is None or any(isinstance(one, _Loader) for one in combined.flattened):
            return
        inner = combined.flattened
        begins = self._saver.schedule.step_begins
        self._loader = _Loader(inner[0], self._loaded, begins, lambda: self._safe_point(trainer))
        self._loader.positioned = len(inner) == 1
        self._loaded = None
        combined.reset()
        combined.flattened = [self._loader, *inner[1:]]
        iter(trainer.fit_loop._data_fetcher)

    def _safe_point(self, trainer: Any) -> None:
        self._saver.step_ends()
        batch = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        if not batch or batch % trainer.accumulate_grad_batches:
            return
        saver, step = self._saver, int(trainer.global_step)
        action = saver.decide(step)
        if action == "save":
            saver.begin(step, lambda: self._capture(trainer, batch))
        elif action == "stop":
            saver.last(step, lambda: self._capture(trainer, batch))
            saver.leave(step)

    def _capture(self, trainer: Any, batch: int) -> dict[str, Any]:
        """Return what Lightning would write, its tensors live; or what it has written."""
        dump = self._dump(trainer)
        if dump is None:
            path = self._saver.work / _FILE
            trainer.save_checkpoint(path, weights_only=False)
            state = {"files": {_FILE: packed(path)} if self._saver.rank == 0 else {}}
            if self._saver.rank == 0:
                path.unlink()
        else:
            state = {"checkpoint": dump if self._saver.rank == 0 else {}}
        return {**state, "rng": rng.capture(), "loader": self._position(batch)}

    def _dump(self, trainer: Any) -> dict[str, Any] | None:
        """Return Lightning's checkpoint from memory; None where only Lightning can write it."""
        why = "" if type(trainer.strategy) in _WHOLE else "the model is in parts"
        if not why:
            dump: dict[str, Any] = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
            why = why_not_kept(dump)
            if not why:
                return dump
        if why != self._why_not:
            self._why_not = why
            say(f"Lightning writes each checkpoint, and training waits for it: {why}")
        return None

    def _position(self, batch: int) -> dict[str, Any]:
        return {} if self._loader is None else self._loader.position(batch)

    def _report(self, trainer: Any, *, last: bool) -> None:
        total = trainer.estimated_stepping_batches
        known = int(total) if 0 < total < float("inf") else None
        self._saver.metrics.at(
            int(trainer.global_step), int(trainer.current_epoch), known, last=last
        )


class _Loader:
    """A training loader that can begin at a batch, and that calls between two batches.

    Args:
        inner: the loader that Lightning made.
        resumed: the state of the checkpoint that is resumed; None at the beginning.
        begins: called when a batch is handed out.
        between: called when the next batch is asked for, before it is loaded.
    """

    positioned = True

    def __init__(
        self, inner: Any, resumed: dict[str, Any] | None, begins: Callable[[], None],
        between: Callable[[], None],
    ) -> None:  # fmt: skip
        self._inner = inner
        self._begins = begins
        self._between = between
        self._resumed = resumed
        self._began: dict[str, Any] = {}
        self._own = hasattr(inner, "state_dict")  # Lightning restores such a loader itself
        self._source = source_of(inner)

    def __len__(self) -> int:
        return len(self._inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def position(self, batch: int) -> dict[str, Any]:
        """Return what is needed to go on with a batch of this epoch."""
        if self._own or not self.positioned:
            return {}
        return {"batch": batch, "rng": self._began, "source": self._source.state()}

    def __iter__(self) -> Iterator[Any]:
        resumed, self._resumed = self._resumed, None
        for batch in self._batches(resumed):
            self._begins()
            yield batch
            self._between()

    def _batches(self, resumed: dict[str, Any] | None) -> Iterator[Any]:
        if resumed is None or not resumed["loader"]:
            self._began = rng.capture()
            if resumed is not None:
                rng.restore(resumed["rng"])
            source = iter(self._inner) if self._own else self._source.iterate(None, None, _nothing)
        else:
            at = resumed["loader"]
            rng.restore(at["rng"])
            self._began = at["rng"]
            restore = lambda: rng.restore(resumed["rng"])  # noqa: E731
            source = self._source.iterate(at["batch"], at["source"], restore)
        yield from source


def _nothing() -> None:
    """Do nothing: at the beginning of an epoch there is nothing to restore."""
