"""The writer process: makes snapshots in shared memory durable, and outlives the trainers.

A child of the supervisor, never of a trainer; standard library only, niced. It is told of a
snapshot by a frame (:mod:`.link`), writes it from the shared memory, commits the checkpoint once
all ranks' parts are there, and answers. A trainer that has died meanwhile changes nothing: its
snapshot is complete, and is finished.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from gpukit.errors import GpukitError
from gpukit.runtime.processes import die_with_parent
from gpukit.runtime.store import Store, open_store

from .commit import FencedError, Publisher, RanksDifferError, Writer
from .link import Frame, Settings, receive, send
from .manifest import CheckpointName
from .retention import Policy

__all__ = ["Request", "main"]

_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Request:
    """A snapshot to be made durable.

    Attributes:
        rank: whose snapshot it is.
        attempt: and ``number``, ``step``: the checkpoint's name.
        size: bytes of the tensor file; it lies at the beginning of the shared memory.
        tree: all other state, JSON.
        began: ``time.monotonic()`` at which the save began; one clock for all processes.
        keep: see :class:`.retention.Policy`.
        keep_every: seconds.
        verified: attempt, number and step of the checkpoint that was restored; empty: none.
    """

    rank: int
    attempt: int
    number: int
    step: int
    size: int
    tree: str
    began: float
    keep: int = 2
    keep_every: float = 0.0
    verified: tuple[int, ...] = ()

    @property
    def name(self) -> CheckpointName:
        """Name of the checkpoint."""
        return CheckpointName(self.attempt, self.number, self.step)

    @property
    def policy(self) -> Policy:
        """What is kept beside it."""
        verified = CheckpointName(*self.verified) if self.verified else None
        return Policy(self.keep, self.keep_every, verified)


class Service:
    """Serves the connections of all ranks of one attempt.

    Args:
        store: the run's store.
        settings: see :class:`.link.Settings`.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._writer = Writer(
            settings.run, settings.attempt, settings.pod_uid, 0, settings.world_size
        )
        self._ranks = _Ranks(settings.world_size)
        self._reporting = threading.Lock()

    def run(self) -> None:
        """Serve until the lifeline ends and nothing is left to do."""
        settings = self._settings
        if settings.connection is not None:
            self._ranks.came()
            self._serve(socket.socket(fileno=settings.connection))
            return
        listener = socket.socket(fileno=settings.listener)
        threads: list[threading.Thread] = []
        while True:
            handles = [h for h in (settings.listener, settings.lifeline) if h is not None]
            ready, _, _ = select.select(handles, [], [])
            if settings.listener not in ready:
                break
            connection, _ = listener.accept()
            connection.settimeout(None)
            self._ranks.came()
            thread = threading.Thread(target=self._serve, args=(connection,))
            thread.start()
            threads = [*(t for t in threads if t.is_alive()), thread]
        self._ranks.no_more()
        for thread in threads:
            thread.join()

    def _serve(self, connection: socket.socket) -> None:
        """Serve one rank until it hangs up; or, after the lifeline's end, until it is silent."""
        memory: mmap.mmap | None = None
        rank: int | None = None
        handles = [h for h in (connection.fileno(), self._settings.lifeline) if h is not None]
        try:
            while True:
                ready, _, _ = select.select(handles, [], [])
                if connection.fileno() not in ready:
                    return
                frame = receive(connection)
                if frame is None:
                    return
                if frame.handles:
                    memory = _mapped(frame)
                elif "step" not in frame.body:
                    rank = self._ranks.named(int(frame.body["rank"]))
                else:
                    self._answer(connection, Request(**frame.body), memory)
        except OSError:
            return  # it died in the middle of a word
        finally:
            self._ranks.left(rank)
            connection.close()

    def _answer(
        self, connection: socket.socket, request: Request, memory: mmap.mmap | None
    ) -> None:
        try:
            answer = self._persist(request, memory)
        except (GpukitError, OSError, ValueError) as error:
            answer = self._failure(request, error)
        if request.rank == 0:
            self._report(answer)
        with suppress(OSError):  # it died; the checkpoint is there all the same
            send(connection, answer)

    def _persist(self, request: Request, memory: mmap.mmap | None) -> dict[str, Any]:
        if memory is None:
            raise ValueError("a request came before its memory")
        publisher = Publisher(self._store, replace(self._writer, rank=request.rank))
        publisher.check_fence()
        with memoryview(memory) as data:
            size = publisher.put_rank(request.name, request.rank, request.tree, data, request.size)
        if request.rank == 0:
            size = publisher.commit(request.name, request.policy, self._ranks.lost)
        seconds = time.monotonic() - request.began
        return {"event": "durable", "step": request.step, "bytes": size, "seconds": seconds}

    def _failure(self, request: Request, error: Exception) -> dict[str, Any]:
        """Drop what is there of it: the space may be what is missing."""
        message = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
        if request.rank == 0 and not isinstance(error, FencedError):
            with suppress(GpukitError, OSError):
                Publisher(self._store, self._writer).discard(request.name)
        return {
            "event": "save-failed", "step": request.step, "message": message,
            "fenced": isinstance(error, FencedError),
            "hint": error.hint if isinstance(error, RanksDifferError) else "",
        }  # fmt: skip

    def _report(self, answer: dict[str, Any]) -> None:
        if self._settings.report is None:
            return
        line = json.dumps(answer, separators=(",", ":")).encode() + b"\n"
        with self._reporting, suppress(OSError):
            while line:
                line = line[os.write(self._settings.report, line) :]


class _Ranks:
    """Which ranks can still hand over their part of a checkpoint.

    Args:
        world_size: ranks that make up a checkpoint.
    """

    def __init__(self, world_size: int) -> None:
        self._world = world_size
        self._nameless = 0  # connections that have not said yet whose they are
        self._live: Counter[int] = Counter()
        self._seen: set[int] = set()
        self._complete = False
        self._lock = threading.Lock()

    def came(self) -> None:
        """Take note of a connection."""
        with self._lock:
            self._nameless += 1

    def named(self, rank: int) -> int:
        """Take note of whose connection one is."""
        with self._lock:
            self._nameless -= 1
            self._live[rank] += 1
            self._seen.add(rank)
        return rank

    def left(self, rank: int | None) -> None:
        """Take note that a connection, of that rank or of none yet, has ended."""
        with self._lock:
            if rank is None:
                self._nameless -= 1
            else:
                self._live[rank] -= 1

    def no_more(self) -> None:
        """Take note that nobody will connect any more."""
        self._complete = True

    def lost(self) -> bool:
        """Tell whether a rank is gone for good: a rank that comes back brings a new attempt."""
        with self._lock:
            gone = [rank for rank in range(self._world) if not self._live[rank]]
            never = self._complete and not self._nameless
            return any(rank in self._seen or never for rank in gone)


def _mapped(frame: Frame) -> mmap.mmap:
    handle, *_ = frame.handles
    try:
        return mmap.mmap(handle, int(frame.body["size"]), prot=mmap.PROT_READ)
    finally:
        os.close(handle)  # the mapping holds the memory


def main() -> int:
    """Serve as ``sys.argv[1]`` says; return 0."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    settings = Settings(**json.loads(sys.argv[1]))
    if settings.parent is not None:
        die_with_parent(settings.parent)
    with suppress(OSError):
        os.nice(settings.nice)
    for handle in (settings.listener, settings.connection, settings.lifeline, settings.report):
        if handle is not None:
            os.set_inheritable(handle, False)
    Service(open_store(settings.store), settings).run()
    return 0
