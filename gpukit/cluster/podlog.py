"""The log of one pod, each line once, however often the connection is cut.

The API server can send a log from a whole second on. So what was shown of the newest second is
remembered, and after a cut passed over again, line by line, before anything new is shown.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gpukit.contract import CONTAINER

from .client import Client
from .errors import ApiError
from .transport import BrokenError, Stream

__all__ = ["PodLog"]

_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d) ")
_PAUSE, _LONGEST_PAUSE = 0.2, 5.0


@dataclass
class PodLog:
    """Reads a pod's log to its end.

    Args:
        client: of the API server.
        pod: name of the pod.
        namespace: of the pod.
        container: of the pod.

    Attributes:
        gone: the pod vanished before its log was read to the end.
        gaps: how often lines may be missing, since the node had thrown them away (rotation).
    """

    client: Client
    pod: str
    namespace: str
    container: str = CONTAINER
    gone: bool = False
    gaps: int = 0
    _second: bytes = b""
    _zone: bytes = b"Z"
    _shown: list[bytes] = field(default_factory=list)  # lines of the newest second
    _stream: Stream | None = None
    _closed: threading.Event = field(default_factory=threading.Event)

    def lines(
        self, ended: Callable[[], bool], *, since: str | None = None, tail: int | None = None
    ) -> Iterator[tuple[str, bytes]]:
        """Yield each line once, with the time that the node gave it, until the container has ended.

        Args:
            ended: tells whether the container is known to have ended.
            since: RFC 3339 time to begin at.
            tail: begin with so many of the last lines.
        """
        pause = _PAUSE
        while not self._closed.is_set():
            over = ended()  # before reading: nothing that was written till then is missed
            begin = (self._second + self._zone).decode() if self._second else since
            try:
                self._stream = self.client.logs(
                    self.pod, self.namespace, container=self.container, follow=not over,
                    since=begin, tail=None if self._second else tail,
                )  # fmt: skip
                for line in self._new(self._stream.lines()):
                    pause = _PAUSE
                    yield line
                if over and self._stream.complete:
                    return
            except ApiError as error:
                if error.status == 404:
                    self.gone = True
                    return
                if error.status != 400:  # 400: the container has not started yet
                    raise
                if over:
                    return
            except BrokenError:
                pass
            self._closed.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def close(self) -> None:
        """Stop reading; safe from another thread."""
        self._closed.set()
        if self._stream is not None:
            self._stream.close()

    def _new(self, lines: Iterator[bytes]) -> Iterator[tuple[str, bytes]]:
        """Pass over what was shown before."""
        expected, position = self._shown, 0
        self._shown = list(expected)
        for line in lines:
            if position < len(expected):
                found = _index(expected, line, position)
                if found is not None:
                    position = found + 1
                    continue
                self.gaps += 1
                position = len(expected)
            match = _TIME.match(line)
            if match is None:
                yield "", line
                continue
            if match[1] > self._second:
                self._second, self._zone, self._shown = match[1], match[2], []
            if match[1] == self._second:
                self._shown.append(line)
            yield line[: match.end() - 1].decode(), line[match.end() :]


def _index(lines: list[bytes], line: bytes, start: int) -> int | None:
    if lines[start] == line:
        return start
    try:
        return lines.index(line, start)
    except ValueError:
        return None
