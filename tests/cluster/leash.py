"""Run a command that ends when whoever started it ends, however that was.

``python -I leash.py COMMAND…`` with a pipe on stdin: when the other end of the pipe is closed, by
hand or because its process was killed, the command gets SIGTERM, then SIGKILL; a byte that comes
before asks for SIGKILL at once. If the leash itself is killed, the kernel kills the command.
Standard library only.

PR_SET_PDEATHSIG alone would not do: it fires when the *thread* ends that started the process.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys

GRACE = 5000  # milliseconds
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that forked it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main(command: list[str]) -> int:
    """Run the command; return its exit code."""
    leash = os.getpid()
    pid = os.fork()
    if pid == 0:
        die_with_parent()
        if os.getppid() != leash:
            os._exit(1)
        os.setsid()  # Ctrl-C in a terminal is for whoever holds the leash
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.execvp(command[0], command)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ended = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(0, select.POLLHUP | select.POLLIN)
    ready = [fd for fd, _ in poll.poll()]
    if ended not in ready:
        os.kill(pid, signal.SIGKILL if os.read(0, 1) else signal.SIGTERM)
        poll.unregister(0)
        if not poll.poll(GRACE):
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
