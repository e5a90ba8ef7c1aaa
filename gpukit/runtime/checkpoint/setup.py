"""What a checkpointing loop needs of the run that it is part of."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpukit.contract import Env
from gpukit.errors import CheckpointError
from gpukit.runtime.context import Context
from gpukit.runtime.store import Store, open_store

from .agreement import Agreement
from .arena import NoRoomError
from .arena_engine import ArenaEngine
from .engine import Engine, SyncEngine, Writer
from .link import Settings, connect, start_writer
from .manifest import FOLDER, checkpoint_names
from .retention import Policy

__all__ = [
    "DEFAULT_EVERY", "check_count", "check_flag", "open_agreement", "open_engine", "save_interval",
    "seconds",
]  # fmt: skip

DEFAULT_EVERY = 600.0
"""Seconds between saves where neither the job nor the Checkpointer says."""

_MODES = ("lazy", "copy", "stream")
_numbers: Iterator[int] = itertools.count(1)  # of this process: two Checkpointers share no name
_agreements: Iterator[int] = itertools.count(1)
_started: list[int] = []  # writers outside of a run, until they are reaped


def open_engine(
    ctx: Context | None, directory: Any, keep: int, keep_every: float = 0.0
) -> Engine | None:
    """Return the engine of the run, or of ``directory`` outside of one; None without either.

    Raises:
        CheckpointError: GPUKIT_SNAPSHOT has no meaning.
        StoreError: the store cannot be used.
    """
    mode = _mode()
    if ctx is not None:
        writer = Writer(ctx.task.run, ctx.attempt, ctx.pod_uid, ctx.rank, ctx.world_size)
        numbers, link = _numbers, _run_writer(ctx)
        store = open_store(ctx.store)
    elif directory is not None:
        store = open_store(str(directory))
        writer, numbers = _own_attempt(store), itertools.count(1)
        link = _own_writer(str(directory), writer)
    else:
        return None
    streaming = SyncEngine(store, writer, keep=keep, keep_every=keep_every, numbers=numbers)
    if mode == "stream" or link is None:
        return streaming
    policy = Policy(keep, keep_every)
    try:
        return ArenaEngine(
            streaming, writer, link, policy=policy, numbers=numbers, lazy=mode == "lazy"
        )
    except NoRoomError:
        return streaming


def _mode() -> str:
    mode = os.environ.get(Env.SNAPSHOT, "") or _MODES[0]
    if mode not in _MODES:
        raise CheckpointError(
            "snapshot-mode", f"{Env.SNAPSHOT}={mode} has no meaning",
            f"write {', '.join(_MODES[:-1])} or {_MODES[-1]}, or leave it out",
        )  # fmt: skip
    return mode


def _run_writer(ctx: Context) -> Callable[[], socket.socket] | None:
    """Return how to reach the supervisor's writer; None where there is none."""
    if ctx.writer is None:
        return None
    path = Path(ctx.writer)
    return lambda: connect(path)


def _own_writer(directory: str, writer: Writer) -> Callable[[], socket.socket]:
    """Return how to start a writer process that ends with its connection."""

    def begin() -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            location = directory if "://" in directory else str(Path(directory).resolve())
            settings = Settings(
                location, writer.run, writer.attempt, writer.pod_uid, connection=theirs.fileno()
            )
            _started[:] = [pid for pid in _started if not _reaped(pid)]
            process = start_writer(settings)
            process.returncode = 0  # it may outlive this process, and is reaped by its pid
            _started.append(process.pid)
        return ours

    return begin


def _reaped(pid: int) -> bool:
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return True


def _own_attempt(store: Store) -> Writer:
    """Take the next attempt number of a directory: a later process fences this one off."""
    names = checkpoint_names(store.list(FOLDER), complete=False)
    number = max([name.attempt for name in names], default=0) + 1
    token = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    while True:
        start = {"number": number, "pod_uid": token, "started": time.time()}
        if store.create(f"record/attempt-{number:05d}.json", json.dumps(start).encode()):
            return Writer("local", number, token)
        number += 1


def open_agreement(ctx: Context | None) -> Agreement:
    """Return how the ranks of this pod agree; each time anew, in the same order on all ranks."""
    if ctx is None or ctx.world_size == 1:
        return Agreement(0, 1)
    path = ctx.work / f"agreement-{ctx.attempt}-{next(_agreements)}"
    return Agreement(ctx.rank, ctx.world_size, path)


def save_interval(ctx: Context | None, every: str | float | None) -> float:
    """Return the seconds between saves: the argument, the job's option, or the default.

    Raises:
        CheckpointError: not a time; SpecError: not a duration.
    """
    if every is not None:
        return seconds(every)
    if ctx is not None and ctx.task.checkpoint_every is not None:
        return float(ctx.task.checkpoint_every)
    return DEFAULT_EVERY


def seconds(every: str | float, what: str = "every") -> float:
    """Return a time in seconds.

    Raises:
        CheckpointError: not a time; SpecError: not a duration.
    """
    if isinstance(every, str):
        from gpukit.quantity import parse_duration

        return float(parse_duration(every, what))
    if not isinstance(every, (int, float)) or not 0 <= every < float("inf"):
        raise CheckpointError(
            f"{what.replace('_', '-')}-range", f"{what}={every!r} is not a time",
            'write seconds, or "10m"',
        )  # fmt: skip
    return float(every)


def check_count(what: str, value: object) -> None:
    """Refuse what is not a whole number above 0.

    Raises:
        CheckpointError: which argument it is.
    """
    if not isinstance(value, int) or value < 1:
        raise CheckpointError(
            f"{what.replace('_', '-')}-range", f"{what}={value!r} is not a whole number above 0",
            "write 1 or more",
        )  # fmt: skip


def check_flag(what: str, value: object) -> None:
    """Refuse what is neither True nor False: "no" would count as yes.

    Raises:
        CheckpointError: which argument it is.
    """
    if not isinstance(value, bool):
        raise CheckpointError(
            f"{what}-range", f"{what}={value!r} is neither True nor False", "write True or False"
        )
