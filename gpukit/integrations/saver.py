"""What the callbacks for other frameworks share: a framework's own files, kept as checkpoints."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpukit.errors import StoreError
from gpukit.runtime.checkpoint.agreement import Request
from gpukit.runtime.checkpoint.engine import FencedError, Loaded
from gpukit.runtime.checkpoint.metrics import Metrics
from gpukit.runtime.checkpoint.schedule import Schedule
from gpukit.runtime.checkpoint.setup import open_agreement, open_engine
from gpukit.runtime.context import Preempted, current

if TYPE_CHECKING:
    import torch

__all__ = ["Saver", "packed", "unpacked"]


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
        self._engine = open_engine(self._ctx, None, keep, stream=True)
        self._agreement = open_agreement(self._ctx)
        self._saved_step: int | None = None
        self.schedule = Schedule(self._ctx, every, every_steps)
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
    def rank(self) -> int:
        """Rank of this process."""
        return self._ctx.rank if self._ctx is not None else 0

    def load(self) -> Loaded | None:
        """Return the newest intact checkpoint of the run, and say that it is restored.

        Raises:
            CheckpointError: there are checkpoints, but none is intact.
        """
        if self._engine is None or self._ctx is None:
            return None
        loaded = self._engine.load_newest()
        self._saved_step = loaded.name.step if loaded is not None else None
        seconds = loaded.seconds if loaded is not None else 0.0
        self._ctx.send({"event": "restored", "step": self._saved_step or 0, "seconds": seconds})
        return loaded

    def decide(self, step: int) -> Request | None:
        """Return what all ranks do at this safe point: save, stop, or go on."""
        request: Request | None = None
        if self.stopping:
            request = "stop"
        elif self.schedule.due(step, fresh=self._saved_step != step):
            request = "save"
        return self._agreement.at(step, request)

    def worthwhile(self, step: int) -> bool:
        """Tell whether a last save is of use: not yet saved, and there is time for it."""
        return self._saved_step != step and (not self._alone or self.schedule.fits())

    def save(self, step: int, state: dict[str, Any], began: float) -> bool:
        """Make ``state`` durable; a store that fails leaves training alone. Tell whether it did.

        Args:
            step: steps made.
            state: what to keep.
            began: ``time.monotonic()`` when the framework began to write its part.
        """
        if self._engine is None or self._ctx is None:
            return False
        self.schedule.began()
        try:
            with self._ctx.busy():
                saved = self._engine.save(step, state)
                seconds = time.monotonic() - began
                self._ctx.send({"event": "durable", **asdict(saved)})
        except FencedError:
            raise
        except (OSError, StoreError) as error:
            print(f"gpukit: checkpoint of step {step} failed: {error}", file=sys.stderr)
            self._ctx.send({"event": "save-failed", "step": step, "message": str(error)})
            return False
        self._saved_step = step
        self.schedule.durable(seconds, seconds)
        return True

    def leave(self, step: int) -> None:
        """End the user's function; the supervisor leaves with the code for the next attempt."""
        if self._ctx is not None:
            self._ctx.send({"event": "stopped", "step": step})
        raise Preempted

    @property
    def _alone(self) -> bool:
        return self._ctx is None or self._ctx.world_size == 1


def packed(path: Path) -> torch.Tensor:
    """Return a file's content as a tensor, which is what a checkpoint holds."""
    import torch

    data = bytearray(path.read_bytes())
    return torch.frombuffer(data or bytearray(1), dtype=torch.uint8)[: len(data)]


def unpacked(files: dict[str, Any], folder: Path) -> Path:
    """Write files of a checkpoint into a folder of their own, and return it."""
    if folder.exists():
        shutil.rmtree(folder)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.numpy().tobytes())
    return folder
