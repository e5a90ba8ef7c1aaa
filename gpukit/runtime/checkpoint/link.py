"""Between a trainer and the writer process: JSON frames on a Unix socket, memory handed over.

The memory of a snapshot is shared, never sent: the trainer passes its file descriptor once, and
the writer keeps it, so that the snapshot outlives the trainer.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gpukit

__all__ = ["Frame", "Settings", "bound_socket", "connect", "receive", "send", "start_writer"]

_HEAD = struct.Struct("<I")
_LONGEST = 1 << 30
_BACKLOG = 64


@dataclass(frozen=True)
class Settings:
    """What a writer process is started with.

    Attributes:
        store: directory or URL of the run.
        run: name of the run.
        attempt: the attempt that it writes for.
        pod_uid: the pod.
        world_size: ranks that make up a checkpoint.
        listener: descriptor of a listening socket, each connection a rank; or None.
        connection: descriptor of the one connection; or None.
        lifeline: descriptor whose end of file means: finish what is there, and leave.
        report: descriptor to which outcomes are written for the supervisor.
        parent: process with which the writer is to die; None to finish without it.
        nice: how much it yields to the trainers.
    """

    store: str
    run: str
    attempt: int
    pod_uid: str = ""
    world_size: int = 1
    listener: int | None = None
    connection: int | None = None
    lifeline: int | None = None
    report: int | None = None
    parent: int | None = None
    nice: int = 10


@dataclass(frozen=True)
class Frame:
    """One message, and the descriptors that came with it."""

    body: dict[str, Any]
    handles: tuple[int, ...] = ()


def start_writer(settings: Settings) -> subprocess.Popen[bytes]:
    """Start a writer process; it gets the descriptors that its settings name.

    Without ``site`` it starts in some 50 ms; a store that needs installed packages has it.
    """
    handles = (settings.listener, settings.connection, settings.lifeline, settings.report)
    options = ["-u"] if "://" in settings.store else ["-u", "-S"]
    root = str(Path(gpukit.__file__).parents[1])
    code = (
        f"import sys; sys.path.insert(0, {root!r}); "
        "from gpukit.runtime.checkpoint.writer import main; sys.exit(main())"
    )
    return subprocess.Popen(
        [sys.executable, *options, "-c", code, json.dumps(asdict(settings))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[handle for handle in handles if handle is not None],
        start_new_session=True,
    )


def send(connection: socket.socket, body: dict[str, Any], handles: Sequence[int] = ()) -> None:
    """Send one message; descriptors travel with its first byte.

    Raises:
        OSError: the other side is gone.
    """
    data = json.dumps(body, separators=(",", ":")).encode()
    head = _HEAD.pack(len(data))
    if handles:
        sent = socket.send_fds(connection, [head], list(handles))
        head = head[sent:]
    connection.sendall(head + data)


def receive(connection: socket.socket) -> Frame | None:
    """Receive one message; None at the end.

    Raises:
        OSError: the connection broke, also in the middle of a message.
    """
    handles: list[int] = []
    head = b""
    while len(head) < _HEAD.size:
        part, more, _, _ = socket.recv_fds(connection, _HEAD.size - len(head), 4)
        handles += more
        if not part:
            if head:
                raise ConnectionError("the connection ended inside of a message")
            return None
        head += part
    (size,) = _HEAD.unpack(head)
    if size > _LONGEST:
        raise ConnectionError(f"a message of {size} bytes is none of ours")
    data = bytearray()
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("the connection ended inside of a message")
        data += part
    for handle in handles:
        os.set_inheritable(handle, False)
    body = json.loads(data)
    return Frame(body, tuple(handles))


def bound_socket(path: Path) -> socket.socket:
    """Return a listening Unix socket at ``path``, however long that is; only this user connects.

    Raises:
        OSError: it cannot be made there.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with suppress(FileNotFoundError):
        path.unlink()
    try:
        with _short(path) as name:
            listener.bind(name)
        path.chmod(0o600)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def connect(path: Path) -> socket.socket:
    """Connect to the socket at ``path``.

    Raises:
        OSError: nobody listens there.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as name:
            connection.connect(name)
    except OSError:
        connection.close()
        raise
    return connection


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a name that fits into the 107 bytes of a socket's address."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
