"""From the pod's environment variables to meaning: where everything is, and who this pod is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gpukit.contract import Env, Task
from gpukit.errors import GpukitError

__all__ = ["DEFAULT_TERMINATION_LOG", "PROGRESS_SECONDS", "Environment", "termination_log"]

DEFAULT_TERMINATION_LOG = "/dev/termination-log"
PROGRESS_SECONDS = "GPUKIT_PROGRESS_SECONDS"


@dataclass(frozen=True)
class Environment:
    """What the renderer set for the pod.

    Attributes:
        task_file: the Task's JSON.
        store: directory or URL of the run.
        work: writable scratch directory of the pod; unpacked code is in ``work/code``.
        pod: name of the pod.
        pod_uid: UID of the pod; with the attempt number it fences off older writers.
        node: name of the node.
        index: completion index that Kubernetes gave the pod; None outside of a Job.
        submitted_at: unix seconds of the submission; None where nobody said.
        owner: tells the namespace of the run from all others; empty where nobody said.
        progress_seconds: least time between two progress lines on stdout.
    """

    task_file: Path
    store: str
    work: Path
    pod: str = ""
    pod_uid: str = ""
    node: str = ""
    index: int | None = None
    submitted_at: float | None = None
    owner: str = ""
    progress_seconds: float = 5.0

    @staticmethod
    def from_environ(environ: Mapping[str, str]) -> Environment:
        """Read the environment.

        Raises:
            GpukitError: a variable that the renderer sets is not there, or has no meaning.
        """
        every = _number(environ, PROGRESS_SECONDS)
        return Environment(
            task_file=Path(_required(environ, Env.TASK)),
            store=_required(environ, Env.STORE),
            work=Path(_required(environ, Env.WORK)),
            pod=environ.get(Env.POD_NAME, ""),
            pod_uid=environ.get(Env.POD_UID, ""),
            node=environ.get(Env.NODE, ""),
            index=_index(environ.get(Env.INDEX, "")),
            submitted_at=_number(environ, Env.SUBMITTED_AT),
            owner=environ.get(Env.OWNER, ""),
            progress_seconds=5.0 if every is None else every,
        )

    @property
    def source(self) -> Path:
        """The folder of the user's files, their working directory."""
        return self.work / "code" / "src"

    def task(self) -> Task:
        """Read the task.

        Raises:
            GpukitError: it is not there, or is none.
        """
        try:
            return Task.from_json(self.task_file.read_text(encoding="utf-8"))
        except OSError as error:
            raise GpukitError(
                "task-missing", f"the task cannot be read: {error}",
                "it comes from an annotation of the pod through a downwardAPI volume; submit again",
            ) from None  # fmt: skip


def termination_log(environ: Mapping[str, str]) -> Path | None:
    """Return the file of the termination message; None outside of a pod."""
    name = environ.get(Env.TERMINATION_LOG)
    if name:
        return Path(name)
    default = Path(DEFAULT_TERMINATION_LOG)
    return default if os.access(default, os.W_OK) else None


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name)
    if not value:
        raise GpukitError(
            "environment-incomplete", f"the environment variable {name} is not set",
            "the runtime is started by what `gpukit render` and `gpukit submit` write",
        )  # fmt: skip
    return value


def _index(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _number(environ: Mapping[str, str], name: str) -> float | None:
    text = environ.get(name, "")
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise GpukitError(
            "environment-number", f"{name}={text!r} is not a number",
            f"set {name} to seconds, or leave it out",
        ) from None  # fmt: skip
