"""When a training loop saves, and whether a last save fits: for the Checkpointer and frameworks."""

from __future__ import annotations

import time

from gpukit.runtime.context import Context

from .interval import Pacer, Slowdown
from .setup import check_count, save_interval

__all__ = ["Schedule"]

_SHY = 1.5  # a save under a dying machine's load takes longer than the last one did


class Schedule:
    """Measures steps and saves of one process, and says when the next save is due.

    Args:
        ctx: the run; None outside of one, where nothing is known of earlier attempts.
        every: seconds, or ``"10m"``: an upper bound of the interval; default: the job's
            ``checkpoint_every``, else 10 minutes.
        every_steps: save after so many steps as well.

    Raises:
        CheckpointError: a number that makes no sense; SpecError: not a duration.
    """

    def __init__(
        self, ctx: Context | None, every: str | float | None = None, every_steps: int | None = None
    ) -> None:
        if every_steps is not None:
            check_count("every_steps", every_steps)
        self._ctx = ctx
        self._every_steps = every_steps
        self._pacer = Pacer(save_interval(ctx, every), ctx.history if ctx is not None else None)
        self._slowdown = Slowdown()
        self._began = self._saved_at = time.monotonic()
        self._step_began: float | None = None

    @property
    def interval(self) -> float:
        """Seconds between saves, as it stands now."""
        return self._pacer.interval(time.monotonic() - self._began)

    @property
    def last_step(self) -> float:
        """Seconds that a step takes, the median of the newest; 0 before the first."""
        return self._slowdown.usual

    def due(self, step: int, *, fresh: bool = True) -> bool:
        """Tell whether to save now.

        Args:
            step: steps made.
            fresh: this step is not saved yet.
        """
        by_steps = fresh and self._every_steps and step % self._every_steps == 0
        return bool(by_steps) or time.monotonic() - self._saved_at >= self.interval

    def step_begins(self) -> None:
        """Take note that the loop's body runs now."""
        self._step_began = time.monotonic()

    def step_ends(self, *, saving: bool = False) -> None:
        """Take note that a safe point is reached; ``saving``: a save was written behind it."""
        if self._step_began is not None:
            self._slowdown.step(time.monotonic() - self._step_began, saving=saving)
        self._step_began = None

    def began(self) -> None:
        """Take note that the state of this moment is being saved."""
        self._saved_at = time.monotonic()
        self._slowdown.take()

    def durable(self, stall: float, seconds: float) -> None:
        """Take note that a save is durable: seconds that training stood still, seconds in all."""
        self._pacer.measured(stall + self._slowdown.take(), seconds)
        if self._ctx is not None and self._ctx.rank == 0:
            self._ctx.send({
                "event": "pace", "cost": self._pacer.cost, "seconds": self._pacer.persist,
                "interval": self.interval,
            })  # fmt: skip

    def fits(self, times: float = 1.0) -> bool:
        """Tell whether a save, ``times`` as long as usual, fits before the process must leave."""
        if self._ctx is None or self._pacer.persist is None:
            return True
        return self._pacer.persist * times * _SHY <= self._ctx.remaining()

    def hopeless(self) -> bool:
        """Tell whether the step that goes on will end too late for a last save."""
        if self._ctx is None or self._step_began is None or not self.last_step:
            return False
        left = self._step_began + self.last_step - time.monotonic()
        return max(left, 0.0) + (self._pacer.persist or 0.0) > self._ctx.remaining()
