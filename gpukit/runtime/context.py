"""What the user's process knows of the run that it is part of.

The trainer enters a :class:`Context` once; ``output_dir``, ``run_info`` and the Checkpointer read
it. Outside of a run there is none, and everything still works. Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from gpukit.contract import Env, Task

from .history import History

__all__ = ["Context", "Preempted", "RunInfo", "current", "enter", "output_dir", "run_info"]

_OUTPUTS = "outputs"


class Preempted(BaseException):
    """Leaves the user's function at a safe point after SIGTERM; never to be caught by it."""


@dataclass(frozen=True)
class RunInfo:
    """The run that the calling process is part of.

    Attributes:
        run: name of the run, the same for all of its attempts.
        attempt: number of this attempt, from 1.
        rank: rank of this process.
        world_size: number of trainer processes.
    """

    run: str
    attempt: int
    rank: int
    world_size: int


@dataclass
class Context:
    """The trainer's side of its supervisor: events out, the request to stop in.

    Attributes:
        task: what the runtime was told.
        store: directory or URL of the run.
        work: scratch directory of the pod.
        attempt: number of the attempt, from 1; it fences off older writers.
        pod_uid: who writes.
        rank: rank of this process.
        world_size: number of trainer processes.
        channel: pipe to the supervisor.
        writer: path of the socket of the writer of checkpoints.
        stop_requested: SIGTERM has come; leave at the next safe point.
        stop_deadline: ``time.monotonic()`` until which the process must have left.
        checkpointing: a Checkpointer is active, so SIGTERM waits for its safe point.
        hopeless: tells whether the next safe point will come too late; asked at SIGTERM.
        last_resort: saves what was the state at the last safe point, where that still stands.
        history: what earlier attempts saw of interruptions and of the cost of saves.
        in_user_code: the function runs; SIGTERM may leave it by raising :class:`Preempted`.
        interrupted: it did so. If the function returns all the same, it swallowed that, and nobody
            can say that it is finished.
    """

    task: Task
    store: str
    work: Path
    attempt: int
    pod_uid: str = ""
    rank: int = 0
    world_size: int = 1
    channel: int | None = None
    writer: str | None = None
    stop_requested: bool = False
    stop_deadline: float | None = None
    checkpointing: bool = False
    hopeless: Callable[[], bool] | None = None
    last_resort: Callable[[], None] | None = None
    in_user_code: bool = False
    interrupted: bool = False
    history: History = field(default_factory=History)
    _sending: threading.Lock = field(default_factory=threading.Lock)
    _busy: int = 0
    _called: bool = False

    def send(self, event: Mapping[str, object]) -> None:
        """Send one event to the supervisor; a supervisor that is gone is not an error here."""
        if self.channel is None:
            return
        line = json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        with self.busy(), self._sending:
            try:
                while line:
                    line = line[os.write(self.channel, line) :]
            except OSError as error:
                self.channel = None
                print(f"gpukit: the supervisor is gone ({error})", file=sys.stderr)

    def on_sigterm(self, _signal: int, _frame: FrameType | None) -> None:
        """Ask for the stop; leave at once where nobody would look at the request.

        The second signal is the last call: no safe point came while there was time.
        """
        if self.stop_requested:
            self._called = True
            self._answer()
            return
        self.stop_deadline = time.monotonic() + stop_budget(self.task.grace)
        self.stop_requested = True
        if not self.checkpointing or (self.hopeless is not None and self.hopeless()):
            self._called = True
            self._answer()

    def _answer(self) -> None:
        """Leave the user's function; what must not be cut short leaves when it is through."""
        if self._busy or not self._called or not self.in_user_code:
            return
        if threading.current_thread() is not threading.main_thread():
            return
        self._called = False
        if self.checkpointing and self.last_resort is not None:
            self.last_resort()
        self.interrupted = True
        raise Preempted

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Let a signal wait until the block is through; in the main thread, where they arrive."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
        self._answer()

    def remaining(self) -> float:
        """Return the seconds until this process must have left; infinite without a request."""
        if self.stop_deadline is None:
            return float("inf")
        return self.stop_deadline - time.monotonic()


def stop_budget(grace: float) -> float:
    """Return the seconds that a process may use after SIGTERM: the grace less a margin."""
    return max(grace - min(2.0, grace / 5), 0.0)


_current: Context | None = None


def current() -> Context | None:
    """Return the context of this process; None outside of a run."""
    return _current


def enter(environ: Mapping[str, str]) -> Context:
    """Make this process part of the run that ``environ`` describes, and handle SIGTERM."""
    global _current
    channel = environ.get(Env.CHANNEL)
    _current = Context(
        task=Task.from_json(Path(environ[Env.TASK]).read_text(encoding="utf-8")),
        store=environ[Env.STORE],
        work=Path(environ[Env.WORK]),
        attempt=int(environ[Env.ATTEMPT]),
        pod_uid=environ.get(Env.POD_UID, ""),
        rank=int(environ.get("RANK", "0")),
        world_size=int(environ.get("WORLD_SIZE", "1")),
        channel=int(channel) if channel else None,
        writer=environ.get(Env.WRITER) or None,
        history=History.from_json(environ.get(Env.HISTORY, "")),
    )
    signal.signal(signal.SIGTERM, _current.on_sigterm)
    os.register_at_fork(after_in_child=_leave)
    return _current


def _leave() -> None:
    """Make a forked child (a data loader's worker) an ordinary process that SIGTERM ends."""
    if _current is not None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _current.channel = None


def run_info() -> RunInfo | None:
    """Return which run, attempt and rank this process is; None outside of a run."""
    ctx = _current
    if ctx is None:
        return None
    return RunInfo(ctx.task.run, ctx.attempt, ctx.rank, ctx.world_size)


def output_dir() -> Path:
    """Return the directory whose files are kept with the run, and make it.

    Outside of a run it is ``outputs`` under the current directory. Where the run's store is an
    object store it is a local folder that the runtime uploads when the attempt ends.
    """
    if _current is None:
        path = Path(_OUTPUTS)
    elif "://" in _current.store:
        path = _current.work / _OUTPUTS
    else:
        path = Path(_current.store) / _OUTPUTS
    path.mkdir(parents=True, exist_ok=True)
    return path
