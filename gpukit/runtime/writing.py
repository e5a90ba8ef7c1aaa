"""The supervisor's side of the writer process: started when a trainer first asks for it.

The supervisor listens; the writer, its child, accepts. So a writer that was killed is followed by
another one at the next connection, and what a trainer handed over outlives the trainer.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpukit.contract import Task

from . import log
from .channel import EventReader, open_channel
from .checkpoint.link import Settings, bound_socket, start_writer

__all__ = ["WriterHost", "open_host"]

_STARTS = 20  # a writer that cannot live is not started for ever


class WriterHost:
    """Holds the socket of the writer, and the writer while one runs.

    Args:
        path: where trainers connect.
        settings: what a writer is told; the descriptors are added here.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self._settings = settings
        self._listener = bound_socket(path)
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        self._reader: EventReader | None = None
        self._starts = 0
        self._finishing = False

    @property
    def running(self) -> bool:
        """A writer runs."""
        return self._process is not None

    @property
    def handles(self) -> list[int]:
        """What to select on: reports, or a first connection."""
        if self._process is not None:
            return [self._reader.handle] if self._reader is not None else []
        return [] if self._finishing or self._starts >= _STARTS else [self._listener.fileno()]

    def attend(self, ready: Sequence[int]) -> None:
        """Start a writer if a trainer waits for one."""
        if self._process is None and self._listener.fileno() in ready:
            self._start()

    def take_events(self) -> list[dict[str, Any]]:
        """Return what the writer has reported."""
        return self._reader.events() if self._reader is not None else []

    def left(self, ended: Mapping[int, int]) -> list[dict[str, Any]]:
        """Note that children have been reaped; return the writer's last words if it is one."""
        process = self._process
        if process is None or process.pid not in ended:
            return []
        process.returncode = ended[process.pid]
        if process.returncode:
            log.say(f"the writer of checkpoints left with code {process.returncode}")
        events = self.take_events()
        self._process = None
        self._close_pipes()
        return events

    def finish(self) -> None:
        """Have the writer leave once nothing is left to do; start no other."""
        self._finishing = True
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def close(self) -> None:
        """Give everything back; a writer that still runs is not waited for."""
        self.finish()
        self._close_pipes()
        self._listener.close()
        with suppress(OSError):
            self.path.unlink()
        if self._process is not None:
            self._process.returncode = 0  # reaped by pid, with all that is left

    def _start(self) -> None:
        self._starts += 1
        lifeline, self._lifeline = os.pipe()
        reports, report = open_channel()
        self._reader = EventReader(reports)
        settings = {
            **vars(self._settings), "listener": self._listener.fileno(), "lifeline": lifeline,
            "report": report, "parent": os.getpid(),
        }  # fmt: skip
        try:
            self._process = start_writer(Settings(**settings))
        except OSError as error:
            log.say(f"the writer of checkpoints cannot be started: {error}")
            self._close_pipes()
        finally:
            os.close(lifeline)
            os.close(report)

    def _close_pipes(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


def open_host(task: Task, store: str, work: Path, attempt: int, pod_uid: str) -> WriterHost | None:
    """Return the host of an attempt's writer; None where there is no socket to be had."""
    settings = Settings(store, task.run, attempt, pod_uid, task.processes)
    try:
        return WriterHost(work / f"writer-{attempt}.sock", settings)
    except OSError as error:
        log.say(f"checkpoints will be streamed: no socket in {work}: {error}")
        return None
