"""Job files and commands for tests of what a user does on a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.local import COUNTING as ADDING

from .cluster import Cluster

__all__ = ["COUNTING", "Desk", "Ran"]

COUNTING = ADDING.replace(
    "        time.sleep(pause)\n",
    "        time.sleep(pause)\n        print('step', step, flush=True)\n"
    "        if step == crash_at:\n            raise ValueError('planned')\n",
).replace("every: int = 5,", "every: int = 5, crash_at: int = 0,")
"""A job that prints a line a step, saves every few, and needs no torch: it starts at once."""

_PATIENCE = 300.0
_OPTIONS = 'checkpoints="new:1Gi", cpu=0.1, memory="256Mi"'


@dataclass(frozen=True)
class Ran:
    """What a command gave."""

    code: int
    out: str
    err: str


@dataclass
class Desk:
    """A folder of a user with a job file, and the command line."""

    cluster: Cluster
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def write(self, options: str = _OPTIONS, name: str = "job.py") -> Path:
        """Write the counting job with these options."""
        file = self.folder / name
        file.write_text(COUNTING.format(options=options), encoding="utf-8")
        return file

    def gpukit(self, *words: object, **environ: str) -> Ran:
        """Run a command to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "gpukit.cli", *map(str, words)], cwd=self.folder,
            env=self._environ(environ), capture_output=True, text=True, timeout=_PATIENCE,
            check=False,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr)

    def start(self, *words: object, **environ: str) -> subprocess.Popen[str]:
        """Start a command, which Ctrl-C reaches also where the tests run in the background."""
        return subprocess.Popen(
            [sys.executable, "-m", "gpukit.cli", *map(str, words)], cwd=self.folder,
            env=self._environ(environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def submit(self, *words: object, **environ: str) -> str:
        """Submit without following; return the run's name."""
        done = self.gpukit("submit", "--detach", *words, **environ)
        if done.code != 0:
            pytest.fail(f"gpukit submit: exit code {done.code}\n{done.err}")
        return done.out.strip()

    def objects(self) -> dict[str, list[dict[str, Any]]]:
        """Return what there is of gpukit in the namespace, by kind."""
        kinds = ("Job", "ConfigMap", "PersistentVolumeClaim", "Pod")
        found = {kind: self.cluster.items(kind) for kind in kinds}
        labels = {"app.kubernetes.io/managed-by": "gpukit"}
        return {
            kind: [
                o for o in items if labels.items() <= (o["metadata"].get("labels") or {}).items()
            ]
            for kind, items in found.items()
        }

    def _environ(self, extra: dict[str, str]) -> dict[str, str]:
        return {
            **os.environ, "KUBECONFIG": str(self.cluster.kubeconfig), "NO_COLOR": "1",
            **self.environ, **extra,
        }  # fmt: skip
