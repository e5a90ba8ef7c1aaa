"""First thing in the pod: unpack the code, install packages, become the supervisor.

One file on its own, next to the archive: gpukit itself comes out of that archive. It must parse on
any Python 3, so that an image with an old one is told so in words: no newer syntax, and no
annotation that an old Python cannot evaluate.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

CRASH, PERMANENT, PREEMPTED, PREEMPTED_NO_PROGRESS = 1, 64, 75, 76  # gpukit.ladder.ExitCode
STORM_SECONDS = 60.0  # gpukit.ladder
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
ARCHIVE = "archive.tar.gz"
PIP_LINES = 12  # of pip's talk, for the termination message


class Stop(BaseException):
    """SIGTERM came before the supervisor was there."""


class BootError(Exception):
    """The pod cannot start: the exit code, what is wrong, what to do."""

    def __init__(self, code: int, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


def main() -> int:
    """Prepare the pod and become the supervisor; return an exit code if that fails."""
    began = time.monotonic()
    if sys.version_info < (3, 10):  # noqa: UP036 - the image decides which Python this is
        version = "{}.{}".format(*sys.version_info[:2])
        return leave(
            PERMANENT, "", "permanent",
            f"this image has Python {version} ({sys.executable}), gpukit needs 3.10 or newer: "
            "use another image",
        )  # fmt: skip
    for number in STOP_SIGNALS:
        signal.signal(number, _stop)
    run = ""
    try:
        task = _read_task()
        run = str(task.get("run", ""))
        work = Path(os.environ["GPUKIT_WORK"])
        code = unpack(Path(__file__).parent / ARCHIVE, work / "code")
        packages = install(task, work / "packages", code / "src")
        become_supervisor([code / "lib", *packages])
    except BootError as error:
        cause = "permanent" if error.code == PERMANENT else "crash"
        return leave(error.code, run, cause, f"{error.message} ({error.hint})")
    except Stop:
        calm = time.monotonic() - began >= STORM_SECONDS
        return leave(
            PREEMPTED if calm else PREEMPTED_NO_PROGRESS, run, "preempted", "SIGTERM at the start"
        )
    except OSError as error:
        return leave(CRASH, run, "crash", f"the pod cannot be prepared: {error}")
    return CRASH


def unpack(archive: Path, target: Path) -> Path:
    """Unpack the archive to ``target``; plain files below it and nothing else."""
    partial = Path(tempfile.mkdtemp(prefix=".code-", dir=_folder(target.parent)))
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                _unpack_member(tar, member, partial)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BootError(
            PERMANENT, f"the code archive {archive} cannot be unpacked: {error}", "submit again"
        ) from None
    shutil.rmtree(target, ignore_errors=True)
    partial.chmod(0o755)
    partial.rename(target)
    (target / "src").mkdir(exist_ok=True)
    return target


def install(task: dict, folder: Path, source: Path) -> list:  # type: ignore[type-arg]
    """Install the task's packages; return the folders that go on the path of Python."""
    packages = [str(package) for package in task.get("packages") or ()]
    requirements = task.get("requirements")
    if not packages and not requirements:
        return []
    what = source / requirements if requirements else None
    if what is not None and not what.is_file():
        raise BootError(
            PERMANENT, f"the requirements file {requirements} is not in the archive", "submit again"
        )
    text = "\n".join(packages) if what is None else what.read_text(encoding="utf-8")
    key = hashlib.sha256(f"{sys.version}\n{text}".encode()).hexdigest()[:16]
    target = folder / key
    if not target.is_dir():
        _install(text, target, source)
    return [target]


def become_supervisor(paths: list) -> None:  # type: ignore[type-arg]
    """Replace this process by the supervisor, as pid 1 where this is pid 1."""
    inherited = os.environ.get("PYTHONPATH")
    entries = [str(path) for path in paths] + ([inherited] if inherited else [])
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(entries)}
    os.chdir(paths[0])  # `python -m` looks there first: no gpukit of the image's comes before it
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # until the supervisor takes them
    command = [sys.executable, "-u", "-m", "gpukit.runtime"]
    os.execve(sys.executable, command, environ)


def leave(code: int, run: str, cause: str, reason: str) -> int:
    """Say why the pod ends here, for a person and in the termination message."""
    print(f"gpukit: {reason}", file=sys.stderr, flush=True)
    body = {"format": 1, "run": run, "attempt": None, "cause": cause, "exit_code": code}
    path = Path(os.environ.get("GPUKIT_TERMINATION_LOG") or "/dev/termination-log")
    with contextlib.suppress(OSError):
        if path.exists() or path.parent != Path("/dev"):
            path.write_text(json.dumps({**body, "reason": reason[-1500:]}), encoding="utf-8")
    return code


def _stop(_number: int, _frame: object) -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise Stop


def _read_task() -> dict:  # type: ignore[type-arg]
    try:
        task = json.loads(Path(os.environ["GPUKIT_TASK"]).read_text(encoding="utf-8"))
        return dict(task)
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise BootError(
            PERMANENT, f"the task cannot be read: {error!r}", "submit again with gpukit"
        ) from None


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    parts = Path(member.name).parts
    if member.isdir():
        return
    data = tar.extractfile(member) if member.isreg() else None
    if data is None or not parts or Path(member.name).is_absolute() or ".." in parts:
        raise BootError(
            PERMANENT, f"the code archive holds {member.name!r}, which is no plain file in it",
            "it was not written by gpukit; submit again",
        )  # fmt: skip
    path = root.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    with data, path.open("wb") as file:
        shutil.copyfileobj(data, file)
    path.chmod(0o755 if member.mode & 0o100 else 0o644)


def _install(text: str, target: Path, source: Path) -> None:
    partial = Path(tempfile.mkdtemp(prefix=".packages-", dir=_folder(target.parent)))
    wanted = partial / "wanted.txt"
    wanted.write_text(text, encoding="utf-8")
    missing = partial / "missing.txt"
    missing.write_text(_missing(wanted, partial, source, text), encoding="utf-8")
    if missing.read_text(encoding="utf-8").strip():
        _pip(
            ["install", "--no-deps", "--target", str(partial / "site"), "-r", str(missing)],
            source, os.environ,
        )  # fmt: skip
    site = partial / "site"
    site.mkdir(exist_ok=True)
    with contextlib.suppress(OSError):  # another pod on this volume was faster
        site.rename(target)
    shutil.rmtree(partial, ignore_errors=True)


def _missing(wanted: Path, partial: Path, source: Path, text: str) -> str:
    """Return what of ``wanted`` the image does not have, as pinned requirements.

    ``pip install --target`` looks at nothing that is installed: it would fetch another torch next
    to the image's. So pip first says what is missing, then installs that and no more.
    """
    report = partial / "report.json"
    environ = _reporting_pip(partial, source)
    _pip(
        ["install", "--quiet", "--dry-run", "--report", str(report), "-r", str(wanted)],
        source,
        environ,
    )
    found = json.loads(report.read_text(encoding="utf-8"))["install"]
    options = [line for line in text.splitlines() if line.lstrip().startswith("-")]
    options = [line for line in options if not line.lstrip().startswith(("-r", "-c", "-e"))]
    return "\n".join([*options, *(_pinned(item) for item in found)])


def _reporting_pip(partial: Path, source: Path) -> dict:  # type: ignore[type-arg]
    """Return the environment of a pip that can report; Ubuntu 22.04's is too old for that."""
    shown = subprocess.run(
        [sys.executable, "-m", "pip", "--version"], capture_output=True, text=True, check=False
    )
    if shown.returncode != 0:
        raise BootError(
            PERMANENT, f"packages are asked for, but {sys.executable} has no pip",
            "use an image with pip, or put the packages into the image",
        )  # fmt: skip
    version = [int(part) for part in shown.stdout.split()[1].split(".")[:2] if part.isdigit()]
    if version >= [22, 2]:
        return dict(os.environ)
    newer = str(partial / "pip")
    _pip(["install", "--target", newer, "pip>=23"], source, os.environ)
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([newer, inherited] if inherited else [newer])
    return {**os.environ, "PYTHONPATH": path}


def _pinned(item: dict) -> str:  # type: ignore[type-arg]
    name, where = item["metadata"]["name"], item["download_info"]
    if not item.get("is_direct"):
        return f"{name}=={item['metadata']['version']}"
    vcs = where.get("vcs_info")
    url = f"{vcs['vcs']}+{where['url']}@{vcs['commit_id']}" if vcs else where["url"]
    return f"{name} @ {url}"


def _pip(arguments: list, source: Path, environ: Mapping) -> None:  # type: ignore[type-arg]
    command = [sys.executable, "-m", "pip", *arguments, "--disable-pip-version-check", "--no-input"]
    tail: deque[str] = deque(maxlen=PIP_LINES)
    with subprocess.Popen(
        command, cwd=source, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    ) as process:  # fmt: skip
        try:
            for line in process.stdout or ():
                tail.append(line)
                print(line, end="", file=sys.stderr, flush=True)
        except BaseException:
            process.kill()
            raise
    said = "".join(tail)
    if process.returncode != 0:
        raise BootError(
            CRASH, f"pip failed with exit code {process.returncode}: {said.strip()}",
            "look at packages= or requirements=, and at the network of the pod",
        )  # fmt: skip


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


if __name__ == "__main__":
    sys.exit(main())
