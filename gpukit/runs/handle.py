"""A handle on a run, wherever it runs: wait for it, read its logs, take its result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from gpukit.errors import RunFailedError
from gpukit.runtime.record import Attempt

__all__ = ["Run", "Status"]

Status = Literal[
    "pending", "running", "suspended", "stopping", "succeeded", "failed", "interrupted"
]
"""``pending``: no attempt runs at this moment. ``suspended``: a queue holds it. ``interrupted``:
it was stopped, and submitting it again goes on from its newest checkpoint."""


class Run(ABC):
    """A run that was submitted; any process can have a handle on it.

    ``where`` is ``local`` for runs of this machine and ``cluster`` for those of a cluster.
    """

    where: ClassVar[Literal["local", "cluster"]]

    def __repr__(self) -> str:
        return f"<Run {self.name} ({self.where})>"

    @property
    @abstractmethod
    def name(self) -> str:
        """The run's name."""

    @abstractmethod
    def status(self) -> Status:
        """Return where the run stands."""

    @abstractmethod
    def reason(self) -> str:
        """Return why the run failed or was interrupted, in a sentence; empty if it did not."""

    @abstractmethod
    def wait(self, timeout: float | None = None) -> Status:
        """Wait for the end of the run, and return how it ended.

        Args:
            timeout: seconds; None waits as long as it takes.

        Raises:
            WaitTimeoutError: the run still goes on after ``timeout``.
        """

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end of the run and return what the function returned, as JSON values.

        Raises:
            RunFailedError: the run did not succeed.
            WaitTimeoutError: the run still goes on after ``timeout`` seconds.
        """
        if self.wait(timeout) != "succeeded":
            raise self.failure()
        return self.value()

    @abstractmethod
    def value(self) -> Any:
        """Return what the function returned; None before."""

    @abstractmethod
    def failure(self) -> RunFailedError:
        """Return the error that says why there is no result."""

    @abstractmethod
    def attempts(self) -> list[Attempt]:
        """Return the attempts that are known, oldest first."""

    @abstractmethod
    def logs(self, attempt: int | None = None) -> str:
        """Return what an attempt wrote; the newest one by default."""

    @abstractmethod
    def follow(self) -> Iterator[str]:
        """Yield the lines that the run's attempts write, until the run ends."""

    @abstractmethod
    def cancel(self, *, now: bool = False) -> bool:
        """Ask the run to save a checkpoint and end; tell whether there was one to ask.

        Args:
            now: kill it instead, without a last checkpoint.
        """

    @abstractmethod
    def delete(self, *, checkpoints: bool = False) -> None:
        """Remove the run; its checkpoints stay unless they are to go too."""

    @abstractmethod
    def download(self, target: Path) -> list[Path]:
        """Copy what the function left in ``gpukit.output_dir()`` to ``target``."""
