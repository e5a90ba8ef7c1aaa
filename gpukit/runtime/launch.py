"""Start the trainers: one process per GPU, with what a launcher would tell each of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gpukit.contract import Env, Task

from .channel import EventReader, open_channel
from .context import stop_budget
from .ending import TrainerState
from .history import History

__all__ = ["Trainer", "launch"]

_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass
class Trainer:
    """A trainer process as its supervisor sees it.

    Attributes:
        process: the process; it is reaped by its pid, never waited for.
        reader: its events.
        output: read end of the pipe that it prints to.
        state: what it said, and how it left.
        last_call_at: monotonic time of its second SIGTERM; None where none is to come.
        kill_at: monotonic time at which it is killed; None while nobody asked it to leave.
    """

    process: subprocess.Popen[bytes]
    reader: EventReader
    output: int
    state: TrainerState
    last_call_at: float | None = None
    kill_at: float | None = None

    @property
    def running(self) -> bool:
        """It has not been reaped."""
        return self.state.exit_code is None

    def take_events(self) -> list[dict[str, object]]:
        """Return the events that arrived, after noting those that are about its end."""
        events = self.reader.events()
        for event in events:
            self.state.note(event)
        return events

    def left(self, code: int) -> None:
        """Note that it has been reaped."""
        self.state.exit_code = self.process.returncode = code

    def kill_by(self, when: float) -> None:
        """Have it killed at ``when`` at the latest."""
        self.kill_at = when if self.kill_at is None else min(self.kill_at, when)

    def signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.running:
            os.kill(self.process.pid, number)


def launch(
    task: Task,
    environ: Mapping[str, str],
    attempt: int,
    history: History,
    writer: Path | None = None,
) -> list[Trainer]:
    """Start the task's trainers, each in a session of its own.

    Args:
        task: what they run.
        environ: what they inherit.
        attempt: its number.
        history: what earlier attempts saw.
        writer: socket of the writer of checkpoints.
    """
    port = _free_port() if task.processes > 1 else 0
    base = {k: v for k, v in environ.items() if k not in (*_LAUNCHER, Env.INDEX, Env.WRITER)}
    base[Env.ATTEMPT] = str(attempt)
    base[Env.HISTORY] = history.to_json()
    if writer is not None:
        base[Env.WRITER] = str(writer)
    base[Env.DEADLINE_MARGIN] = str(task.grace - stop_budget(task.grace))
    return [_start(task, base, rank, port) for rank in range(task.processes)]


def _start(task: Task, base: Mapping[str, str], rank: int, port: int) -> Trainer:
    read, write = open_channel()
    output, printed = os.pipe()
    environ = {**base, Env.CHANNEL: str(write), **_launcher_variables(task, rank, port)}
    command = [sys.executable, "-u", "-m", "gpukit.runtime.trainer", str(os.getpid())]
    try:
        process = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            pass_fds=(write,),
            start_new_session=True,
        )
    finally:
        os.close(write)
        os.close(printed)
    return Trainer(process, EventReader(read), output, TrainerState(rank))


def _launcher_variables(task: Task, rank: int, port: int) -> dict[str, str]:
    """One process alone gets none: libraries take LOCAL_RANK for "this is distributed"."""
    if task.processes == 1:
        return {}
    size = str(task.processes)
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": size,
        "LOCAL_WORLD_SIZE": size,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
