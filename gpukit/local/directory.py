"""Where local runs live: ``.gpukit/runs/<run>/`` under the current directory.

    bundle.yaml             what a cluster would get
    about.json              what the handle and the summary show: target, profile, prices
    code/  pod/             what a pod mounts: archive and bootstrap; task.json
    store/                  the run's store: record, checkpoints, outputs
    logs/attempt-1.log      what the pod wrote, and attempt-1.end.json, its termination message
    events.jsonl            what the backend did, one JSON object a line
    work/                   scratch of the attempt that runs, removed after it

Standard library only.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gpukit.contract import ARCHIVE_NAME, BOOTSTRAP_NAME, TASK_FILE, Task

__all__ = ["Event", "RunDirectory", "home_of"]

Event = dict[str, object]

_LOG = re.compile(r"attempt-(\d+)\.log")


def home_of(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of local runs: ``GPUKIT_HOME``, or ``.gpukit`` in the current one."""
    return Path((environ or os.environ).get("GPUKIT_HOME") or ".gpukit").absolute()


@dataclass(frozen=True)
class RunDirectory:
    """One local run on disk.

    Attributes:
        home: the folder of all runs.
        name: the run's name.
    """

    home: Path
    name: str

    @property
    def root(self) -> Path:
        """The folder of this run."""
        return self.home / "runs" / self.name

    @property
    def lock_file(self) -> Path:
        """The lock that the backend holds while the run goes on; it outlives ``--fresh``."""
        return self.home / "locks" / f"{self.name}.lock"

    @property
    def store(self) -> Path:
        """Record, checkpoints and outputs."""
        return self.root / "store"

    @property
    def code(self) -> Path:
        """The folder that a pod mounts as its ConfigMap."""
        return self.root / "code"

    @property
    def archive(self) -> Path:
        """The code archive."""
        return self.code / ARCHIVE_NAME

    @property
    def bootstrap(self) -> Path:
        """The file that a pod starts."""
        return self.code / BOOTSTRAP_NAME

    @property
    def pod(self) -> Path:
        """The folder that a pod mounts through the downward API."""
        return self.root / "pod"

    @property
    def events_file(self) -> Path:
        """What the backend did."""
        return self.root / "events.jsonl"

    @property
    def backend_log(self) -> Path:
        """Where the backend itself writes, which it does only when it breaks."""
        return self.root / "logs" / "backend.log"

    def log(self, attempt: int) -> Path:
        """Return the log of an attempt."""
        return self.root / "logs" / f"attempt-{attempt}.log"

    def log_size(self, attempt: int) -> int:
        """Return the bytes of an attempt's log; 0 without one."""
        path = self.log(attempt)
        return path.stat().st_size if path.exists() else 0

    def termination_log(self, attempt: int) -> Path:
        """Return the termination message of an attempt."""
        return self.root / "logs" / f"attempt-{attempt}.end.json"

    def last_log(self) -> int:
        """Return the number of the newest attempt that has a log; 0 without one."""
        names = (_LOG.fullmatch(p.name) for p in (self.root / "logs").glob("attempt-*.log"))
        return max((int(m[1]) for m in names if m), default=0)

    def exists(self) -> bool:
        """Tell whether anything was ever submitted under this name."""
        return self.events_file.exists()

    def make(self) -> None:
        """Make the folders; the home ignores itself, so that no run is committed by accident."""
        for folder in (self.store, self.code, self.pod, self.root / "logs", self.lock_file.parent):
            folder.mkdir(parents=True, exist_ok=True)
        ignore = self.home / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")

    def task(self) -> Task:
        """Return the task that the pods of this run read."""
        return Task.from_json((self.pod / TASK_FILE).read_text(encoding="utf-8"))

    def about(self) -> dict[str, object]:
        """Return what was noted for people when the run was submitted; empty without it."""
        path = self.root / "about.json"
        found: object = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return found if isinstance(found, dict) else {}

    def record_event(self, event: str, **values: object) -> None:
        """Append one event, with the time, in one write."""
        line = json.dumps({"event": event, "time": time.time(), **values}, ensure_ascii=False)
        with self.events_file.open("ab") as file:
            file.write(line.encode() + b"\n")

    def events(self) -> list[Event]:
        """Return all events, oldest first; a line that is half written is left out."""
        if not self.events_file.exists():
            return []
        return list(_lines(self.events_file.read_bytes()))

    def submission(self) -> list[Event]:
        """Return the events since the newest submission, that one included."""
        events = self.events()
        starts = [i for i, e in enumerate(events) if e["event"] == "submitted"]
        return events[starts[-1] :] if starts else []


def _lines(data: bytes) -> Iterator[Event]:
    for line in data.splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield json.loads(line)
