"""Checkpointer: exact resume for a plain PyTorch loop.

::

    ckpt = Checkpointer(model=model, optimizer=optimizer, scheduler=scheduler)
    for epoch in ckpt.epochs(epochs):
        for batch in ckpt.batches(loader):
            ...
            ckpt.log(loss=loss)
        scheduler.step()

A *safe point* is where the loop asks for the next batch, and the end of an epoch. Only there is
state saved, and only there does the process leave after SIGTERM. After a resume the body of the
interrupted epoch is entered at its top; its ``batches`` loops that were complete yield nothing,
and the interrupted one goes on with the next batch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

from gpukit.runtime.context import Preempted, current

from . import rng
from .agreement import Request
from .engine import Engine, Loaded
from .loader import Source, source_of
from .metrics import Metrics
from .rest import RestPoint
from .resuming import load
from .saves import Saves
from .schedule import Schedule
from .setup import check_count, check_flag, open_agreement, open_engine, seconds
from .state import Registry

__all__ = ["Checkpointer", "Position", "Resume"]

_EACH_KEEPS_ALL = (
    "each rank keeps all of the model; Checkpointer(…, replicated=True) has rank 0 keep what "
    "DistributedDataParallel holds the same on all of them"
)


@dataclass(frozen=True)
class Position:
    """Where in the loops training is.

    Attributes:
        step: safe points passed in batch loops, over all epochs.
        epoch: the epoch, from 0.
        loop: which ``batches`` loop of the epoch, from 0.
        batch: batches done in that loop; None where the loop has not begun.
    """

    step: int = 0
    epoch: int = 0
    loop: int = 0
    batch: int | None = None


@dataclass(frozen=True)
class Resume:
    """What was restored: the step and epoch to go on from, and which checkpoints were no good."""

    step: int
    epoch: int
    seconds: float
    skipped: tuple[str, ...]


class Checkpointer:
    """Saves and restores training so that an interruption changes nothing but the time.

    Restores on construction when the run has a checkpoint; of several ranks each makes its own, in
    the same order, and waits there for the others. Outside of a run it saves and restores nothing,
    unless ``directory`` is given.

    Args:
        model: and ``optimizer``, ``scheduler``, ``scaler``: what to keep; any may be left out.
        directory: where to keep checkpoints outside of a run.
        every: seconds, or ``"10m"``: an upper bound on lost work; default: the job's
            ``checkpoint_every``, else 10 minutes. The interval is shorter where interruptions
            are frequent or a save is cheap: see :mod:`.interval`.
        every_steps: save after so many steps as well.
        keep: how many checkpoints are kept.
        keep_every: seconds, or ``"6h"``: of each such span of time one more is kept for good.
        replicated: parameters and the states of the optimizers are the same on all ranks, as
            DistributedDataParallel with an ordinary optimizer has them: rank 0 keeps them for all.
        objects: more things to keep, by name: anything with ``state_dict`` and
            ``load_state_dict``, or a random number generator.

    Raises:
        CheckpointError: an object has no state; the checkpoint does not fit the objects
            (``model-changed``); no checkpoint is intact; the ranks found different ones
            (``ranks-apart``), or one of them made no Checkpointer (``rank-missing``).
    """

    def __init__(
        self,
        *,
        model: Any = None,
        optimizer: Any = None,
        scheduler: Any = None,
        scaler: Any = None,
        directory: Any = None,
        every: str | float | None = None,
        every_steps: int | None = None,
        keep: int = 2,
        keep_every: str | float | None = None,
        replicated: bool = False,
        **objects: Any,
    ) -> None:
        self._ctx = current()
        known = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler}
        self._registry = Registry({**known, **objects})
        check_count("keep", keep)
        check_flag("replicated", replicated)
        self._schedule = Schedule(self._ctx, every, every_steps)
        spans = 0.0 if keep_every is None else seconds(keep_every, "keep_every")
        engine = open_engine(self._ctx, directory, keep, spans)
        self._saves = None if engine is None else Saves(self._ctx, engine, self._schedule)
        self._agreement = open_agreement(self._ctx)
        self._metrics = Metrics(self._ctx)
        self._position = Position()
        self._resume_at: Position | None = None
        self._resume_rng: dict[str, Any] = {}
        self._resume_loop: dict[str, Any] = {}
        self._loop: dict[str, Any] | None = None
        self._sources: dict[int, Source] = {}
        self._source_states: dict[int, Any] = {}
        self._total: int | None = None
        self._loops = 0
        self._epochs = 1
        self._rest: RestPoint | None = None
        self._rest_cost = 0.0
        self.resumed: Resume | None = None
        if self._ctx is not None:
            self._ctx.checkpointing = True
            self._ctx.hopeless = self._schedule.hopeless
            self._ctx.last_resort = self._last_resort
        self._restore(engine)
        if engine is not None:
            rank = self._ctx.rank if self._ctx is not None else 0
            leaves_out = replicated and rank > 0
            if leaves_out:
                engine.leave_out(self._registry.replicated)
            elif not (replicated or rank or self._agreement.alone) and self._registry.wrapped:
                _say(_EACH_KEEPS_ALL)
            engine.prepare(self._registry.expected_bytes(replicated=leaves_out))
            self._registry.before_steps(engine)

    @property
    def step(self) -> int:
        """Safe points passed in batch loops so far, over all epochs and attempts."""
        return self._position.step

    @property
    def epoch(self) -> int:
        """The epoch, from 0."""
        return self._position.epoch

    @property
    def stopping(self) -> bool:
        """SIGTERM has come: the process leaves at the next safe point."""
        return self._ctx is not None and self._ctx.stop_requested

    def epochs(self, count: int) -> Iterator[int]:
        """Yield the epochs that are still to do, beginning with the interrupted one."""
        first = self._position.epoch
        for epoch in range(first, count):
            self._epochs = count
            self._loops = 0
            if self._resume_at is not None:
                rng.restore(self._resume_rng)
            self._at_rest()
            yield epoch
            with self._undisturbed():
                self._resume_at = None
                self._loop = None
                self._position = Position(self._position.step, epoch + 1)
                self._safe_point(last=True)
        if self._saves is not None and self._agreement.alone:
            self._saves.finish(self._position.step, self._capture, self._registry.stable())

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """Yield the batches of ``loader`` that are still to do in this epoch.

        Exact with shuffling and worker processes: see :mod:`.loader`. The loader of one place in
        the epoch must be the same in every attempt.
        """
        index, self._loops = self._loops, self._loops + 1
        at = self._resume_at
        if at is not None and (index < at.loop):
            return
        resumed = at is not None and at.batch is not None
        skip = (at.batch or 0) if at is not None else 0
        self._resume_at = None
        self._sources[index] = source = source_of(loader)
        self._estimate_total(loader)
        if resumed:
            rng.restore(self._resume_loop["rng"])
        self._loop = {"rng": rng.capture()}
        self._position = replace(self._position, loop=index, batch=skip)
        self._at_rest()
        state = self._source_states.pop(index, None)
        # Batch 0 is of a stop before the pass began: what its beginning draws was not drawn yet.
        restore = (lambda: rng.restore(self._resume_rng)) if skip else (lambda: None)
        for batch in source.iterate(skip or None, state, restore):
            self._schedule.step_begins()
            yield batch
            with self._undisturbed():
                self._schedule.step_ends(saving=self._in_flight)
                here = self._position
                self._position = replace(here, step=here.step + 1, batch=(here.batch or 0) + 1)
                self._safe_point()
        with self._undisturbed():
            self._loop = None
            self._position = replace(self._position, loop=index + 1, batch=None)
            self._come_to_rest()  # what follows may take long: an evaluation

    def log(self, **metrics: Any) -> None:
        """Report metrics of this step; numbers or 0-dim tensors. Never waits for the GPU."""
        self._metrics.log(metrics)

    def heartbeat(self) -> None:
        """Say that the process lives, in a long phase without steps: an evaluation, an export."""
        self._metrics.alive()

    def save(self) -> int:
        """Save now and return the step when it is durable; call it between batches or epochs.

        Raises:
            OSError, StoreError: the store failed; older checkpoints are untouched.
        """
        if self._saves is not None:
            with self._undisturbed():
                self._saves.now(self._position.step, self._capture())
        return self._position.step

    def _at_rest(self) -> None:
        """Leave before a loop begins, if SIGTERM has come; ranks wait for a common step."""
        if self.stopping and self._ctx is not None and self._ctx.world_size == 1:
            self._final_save()
            self._leave()

    def _safe_point(self, *, last: bool = False) -> None:
        last = last or self.stopping
        self._metrics.at(self._position.step, self._position.epoch, self._total, last=last)
        if self._saves is not None:
            self._saves.collect()
        action = self._agreement.at(self._position.step, self._wanted())
        if action == "save" and self._saves is not None:
            self._saves.begin(self._position.step, self._capture, self._registry.stable())
        elif action == "stop":
            self._final_save()
            self._leave()
        elif self._schedule.last_step >= 100 * self._rest_cost:
            self._come_to_rest()
        else:
            self._rest_cost *= 0.95  # one slow measurement is not to decide for ever

    def _wanted(self) -> Request | None:
        if self.stopping:
            return "stop"
        saves = self._saves
        return "save" if saves is not None and saves.wanted(self._position.step) else None

    @property
    def _in_flight(self) -> bool:
        return self._saves is not None and self._saves.in_flight

    def _undisturbed(self) -> AbstractContextManager[None]:
        return self._ctx.busy() if self._ctx is not None else nullcontext()

    def _come_to_rest(self) -> None:
        """Remember what training is now; see :mod:`.rest`."""
        if self._ctx is None:
            return
        began = time.monotonic()
        self._rest = RestPoint(self._capture())
        self._rest_cost = time.monotonic() - began

    def _last_resort(self) -> None:
        """Save the last safe point before leaving from within a step or an evaluation.

        With several ranks each decides for itself: parts of different steps, or fewer parts than
        ranks, never become a checkpoint.
        """
        rest = self._rest
        if self._saves is None or rest is None or not rest.stands(self._registry.capture):
            return
        self._saves.settle()
        position = Position(**rest.state["position"])
        if self._saves.durable != position.step and self._schedule.fits():
            self._position = position
            self._saves.last(position.step, rest.state)

    def _final_save(self) -> None:
        """Save before leaving, where it fits into what is left of the grace period."""
        if self._saves is None or self._ctx is None:
            return
        self._saves.settle()
        if self._saves.durable == self._position.step:
            return
        known = self._saves.durable is not None
        if known and self._ctx.world_size == 1 and not self._schedule.fits():
            _say("no time for a last save: leaving at once")
            return
        self._saves.last(self._position.step, self._capture())

    def _leave(self) -> None:
        if self._ctx is not None:
            self._ctx.send({"event": "stopped", "step": self._position.step})
        raise Preempted

    def _capture(self) -> dict[str, Any]:
        return {
            "objects": self._registry.capture(),
            "gradients": self._registry.live_gradients(),
            "rng": rng.capture(),
            "loop": self._loop,
            "loaders": {index: source.state() for index, source in self._sources.items()},
            "position": asdict(self._position),
        }

    def _restore(self, engine: Engine | None) -> None:
        loaded = None
        if engine is not None:
            targets = self._registry.targets("objects")
            loaded = load(engine, self._agreement, self._ctx, targets)
        if loaded is not None:
            self._apply(loaded)
        if self._ctx is not None:
            seconds = loaded.seconds if loaded is not None else 0.0
            self._ctx.send({"event": "restored", "step": self.step, "seconds": seconds})

    def _apply(self, loaded: Loaded) -> None:
        state = loaded.state
        self._registry.restore(state["objects"])
        self._registry.restore_gradients(state["gradients"])
        self._position = Position(**state["position"])
        self._resume_at = self._position
        self._resume_rng = state["rng"]
        self._resume_loop = state["loop"] or {}
        self._source_states = dict(state["loaders"])
        rng.restore(self._resume_rng)
        if self._saves is not None:
            self._saves.restored(self.step)
        self.resumed = Resume(self.step, self.epoch, loaded.seconds, loaded.skipped)

    def _estimate_total(self, loader: Any) -> None:
        try:
            per_epoch = len(loader)
        except TypeError:
            return
        if self._loops == 1 and per_epoch:
            self._total = per_epoch * self._epochs


def _say(text: str) -> None:
    print(f"gpukit: {text}", file=sys.stderr, flush=True)
