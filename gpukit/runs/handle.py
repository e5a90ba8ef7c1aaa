"""A handle on a run: wait for it, read its logs, take its result."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from gpukit.errors import RunFailedError, UsageError, WaitTimeoutError, did_you_mean
from gpukit.local import backend
from gpukit.local.directory import RunDirectory, home_of
from gpukit.local.follow import Follower, LogLine
from gpukit.local.summary import Prices, Summary, summarize
from gpukit.runtime.record import Attempt, RunRecord
from gpukit.runtime.store import DirectoryStore

__all__ = ["Run", "Status", "open_run"]

Status = Literal["running", "succeeded", "failed", "interrupted"]

_POLL_SECONDS = 0.05


class Run:
    """A run that was submitted; any process can have a handle on it.

    Args:
        directory: where the local run lives.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.record = RunRecord(DirectoryStore(directory.store))

    def __repr__(self) -> str:
        return f"<Run {self.name}: {self.status()}>"

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

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end of the run and return what the function returned, as JSON values.

        Raises:
            RunFailedError: the run did not succeed.
            WaitTimeoutError: the run still goes on after ``timeout`` seconds.
        """
        status = self.wait(timeout)
        found = self.record.result()
        if status != "succeeded" or found is None:
            raise self.failure()
        return found.value

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

    def stop(self, *, at_once: bool = False) -> bool:
        """Ask the run to save a checkpoint and end; tell whether it was running.

        Args:
            at_once: kill it instead, without a last checkpoint.
        """
        return backend.stop(self.directory, at_once=at_once)

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


def open_run(name: str, *, home: Path | None = None) -> Run:
    """Return a handle on a local run by its name.

    Args:
        name: as ``submit`` printed it.
        home: the folder of local runs; default ``GPUKIT_HOME`` or ``.gpukit``.

    Raises:
        UsageError: there is no run of that name.
    """
    directory = RunDirectory(home or home_of(), name)
    if not directory.exists():
        runs = directory.home / "runs"
        known = sorted(p.parent.name for p in runs.glob("*/events.jsonl"))
        raise UsageError(
            "run-unknown", f"there is no run {name!r} in {_short(directory.home)}",
            did_you_mean(name, known, otherwise=f"it has: {', '.join(known)}" if known else
                         "runs of `gpukit submit --local` are kept there"),
        )  # fmt: skip
    return Run(directory)


def _prices(values: Mapping[str, object]) -> Prices:
    found = {k: Decimal(str(v)) for k, v in values.items() if v is not None}
    return Prices(on_demand=found.get("on_demand"), spot=found.get("spot"))


def _short(path: Path) -> Path:
    """Return the path as a person at this prompt would write it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
