"""The checkpoint engine: state in, durable and verified checkpoint out.

The interface is what the Checkpointer and the integrations use. :class:`.arena_engine.ArenaEngine`
is what runs where memory allows it; :class:`SyncEngine` streams from the tensors to the store while
training waits.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from gpukit.runtime.store import Store

from .codec import Mark, Tensors, encode
from .commit import FencedError, Publisher, Saved, Writer, data_file
from .manifest import CheckpointName
from .reading import Loaded, Reader
from .retention import Policy
from .tensorfile import write

if TYPE_CHECKING:
    import torch

__all__ = [
    "Engine", "Failed", "FencedError", "Loaded", "Outcome", "Saved", "Stable", "SyncEngine",
    "Writer",
]  # fmt: skip


@dataclass(frozen=True)
class Failed:
    """A checkpoint that did not become durable; older ones are untouched."""

    step: int
    error: Exception


@dataclass(frozen=True)
class Stable:
    """Addresses of tensors of which is known what changes them.

    Attributes:
        settled: an optimizer's step changes them, nothing else.
        frozen: nothing does; their version tells, and a comparison confirms it.
    """

    settled: Collection[int] = field(default_factory=frozenset)
    frozen: Collection[int] = field(default_factory=frozenset)


Outcome: TypeAlias = "Saved | Failed"


class Engine(Protocol):
    """Saves and loads the state of one rank."""

    def busy(self) -> str:
        """Return why :meth:`begin` would take no snapshot now; "" when it would."""

    def prepare(self, size: int) -> None:
        """Get ready, in the background, for states of about ``size`` bytes."""

    def leave_out(self, which: Callable[[], Collection[Mark]]) -> None:
        """Have tensors kept by rank 0 alone, from whose file this rank reads them.

        Args:
            which: gives those that are the same on rank 0.
        """

    def begin(self, step: int, state: Any, stable: Stable | None = None) -> str:
        """Begin to save ``state`` as the checkpoint of ``step``, and return as soon as possible.

        Args:
            step: safe points passed.
            state: nested Python values and tensors.
            stable: which tensors need not be copied before this returns.

        Returns:
            "" when the save has begun; else why none is begun now.

        Raises:
            FencedError: a newer attempt of the run has begun.
            CheckpointError: the state holds something that cannot be kept.
            OSError, StoreError: the store failed, where that is known at once.
        """

    def outcomes(self) -> list[Outcome]:
        """Return what became of the saves that were begun, each once."""

    def wait(self, seconds: float) -> bool:
        """Wait until a save could begin: none is in flight. At most so long; tell whether."""

    def barrier(self) -> None:
        """Return when stable tensors may be changed; called before each optimizer step."""

    def save(self, step: int, state: Any) -> Saved:
        """Make ``state`` durable as the checkpoint of ``step``, and return when it is.

        Raises:
            FencedError: a newer attempt of the run has begun.
            CheckpointError: the state holds something that cannot be kept.
            OSError, StoreError: the store failed; older checkpoints are untouched.
        """

    def load_newest(self, into: Mapping[str, torch.Tensor] | None = None) -> Loaded | None:
        """Return the newest checkpoint that is intact, None where there is no checkpoint.

        Args:
            into: tensors by their path in the state, which are read into; what they hold
                after an error is undefined.

        Raises:
            CheckpointError: none is intact, or it was made by another number of ranks.
        """

    def begins_at(self, name: CheckpointName) -> None:
        """Note that the attempt begins at that checkpoint; called before it is put to use."""

    def close(self) -> None:
        """Give back what is held; a save in flight is finished."""


class SyncEngine:
    """An engine that writes on the caller's thread, straight from the tensors.

    Args:
        store: the run's store.
        writer: who writes.
        keep: how many complete checkpoints are kept.
        keep_every: seconds; of each such span one checkpoint is kept for good.
        numbers: gives each save of the attempt its number.
    """

    def __init__(
        self, store: Store, writer: Writer, *, keep: int = 2, keep_every: float = 0.0,
        numbers: Iterator[int] | None = None,
    ) -> None:  # fmt: skip
        self._store = store
        self._writer = writer
        self._numbers = numbers or itertools.count(1)
        self._publisher = Publisher(store, writer)
        self._reader = Reader(store, writer)
        self._policy = Policy(keep, keep_every)
        self._outcomes: list[Outcome] = []
        self._elsewhere: Callable[[], Collection[Mark]] = frozenset

    def busy(self) -> str:
        """Return "": nothing is ever in flight."""
        return ""

    def prepare(self, size: int) -> None:
        """Do nothing: there is no memory to prepare."""

    def leave_out(self, which: Callable[[], Collection[Mark]]) -> None:
        """Have tensors kept by rank 0 alone; see :class:`Engine`."""
        self._elsewhere = which

    def begin(self, step: int, state: Any, stable: Stable | None = None) -> str:
        """Save at once; see :class:`Engine`."""
        self._outcomes.append(self.save(step, state))
        return ""

    def outcomes(self) -> list[Outcome]:
        """Return the saves since the last call."""
        found, self._outcomes = self._outcomes, []
        return found

    def wait(self, seconds: float) -> bool:
        """Return True: nothing is ever in flight."""
        return True

    def barrier(self) -> None:
        """Return at once."""

    def save(self, step: int, state: Any) -> Saved:
        """Make ``state`` durable as the checkpoint of ``step``; see :class:`Engine`."""
        begun = time.monotonic()
        self._publisher.check_fence()
        name = CheckpointName(self._writer.attempt, next(self._numbers), step)
        tensors = Tensors(self._elsewhere())
        tree = encode(state, tensors, "")
        rank = self._writer.rank
        with self._store.open_write(name.key(data_file(rank))) as sink:
            sums = write(tensors, sink.write)
        text = json.dumps(tree, separators=(",", ":"))
        self._publisher.put_tree(name, rank, text, sums.to_json())
        total = self._publisher.commit(name, self._policy) if rank == 0 else sums.size
        seconds = time.monotonic() - begun
        return Saved(step, total, seconds, seconds)

    def load_newest(self, into: Mapping[str, torch.Tensor] | None = None) -> Loaded | None:
        """Return the newest intact checkpoint; see :class:`Engine`."""
        loaded = self._reader.load_newest(into)
        if loaded is not None:
            self._policy = Policy(self._policy.last, self._policy.every, loaded.name)
        return loaded

    def begins_at(self, name: CheckpointName) -> None:
        """Note where the attempt begins; see :class:`Engine`."""
        self._reader.begins_at(name)

    def close(self) -> None:
        """Do nothing: nothing is held."""
