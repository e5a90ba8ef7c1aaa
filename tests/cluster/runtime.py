"""Starting containers: what one sees, and its process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from .api import Json
from .container import __file__ as container_file
from .environment import expand
from .logs import Log
from .volumes import Mounts

__all__ = ["Container", "StartError", "View", "view_of"]

REPOSITORY = Path(__file__).parents[2]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class StartError(Exception):
    """The command cannot be started."""


@dataclass
class View:
    """What a container sees; all paths but ``root``, ``scratch`` and sources are its own."""

    command: list[str]
    environment: dict[str, str]
    cwd: str
    hostname: str
    root: str
    scratch: str
    uid: int = 0
    gid: int = 0
    groups: list[int] = field(default_factory=list)
    fs_group: int = 0
    binds: list[tuple[str, str, bool]] = field(default_factory=list)
    memory: list[tuple[str, int, int]] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    passable: list[str] = field(default_factory=list)
    read_only: bool = False
    no_new_privileges: bool = False
    user: bool = False


def view_of(
    pod: Json, container: Json, folder: Path, mounts: Mounts, environment: dict[str, str],
    python: Path,
) -> View:  # fmt: skip
    """Return the view of a container.

    Args:
        pod: the pod.
        container: of the pod.
        folder: for the container's own files.
        mounts: what of the volumes it sees.
        environment: resolved variables.
        python: the environment that stands for the image.
    """
    whole, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    group = whole.get("fsGroup")
    for name in ("root", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    message = folder / "termination-log"
    message.touch()
    message.chmod(0o666)
    image = {"PATH": f"{python}/bin:{PATH}", "HOME": "/root", "HOSTNAME": hostname_of(pod)}
    shown = [(path, path, True) for path in _shown(str(python))]
    ends = container.get("terminationMessagePath", "/dev/termination-log")
    words = [*container.get("command", []), *container.get("args", [])]
    return View(
        command=[expand(word, environment) for word in words],
        environment=image | environment,
        cwd=container.get("workingDir") or "/",
        hostname=hostname_of(pod),
        root=str(folder / "root"),
        scratch=str(folder / "scratch"),
        uid=own.get("runAsUser", whole.get("runAsUser", 0)),
        gid=own.get("runAsGroup", whole.get("runAsGroup", 0)),
        groups=[*whole.get("supplementalGroups", []), *([group] if group is not None else [])],
        fs_group=group or 0,
        binds=[*shown, *mounts.binds, (str(message), ends, False)],
        memory=mounts.memory,
        hidden=["/tmp", str(REPOSITORY)],
        passable=_parents(str(python)),
        read_only=bool(own.get("readOnlyRootFilesystem")),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
        user=os.geteuid() != 0,
    )


def hostname_of(pod: Json) -> str:
    """Return the pod's host name."""
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:63]


@cache
def _shown(python: str) -> tuple[str, ...]:
    """Return what must be seen although the folder around it is hidden: the image's Python."""
    return tuple(dict.fromkeys((python, str(_base(python)))))


@cache
def _parents(python: str) -> list[str]:
    parents = [str(p) for path in _shown(python) for p in (Path(path), *Path(path).parents)]
    return [path for path in dict.fromkeys(parents) if path != "/"]


@cache
def _base(python: str) -> Path:
    """Return the installation that a virtual environment was made from."""
    return (Path(python) / "bin" / "python3").resolve().parents[1]


class Container:
    """A container that was started.

    Attributes:
        log: what it prints.
        ended: set when its command has ended.
        code: the exit code then, 128 + number for a signal.
        oom: it is said to have run out of memory.
    """

    def __init__(self, view: View) -> None:
        """Start it.

        Raises:
            StartError: the command is not there, or this machine allows no namespaces.
        """
        self.log = Log()
        self.ended = threading.Event()
        self.code = -1
        self.oom = False
        self._lock = threading.Lock()
        reads, writes = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", container_file, str(writes)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(writes,),
                start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(writes)
        pipe = os.fdopen(reads, "rb")
        self._reading = threading.Thread(target=self.log.read_from, args=(pipe,), daemon=True)
        self._reading.start()
        self._tell(json.dumps(asdict(view)))
        said = self._heard()
        if "started" not in said:
            self._reap()
            raise StartError(str(said.get("error", "the launcher was killed")))
        threading.Thread(target=self._wait, daemon=True).start()

    def terminate(self) -> None:
        """Send SIGTERM to its first process."""
        self._tell("term")

    def kill(self, *, oom: bool = False) -> None:
        """Send SIGKILL to its first process, which ends all of them."""
        self.oom = oom and not self.ended.is_set()
        self._tell("kill")

    def _wait(self) -> None:
        self.code = int(self._heard().get("code", 137))
        self._reap()
        self._reading.join(30)  # what it wrote last belongs to its log
        self.ended.set()

    def _reap(self) -> None:
        self._process.wait()
        with self._lock:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):  # a last word that nobody read
                        pipe.close()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with self._lock:
            try:
                self._process.stdin.write(line.encode() + b"\n")
                self._process.stdin.flush()
            except (BrokenPipeError, ValueError):
                return  # it has ended

    def _heard(self) -> Json:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found: Json = json.loads(line) if line else {}
        return found
