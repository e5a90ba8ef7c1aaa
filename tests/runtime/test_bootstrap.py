"""The bootstrap: code out of the archive, packages from pip, and then the supervisor."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import gpukit
from gpukit import ladder
from gpukit.contract import ARCHIVE_NAME, BOOTSTRAP_NAME, Env, Task
from gpukit.runtime import bootstrap
from gpukit.runtime.record import RunRecord
from gpukit.runtime.store import DirectoryStore
from tests.runtime.pod import Pod

PACKAGE = Path(gpukit.__file__).parent


class Boot:
    """A code mount with an archive, and pods that boot from it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.code = root / "code"
        self.code.mkdir()
        shutil.copy(bootstrap.__file__, self.code / BOOTSTRAP_NAME)
        self.pods: list[Pod] = []

    def pack(self, files: dict[str, str]) -> None:
        with tarfile.open(self.code / ARCHIVE_NAME, "w:gz") as tar:
            for path in sorted(PACKAGE.rglob("*.py")):
                tar.add(path, f"lib/gpukit/{path.relative_to(PACKAGE)}")
            for name, text in files.items():
                data = textwrap.dedent(text).encode()
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))

    def start(
        self, python: str = sys.executable, environ: dict[str, str] | None = None, **task: Any
    ) -> Pod:
        work = self.root / f"work-{len(self.pods)}"
        work.mkdir()
        defaults = {"run": "demo-1", "job": "demo", "module": "job", "function": "main"}
        whole = {"format": 1, **asdict(Task(**{**defaults, **task}))}
        (work / "task.json").write_text(json.dumps(whole), encoding="utf-8")
        settings = {
            Env.TASK: str(work / "task.json"),
            Env.STORE: str(self.root / "store"),
            Env.WORK: str(work),
            Env.TERMINATION_LOG: str(work / "message"),
        }
        process = subprocess.Popen(
            [python, "-u", str(self.code / BOOTSTRAP_NAME)],
            env={**os.environ, **settings, **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.pods.append(Pod(process, work / "message").follow())
        return self.pods[-1]

    @property
    def record(self) -> RunRecord:
        return RunRecord(DirectoryStore(self.root / "store"))


@pytest.fixture
def boot(tmp_path: Path) -> Boot:
    return Boot(tmp_path)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with a wheel, ``answer``, that needs click, which is installed here."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = "gpukit_test_answer-1.0.dist-info"
    with zipfile.ZipFile(folder / "gpukit_test_answer-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("gpukit_test_answer.py", "VALUE = 42\n")
        wheel.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: gpukit-test-answer\nVersion: 1.0\nRequires-Dist: click\n",
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return folder


def test_the_function_runs_with_the_gpukit_of_the_archive(boot: Boot, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    extra.mkdir()
    (extra / "theirs.py").write_text("NAME = 'theirs'\n")
    boot.pack({
        "src/pkg/job.py": """
            import helper, theirs, gpukit, os
            def main():
                return [helper.NAME, theirs.NAME, gpukit.__file__, os.getpid() != os.getppid()]
        """,
        "src/helper.py": "NAME = 'ours'\n",
        "src/json.py": "raise ImportError('the standard library comes first for the runtime')\n",
    })  # fmt: skip
    pod = boot.start(paths=("pkg", "."), environ={"PYTHONPATH": str(extra)})
    assert pod.wait() == 0, pod.output
    ours, theirs, file, _ = pod.message["result"]
    assert (ours, theirs) == ("ours", "theirs")
    assert Path(file) == tmp_path / "work-0" / "code" / "lib" / "gpukit" / "__init__.py"
    assert sorted(path.name for path in (tmp_path / "work-0").iterdir()) == [
        "code", "message", "task.json",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["../evil.py", "/tmp/evil.py", "src/../../evil.py"])
def test_an_archive_cannot_write_outside(boot: Boot, name: str) -> None:
    boot.pack({name: "print('evil')"})
    pod = boot.start()
    assert pod.wait() == 64
    assert pod.message["cause"] == "permanent"
    assert "which is no plain file in it" in pod.message["reason"]
    assert not list(boot.root.rglob("evil.py"))


def test_a_broken_archive_is_permanent(boot: Boot) -> None:
    (boot.code / ARCHIVE_NAME).write_bytes(b"not a tar")
    pod = boot.start()
    assert pod.wait() == 64
    assert "cannot be unpacked" in pod.message["reason"]


def test_a_task_that_is_missing_is_permanent(boot: Boot) -> None:
    boot.pack({"src/job.py": "def main(): pass\n"})
    pod = boot.start(environ={Env.TASK: "/nowhere/task.json"})
    assert pod.wait() == 64
    assert "task" in pod.message["reason"]


@pytest.mark.parametrize("way", ["packages", "requirements"])
def test_packages_are_installed_without_what_the_image_has(
    boot: Boot, wheels: Path, way: str
) -> None:
    boot.pack({
        "src/job.py": """
            def main():
                import gpukit_test_answer, click
                return [gpukit_test_answer.VALUE, gpukit_test_answer.__file__, click.__file__]
        """,
        "src/needs.txt": "gpukit-test-answer  # a comment\n",
    })  # fmt: skip
    asked: dict[str, Any] = (
        {"packages": ("gpukit-test-answer==1.0",)}
        if way == "packages"
        else {"requirements": "needs.txt"}
    )
    environ = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    pod = boot.start(environ=environ, **asked)
    assert pod.wait() == 0, pod.output
    value, answer, click = pod.message["result"]
    assert value == 42
    packages = boot.root / "work-0" / "packages"
    assert Path(answer).is_relative_to(packages)
    assert not Path(click).is_relative_to(packages), "click was there already"
    (cache,) = packages.iterdir()
    assert len(cache.name) == 16


def test_a_pip_that_fails_says_what_pip_said(boot: Boot, wheels: Path) -> None:
    boot.pack({"src/job.py": "def main(): pass\n"})
    environ = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    pod = boot.start(environ=environ, packages=("gpukit-test-question",))
    assert pod.wait() == 1
    assert "No matching distribution found for gpukit-test-question" in pod.message["reason"]
    assert boot.record.attempts() == [], "the function never ran: no retry is charged"


def test_an_image_without_pip_is_told_so(boot: Boot, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    boot.pack({"src/job.py": "def main(): pass\n"})
    pod = boot.start(python=str(bare / "bin" / "python"), packages=("anything",))
    assert pod.wait() == 64
    assert "no pip" in pod.message["reason"]


def test_sigterm_while_pip_waits_for_its_index(boot: Boot) -> None:
    boot.pack({"src/job.py": "def main(): pass\n"})
    with socket.create_server(("127.0.0.1", 0)) as index:
        index.settimeout(120)
        url = f"http://127.0.0.1:{index.getsockname()[1]}/simple"
        pod = boot.start(environ={"PIP_INDEX_URL": url}, packages=("anything",))
        connection, _ = index.accept()  # and it never gets an answer
        with connection:
            pod.terminate()
            assert pod.wait() == 76, pod.output
    assert pod.message["cause"] == "preempted"


def test_sigterm_between_the_bootstrap_and_the_supervisor_is_not_lost(boot: Boot) -> None:
    boot.pack({"src/job.py": "import threading\ndef main(): threading.Event().wait()\n"})
    pod = boot.start()
    command = Path(f"/proc/{pod.process.pid}/cmdline")
    while b"gpukit.runtime" not in command.read_bytes():
        assert pod.process.poll() is None, pod.output
    # The new interpreter starts now; it has no handlers yet.
    pod.terminate()
    assert pod.wait() == 76, pod.output
    assert pod.message["cause"] == "preempted"


def test_an_old_python_is_told_so(boot: Boot) -> None:
    source = Path(bootstrap.__file__).read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 7))
    script = (
        "import sys, runpy; sys.version_info = (3, 8, 1, 'final', 0); "
        "runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    message = boot.root / "message"
    done = subprocess.run(
        [sys.executable, "-c", script, bootstrap.__file__],
        env={**os.environ, Env.TERMINATION_LOG: str(message)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 64
    assert "this image has Python 3.8" in done.stderr
    assert json.loads(message.read_text())["cause"] == "permanent"


def test_the_bootstrap_repeats_the_contract_correctly() -> None:
    """It is one file on its own, so it writes out what it shares with the others."""
    source = Path(bootstrap.__file__).read_text(encoding="utf-8")
    for name in (Env.TASK, Env.WORK, Env.TERMINATION_LOG):
        assert f'"{name}"' in source
    assert bootstrap.ARCHIVE == ARCHIVE_NAME
    assert bootstrap.STORM_SECONDS == ladder.STORM_SECONDS
    for name in ("CRASH", "PERMANENT", "PREEMPTED", "PREEMPTED_NO_PROGRESS"):
        assert getattr(bootstrap, name) == ladder.ExitCode[name]
    assert signal.SIGTERM in bootstrap.STOP_SIGNALS
    imported = {n.module for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom)}
    assert not any(module and module.startswith("gpukit") for module in imported)
