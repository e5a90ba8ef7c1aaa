"""Agreement among the ranks of a pod on the step at which all save, or all stop.

A collective operation hangs when one rank leaves a step earlier than another, so a request (a
save is due, SIGTERM has come) is not acted on where it is noticed. Rank 0 asks; from then on a
rank that reaches a safe point waits for the answer; rank 0 reads which steps the ranks have
reached and answers with the first step that none of them has passed. The ranks share one small
file in the pod; no process group is needed, and none is used.

Each rank looks for the newest checkpoint that it can read, and a disk or a store may fail one of
them: before the first step they compare what they found.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from gpukit.errors import CheckpointError
from gpukit.runtime.context import Preempted

from .manifest import CheckpointName

__all__ = ["Agreement", "RanksApartError", "Request"]

Request = Literal["save", "stop"]

_FIELD = struct.Struct("<q")
_ASKED, _ANSWERED, _STEP, _KIND, _FIRST_RANK = 0, 1, 2, 3, 4
_KINDS: tuple[Request, ...] = ("save", "stop")
_RESUMED_FIELDS, _THERE, _NONE = 4, 1, CheckpointName(0, 0, 0)
_POLL, _REST = 0.0005, 0.01
_PATIENCE = 1800.0  # a large checkpoint is read by all at the same time, over one network


class RanksApartError(CheckpointError):
    """The ranks would go on from different checkpoints."""


class Agreement:
    """What to do at each safe point; the same answer on every rank for the same step.

    Args:
        rank: rank of this process.
        world_size: number of ranks; with one there is nothing to agree on.
        path: the file that the ranks of this attempt share; made where it is missing.
    """

    def __init__(self, rank: int, world_size: int, path: Path | None = None) -> None:
        self._rank = rank
        self._world = world_size
        self._handled = 0
        self._target: tuple[int, Request] | None = None
        self._file = -1
        if world_size > 1:
            if path is None:
                raise ValueError("several ranks need a file to share")
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fields = self._resumed(world_size)
            os.ftruncate(self._file, _FIELD.size * fields)

    @property
    def alone(self) -> bool:
        """There is one rank."""
        return self._world == 1

    def at(self, step: int, request: Request | None) -> Request | None:
        """Return what all ranks do at the safe point ``step``.

        Args:
            step: safe points passed, the same on all ranks in the same place.
            request: what this rank wants; only rank 0's wish counts, the others learn of it.
        """
        if self._world == 1:
            return request
        self._write(_FIRST_RANK + self._rank, step)  # before the question is looked at
        if self._rank == 0:
            self._ask(request)
        else:
            self._hear()
        if self._target is None or step < self._target[0]:
            return None
        kind, self._target = self._target[1], None
        return kind

    def resume(
        self, name: CheckpointName | None, *, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        """Return once all ranks are about to resume from this checkpoint; None: from none.

        Args:
            name: of the checkpoint that this rank has read.
            stopping: tells that SIGTERM has come.

        Raises:
            RanksApartError: some are about to resume from another one.
            CheckpointError: a rank does not come.
            Preempted: SIGTERM came meanwhile: there is nothing to be saved yet.
        """
        if self._world == 1:
            return
        own = name or _NONE
        place = self._resumed(self._rank)
        for offset, value in (1, own.attempt), (2, own.number), (3, own.step), (0, _THERE):
            self._write(place + offset, value)
        found, end = [], time.monotonic() + _PATIENCE
        for rank in range(self._world):
            place = self._resumed(rank)
            while self._read(place) != _THERE:
                if stopping():
                    raise Preempted
                if time.monotonic() > end:
                    raise _missing(rank)
                time.sleep(_REST)
            found.append(CheckpointName(*(self._read(place + offset) for offset in (1, 2, 3))))
        if len(set(found)) > 1:
            raise _apart(found)

    def _resumed(self, rank: int) -> int:
        """Return where a rank notes its checkpoint: that it is there, attempt, number, step."""
        return _FIRST_RANK + self._world + rank * _RESUMED_FIELDS

    def _ask(self, request: Request | None) -> None:
        if request is None or self._target is not None:  # one question at a time
            return
        self._handled += 1
        self._write(_ASKED, self._handled)
        reached = max(self._read(_FIRST_RANK + rank) for rank in range(self._world))
        step = reached + 1  # who passed its safe point before the question is inside that step
        self._target = (step, request)
        self._write(_STEP, step)
        self._write(_KIND, _KINDS.index(request))
        self._write(_ANSWERED, self._handled)

    def _hear(self) -> None:
        asked = self._read(_ASKED)
        if asked == self._handled:
            return
        while self._read(_ANSWERED) < asked:
            time.sleep(_POLL)
        self._handled = asked
        self._target = (self._read(_STEP), _KINDS[self._read(_KIND)])

    def _write(self, index: int, value: int) -> None:
        os.pwrite(self._file, _FIELD.pack(value), index * _FIELD.size)

    def _read(self, index: int) -> int:
        data = os.pread(self._file, _FIELD.size, index * _FIELD.size)
        return int(_FIELD.unpack(data)[0])


def _missing(rank: int) -> CheckpointError:
    return CheckpointError(
        "rank-missing", f"rank {rank} has made no Checkpointer within {_PATIENCE:.0f} s",
        "make it on every rank and in the same order; none may wait for another one before that",
    )  # fmt: skip


def _apart(found: list[CheckpointName]) -> RanksApartError:
    each = (f"rank {i} from {'none' if x == _NONE else x}" for i, x in enumerate(found))
    return RanksApartError(
        "ranks-apart",
        f"the ranks would resume from different checkpoints: {', '.join(each)}",
        "the checkpoints are untouched; the log says why a rank has passed one over",
    )
