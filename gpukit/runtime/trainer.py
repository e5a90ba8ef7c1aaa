"""``python -m gpukit.runtime.trainer PARENT``: one process that runs the user's function."""

from __future__ import annotations

import faulthandler
import importlib
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpukit.errors import GpukitError, JobFileError, UsageError

from . import context
from .failure import digest_of, user_traceback
from .log import say
from .processes import die_with_parent
from .results import to_json
from .usage import TorchWatch

__all__ = ["main"]

_STOPPED = 143  # the supervisor looks at the event, a person at the code: 128 + SIGTERM


@dataclass
class Trainer:
    """Runs the function and says what came of it.

    Attributes:
        ctx: the run that this process is part of.
    """

    ctx: context.Context

    def run(self) -> int:
        """Import the job, call the function, report; return the exit code of the process."""
        watch = TorchWatch(self.ctx.send)
        try:
            try:
                self.ctx.in_user_code = True
                if self.ctx.stop_requested:
                    raise context.Preempted
                value = self._call()
            finally:
                self.ctx.in_user_code = False
                watch.close()
        except context.Preempted:
            return self._stopped()
        except SystemExit as error:
            return self._left(error)
        except BaseException as error:  # KeyboardInterrupt too: all of it ends the attempt
            return self._failed(error)
        return self._finished(value)

    def _call(self) -> object:
        from .arguments import decode_arguments

        function = self._function()
        return function(**decode_arguments(function, self.ctx.task.arguments))

    def _function(self) -> Callable[..., object]:
        task = self.ctx.task
        try:
            module = importlib.import_module(task.module)
        except ModuleNotFoundError as error:
            missing = error.name or "?"
            say(
                f"the job's module {task.module!r} is not in the archive"
                if missing == task.module
                else f"{task.module} needs the module {missing!r}, which is not here: add it to "
                f"the image, or to the job: packages=[{missing.partition('.')[0]!r}]"
            )
            raise
        if not hasattr(module, task.function):
            raise JobFileError(
                "function-missing", f"the module {task.module} has no function {task.function!r}",
                "a job is a function at the top level of its file",
            )  # fmt: skip
        found: Any = getattr(module, task.function)
        function: Callable[..., object] = getattr(found, "function", found)
        return function

    def _finished(self, value: object) -> int:
        ours = signal.getsignal(signal.SIGTERM) == self.ctx.on_sigterm
        result = to_json(value, say) if self.ctx.rank == 0 else None
        sure = ours and not self.ctx.interrupted
        self.ctx.send({"event": "finished", "result": result, "sure": sure})
        return 0

    def _stopped(self) -> int:
        self.ctx.send({"event": "stopped"})
        return _STOPPED

    def _left(self, error: SystemExit) -> int:
        if self.ctx.stop_requested:
            return self._stopped()
        if error.code is None or error.code == 0:
            return self._finished(None)
        return self._failed(error, f"the function left with sys.exit({error.code!r})")

    def _failed(self, error: BaseException, message: str | None = None) -> int:
        text = user_traceback(error)
        print(text, file=sys.stderr, end="", flush=True)
        if isinstance(error, GpukitError) and _permanent(error):
            self.ctx.send(
                {"event": "fatal", "id": error.id, "message": error.message, "hint": error.hint}
            )
            return 1
        self.ctx.send({
            "event": "crashed",
            "type": type(error).__qualname__,
            "message": (message or str(error))[:2000],
            "traceback": text[-20000:],
            "digest": digest_of(error),
        })  # fmt: skip
        return 1


def main() -> int:
    """Run the function; return the exit code of this process."""
    die_with_parent(int(sys.argv[1]))
    _show_stacks()
    ctx = context.enter(os.environ)
    trainer = Trainer(ctx)
    _default_in_forks(ctx)
    if ctx.channel is not None:
        os.set_inheritable(ctx.channel, False)
    _enter_source(ctx)
    return trainer.run()


def _enter_source(ctx: context.Context) -> None:
    """Make the user's files what their author expects: first on the path, and the cwd."""
    start = str(Path.cwd())
    if sys.path and sys.path[0] in ("", start):
        del sys.path[0]
    if start not in sys.path:
        sys.path.append(start)  # gpukit itself, where only the supervisor's cwd leads to it
    source = ctx.work / "code" / "src"
    sys.path[:0] = [str((source / path).resolve()) for path in ctx.task.paths]
    sys.argv = [ctx.task.module]
    if source.is_dir():
        os.chdir(source)


def _show_stacks() -> None:
    """Show every thread's stack at a crash in native code, and at SIGUSR2.

    The empty handler, and ``chain``, keep faulthandler from asking for restarted system calls: the
    SIGTERM that follows at once would then not wake a main thread that waits for a lock.
    """
    faulthandler.enable(all_threads=True)
    signal.signal(signal.SIGUSR2, lambda *_: None)
    faulthandler.register(signal.SIGUSR2, all_threads=True, chain=True)


def _default_in_forks(ctx: context.Context) -> None:
    """Let forked workers die of SIGTERM: pools and data loaders end theirs with it.

    It is blocked around the fork, so that one that comes at once meets the default, not this
    process's handler, which would note it for nobody.
    """
    stop = {signal.SIGTERM}

    def in_child() -> None:
        with suppress(ValueError):  # forked from another thread
            if signal.getsignal(signal.SIGTERM) == ctx.on_sigterm:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stop)

    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, stop),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, stop),
        after_in_child=in_child,
    )


def _permanent(error: GpukitError) -> bool:
    return isinstance(error, (UsageError, JobFileError)) or bool(getattr(error, "permanent", False))


if __name__ == "__main__":
    sys.exit(main())
