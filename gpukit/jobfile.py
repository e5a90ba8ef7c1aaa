"""The file of a job: found, imported once, and said by which name the pod imports it."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import GpukitError, JobFileError, did_you_mean
from .job import GpuJob

__all__ = [
    "Located", "Target", "import_file", "load_job", "locate", "parse_target", "source_file_of",
]  # fmt: skip

_DECORATOR = "put @gpu_job() above the function: from gpukit import gpu_job"


@dataclass(frozen=True)
class Target:
    """What the command line names: a file, and a function in it where there are several."""

    file: Path
    function: str | None = None

    def __str__(self) -> str:
        return f"{self.file}::{self.function}" if self.function else str(self.file)


@dataclass(frozen=True)
class Located:
    """Where a job is defined.

    Attributes:
        file: the file that defines the function, absolute.
        module: the dotted name by which it is imported.
        root: the folder that has to be on ``sys.path`` for that.
        function: the name of the function in the module.
    """

    file: Path
    module: str
    root: Path
    function: str


def parse_target(text: str) -> Target:
    """Read ``job.py`` or ``job.py::function``.

    Raises:
        JobFileError: not of this form.
    """
    file, colons, function = text.partition("::")
    if not file or (colons and not function.isidentifier()):
        raise JobFileError(
            "target-form", f"{text!r} is not a job", 'write "job.py" or "job.py::function"'
        )
    return Target(Path(file), function or None)


def load_job(target: Target | str) -> GpuJob[..., Any]:
    """Import the job file, once, and return its job.

    The file's import root (its folder; for a module of a package the folder of the package) is
    put first on ``sys.path``, so relative imports and sibling modules work.

    Raises:
        JobFileError: there is no such file, it cannot be imported, or it has no such job.
    """
    if isinstance(target, str):
        target = parse_target(target)
    return _choose(import_file(target.file), target)


def import_file(file: Path) -> ModuleType:
    """Import a file, once, as a job file is imported.

    Raises:
        JobFileError: there is no such file, or it cannot be imported.
    """
    return _import(_existing(file), file)


def locate(job: GpuJob[..., Any]) -> Located:
    """Say where a job is defined, and how a pod imports it.

    Raises:
        JobFileError: it has no file, or cannot be reached by a name in its module.
    """
    function = inspect.unwrap(job.function)
    file = source_file_of(function)
    name = function.__qualname__
    if not name.isidentifier():
        raise JobFileError(
            "function-nested",
            f"{name} in {file.name} cannot be imported by name",
            "define the job at the top level of its file with def; a decorator below @gpu_job "
            "must use functools.wraps",
        )
    root, module = _import_name(file)
    return Located(file=file, module=module, root=root, function=name)


def source_file_of(function: Callable[..., Any]) -> Path:
    """Return the file that defines a function.

    Raises:
        JobFileError: there is none: a notebook, ``python -c``, the interactive prompt.
    """
    plain = inspect.unwrap(function)
    code = getattr(plain, "__code__", None)
    name = code.co_filename if code else ""
    file = Path(os.path.abspath(name))
    if not name or name.startswith("<") or not file.is_file():
        raise JobFileError(
            "no-file",
            f"{getattr(plain, '__qualname__', plain)} has no file that could be shipped "
            f"(it is defined in {'a notebook' if 'ipy' in name else name or 'C'})",
            "put the job into a file and import it; in a notebook: %%writefile job.py as the "
            "first line of the cell, then from job import … in the next",
        )
    return file


def _existing(file: Path) -> Path:
    path = Path(os.path.abspath(file))
    if path.is_file() and path.suffix == ".py":
        return path
    if path.is_dir():
        raise JobFileError(
            "file-is-folder", f"{file} is a folder", "name the file in it that has the job"
        )
    if path.is_file():
        raise JobFileError(
            "file-not-python", f"{file} is not a Python file", "name a file that ends in .py"
        )
    folder = path.parent
    if not folder.is_dir():
        raise JobFileError("file-missing", f"there is no folder {file.parent}", "check the path")
    known = sorted(p.name for p in folder.glob("*.py") if p.is_file())
    raise JobFileError(
        "file-missing", f"there is no file {file}",
        did_you_mean(path.name, known)
        or (f"in that folder: {', '.join(known[:8])}" if known else "check the path"),
    )  # fmt: skip


def _import_name(file: Path) -> tuple[Path, str]:
    """Return the import root of a file and its dotted name from there."""
    root, parts = file.parent, [file.stem]
    while (root / "__init__.py").is_file() and root.name.isidentifier():
        parts.insert(0, root.name)
        root = root.parent
    if file.name == "__init__.py":
        parts.pop()
    if any("." in part for part in parts):
        raise JobFileError(
            "file-name", f"{file.name} has a dot in its name, so Python cannot import it",
            f"rename it, for example to {file.stem.replace('.', '_')}.py",
        )  # fmt: skip
    return root, ".".join(parts)


def _import(file: Path, shown: Path) -> ModuleType:
    root, name = _import_name(file)
    top = name.partition(".")[0]
    if (top in sys.stdlib_module_names and top != "test") or top == "gpukit":
        raise JobFileError(
            "file-shadows", f"{shown} has the name of a module that Python or gpukit needs: {top}",
            f"rename it, for example to {top}_job",
        )  # fmt: skip
    loaded = sys.modules.get(name)
    if loaded is not None and _is_from(loaded, file):
        return loaded
    for path, at in ((root, 0), (file.parent, len(sys.path) + 1)):
        if str(path) not in sys.path:
            sys.path.insert(at, str(path))
    importlib.invalidate_caches()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for what gpukit prints as data
            module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _import_error(error, file, shown, name) from error
    if not _is_from(module, file):
        raise JobFileError(
            "module-taken",
            f"{shown} is imported as {name}, but another module has that name: "
            f"{getattr(module, '__file__', None) or 'a built-in one'}",
            "rename the file or its package",
        )
    return module


def _is_from(module: ModuleType, file: Path) -> bool:
    origin = getattr(module, "__file__", None)
    return origin is not None and Path(origin).exists() and file.samefile(origin)


def _import_error(error: BaseException, file: Path, shown: Path, name: str) -> GpukitError:
    line = _line_in(error, file)
    where = f"{shown}:{line}" if line else str(shown)
    if isinstance(error, GpukitError):
        return type(error)(error.id, f"{error.message} ({where})", error.hint)
    if isinstance(error, SyntaxError):
        at = f"{error.filename}:{error.lineno}" if error.filename != str(file) else None
        return JobFileError(
            "job-syntax", f"{at or f'{shown}:{error.lineno}'}: {error.msg}",
            "correct the line; `python -m py_compile` shows it too",
        )  # fmt: skip
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _module_missing(error.name, where, file, name)
    if isinstance(error, SystemExit):
        return JobFileError(
            "job-exits", f"{where}: the file leaves Python (sys.exit) while it is imported",
            'put what runs as a script under: if __name__ == "__main__":',
        )  # fmt: skip
    return JobFileError(
        "job-raises",
        f"{where}: {type(error).__name__} while it is imported: {error}",
        "the file is imported here and in the pod; move work out of its top level, "
        "into the function",
    )


def _module_missing(missing: str, where: str, file: Path, name: str) -> JobFileError:
    top = name.partition(".")[0]
    if f"{name}.".startswith(f"{missing}."):
        return JobFileError(
            "module-taken", f"{where} is imported as {name}, but another {top} is loaded",
            "rename the package of the job file",
        )  # fmt: skip
    near = sorted(p.stem for p in file.parent.glob("*.py") if p != file)
    install = (
        f"install {missing.partition('.')[0]} here, or import it inside the function: "
        "then only the pod needs it"
    )
    return JobFileError(
        "import-missing", f"{where}: there is no module {missing!r} here",
        did_you_mean(missing.rpartition(".")[2], near, otherwise=install),
    )  # fmt: skip


def _line_in(error: BaseException, file: Path) -> int | None:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if f.filename == str(file)]
    return lines[-1] if lines else None


def _choose(module: ModuleType, target: Target) -> GpuJob[..., Any]:
    jobs = {name: value for name, value in vars(module).items() if isinstance(value, GpuJob)}
    if target.function is not None:
        return _named(module, jobs, target.function, target.file)
    own = {n: j for n, j in jobs.items() if j.function.__module__ == module.__name__} or jobs
    distinct = {id(job): name for name, job in reversed(own.items())}
    if len(distinct) == 1:
        return own[next(iter(distinct.values()))]
    if not distinct:
        raise JobFileError("job-none", f"{target.file} has no job", _DECORATOR)
    names = sorted(distinct.values())
    raise JobFileError(
        "job-several", f"{target.file} has {len(names)} jobs",
        "name one of them: " + ", ".join(f"{target.file}::{n}" for n in names),
    )  # fmt: skip


def _named(
    module: ModuleType, jobs: dict[str, GpuJob[..., Any]], name: str, file: Path
) -> GpuJob[..., Any]:
    if name in jobs:
        return jobs[name]
    if callable(getattr(module, name, None)):
        raise JobFileError("not-a-job", f"{name} in {file} is not a job", _DECORATOR)
    raise JobFileError(
        "job-unknown", f"{file} has no job {name!r}",
        did_you_mean(name, jobs, otherwise=f"it has: {', '.join(sorted(jobs))}" * bool(jobs))
        or _DECORATOR,
    )  # fmt: skip
