"""A pod without Kubernetes: the real supervisor in a process, with a record in a directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from gpukit.contract import Env, Task
from gpukit.runtime.record import RunRecord
from gpukit.runtime.store import DirectoryStore

PATIENCE = 120.0

JOB_HEAD = """
import os, signal, sys, threading, time
from pathlib import Path
from gpukit.runtime import context

def send(event, **fields):
    context.current().send({"event": event, **fields})

def wait_for_ever():
    threading.Event().wait()
"""


@dataclass
class Pod:
    """One pod of a run: its process and what it has printed."""

    process: subprocess.Popen[str]
    message_file: Path
    _text: str = ""
    _change: threading.Condition = field(default_factory=threading.Condition)
    _reader: threading.Thread | None = None

    def follow(self) -> Pod:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def _read(self) -> None:
        for line in self.process.stdout or ():
            with self._change:
                self._text += line
                self._change.notify_all()
        with self._change:
            self._change.notify_all()

    @property
    def output(self) -> str:
        return self._text

    def wait_for(self, text: str, times: int = 1) -> None:
        with self._change:
            seen = self._change.wait_for(lambda: self._text.count(text) >= times, PATIENCE)
        assert seen, f"{text!r} never came:\n{self._text}"

    def wait(self, patience: float = PATIENCE) -> int:
        """Return the exit code of the pod, after all of its output has been read."""
        code = self.process.wait(patience)
        if self._reader is not None and self.process.stdout is not None:
            self._reader.join(PATIENCE)
            if not self._reader.is_alive():  # else something still holds the pipe
                self.process.stdout.close()
        return code

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    @property
    def message(self) -> dict[str, Any]:
        data = self.message_file.read_bytes()
        assert len(data) <= 4096
        return cast(dict[str, Any], json.loads(data))

    def lines(self, kind: str) -> list[dict[str, Any]]:
        """The structured lines of a kind, oldest first."""
        parsed = [json.loads(x) for x in self._text.splitlines() if x.startswith('{"gpukit"')]
        return [line for line in parsed if line["gpukit"] == kind]

    @property
    def attempt(self) -> int:
        return int(self.lines("attempt")[0]["attempt"])


@dataclass
class Run:
    """A run: its store outlives its pods, each pod has a work directory of its own."""

    root: Path
    source: str
    task: dict[str, Any] = field(default_factory=dict)
    pods: list[Pod] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def record(self) -> RunRecord:
        return RunRecord(DirectoryStore(self.store))

    def start(
        self,
        *,
        index: int | None = 0,
        environ: dict[str, str] | None = None,
        inside: Sequence[str] = (),
        **task: Any,
    ) -> Pod:
        """Start a pod with that completion index; ``inside`` of another command."""
        number = len(self.pods) + 1
        work = self.root / f"work-{number}"
        source = work / "code" / "src"
        source.mkdir(parents=True)
        (source / "job.py").write_text(JOB_HEAD + textwrap.dedent(self.source), encoding="utf-8")
        task_file = work / "task.json"
        defaults = {"run": "demo-1", "job": "demo", "module": "job", "function": "main"}
        whole = Task(**{**defaults, "grace": 60, **self.task, **task})
        task_file.write_text(json.dumps({"format": 1, **asdict(whole)}), encoding="utf-8")
        pod = Pod(
            subprocess.Popen(
                [*inside, sys.executable, "-u", "-m", "gpukit.runtime"],
                env=self._environ(number, work, index, environ or {}),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            ),
            work / "message",
        )
        self.pods.append(pod)
        return pod.follow()

    def run(self, **options: Any) -> tuple[int, Pod]:
        """Start a pod and wait for its end."""
        pod = self.start(**options)
        return pod.wait(), pod

    def _environ(
        self, number: int, work: Path, index: int | None, more: dict[str, str]
    ) -> dict[str, str]:
        environ = {
            **os.environ,
            Env.TASK: str(work / "task.json"),
            Env.STORE: str(self.store),
            Env.WORK: str(work),
            Env.POD_NAME: f"demo-{number}",
            Env.POD_UID: f"uid-{number}",
            Env.NODE: "node-a",
            Env.TERMINATION_LOG: str(work / "message"),
            "GPUKIT_PROGRESS_SECONDS": "0",
            **more,
        }
        if index is not None:
            environ[Env.INDEX] = str(index)
        return environ

    def close(self) -> None:
        """Kill what a failed test left running."""
        for pod in self.pods:
            if pod.process.poll() is None:
                pod.process.kill()
            pod.wait()
