"""The engine that does not stall: a snapshot in shared memory, made durable by the writer process.

One snapshot is in flight at a time: while it is not durable, training goes on and no other is
taken. What happens to it in the background is told by :meth:`ArenaEngine.outcomes`.
"""

from __future__ import annotations

import atexit
import json
import queue
import socket
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from gpukit.errors import CheckpointError, StoreError

from .arena import Arena, NoRoomError
from .codec import Mark, Tensors, encode
from .commit import RanksDifferError
from .copying import LATER_BYTES, Copy, Part
from .engine import Failed, FencedError, Loaded, Outcome, Saved, Stable, SyncEngine, Writer
from .link import receive, send
from .manifest import CheckpointName
from .retention import Policy
from .tensorfile import Layout, layout_of, plain
from .writer import Request

if TYPE_CHECKING:
    import torch

__all__ = ["ArenaEngine", "SnapshotTornError"]

_Work: TypeAlias = "queue.SimpleQueue[Callable[[], None] | None]"

_CLOSING_PATIENCE = 30.0
_PREPARING = "memory for snapshots is still being prepared"
_TRIES = 3  # connections to a writer, for one snapshot


class SnapshotTornError(CheckpointError):
    """Tensors were changed while they were copied; the snapshot is thrown away."""


@dataclass
class _Flight:
    """The snapshot that is on its way."""

    name: CheckpointName
    tree: Any
    layout: Layout
    copy: Copy
    began: float
    stall: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)


class ArenaEngine:
    """Saves by way of shared memory.

    Args:
        stream: reads checkpoints, and writes them where there is no memory for snapshots.
        writer: who writes.
        connect: gives a connection to a writer process; called again when that died.
        policy: what is kept.
        numbers: gives each save of the attempt its number.
        lazy: tensors that only an optimizer changes may be copied while the next step computes.

    Raises:
        NoRoomError: this system has no shared memory.
    """

    def __init__(
        self, stream: SyncEngine, writer: Writer, connect: Callable[[], socket.socket], *,
        policy: Policy, numbers: Iterator[int], lazy: bool = True,
    ) -> None:  # fmt: skip
        self._stream = stream
        self._streaming = False
        self._writer = writer
        self._connect = connect
        self._policy = policy
        self._numbers = numbers
        self._lazy = lazy
        self._trusting = True
        self._arena = Arena()
        self._connection: socket.socket | None = None
        self._sent_size = -1
        self._flight: _Flight | None = None
        self._outcomes: deque[Outcome] = deque()
        self._elsewhere: Callable[[], Collection[Mark]] = frozenset
        self._signature: Any = None
        self._layout: Layout | None = None
        self._targets: dict[str, torch.Tensor] = {}
        self._versions: dict[str, tuple[int, int]] = {}  # of what the arena holds
        self._work: _Work = queue.SimpleQueue()
        threading.Thread(
            target=_run, args=(self._work,), name="gpukit-snapshot", daemon=True
        ).start()
        self._at_exit = _close_at_exit(self)

    def busy(self) -> str:
        """Return why no snapshot can be taken now; "" when one can."""
        flight = self._flight
        if flight is not None and not flight.over.is_set():
            seconds = time.monotonic() - flight.began
            return f"that of step {flight.name.step} is not durable yet, after {seconds:.1f} s"
        return "" if self._arena.ready else _PREPARING

    def prepare(self, size: int) -> None:
        """Make an arena for about ``size`` bytes, in the background."""
        if self._streaming:
            return
        if self._writer.world_size > 1:
            self._work.put(self._connect_early)
        if not self._arena.fits(size):
            try:
                self._resize(size)
            except NoRoomError as error:
                self._give_up(error)

    def leave_out(self, which: Callable[[], Collection[Mark]]) -> None:
        """Have tensors kept by rank 0 alone; see :class:`.engine.Engine`."""
        self._elsewhere = which
        self._stream.leave_out(which)

    def begin(self, step: int, state: Any, stable: Stable | None = None) -> str:
        """Take a snapshot; see :meth:`.engine.Engine.begin`."""
        began = time.monotonic()
        why = self.busy()
        if why:
            return why
        if self._streaming:
            return self._stream_now(step, state)
        tensors = Tensors(self._elsewhere())
        tree = encode(state, tensors, "")
        try:
            self._arena.check()
            layout = self._lay_out(tensors)
        except NoRoomError as error:
            self._give_up(error)
            return self._stream_now(step, state)
        if layout is None:
            return _PREPARING
        name = CheckpointName(self._writer.attempt, next(self._numbers), step)
        copy = self._copy(tensors, stable or Stable())
        flight = self._flight = _Flight(name, tree, layout, copy, began)
        flight.stall = time.monotonic() - began
        self._work.put(lambda: self._fly(flight))
        return ""

    def save(self, step: int, state: Any) -> Saved:
        """Make ``state`` durable as the checkpoint of ``step``; see :meth:`.engine.Engine.save`."""
        self.wait(float("inf"))
        while self.begin(step, state):
            self.wait(float("inf"))
        self.wait(float("inf"))
        outcome = self._outcomes.pop()
        if isinstance(outcome, Saved):
            return outcome
        raise outcome.error

    def wait(self, seconds: float) -> bool:
        """Wait until a save could begin, at most ``seconds``; tell whether one could."""
        end = time.monotonic() + seconds
        flight = self._flight
        if flight is not None and not flight.over.wait(_until(end)):
            return False
        return self._arena.wait(_until(end))

    def barrier(self) -> None:
        """Return when stable tensors may be changed; called before every optimizer step."""
        flight = self._flight
        if flight is not None:
            flight.copy.barrier()

    def outcomes(self) -> list[Outcome]:
        """Return what became of snapshots since the last call."""
        found = []
        with suppress(IndexError):
            while True:
                found.append(self._outcomes.popleft())
        return found

    def load_newest(self, into: Mapping[str, torch.Tensor] | None = None) -> Loaded | None:
        """Return the newest intact checkpoint; see :meth:`.engine.Engine.load_newest`."""
        loaded = self._stream.load_newest(into)
        if loaded is not None:
            self._policy = replace(self._policy, verified=loaded.name)
        return loaded

    def begins_at(self, name: CheckpointName) -> None:
        """Note where the attempt begins; see :meth:`.engine.Engine.begins_at`."""
        self._stream.begins_at(name)

    def close(self) -> None:
        """Let the snapshot in flight become durable, hang up, and give the memory back."""
        atexit.unregister(self._at_exit)
        self.wait(_CLOSING_PATIENCE)
        self._work.put(None)
        self._hang_up()
        self._forget_layout()
        self._arena.close()

    def __del__(self) -> None:
        """Close: a forgotten engine is not to hold gigabytes."""
        with suppress(Exception):
            self.close()

    def _give_up(self, error: NoRoomError) -> None:
        """Stream from now on, and say so."""
        self._streaming = True
        self._forget_layout()
        self._arena.close()
        say(
            f"{error.message}: checkpoints are streamed, and training waits for them ({error.hint})"
        )

    def _stream_now(self, step: int, state: Any) -> str:
        self._stream.begin(step, state)
        self._outcomes.extend(self._stream.outcomes())
        return ""

    def _resize(self, size: int) -> None:
        self._forget_layout()
        self._arena.resize(size)

    def _lay_out(self, tensors: Mapping[str, torch.Tensor]) -> Layout | None:
        """Return the layout, the same one while names, dtypes and shapes stay as they are.

        None while memory for it is being prepared.
        """
        signature = [(name, t.dtype, t.shape) for name, t in tensors.items()]
        if self._layout is not None and signature == self._signature:
            return self._layout
        layout = layout_of(tensors)
        if not self._arena.fits(layout.size):
            self._resize(layout.size)
            return None
        self._forget_layout()
        self._arena.write(0, layout.head)
        self._targets = {
            name: self._arena.tensor(tensors[name], begin, end)
            for name, (begin, end) in layout.places.items()
        }
        self._layout, self._signature = layout, signature
        return layout

    def _forget_layout(self) -> None:
        self._layout = self._signature = None
        self._targets = {}
        self._versions = {}

    def _copy(self, tensors: Mapping[str, torch.Tensor], stable: Stable) -> Copy:
        parts, known = [], []
        for name, tensor in tensors.items():
            source = plain(tensor)
            address = source.data_ptr()
            target, later = self._targets[name], False
            if source.numel() * source.element_size() >= LATER_BYTES and source.is_contiguous():
                later = self._lazy and address in stable.settled
                mark = (address, source._version)
                if self._trusting and address in stable.frozen:
                    if self._versions.get(name) == mark:
                        known.append(Part(source, target))
                        continue
                    self._versions[name] = mark
            parts.append(Part(source, target, later))
        return Copy(parts, known)

    def _fly(self, flight: _Flight) -> None:
        """Bring a snapshot to the writer, and note what became of it; on a thread of its own."""
        try:
            outcome = self._bring(flight)
        except Exception as error:
            outcome = Failed(flight.name.step, error)
        self._outcomes.append(outcome)
        flight.tree = None
        flight.over.set()

    def _bring(self, flight: _Flight) -> Outcome:
        if not flight.copy.finish():
            self._lazy = self._trusting = False
            raise SnapshotTornError(
                "snapshot-torn",
                "tensors were changed outside of the optimizer's step while they were copied "
                "(through .data, or a view); from now on training waits for the copy",
                "nothing is lost: the next checkpoint is taken at once",
            )
        request = Request(
            rank=self._writer.rank, attempt=flight.name.attempt, number=flight.name.number,
            step=flight.name.step, size=flight.layout.size,
            tree=json.dumps(flight.tree, separators=(",", ":")), began=flight.began,
            keep=self._policy.last, keep_every=self._policy.every, verified=self._verified(),
        )  # fmt: skip
        answer = self._ask(asdict(request))
        if answer["event"] == "durable":
            seconds = time.monotonic() - flight.began
            return Saved(flight.name.step, int(answer["bytes"]), seconds, flight.stall)
        message = str(answer["message"])
        if answer.get("fenced"):
            raise FencedError("fenced", message, "this pod was taken for lost; let it end")
        if answer.get("hint"):
            raise RanksDifferError("ranks-differ", message, str(answer["hint"]))
        raise StoreError("store-unusable", message, "older checkpoints are untouched")

    def _verified(self) -> tuple[int, ...]:
        name = self._policy.verified
        return () if name is None else (name.attempt, name.number, name.step)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer; the snapshot survives the death of a writer."""
        for _ in range(_TRIES):
            try:
                connection = self._connected()
                send(connection, request)
                frame = receive(connection)
            except OSError:
                frame = None
            if frame is not None:
                return frame.body
            self._hang_up()
            say("the writer of checkpoints is gone; another one is asked")
        raise StoreError(
            "writer-gone", f"the writer of checkpoints died {_TRIES} times",
            "look for its words in the log; was it killed for memory?",
        )  # fmt: skip

    def _connected(self) -> socket.socket:
        """Return a connection to a writer that knows the arena."""
        if self._connection is None:
            self._connection = self._greeted()
        if self._sent_size != self._arena.size:
            send(self._connection, {"size": self._arena.size}, [self._arena.handle])
            self._sent_size = self._arena.size
        return self._connection

    def _greeted(self) -> socket.socket:
        """Connect to a writer and say whose connection it is: it learns so which ranks are lost."""
        connection, self._sent_size = self._connect(), -1
        send(connection, {"rank": self._writer.rank})
        return connection

    def _connect_early(self) -> None:
        """Connect before the first save: a rank that dies before it is not waited for."""
        if self._connection is None:
            with suppress(OSError):
                self._connection = self._greeted()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _until(end: float) -> float:
    """Return the seconds until a monotonic time, as the library's locks take them."""
    return min(max(end - time.monotonic(), 0.0), threading.TIMEOUT_MAX)


def say(text: str) -> None:
    """Tell a person something, on stderr."""
    print(f"gpukit: {text}", file=sys.stderr, flush=True)


def _run(work: _Work) -> None:
    """Do what is asked for, one after the other; it holds no engine while it waits."""
    while (job := work.get()) is not None:
        job()
        del job


def _close_at_exit(engine: ArenaEngine) -> Callable[[], None]:
    """Have the engine closed when Python exits, if it is still there."""
    reference = weakref.ref(engine)

    def close() -> None:
        found = reference()
        if found is not None:
            found.close()

    return atexit.register(close)
