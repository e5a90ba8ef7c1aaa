"""A run of the local backend: see :class:`gpukit.runs.handle.Run`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from gpukit.errors import RunFailedError, UsageError, WaitTimeoutError, did_you_mean
from gpukit.local import backend
from gpukit.local.directory import RunDirectory, home_of
from gpukit.local.follow import Follower, LogLine
from gpukit.local.summary import Prices, Summary, summarize
from gpukit.runtime.record import Attempt, RunRecord
from gpukit.runtime.store import DirectoryStore

from .handle import Run, Status

__all__ = ["LocalRun", "local_names", "open_local"]

_POLL_SECONDS = 0.05


class LocalRun(Run):
    """A run on this machine.

    Args:
        directory: where it lives.
    """

    where = "local"

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.record = RunRecord(DirectoryStore(directory.store))

    @property
    def name(self) -> str:
        """The run's name."""
        return self.directory.name

    @property
    def output_dir(self) -> Path:
        """The folder of ``gpukit.output_dir()``."""
        return self.directory.store / "outputs"

    def status(self) -> Status:
        """Return where the run stands.

        ``interrupted`` is a run that was stopped, or whose backend was killed: submitting it
        again goes on from its newest checkpoint.
        """
        if backend.running(self.directory):
            return "running"
        if self.record.result() is not None:
            return "succeeded"
        last = self._last("ended")
        return "failed" if last.get("phase") == "failed" else "interrupted"

    def reason(self) -> str:
        """Return why the run failed or was interrupted, in a sentence; empty if it did not."""
        if self.status() in ("running", "succeeded"):
            return ""
        ended, message = self._last("ended"), self._last("exited").get("message")
        if not ended:
            return "the local backend was killed"
        said = message.get("reason") if isinstance(message, Mapping) else None
        return str(ended["reason"] or said or "the pod did not say why")

    def wait(self, timeout: float | None = None) -> Status:
        """Wait for the end of the run, and return how it ended.

        Args:
            timeout: seconds; None waits as long as it takes.

        Raises:
            WaitTimeoutError: the run still goes on after ``timeout``.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while backend.running(self.directory):
            if until is not None and time.monotonic() >= until:
                raise WaitTimeoutError(
                    "wait-timeout", f"{self.name} still runs after {timeout:g} s",
                    "wait longer; the run goes on",
                )  # fmt: skip
            time.sleep(_POLL_SECONDS)
        return self.status()

    def value(self) -> Any:
        """Return what the function returned; None before."""
        found = self.record.result()
        return None if found is None else found.value

    def failure(self) -> RunFailedError:
        """Return the error that says why there is no result."""
        attempts = self.attempts()
        saved = any(a.progress.durable_step for a in attempts)
        again = "submit it again to " + ("go on from its newest checkpoint" if saved else "retry")
        if self.status() == "interrupted":
            return RunFailedError(
                "run-interrupted", f"{self.name} was interrupted: {self.reason()}", again
            )
        reason, last = self.reason(), attempts[-1].end if attempts else None
        if last is not None and last.reason and last.reason not in reason:
            reason += f"; the last one by {last.reason}"
        return RunFailedError(
            "run-failed", f"{self.name} failed: {reason}", f"its log is {self._log()}; {again}"
        )

    def attempts(self) -> list[Attempt]:
        """Return the attempts of the run record, oldest first."""
        return self.record.attempts()

    def logs(self, attempt: int | None = None) -> str:
        """Return what an attempt wrote; the newest one by default."""
        path = self.directory.log(attempt or self.directory.last_log())
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def follow(self) -> Iterator[str]:
        """Yield the lines that the attempts of the newest submission write, until the run ends."""
        follower = Follower(self.directory)
        while not follower.done:
            items = follower.poll()
            yield from (item.text for item in items if isinstance(item, LogLine))
            if not items:
                time.sleep(_POLL_SECONDS)

    def cancel(self, *, now: bool = False) -> bool:
        """Ask the run to save a checkpoint and end; tell whether it was running."""
        return backend.stop(self.directory, at_once=now)

    def delete(self, *, checkpoints: bool = False) -> None:
        """Remove the run and all it has left.

        Raises:
            UsageError: it is running, or its checkpoints are not to be deleted: they lie in the
                same folder.
        """
        if self.status() == "running":
            raise UsageError(
                "run-goes-on", f"{self.name} is running", f"`gpukit cancel {self.name}` first"
            )
        if not checkpoints:
            raise UsageError(
                "local-checkpoints", f"a local run is one folder, checkpoints and all: "
                f"{_short(self.directory.root)}",
                "say --checkpoints to delete all of it",
            )  # fmt: skip
        shutil.rmtree(self.directory.root)

    def download(self, target: Path) -> list[Path]:
        """Copy what the function left in ``gpukit.output_dir()`` to ``target``."""
        if not self.output_dir.is_dir():
            return []
        shutil.copytree(self.output_dir, target, dirs_exist_ok=True)
        return sorted(
            target / path.relative_to(self.output_dir)
            for path in self.output_dir.rglob("*")
            if path.is_file()
        )

    def summary(self) -> Summary:
        """Return attempts, steps, lost time and cost of the newest submission."""
        prices = self.directory.about().get("prices")
        return summarize(
            self.attempts(), self.directory.submission(),
            _prices(prices if isinstance(prices, Mapping) else {}),
        )  # fmt: skip

    def _log(self) -> Path:
        """Return the newest log of an attempt that began, as a path to show."""
        begun = {a.start.pod_uid for a in self.attempts()}
        numbers = [
            int(str(e["attempt"]))
            for e in self.directory.submission()
            if e["event"] == "started" and e["uid"] in begun
        ]
        return _short(self.directory.log(max(numbers, default=self.directory.last_log())))

    def _last(self, event: str) -> Mapping[str, object]:
        events = [e for e in self.directory.submission() if e["event"] == event]
        return events[-1] if events else {}


def local_names(home: Path) -> list[str]:
    """Return the names of all local runs."""
    return sorted(path.parent.name for path in (home / "runs").glob("*/events.jsonl"))


def open_local(name: str, home: Path | None = None) -> LocalRun:
    """Return a handle on a local run by its name.

    Raises:
        UsageError: there is no run of that name.
    """
    directory = RunDirectory(home or home_of(), name)
    if not directory.exists():
        known = local_names(directory.home)
        raise UsageError(
            "run-unknown", f"there is no run {name!r} in {_short(directory.home)}",
            did_you_mean(name, known, otherwise=f"it has: {', '.join(known)}" if known else
                         "runs of `gpukit submit --local` are kept there"),
        )  # fmt: skip
    return LocalRun(directory)


def _prices(values: Mapping[str, object]) -> Prices:
    found = {k: Decimal(str(v)) for k, v in values.items() if v is not None}
    return Prices(on_demand=found.get("on_demand"), spot=found.get("spot"))


def _short(path: Path) -> Path:
    """Return the path as a person at this prompt would write it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
