"""The contract between what is rendered and what runs in the pod.

Names of environment variables, paths, labels, and the Task: the JSON that tells the runtime what
to run. Shared by the renderer, the local backend and the runtime. Standard library only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .errors import GpukitError

__all__ = [
    "ANNOTATION_SPEC",
    "ANNOTATION_SUBMISSION",
    "ANNOTATION_SUBMITTED",
    "ANNOTATION_TASK",
    "ARCHIVE_NAME",
    "BOOTSTRAP_NAME",
    "CHECKPOINT_MOUNT",
    "CODE_MOUNT",
    "CONTAINER",
    "LABEL_JOB",
    "LABEL_MANAGED",
    "LABEL_RUN",
    "LABEL_STAGE",
    "LABEL_SWEEP",
    "MANAGED_BY",
    "POD_MOUNT",
    "TASK_FILE",
    "WORK_MOUNT",
    "Env",
    "Task",
]  # fmt: skip

CONTAINER = "main"
LABEL_RUN = "gpukit.dev/run"
LABEL_JOB = "gpukit.dev/job"
LABEL_STAGE = "gpukit.dev/stage"
LABEL_SWEEP = "gpukit.dev/sweep"
LABEL_MANAGED = "app.kubernetes.io/managed-by"
MANAGED_BY = "gpukit"
ANNOTATION_TASK = "gpukit.dev/task"
ANNOTATION_SPEC = "gpukit.dev/spec"  # of the Job: what was declared, without the defaults
ANNOTATION_SUBMITTED = "gpukit.dev/submitted"  # unix seconds
ANNOTATION_SUBMISSION = "gpukit.dev/submission"  # tells one `gpukit submit` from another

CODE_MOUNT = "/opt/gpukit/code"  # the ConfigMap: ARCHIVE_NAME and BOOTSTRAP_NAME
POD_MOUNT = "/opt/gpukit/pod"  # downward API: TASK_FILE
WORK_MOUNT = "/opt/gpukit/work"  # emptyDir: unpacked code, HOME, caches, installed packages
CHECKPOINT_MOUNT = "/opt/gpukit/checkpoints"  # the claim, where checkpoints live on one
ARCHIVE_NAME = "archive.tar.gz"
BOOTSTRAP_NAME = "bootstrap.py"
TASK_FILE = "task.json"


class Env:
    """Names of the environment variables that the renderer sets and the runtime reads."""

    TASK = "GPUKIT_TASK"  # path of the Task's JSON
    STORE = "GPUKIT_STORE"  # directory or URL of this run: record, checkpoints, outputs
    WORK = "GPUKIT_WORK"  # writable scratch directory of the pod
    POD_NAME = "GPUKIT_POD_NAME"
    POD_UID = "GPUKIT_POD_UID"
    NODE = "GPUKIT_NODE"
    TERMINATION_LOG = "GPUKIT_TERMINATION_LOG"
    SUBMITTED_AT = "GPUKIT_SUBMITTED_AT"  # unix seconds of the first submission; may be absent
    FRESH = "GPUKIT_FRESH"  # "1": what the store has of earlier submissions is set aside
    RESUME_FROM = "GPUKIT_RESUME_FROM"  # store of another run, whose newest checkpoint is taken
    OWNER = "GPUKIT_OWNER"  # the namespace of the run: no other one writes its store meanwhile
    INDEX = "JOB_COMPLETION_INDEX"  # set by Kubernetes; removed before the user's code runs

    # from the supervisor to the trainer
    ATTEMPT = "GPUKIT_ATTEMPT"
    CHANNEL = "GPUKIT_CHANNEL_FD"  # pipe for the trainer's events, JSON lines
    DEADLINE_MARGIN = "GPUKIT_DEADLINE_MARGIN"
    HISTORY = "GPUKIT_HISTORY"  # what earlier attempts saw, JSON
    WRITER = "GPUKIT_WRITER"  # socket of the writer of checkpoints

    # by the user
    SNAPSHOT = "GPUKIT_SNAPSHOT"  # lazy, copy or stream: how a checkpoint is taken


@dataclass(frozen=True)
class Task:
    """What the runtime is told: the function, its arguments, and the run's budgets.

    Attributes:
        run: name of the run.
        job: name of the job.
        module: dotted name by which the job file is imported.
        function: name of the function in it.
        paths: folders of the archive's ``src/`` that go on ``sys.path``, first one first.
        arguments: the function's arguments, as :mod:`gpukit.runtime.arguments` encodes them.
        processes: trainer processes per pod, one per GPU.
        spot: whether the pod may run on spot capacity.
        grace: seconds between SIGTERM and SIGKILL that can be counted on.
        checkpoint_every: upper bound on lost work, seconds.
        price_per_hour: US dollars of the pod per hour, as text; None where it is unknown.
        on_demand_per_hour: the same without spot, for what was saved by it.
        durable: the store outlives the pod.
        gpukit: version that made this task.
        code: digest of the user's files.
    """

    run: str
    job: str
    module: str
    function: str
    paths: tuple[str, ...] = (".",)
    arguments: dict[str, Any] = field(default_factory=dict)
    processes: int = 1
    spot: bool = False
    grace: int = 30
    retries: int = 1
    max_preemptions: int = 100
    max_cost: str | None = None
    price_per_hour: str | None = None
    on_demand_per_hour: str | None = None
    timeout: int | None = None
    deadline: int | None = None
    checkpoint_every: int | None = None
    hang_timeout: int | None = None
    durable: bool = True
    packages: tuple[str, ...] = ()
    requirements: str | None = None
    gpukit: str = ""
    code: str = ""

    def to_json(self) -> str:
        """Return the task as canonical JSON."""
        return json.dumps(
            {"format": 1, **asdict(self)}, sort_keys=True, separators=(",", ":"),
            ensure_ascii=False,
        )  # fmt: skip

    @staticmethod
    def from_json(text: str) -> Task:
        """Read a task; fields that a newer gpukit added are ignored.

        Raises:
            GpukitError: not a task, or of a format that this version cannot read.
        """
        try:
            raw = json.loads(text)
            if raw["format"] != 1:
                raise GpukitError(
                    "task-format", f"the task has format {raw['format']}, this gpukit reads 1",
                    "submit again with the gpukit that is installed here",
                )  # fmt: skip
            known = {f.name for f in fields(Task)}
            values = {k: v for k, v in raw.items() if k in known}
            for name in ("paths", "packages"):
                values[name] = tuple(values.get(name, ()))
            return Task(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise GpukitError(
                "task-form", f"the task cannot be read: {error}",
                "it is written by `gpukit render` and `gpukit submit`; submit again",
            ) from None  # fmt: skip
