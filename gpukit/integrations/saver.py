"""What the callbacks for other frameworks share: when to save, how, and what comes back."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpukit.errors import CheckpointError
from gpukit.runtime.checkpoint.agreement import Request
from gpukit.runtime.checkpoint.codec import Tensors, encode
from gpukit.runtime.checkpoint.engine import Loaded, Stable
from gpukit.runtime.checkpoint.metrics import Metrics
from gpukit.runtime.checkpoint.resuming import load
from gpukit.runtime.checkpoint.saves import Saves
from gpukit.runtime.checkpoint.schedule import Schedule
from gpukit.runtime.checkpoint.setup import open_agreement, open_engine
from gpukit.runtime.checkpoint.state import Registry
from gpukit.runtime.context import Preempted, current

if TYPE_CHECKING:
    import torch

__all__ = ["Saver", "packed", "say", "shared_folder", "unpacked", "why_not_kept"]

_POLL = 0.02
_PATIENCE = 600.0  # for rank 0 to write what all ranks read


class Saver:
    """Decides, saves and leaves on behalf of a framework's callback; outside of a run, nothing.

    Args:
        every: seconds, or ``"10m"``: an upper bound on lost work; default: the job's
            ``checkpoint_every``, else 10 minutes.
        every_steps: save after so many steps as well.
        keep: how many checkpoints are kept in the run.
    """

    def __init__(
        self, every: str | float | None = None, every_steps: int | None = None, keep: int = 2
    ) -> None:
        self._ctx = current()
        self.schedule = Schedule(self._ctx, every, every_steps)
        self._engine = open_engine(self._ctx, None, keep)
        self._saves = (
            None if self._engine is None else Saves(self._ctx, self._engine, self.schedule)
        )
        self._agreement = open_agreement(self._ctx)
        self._registry: Registry | None = None
        self.metrics = Metrics(self._ctx)
        if self._ctx is not None:
            self._ctx.checkpointing = True
            self._ctx.hopeless = self.schedule.hopeless

    @property
    def active(self) -> bool:
        """This process is part of a run."""
        return self._ctx is not None

    @property
    def stopping(self) -> bool:
        """SIGTERM has come."""
        return self._ctx is not None and self._ctx.stop_requested

    @property
    def work(self) -> Path:
        """Scratch directory of the pod."""
        return self._ctx.work if self._ctx is not None else Path()

    @property
    def resume_folder(self) -> Path:
        """Where this attempt writes what a framework resumes from."""
        attempt = self._ctx.attempt if self._ctx is not None else 0
        return self.work / f"resume-{attempt}"

    @property
    def rank(self) -> int:
        """Rank of this process."""
        return self._ctx.rank if self._ctx is not None else 0

    def load(self) -> Loaded | None:
        """Return the newest intact checkpoint of the run, and say that it is restored.

        Raises:
            CheckpointError: see :func:`.resuming.load`.
        """
        if self._engine is None or self._saves is None or self._ctx is None:
            return None
        loaded = load(self._engine, self._agreement, self._ctx)
        step, seconds = (0, 0.0) if loaded is None else (loaded.name.step, loaded.seconds)
        if loaded is not None:
            self._saves.restored(step)
        self._ctx.send({"event": "restored", "step": step, "seconds": seconds})
        return loaded

    def watch(self, model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Learn which tensors only an optimizer changes; its steps wait for copies from now on."""
        if self._engine is None or self._registry is not None:
            return
        named = {f"optimizer-{i}": optimizer for i, optimizer in enumerate(optimizers)}
        self._registry = Registry({"model": model, **named})
        self._engine.prepare(self._registry.expected_bytes() if self.rank == 0 else 0)
        self._registry.before_steps(self._engine)

    def step_ends(self) -> None:
        """Take note that a step has ended."""
        self.schedule.step_ends(saving=self._saves is not None and self._saves.in_flight)

    def decide(self, step: int) -> Request | None:
        """Return what all ranks do at this safe point: save, stop, or go on.

        Raises:
            FencedError: a newer attempt of the run has begun.
        """
        if self._saves is None:
            return None
        self._saves.collect()
        request: Request | None = None
        if self.stopping:
            request = "stop"
        elif self._saves.wanted(step):
            request = "save"
        return self._agreement.at(step, request)

    def begin(self, step: int, capture: Callable[[], dict[str, Any]]) -> None:
        """Begin to save what ``capture`` returns as the checkpoint of ``step``."""
        if self._saves is not None and self._ctx is not None:
            with self._ctx.busy():
                stable = Stable() if self._registry is None else self._registry.stable()
                state = capture()  # once, also where the save has to wait: ranks may meet in it
                self._saves.begin(step, lambda: state, stable)

    def last(self, step: int, capture: Callable[[], dict[str, Any]]) -> None:
        """Save before leaving, where it is of use and fits into what is left of the grace."""
        if self._saves is not None and self._ctx is not None and self.worthwhile(step):
            with self._ctx.busy():
                self._saves.last(step, capture())

    def worthwhile(self, step: int) -> bool:
        """Tell whether a last save is of use: not yet saved, and there is time for it."""
        if self._saves is None:
            return False
        self._saves.settle()
        if self._saves.durable == step:
            return False
        return self._saves.durable is None or not self._agreement.alone or self.schedule.fits()

    def leave(self, step: int) -> None:
        """End the user's function; the supervisor leaves with the code for the next attempt."""
        if self._ctx is not None:
            self._ctx.send({"event": "stopped", "step": step})
        raise Preempted


def why_not_kept(state: Any) -> str:
    """Return what in ``state`` a checkpoint cannot hold as it is; "" where there is nothing."""
    try:
        encode(state, Tensors(), "")
    except CheckpointError as error:
        return error.message
    return ""


def packed(path: Path) -> torch.Tensor:
    """Return a file's content as a tensor, which is what a checkpoint holds."""
    import torch

    data = bytearray(path.read_bytes())
    return torch.frombuffer(data or bytearray(1), dtype=torch.uint8)[: len(data)]


def unpacked(files: Mapping[str, Any], folder: Path) -> None:
    """Write files of a checkpoint into a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.numpy().tobytes())


def shared_folder(folder: Path, rank: int, write: Callable[[Path], None]) -> Path:
    """Return a folder that rank 0 fills and all ranks of the pod read.

    No process group is needed: frameworks make theirs later.

    Args:
        folder: where it appears, complete.
        rank: of this process.
        write: fills the folder that it is given; called on rank 0.

    Raises:
        CheckpointError: rank 0 did not fill it.
    """
    if rank == 0:
        part = folder.with_name(f".{folder.name}")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write(part)
        return part.rename(folder)
    end = time.monotonic() + _PATIENCE
    while not folder.is_dir():
        if time.monotonic() > end:
            raise CheckpointError(
                "rank-missing", f"rank 0 did not restore within {_PATIENCE:.0f} s",
                "look for its words in the log",
            )  # fmt: skip
        time.sleep(_POLL)
    return folder


def say(text: str) -> None:
    """Tell a person something, on stderr."""
    print(f"gpukit: {text}", file=sys.stderr, flush=True)
