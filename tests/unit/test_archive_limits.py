"""What is too large, cannot be read, or is asked for and not there: one clear error each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpukit.archive import LIMIT
from gpukit.errors import JobFileError
from tests.fresh import JOB, fresh_imports, pack, write_files


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    with fresh_imports():
        yield


def noise(kib: int) -> bytes:
    return os.urandom(kib * 1024)


def test_too_large_an_archive_lists_the_largest(tmp_path: Path) -> None:
    write_files(tmp_path, {"big_job.py": JOB, "a.bin": noise(400), "sub/b.bin": noise(500)})
    with pytest.raises(JobFileError, match=r"files: sub/b.bin \(500 KiB\), a.bin \(400") as caught:
        pack(tmp_path / "big_job.py", workdir=tmp_path)
    assert caught.value.id == "archive-too-large"
    assert ".gpukitignore" in caught.value.hint
    assert len(pack(tmp_path / "big_job.py").data) < LIMIT


def test_a_huge_folder_is_refused_before_it_is_read(tmp_path: Path) -> None:
    write_files(tmp_path, {"huge_job.py": JOB})
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(JobFileError, match=r"more than 64 MiB.*weights.bin") as caught:
        pack(tmp_path / "huge_job.py", workdir=tmp_path)
    assert caught.value.id == "archive-too-large"


MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"include": ["*.jsn"]}, "include-nothing", "matches no file"),
    ({"include": ["/etc/passwd"]}, "include-absolute", "absolute"),
    ({"include": ["../../*.txt"]}, "file-outside", "outside of the project"),
    ({"requirements": "reqs.txt"}, "requirements-missing", "no such file"),
    ({"requirements": "../r.txt"}, "requirements-outside", "leaves the folder"),
    ({"requirements": "local.txt"}, "requirements-local", "local.txt:2: '-e ../lib'"),
    ({"workdir": Path("/no/such/folder")}, "workdir-missing", "no folder"),
    ({"workdir": "other"}, "workdir-outside", "outside of"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "id", "message"), MISTAKES, ids=[m[1] for m in MISTAKES])
def test_mistakes(tmp_path: Path, options: dict[str, Any], id: str, message: str) -> None:
    write_files(tmp_path, {
        "far.txt": "", "p/pyproject.toml": "", "p/r.txt": "", "p/code/mis_job.py": JOB,
        "p/code/local.txt": "torch\n-e ../lib\n", "p/other/x": "",
    })  # fmt: skip
    if options.get("workdir") == "other":
        options = {"workdir": tmp_path / "p/other"}
    with pytest.raises(JobFileError, match=message) as caught:
        pack(tmp_path / "p/code/mis_job.py", **options)
    assert caught.value.id == id
    assert caught.value.hint


def test_code_that_cannot_be_read(tmp_path: Path) -> None:
    files = {"rd_job.py": JOB + "\ndef f():\n    import broken_x\n", "broken_x.py": "def (:\n"}
    write_files(tmp_path, files)
    with pytest.raises(JobFileError, match=r"broken_x\.py:1") as caught:
        pack(tmp_path / "rd_job.py")
    assert caught.value.id == "import-syntax"
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("")
    (tmp_path / "broken_x.py").write_text("")
    with pytest.raises(JobFileError, match="is not UTF-8"):
        pack(tmp_path / "rd_job.py", workdir=tmp_path)
