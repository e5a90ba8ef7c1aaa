"""Mistakes around the job file: the target, its import, and what is shipped with it."""

from __future__ import annotations

import random

from gpukit.archive import build_archive
from gpukit.jobfile import load_job, locate

from .case import TAIL, Case, command_line, job_source, rendered

__all__ = ["JOB_FILES"]

_JOB = job_source()
_TWO = job_source() + "\n@gpu_job()\ndef test(): ...\n"


def _file(id: str, words: str, source: str | bytes, target: str = "job.py", **more: str) -> Case:
    return Case(id, words, lambda: rendered(target), files={"job.py": source, **more})


def _shipped(id: str, words: str, line: str, **files: str | bytes) -> Case:
    case = command_line(id, line, files={k.replace("__", "/"): v for k, v in files.items()})
    return Case(id, words, case.attempt, case.environ, case.argv, case.files)


def _noise(kilobytes: int) -> bytes:
    return random.Random(0).randbytes(kilobytes * 1024)


def _nested() -> object:
    from gpukit import gpu_job

    @gpu_job()
    def inner() -> None: ...

    return locate(inner)


def _typed_in() -> object:
    names: dict[str, object] = {}
    exec("from gpukit import gpu_job\n@gpu_job()\ndef typed(): ...\n", names)
    return names["typed"].render()  # type: ignore[attr-defined]


def _vanished() -> object:
    located = locate(load_job("job.py"))
    located.file.unlink()
    return build_archive(located)


JOB_FILES: list[Case] = [
    # the target
    _file("target-form", "an empty target", _JOB, ""),
    _file("target-form", "a target of colons", _JOB, "::"),
    _file("target-form", "a function that is no name", _JOB, "job.py::train()"),
    _file("target-form", "a target with nothing behind the colons", _JOB, "job.py::"),
    _file("file-missing", "a misspelled file", _JOB, "jbo.py"),
    _file("file-missing", "a folder that is not there", _JOB, "nowhere/job.py"),
    _file("file-missing", "a misspelled suffix", _JOB, "job.pyy"),
    _file("file-is-folder", "a folder", _JOB, "."),
    _file("file-not-python", "a text file", _JOB, "notes.txt", **{"notes.txt": "text"}),
    _file("file-not-python", "a notebook file", _JOB, "job.ipynb", **{"job.ipynb": "{}"}),
    _file("file-name", "a name with dots", _JOB, "train.v2.py", **{"train.v2.py": _JOB}),
    _file("file-shadows", "a file named as a module of Python", _JOB, "json.py", **{"json.py": ""}),
    _file("file-shadows", "a file named gpukit.py", _JOB, "gpukit.py", **{"gpukit.py": ""}),
    # its content
    _file("job-none", "an empty file", ""),
    _file("job-none", "a file without the decorator", "def train(): ...\n"),
    _file("job-several", "two jobs", _TWO),
    _file("job-unknown", "a misspelled job", _TWO, "job.py::trian"),
    _file("job-unknown", "a job in an empty file", "", "job.py::train"),
    _file("not-a-job", "a function that is no job", _JOB + "def other(): ...\n", "job.py::other"),
    _file("job-syntax", "a syntax error", "def train(:\n"),
    _file("job-syntax", "bytes that are not UTF-8", b"name = '\xff'\n"),
    _file("job-syntax", "a null byte", b"a = 1\x00\n"),
    _file("job-syntax", "wrong indentation", "def f():\nreturn 1\n"),
    _file("job-syntax", "a syntax error in what it imports", "import helper\n",
          **{"helper.py": "x ==\n"}),
    _file("import-missing", "a module that is not installed", f"import no_such_module\n{_JOB}"),
    _file("import-missing", "a misspelled sibling", f"import helpr\n{_JOB}", **{"helper.py": ""}),
    _file("import-missing", "a missing submodule", f"import json.no_such_part\n{_JOB}"),
    _file("job-exits", "sys.exit at import", f"import sys\nsys.exit(3)\n{_JOB}"),
    _file("job-exits", "exit() at import", f"raise SystemExit\n{_JOB}"),
    _file("job-raises", "a division by zero at import", f"1 / 0\n{_JOB}"),
    _file("job-raises", "a relative import without a package", f"from . import x\n{_JOB}"),
    _file("job-raises", "a name that a module does not have", f"from json import lods\n{_JOB}"),
    _file("job-raises", "an endless recursion at import", f"def f(): f()\nf()\n{_JOB}"),
    Case("function-nested", "a job inside a function", _nested),
    Case("no-file", "a job that was typed in", _typed_in),
    _file("function-nested", "a lambda as a job", "from gpukit import gpu_job\n"
          "train = gpu_job(profile='cpu')(lambda: 1)\n"),
    # what is shipped
    _shipped("include-nothing", "an include that matches nothing",
             "archive --include 'data/*.json' job.py"),
    _shipped("include-nothing", "an include of an empty folder's files",
             "archive --include '*.parquet' job.py", notes="x"),
    _shipped("include-absolute", "an absolute include", "archive --include /etc/hosts job.py"),
    _shipped("include-pattern", "an include with ** in a word",
             "archive --include 'data/**.json' job.py"),
    _shipped("include-pattern", "an empty include", "archive --include '' job.py"),
    _shipped("archive-too-large", "a large file", "archive --include big.bin job.py",
             **{"big.bin": _noise(900)}),
    _shipped("archive-too-large", "many files", "archive --include 'd' job.py",
             **{f"d__{i}": _noise(100) for i in range(9)}),
    _shipped("requirements-missing", "a requirements file that is not there",
             "archive --requirements requirement.txt job.py", **{"requirements.txt": "numpy\n"}),
    _shipped("requirements-outside", "requirements above the folder",
             "archive --requirements ../requirements.txt job.py"),
    _shipped("requirements-outside", "requirements at an absolute path",
             "archive --requirements /tmp/requirements.txt job.py"),
    _shipped("requirements-local", "requirements with an editable install",
             "archive --requirements r.txt job.py", **{"r.txt": "-e .\n"}),
    _shipped("requirements-local", "requirements with a path",
             "archive --requirements r.txt job.py", **{"r.txt": "numpy\n./wheels/a.whl\n"}),
    _shipped("requirements-local", "requirements that include others",
             "archive --requirements r.txt job.py", **{"r.txt": "-r other.txt\n"}),
    _shipped("requirements-text", "requirements that are not text",
             "archive --requirements r.txt job.py", **{"r.txt": b"\xff\xfe\x00"}),
    _shipped("workdir-outside", "a workdir without the job", "archive --workdir other job.py",
             other__note="x"),
    _shipped("import-syntax", "a lazily imported sibling that is not Python",
             "archive lazy.py",
             **{"lazy.py": job_source(tail="def train():\n    import helper\n"),
                "helper.py": "x ==\n"}),
    Case("file-unreadable", "a job file that vanishes", _vanished, files={"job.py": _JOB}),
]  # fmt: skip

assert TAIL in _JOB
