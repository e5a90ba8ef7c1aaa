"""The ways to save and load a checkpoint that benchmarks/checkpoint.py measures, one class each.

A system is given a model and its optimizer, saves their state when told to, and says when it is
durable. What it measures is in :mod:`benchmarks.checkpoint_run`.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch

__all__ = ["SYSTEMS", "System"]


class System(Protocol):
    """One way to save and load."""

    def loop(self, steps: int) -> Iterator[int]:
        """Yield step numbers; what happens between two of them is the system's own time."""

    def save(self) -> None:
        """Save the state as it is now, at the next turn of the loop."""

    def durable(self) -> float | None:
        """Return the seconds from the newest save's beginning until it was durable, if it is."""

    def forget(self) -> None:
        """Be as a new process is: without a state of the optimizer, where :meth:`load` makes it."""

    def load(self) -> None:
        """Load the newest checkpoint into the model and the optimizer."""

    def close(self) -> None:
        """Finish what is in flight."""


class _Plain:
    """A system that is called between two steps of a plain loop."""

    name = ""

    def __init__(self, model: Any, optimizer: Any, folder: Path) -> None:
        self.model, self.optimizer, self.folder = model, optimizer, folder
        self.number, self.wanted = 0, False
        self.began = 0.0
        self.took: float | None = None

    def state(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def loop(self, steps: int) -> Iterator[int]:
        for step in range(steps):
            yield step
            if self.wanted:
                self.wanted = False
                self.number += 1
                self.began, self.took = time.perf_counter(), None
                self.write(self.folder / f"{self.number}")
                self.tidy()

    def save(self) -> None:
        self.wanted = True

    def durable(self) -> float | None:
        return self.took

    def done(self) -> None:
        self.took = time.perf_counter() - self.began

    def tidy(self) -> None:
        """Keep the newest two, as gpukit does."""
        old = self.folder / f"{self.number - 2}"
        if old.is_dir():
            shutil.rmtree(old)
        elif old.exists():
            old.unlink()

    def newest(self) -> Path:
        return self.folder / f"{self.number}"

    def write(self, path: Path) -> None:
        raise NotImplementedError

    def forget(self) -> None:
        pass

    def load(self) -> None:
        raise NotImplementedError

    def put_back(self, state: Any) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def close(self) -> None:
        pass


class TorchSave(_Plain):
    name = "torch.save"

    def write(self, path: Path) -> None:
        with path.open("wb") as file:
            torch.save(self.state(), file)
            file.flush()
            os.fsync(file.fileno())
        self.done()

    def forget(self) -> None:
        self.optimizer.state.clear()

    def load(self) -> None:
        self.put_back(torch.load(self.newest(), weights_only=True))


class TorchLoadMmap(TorchSave):
    name = "torch.load(mmap)"

    def load(self) -> None:
        self.put_back(torch.load(self.newest(), weights_only=True, mmap=True))


class Safetensors(_Plain):
    name = "safetensors"

    def flat(self) -> dict[str, torch.Tensor]:
        moments = {
            f"optimizer.{i}.{key}": value
            for i, values in self.optimizer.state_dict()["state"].items()
            for key, value in values.items()
        }
        return {**self.model.state_dict(), **moments}

    def write(self, path: Path) -> None:
        from safetensors.torch import save_file

        save_file(self.flat(), path)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        self.done()

    def forget(self) -> None:
        """Let go of the mapped file: pages that are in use stay in memory."""
        for values in self.optimizer.state.values():
            for key in values:
                values[key] = torch.zeros_like(values[key])

    def load(self) -> None:
        from safetensors.torch import load_file

        flat = load_file(self.newest())
        state = self.optimizer.state_dict()
        for i, values in state["state"].items():
            for key in values:
                values[key] = flat.pop(f"optimizer.{i}.{key}")
        self.put_back({"model": flat, "optimizer": state})


class DcpAsync(_Plain):
    """torch.distributed.checkpoint in the background, as its documentation shows it."""

    name = "DCP async (default)"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.future: Any = None

    def options(self) -> dict[str, Any]:
        return {}

    def write(self, path: Path) -> None:
        import torch.distributed.checkpoint as dcp

        self.close()  # one at a time, as its documentation asks
        began = self.began = time.perf_counter()
        found = dcp.async_save(self.state(), checkpoint_id=path, no_dist=True, **self.options())
        self.future = getattr(found, "upload_completion", found)
        self.staged = getattr(found, "staging_completion", None)
        self.future.add_done_callback(lambda _: self.note(began))

    def note(self, began: float) -> None:
        self.took = time.perf_counter() - began

    def load(self) -> None:
        import torch.distributed.checkpoint as dcp

        state = self.state()
        dcp.load(state, checkpoint_id=self.newest(), no_dist=True)
        self.put_back(state)

    def close(self) -> None:
        if self.future is not None:
            self.future.result()


class DcpReused(DcpAsync):
    name = "DCP async, stager reused"

    def __init__(self, *arguments: Any) -> None:
        from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

        super().__init__(*arguments)
        self.stager = DefaultStager(StagingOptions(False, True, self.in_background, False))

    in_background = False

    def options(self) -> dict[str, Any]:
        return {"async_stager": self.stager}


class DcpStaging(DcpReused):
    """Staging too is in the background; the optimizer's step waits for it."""

    name = "DCP async staging"
    in_background = True
    staged: Any = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.optimizer.register_step_pre_hook(lambda *_: self.staged and self.staged.result())


class Lightning(_Plain):
    name = "Lightning AsyncCheckpointIO"

    def __init__(self, *arguments: Any) -> None:
        from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO

        super().__init__(*arguments)
        self.io: Any = AsyncCheckpointIO(TorchCheckpointIO())

    def write(self, path: Path) -> None:
        began = self.began
        self.io.save_checkpoint(self.state(), path)
        after = self.io._executor.submit(lambda: None)  # it has one thread
        after.add_done_callback(lambda _: self.note(began))

    def note(self, began: float) -> None:
        self.took = time.perf_counter() - began

    def load(self) -> None:
        self.put_back(self.io.load_checkpoint(self.newest(), weights_only=True))

    def close(self) -> None:
        self.io.teardown()


class Gpukit:
    """gpukit outside of a run: its Checkpointer, with a writer process of its own."""

    name = "gpukit"
    mode = "lazy"

    def __init__(self, model: Any, optimizer: Any, folder: Path) -> None:
        os.environ["GPUKIT_SNAPSHOT"] = self.mode
        from gpukit.runtime.checkpoint.saves import Saves

        self.make = lambda: _checkpointer(model, optimizer, folder)
        self.optimizer = optimizer
        self.checkpointer: Any = self.make()
        self.took: float | None = None
        note: Callable[..., None] = Saves._note

        def heard(saves: Any, saved: Any) -> None:
            self.took = saved.seconds
            note(saves, saved)

        Saves._note = heard  # type: ignore[method-assign]

    def loop(self, steps: int) -> Iterator[int]:
        for _ in self.checkpointer.epochs(self.checkpointer.epoch + 1):
            yield from self.checkpointer.batches(range(steps))

    def save(self) -> None:
        self.took = None
        self.checkpointer._saves._owed = True

    def durable(self) -> float | None:
        return self.took

    def forget(self) -> None:
        self.checkpointer = None
        self.optimizer.state.clear()

    def load(self) -> None:
        self.checkpointer = self.make()

    def close(self) -> None:
        engine = self.checkpointer._saves._engine
        engine.wait(float("inf"))


class GpukitCopy(Gpukit):
    name = "gpukit, blocking copy"
    mode = "copy"


def _checkpointer(model: Any, optimizer: Any, folder: Path) -> Any:
    from gpukit import Checkpointer

    return Checkpointer(model=model, optimizer=optimizer, directory=folder, every=1e9)


SYSTEMS: dict[str, Callable[[Any, Any, Path], System]] = {
    system.name: system
    for system in (
        Gpukit, GpukitCopy, DcpStaging, DcpReused, DcpAsync, Lightning, TorchSave, TorchLoadMmap,
        Safetensors,
    )
}  # fmt: skip
