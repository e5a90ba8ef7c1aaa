"""Starting, following and stopping local runs: what the layer of runs calls."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpukit.contract import CONTAINER, TASK_FILE
from gpukit.errors import RunFailedError, UsageError

from . import lock
from .directory import RunDirectory
from .pod import kill_all, missing_secrets
from .simulate import Simulation

if TYPE_CHECKING:
    from gpukit.render import Bundle

__all__ = [
    "ENV_FILE", "STOP_SIGNALS", "check_secrets", "claim", "container_env", "launch", "running",
    "stop", "write_bundle",
]  # fmt: skip

ENV_FILE = "env.json"
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PATIENCE = 5.0


def claim(directory: RunDirectory) -> int | None:
    """Take the right to run this run; None where a backend has it already.

    Raises:
        UsageError: nothing can be written where local runs live.
    """
    try:
        return lock.take(directory.lock_file)
    except OSError as error:
        raise UsageError(
            "home-unusable", f"local runs cannot be kept in {directory.home}: {error.strerror}",
            "go to a folder where you may write, or set GPUKIT_HOME to one",
        ) from None  # fmt: skip


def running(directory: RunDirectory) -> bool:
    """Tell whether a backend drives this run."""
    return lock.holder(directory.lock_file) is not None


def container_env(bundle: Bundle) -> list[dict[str, Any]]:
    """Return the ``env`` list of the rendered Job's main container, with Kubernetes' ``$$`` read.

    The backend process itself reads the list only, so that it needs no more than the standard
    library.
    """
    from gpukit.manifests.environment import literal_of

    job = next(o for o in bundle.to_dicts() if o["kind"] == "Job")
    containers = job["spec"]["template"]["spec"]["containers"]
    env: list[dict[str, Any]] = next(c for c in containers if c["name"] == CONTAINER)["env"]
    return [
        {**entry, "value": literal_of(entry["value"])} if "value" in entry else entry
        for entry in env
    ]


def check_secrets(bundle: Bundle, environ: Mapping[str, str]) -> None:
    """Refuse a bundle that cannot start here.

    Raises:
        UsageError: a secret of the job is not in ``environ``.
    """
    missing_secrets(container_env(bundle), environ)


def write_bundle(
    directory: RunDirectory, bundle: Bundle, about: Mapping[str, object], environ: Mapping[str, str]
) -> None:
    """Put the bundle where pods find it.

    Raises:
        UsageError: a secret of the job is not in ``environ``.
    """
    env = container_env(bundle)
    missing_secrets(env, environ)
    directory.make()
    directory.archive.write_bytes(bundle.archive.data)
    directory.bootstrap.write_bytes(bundle.archive.bootstrap)
    (directory.pod / TASK_FILE).write_text(bundle.task.to_json(), encoding="utf-8")
    (directory.pod / ENV_FILE).write_text(json.dumps(env), encoding="utf-8")
    (directory.root / "about.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
    (directory.root / "bundle.yaml").write_text(bundle.to_yaml(), encoding="utf-8")


def launch(directory: RunDirectory, descriptor: int, simulation: Simulation | None) -> None:
    """Start the backend process; it inherits the lock, so that there is no moment without one.

    Raises:
        RunFailedError: it could not be started.
    """
    _bury(directory)
    shutil.rmtree(directory.root / "work", ignore_errors=True)
    directory.record_event("submitted", simulate=simulation and simulation.to_dict())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # until it can handle them
    try:
        with directory.backend_log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "gpukit.local", str(directory.home), directory.name,
                 str(descriptor)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                pass_fds=(descriptor,), cwd=directory.root,
                env={**os.environ, "PYTHONPATH": _python_path()},
            )  # fmt: skip
    except OSError as error:
        raise RunFailedError(
            "local-start", f"the local backend cannot be started: {error}",
            f"look at {directory.backend_log}",
        ) from error  # fmt: skip
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    lock.sign(descriptor, process.pid)
    # It outlives us, unless it ends first: then somebody has to take note of it.
    threading.Thread(target=process.wait, name=f"gpukit-{directory.name}", daemon=True).start()


def _python_path() -> str:
    """Let the backend import this very gpukit, wherever it came from."""
    ours = str(Path(__file__).parents[2])
    rest = os.environ.get("PYTHONPATH")
    return f"{ours}{os.pathsep}{rest}" if rest else ours


def _bury(directory: RunDirectory) -> None:
    """Kill what a backend that was killed itself has left running."""
    events = directory.submission()
    ended = {e.get("uid") for e in events if e["event"] == "exited"}
    for event in events:
        if event["event"] == "started" and event["uid"] not in ended:
            kill_all(str(event["uid"]))


def stop(directory: RunDirectory, *, at_once: bool = False) -> bool:
    """Ask the backend to stop the run; tell whether there was one to ask.

    The job saves a checkpoint and leaves, within its grace period; ``at_once`` kills it.
    """
    until = time.monotonic() + _PATIENCE
    while (pid := lock.holder(directory.lock_file)) == 0 and time.monotonic() < until:
        time.sleep(0.01)  # it is being started right now
    if not pid:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT if at_once else signal.SIGTERM)
    return True
