"""While a run is followed: say why it does not run, once that is not a matter of moments."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gpukit.errors import GpukitError

from .verdicts import show_verdict

if TYPE_CHECKING:
    from gpukit.cluster.client import Client
    from gpukit.cluster.follow import Change

__all__ = ["PendingWatch"]

_FIRST = 10.0  # seconds without a running pod before the cluster is looked at
_AGAIN, _LONGEST = 20.0, 300.0
_WAITS = frozenset({"exited", "vanished", "notice"})


class PendingWatch:
    """Asks ``why`` after 10 s without a running pod, and again, less and less often.

    Args:
        client: of the cluster.
        run: name of the run.
        namespace: of the run.
        write: takes a line for the person.
        clock: seconds that only go forward.
    """

    def __init__(
        self, client: Client, run: str, namespace: str, write: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._client, self._run, self._namespace = client, run, namespace
        self._write, self._clock = write, clock
        self._next: float | None = clock() + _FIRST
        self._pause = _AGAIN
        self._said = ""
        self._doubted = False

    def take(self, change: Change) -> None:
        """Learn from what happens to the run whether it runs."""
        if change.kind == "started":
            self._next = None
        elif change.kind in _WAITS and self._next is None:
            self._next, self._pause, self._said = self._clock() + _FIRST, _AGAIN, ""

    def look(self) -> None:
        """Say why the run does not run, if it is time, and if it was not said yet."""
        if self._next is None or self._clock() < self._next:
            return
        self._next = self._clock() + self._pause
        self._pause = min(2 * self._pause, _LONGEST)
        from gpukit.cluster.snapshot import read_snapshot
        from gpukit.diagnose import is_doubtful, why

        try:
            verdict = why(read_snapshot(self._run, self._namespace, client=self._client), self._run)
        except GpukitError:  # it is a help; what ails the cluster is said by whoever follows
            return
        if verdict is not None and is_doubtful(verdict) and not self._doubted:
            self._doubted, self._next = True, self._clock() + _FIRST
            return
        self._doubted = False
        if verdict is not None and verdict.reason != self._said:
            self._said = verdict.reason
            show_verdict(self._run, verdict, write=self._write)
