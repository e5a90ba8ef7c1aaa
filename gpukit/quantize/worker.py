"""A process that does the heavy steps: it may run out of time or memory, or crash, and we go on.

The parent calls a function of :mod:`gpukit.quantize.steps` by name. A step that takes too long is
killed together with its process; the next step gets a new one. So a time limit holds even inside
of native code, and a model that brings a runtime down costs one candidate and not the search.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import Any

from gpukit.errors import UsageError

__all__ = ["StepFailed", "Worker", "main"]


class StepFailed(Exception):  # noqa: N818 - the name says what happened
    """A step did not come to its end; the message says why, in one line."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class Worker:
    """A worker process, started when it is needed and again after it has died.

    Args:
        log: the file that gets what the process and its libraries print.
        threads: the most threads that the libraries in it may use.
    """

    def __init__(self, log: Path, threads: int) -> None:
        self._log = log
        self._threads = threads
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.stop()

    def call(
        self, name: str, *args: Any, timeout: float, tick: Callable[[Any], None] | None = None
    ) -> Any:
        """Run a step and return what it returns.

        Args:
            name: a function of :mod:`gpukit.quantize.steps`.
            args: its arguments, picklable.
            timeout: seconds until it is killed.
            tick: is given what the step reports on its way.

        Raises:
            StepFailed: it raised, ran out of time, or its process died.
            UsageError: the step found a mistake of the person.
        """
        if timeout <= 0:
            raise StepFailed("no time left", timed_out=True)
        end = time.monotonic() + timeout
        self._start()
        if self._connection is None:  # for the type checker: _start has made it
            raise StepFailed("the worker did not start")
        try:
            self._connection.send((name, args))
            while self._connection.poll(max(end - time.monotonic(), 0)):
                kind, value = self._connection.recv()
                if kind == "tick":
                    if tick is not None:
                        tick(value)
                    if time.monotonic() > end:  # ticks may come faster than they are read
                        break
                elif kind == "done":
                    return value
                elif kind == "usage":
                    raise UsageError(*value)
                else:
                    raise StepFailed(value)
        except (EOFError, OSError):
            raise StepFailed(self._died()) from None
        except BaseException:
            if sys.exc_info()[0] not in (
                StepFailed,
                UsageError,
            ):  # an interrupt: leave nobody behind
                self.stop()
            raise
        self.stop()
        raise StepFailed(f"stopped after {timeout:.0f} s", timed_out=True)

    def stop(self) -> None:
        """End the process, whatever it does."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        ours, theirs = Pipe()
        package = Path(__file__).parents[2]
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(package), os.environ.get("PYTHONPATH")])
        )
        environment["PYTHONHASHSEED"] = "0"  # sets of names in quantizers have one order
        environment["OMP_NUM_THREADS"] = str(self._threads)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gpukit.quantize.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[theirs.fileno()],
                env=environment,
            )  # fmt: skip
        theirs.close()
        self._connection = ours

    def _died(self) -> str:
        code = self._process.wait() if self._process is not None else 0
        self.stop()
        if code < 0:
            name = signal.Signals(-code).name
            return f"the process was ended by {name}" + (
                ", perhaps for want of memory" if name == "SIGKILL" else ""
            )
        return f"the process ended with exit code {code}"


def main() -> None:
    """Answer calls until the parent is gone."""
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    import warnings

    warnings.filterwarnings("ignore")
    from . import steps

    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            name, args = connection.recv()
            steps.report = lambda value: connection.send(("tick", value))
            try:
                answer = ("done", getattr(steps, name)(*args))
            except UsageError as error:
                answer = ("usage", (error.id, error.message, error.hint))
            except Exception as error:  # quantizers raise of every kind: told as a line
                traceback.print_exc()
                answer = ("failed", _line(error))
            connection.send(answer)


def _line(error: Exception) -> str:
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


if __name__ == "__main__":
    main()
