"""One bad input: what is wrong in words, the id of the error it must end in, and how to make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gpukit.jobfile import load_job
from tests.fresh import write_files

__all__ = ["Case", "command_line", "declared", "job_source", "rendered"]

TAIL = "def train(epochs: int = 1, lr: float = 0.1) -> int:\n    return epochs\n"


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        id: of the error that it must end in.
        words: what is wrong; unique.
        attempt: does it, in an empty folder that is the current one.
        environ: variables that are set for it.
        argv: the command line, where it is one.
        files: what lies in the folder before.
    """

    id: str
    words: str
    attempt: Callable[[], object]
    environ: Mapping[str, str] = field(default_factory=dict)
    argv: tuple[str, ...] = ()
    files: Mapping[str, str | bytes] = field(default_factory=dict)


def job_source(options: str = "", tail: str = TAIL) -> str:
    """Return a job file that is declared with ``options``."""
    return f"from gpukit import gpu_job\n\n@gpu_job({options})\n{tail}"


def rendered(target: str = "job.py") -> object:
    """Load a job and render it with its defaults, as a notebook would."""
    return load_job(target).render()


def declared(id: str, options: str) -> Case:
    """Return the case of a job with these options in its decorator."""
    return Case(id, f"@gpu_job({options})", rendered, files={"job.py": job_source(options)})


def command_line(
    id: str,
    line: str,
    *,
    environ: Mapping[str, str] | None = None,
    files: Mapping[str, str | bytes] | None = None,
) -> Case:
    """Return the case of a command line; a job file lies beside it."""
    import shlex

    from gpukit.cli.main import run

    argv = tuple(shlex.split(line))
    return Case(
        id, f"gpukit {line}", lambda: run(list(argv)), environ or {}, argv,
        {"job.py": job_source(), **(files or {})},
    )  # fmt: skip


def in_folder(case: Case, folder: Path) -> None:
    """Put the case's files where it is tried."""
    write_files(folder, case.files)
