"""Bad input through the real command: exit code, words on stderr, nothing on stdout or disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from tests.bad_input import CASES, Case
from tests.fresh import JOB, write_files

SAMPLE = [
    "gpukit sumbit job.py",
    "gpukit job.py",
    "gpukit render",
    "gpukit render -o xml job.py",
    "gpukit render --epochs 3 job.py",
    "gpukit render job.py --epohcs 3",
    "gpukit render --profile h101 job.py",
    "gpukit render --memory 16GB job.py",
    "gpukit render --output missing/folder/out.yaml job.py",
    "gpukit submit --simulate-preemption 30s job.py",
    "gpukit submit --local --secrets TOKEN_NOT_SET=a/b job.py",
    "gpukit submit --local --simulate-preemption soon job.py",
    "gpukit submit --local --resume-from train-00000000 job.py",
    "gpukit recipes show no-such-recipe",
    "gpukit gpus h101",
    "gpukit completion bsh",
]
BY_WORDS = {case.words: case for case in CASES}


def run(
    argv: tuple[str, ...], folder: Path, *, python: tuple[str, ...] = ("-m", "gpukit.cli"),
    stdout: IO[str] | None = None, **environ: str,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GPUKIT_")}
    return subprocess.run(
        [sys.executable, *python, *argv], cwd=folder, text=True, check=False,
        stdin=subprocess.DEVNULL, stdout=stdout or subprocess.PIPE, stderr=subprocess.PIPE,
        env={**clean, "XDG_CONFIG_HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **environ},
    )  # fmt: skip


@pytest.mark.parametrize("words", SAMPLE)
def test_command_refuses(words: str, tmp_path: Path) -> None:
    case: Case = BY_WORDS[words]
    write_files(tmp_path, case.files)
    done = run(case.argv, tmp_path)
    first, *rest = done.stderr.splitlines()
    assert first.startswith("error: "), done.stderr
    assert [line for line in rest if line.startswith("hint:  ")] == rest[-1:]
    assert "Traceback" not in done.stderr
    assert (done.returncode, done.stdout) == (2, "")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(case.files)


def test_traceback_is_shown_to_who_asks_for_it(tmp_path: Path) -> None:
    case = BY_WORDS["gpukit render --profile h101 job.py"]
    write_files(tmp_path, case.files)
    done = run(case.argv, tmp_path, GPUKIT_DEBUG="1")
    assert "Traceback" in done.stderr
    assert "PlacementError" in done.stderr
    assert done.returncode == 2


def test_job_file_speaks_first(tmp_path: Path) -> None:
    source = "import sys\nprint('loud', file=sys.stderr)\nimport no_such_module\n"
    write_files(tmp_path, {"job.py": source})
    done = run(("render", "job.py"), tmp_path)
    loud, error, hint = done.stderr.splitlines()
    assert loud == "loud"
    assert error == "error: job.py:3: there is no module 'no_such_module' here"
    assert hint.startswith("hint:  install no_such_module here, or import it inside the function")
    assert (done.returncode, done.stdout) == (2, "")


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    write_files(tmp_path, {"job.py": JOB})
    with Path("/dev/full").open("w") as full:
        done = run(("render", "job.py"), tmp_path, stdout=full)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: the output cannot be written: No space left on device",
        "hint:  look at where it goes, and at the space there",
    ]


def test_closed_output_is_no_bug(tmp_path: Path) -> None:
    write_files(tmp_path, {"job.py": JOB})
    code = "import sys; sys.stdout = None; from gpukit.cli.main import main; sys.exit(main())"
    done = run(("render", "job.py"), tmp_path, python=("-c", code))
    assert (done.returncode, done.stdout) == (0, "")
    assert "Traceback" not in done.stderr


def test_folder_that_is_gone(tmp_path: Path) -> None:
    write_files(tmp_path, {"job.py": JOB})
    code = (
        "import os, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); "
        "from gpukit.cli.main import main; sys.exit(main())"
    )
    done = run(("render", "job.py"), tmp_path, python=("-c", code))
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "error: the current folder is not there any more"


def test_link_to_itself_is_left_out(tmp_path: Path) -> None:
    write_files(tmp_path, {"job.py": JOB})
    (tmp_path / "loop.py").symlink_to("loop.py")
    done = run(("archive", "--workdir", ".", "job.py"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "loop.py is a link to" in done.stderr
    assert "loop.py" not in done.stdout
    missing = run(("render", "loop.py"), tmp_path)
    assert missing.stderr.splitlines()[:2] == [
        "error: there is no file loop.py", "hint:  did you mean 'job.py'?",
    ]  # fmt: skip
