"""The code archive: what a pod needs of this machine, as one deterministic tar.gz.

``src/`` has the user's files, as they lie in the project; ``lib/gpukit`` the whole of gpukit, so
that the image does not need it. Same files, same bytes: sorted, no times, no owners.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from .contract import BOOTSTRAP_NAME
from .errors import JobFileError
from .ignore import walk
from .imports import find_local_imports
from .jobfile import Located
from .leaks import secret_in

__all__ = ["LIMIT", "Archive", "ArchivedFile", "build_archive"]

LIMIT = 1000 * 1024  # bytes; a ConfigMap's values may be 1 MiB, decoded, and bootstrap.py is one
_READ_LIMIT = 64 * 1024 * 1024  # what does not compress below LIMIT, whatever it is
_MARKERS = ("pyproject.toml", "setup.py", "setup.cfg", ".git")
_GPUKIT_SUFFIXES = (".py", ".toml", ".typed")

Kind = Literal["job", "import", "workdir", "extra", "gpukit"]


@dataclass(frozen=True)
class ArchivedFile:
    """A file of the archive: its name there, its size in bytes, and why it is in."""

    name: str
    size: int
    kind: Kind


@dataclass(frozen=True)
class Archive:
    """What is shipped.

    Attributes:
        data: the tar.gz.
        digest: SHA-256 (hex) of ``data``.
        user_digest: SHA-256 (hex) over the user's files alone: the same on every machine and
            with every gpukit.
        bootstrap: the script that unpacks ``data`` in the pod.
        files: what is in it, sorted by name.
        paths: folders of ``src/`` for ``sys.path``, the job's first.
        warnings: files that look like secrets, and modules that are not shipped.
    """

    data: bytes
    digest: str
    user_digest: str
    bootstrap: bytes
    files: tuple[ArchivedFile, ...]
    paths: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Member:
    name: str
    data: bytes
    kind: Kind
    executable: bool = False


def build_archive(
    located: Located,
    *,
    workdir: Path | None = None,
    include: Sequence[str] = (),
    requirements: str | None = None,
) -> Archive:
    """Collect and pack the code of a job.

    Args:
        located: the job.
        workdir: ship this whole folder (without what .gitignore and .gpukitignore leave out)
            instead of the job file with its local imports.
        include: patterns of more files, relative to the job file's folder.
        requirements: a requirements file, relative to the job file's folder.

    Raises:
        JobFileError: a file cannot be read or lies outside of the project, a pattern matches
            nothing, or the archive is larger than :data:`LIMIT`.
    """
    collect = _Collector(located, workdir)
    collect.code()
    for pattern in include:
        collect.include(pattern)
    if requirements is not None:
        collect.requirements(requirements)
    user = sorted(collect.members.values(), key=lambda m: m.name)
    gpukit = _gpukit()
    everything = sorted([*user, *gpukit], key=lambda m: m.name)
    data = _pack(everything)
    _check_limit(data, user)
    leaks = ((m.name, secret_in(m.name, m.data)) for m in user)
    return Archive(
        data=data,
        digest=hashlib.sha256(data).hexdigest(),
        user_digest=_user_digest(user, collect.paths),
        bootstrap=next(m.data for m in gpukit if m.name == f"lib/gpukit/runtime/{BOOTSTRAP_NAME}"),
        files=tuple(ArchivedFile(m.name, len(m.data), m.kind) for m in everything),
        paths=collect.paths,
        warnings=(
            *(f"{name.removeprefix('src/')}: {why}" for name, why in leaks if why),
            *collect.warnings,
        ),
    )


class _Collector:
    """Gathers the user's files, by their name in the archive."""

    def __init__(self, located: Located, workdir: Path | None) -> None:
        self._located = located
        self._workdir = Path(os.path.abspath(workdir)) if workdir is not None else None
        self._base = self._workdir or _project_of(located.root)
        self.members: dict[str, _Member] = {}
        self.paths: tuple[str, ...] = ()
        self.warnings: list[str] = []
        self._read = 0

    def code(self) -> None:
        if self._workdir is not None:
            self._check_workdir(self._workdir)
            self._whole(self._workdir)
        found = find_local_imports(self._located.file, self._located.module, self._roots())
        for file in sorted(found.files):
            self._add(file, "job" if file == self._located.file else "import")
        self.paths = tuple(self._name(root) for root in found.roots)
        self.warnings += found.warnings

    def _roots(self) -> list[Path]:
        roots = [self._located.root, self._located.file.parent, self._base, self._base / "src"]
        return [r for r in dict.fromkeys(roots) if r.is_dir()]

    def _check_workdir(self, workdir: Path) -> None:
        if not workdir.is_dir():
            raise JobFileError(
                "workdir-missing", f"there is no folder {workdir}", "check the path of --workdir"
            )
        if not self._located.root.is_relative_to(workdir):
            raise JobFileError(
                "workdir-outside",
                f"{self._located.file} is imported from {self._located.root}, outside of {workdir}",
                f"use --workdir {self._located.root}, or a folder above it",
            )

    def _whole(self, folder: Path) -> None:
        for path in _walked(folder):
            real = Path(os.path.realpath(path))  # a link to itself too
            if path.is_symlink() and not (real.is_file() and real.is_relative_to(folder.resolve())):
                self.warnings.append(
                    f"{self._name(path)} is a link to {real}, which is not a file of the folder; "
                    "it is not shipped"
                )
                continue
            self._add(path, "job" if path == self._located.file else "workdir")

    def include(self, pattern: str) -> None:
        folder = self._located.file.parent
        if PurePosixPath(pattern).is_absolute():
            raise JobFileError(
                "include-absolute", f"include {pattern!r} is an absolute path",
                f"write it relative to {folder}",
            )  # fmt: skip
        try:
            found = [Path(os.path.abspath(p)) for p in folder.glob(pattern)]
        except (ValueError, NotImplementedError) as error:
            raise JobFileError(
                "include-pattern", f"include {pattern!r} is not a pattern: {error}",
                '** stands alone between slashes, as in "data/**/*.json"',
            ) from None  # fmt: skip
        files = [f for p in found for f in (_files_below(p) if p.is_dir() else [p] * p.is_file())]
        if not files:
            raise JobFileError(
                "include-nothing", f"include {pattern!r} matches no file below {folder}",
                'patterns are relative to the job file, for example "data/*.json" or "configs"',
            )  # fmt: skip
        for file in files:
            self._add(file, "extra")

    def requirements(self, name: str) -> None:
        inside = PurePosixPath(os.path.normpath(name))
        if inside.is_absolute() or ".." in inside.parts:
            raise JobFileError(
                "requirements-outside", f"requirements={name!r} leaves the folder of the job file",
                "put the file beside the job file, or below it",
            )  # fmt: skip
        folders = dict.fromkeys((self._located.file.parent, self._base))
        file = next((f / inside for f in folders if (f / inside).is_file()), None)
        if file is None:
            raise JobFileError(
                "requirements-missing",
                f"requirements={name!r}: there is no such file in {self._located.file.parent}",
                "the path is relative to the job file",
            )
        _check_requirements(file)
        there = self.members.get(f"src/{inside}")
        if there is not None and there.data != file.read_bytes():
            raise JobFileError(
                "requirements-twice", f"{file} and {self._base / inside} would have one name",
                "rename one of them",
            )  # fmt: skip
        self._add(file, "extra", f"src/{inside}")

    def _name(self, path: Path) -> str:
        if not path.is_relative_to(self._base):
            raise JobFileError(
                "file-outside", f"{path} is outside of the project {self._base}",
                "move it into the project, or name a folder that has both with --workdir",
            )  # fmt: skip
        return path.relative_to(self._base).as_posix()

    def _add(self, path: Path, kind: Kind, name: str = "") -> None:
        name = name or f"src/{self._name(path)}"
        if name in self.members:
            return
        try:
            name.encode()
            status = path.stat()
            self._read += status.st_size
            if self._read > _READ_LIMIT:
                raise _too_large(f"more than {_READ_LIMIT // 2**20} MiB", self._sizes(name, status))
            data = path.read_bytes()
        except UnicodeEncodeError:
            raise JobFileError(
                "file-name-bytes", f"the name of {str(path)!r} is not UTF-8", "rename the file"
            ) from None
        except OSError as error:
            raise JobFileError(
                "file-unreadable", f"{path} cannot be read: {error.strerror}",
                "check its permissions, and that nothing removes it meanwhile",
            ) from None  # fmt: skip
        self.members[name] = _Member(name, data, kind, bool(status.st_mode & 0o100))

    def _sizes(self, name: str, status: os.stat_result) -> dict[str, int]:
        return {n: len(m.data) for n, m in self.members.items()} | {name: status.st_size}


def _check_requirements(file: Path) -> None:
    """Refuse lines that need files of this machine."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise JobFileError(
            "requirements-text", f"{file} is not UTF-8 text: {error.reason} at byte {error.start}",
            "save it as UTF-8",
        ) from None  # fmt: skip
    for number, line in enumerate(lines, 1):
        word = line.split(maxsplit=1)[0] if line.split() else ""
        local = word in ("-e", "-r", "-c", "--editable", "--requirement", "--constraint")
        if local or word.startswith(("./", "../", "/", "file:", "-r", "-e", "-c")):
            raise JobFileError(
                "requirements-local", f"{file}:{number}: {line.strip()!r} names a file of this "
                "machine, which the pod does not have",
                "write the packages themselves; ship local code with --include or --workdir",
            )  # fmt: skip


def _project_of(root: Path) -> Path:
    """Return the nearest folder, from the import root upwards, that looks like a project."""
    folders = [root, *root.parents]
    return next((f for f in folders if any((f / m).exists() for m in _MARKERS)), root)


def _files_below(folder: Path) -> list[Path]:
    return [path for path in _walked(folder) if path.is_file()]


def _walked(folder: Path) -> list[Path]:
    try:
        return [path for _, path in walk(folder)]
    except OSError as error:
        raise JobFileError(
            "folder-unreadable", f"{error.filename} cannot be read: {error.strerror}",
            "check its permissions, or leave it out with .gpukitignore",
        ) from None  # fmt: skip


def _gpukit() -> list[_Member]:
    """Return the files of gpukit itself; a part of it would shadow an installed one."""
    package = Path(__file__).parent
    return [
        _Member(f"lib/gpukit/{path.relative_to(package).as_posix()}", path.read_bytes(), "gpukit")
        for path in _package_files(package)
    ]


def _package_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if path.name not in ("__pycache__", "_recipes"):
                yield from _package_files(path)
        elif path.suffix in _GPUKIT_SUFFIXES:
            yield path


def _pack(members: Sequence[_Member]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            info = tarfile.TarInfo(member.name)
            info.size = len(member.data)
            info.mode = 0o755 if member.executable else 0o644
            tar.addfile(info, io.BytesIO(member.data))
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=6, mtime=0) as file:
        file.write(raw.getvalue())
    return packed.getvalue()


def _user_digest(members: Sequence[_Member], paths: Sequence[str]) -> str:
    digest = hashlib.sha256("\0".join(paths).encode())
    for member in members:
        digest.update(b"\0\0%s\0%d\0" % (member.name.encode(), len(member.data)))
        digest.update(member.data)
    return digest.hexdigest()


def _check_limit(data: bytes, user: Sequence[_Member]) -> None:
    if len(data) > LIMIT:
        size = f"{len(data) // 1024} KiB"
        raise _too_large(size, {m.name: len(gzip.compress(m.data, 6)) for m in user})


def _too_large(size: str, sizes: dict[str, int]) -> JobFileError:
    largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:5]
    listed = ", ".join(f"{n.removeprefix('src/')} ({sizes[n] // 1024} KiB)" for n in largest)
    return JobFileError(
        "archive-too-large",
        f"the archive is {size}, at most {LIMIT // 1024} KiB fit; the largest files: {listed}",
        "leave files out with .gpukitignore, and read data from a bucket or a volume",
    )
