"""Where a run's record lives: small objects under keys, in a directory or an object store.

What the record needs of a place is little, and :class:`Store` says all of it: an object appears
whole or not at all, a write that returned is durable, and ``create`` has exactly one winner.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from gpukit.errors import StoreError

from .directio import write_synced
from .keys import check_key

__all__ = ["DirectoryStore", "Store", "open_store"]

_TEMPORARY = ".tmp-"  # names with a leading dot are never listed


class Store(Protocol):
    """A flat space of keys such as ``record/attempt-00001.json``; values are bytes.

    Every method raises :class:`StoreError` when the place cannot be used.
    """

    def create(self, key: str, data: bytes) -> bool:
        """Write ``data`` if there is nothing under ``key``; tell whether this call did it."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Replace what is under ``key``, atomically; durable on return."""
        ...

    def put_file(self, key: str, path: Path) -> None:
        """Replace what is under ``key`` by the content of a local file."""
        ...

    def get(self, key: str) -> bytes | None:
        """Return what is under ``key``; None where there is nothing."""
        ...

    def list(self, prefix: str) -> list[str]:
        """Return the keys that start with ``prefix``, sorted."""
        ...

    def open_write(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Write a large object; on a clean exit it is there whole and durable, else not at all."""
        ...

    def put_memory(self, key: str, data: memoryview, size: int) -> Sequence[int]:
        """Write the first ``size`` bytes of memory; there whole and durable, else not at all.

        Returns:
            The CRC-32 of each ``directio.CHUNK`` bytes.
        """
        ...

    def open_read(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Read a large object from its beginning."""
        ...

    def delete(self, prefix: str) -> None:
        """Remove ``prefix`` and everything below ``prefix/``; nothing there is no error."""
        ...


def open_store(location: str) -> Store:
    """Open a directory, or the URL of an object store.

    Raises:
        StoreError: the scheme is unknown, or what it needs is not installed.
    """
    if "://" not in location:
        return DirectoryStore(Path(location))
    if location.startswith("file://"):
        return DirectoryStore(Path(location[len("file://") :]))
    from .remote import FsspecStore

    return FsspecStore(location)


class DirectoryStore:
    """A store in a directory: a mounted claim, or a folder of the local backend.

    Args:
        root: the directory; it is made at the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self, key: str, data: bytes) -> bool:
        """Write ``data`` if there is nothing under ``key``; tell whether this call did it."""
        path = self._path(key)
        if path.exists():
            return False
        try:
            temporary = self._temporary(path, data)
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError:  # no hard links here: SMB, FUSE over an object store
                return self._create_exclusive(path, data)
            finally:
                temporary.unlink(missing_ok=True)
            _sync_directory(path.parent)
        except OSError as error:
            raise _unusable(self.root, error) from error
        return True

    def put(self, key: str, data: bytes) -> None:
        """Replace what is under ``key``, atomically; durable on return."""
        path = self._path(key)
        try:
            self._temporary(path, data).replace(path)
            _sync_directory(path.parent)
        except OSError as error:
            raise _unusable(self.root, error) from error

    def put_file(self, key: str, path: Path) -> None:
        """Replace what is under ``key`` by the content of a local file."""
        try:
            self.put(key, path.read_bytes())
        except OSError as error:
            raise _unusable(self.root, error) from error

    def get(self, key: str) -> bytes | None:
        """Return what is under ``key``; None where there is nothing."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise _unusable(self.root, error) from error

    @contextmanager
    def open_write(self, key: str) -> Iterator[BinaryIO]:
        """Write a large object; on a clean exit it is there whole and durable, else not at all."""
        path = self._path(key)
        temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
        try:
            _make_directory(path.parent)
            with temporary.open("xb", buffering=0) as file:
                yield cast(BinaryIO, _Whole(file))
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_directory(path.parent)
        except OSError as error:
            raise _unusable(self.root, error) from error
        finally:
            with suppress(OSError):
                temporary.unlink()

    def put_memory(self, key: str, data: memoryview, size: int) -> Sequence[int]:
        """Write the first ``size`` bytes of memory, past the page cache where that works."""
        path = self._path(key)
        temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
        try:
            _make_directory(path.parent)
            sums = write_synced(temporary, data, size)
            temporary.replace(path)
            _sync_directory(path.parent)
        except OSError as error:
            raise _unusable(self.root, error) from error
        finally:
            with suppress(OSError):
                temporary.unlink()
        return sums

    def open_read(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Read a large object from its beginning."""
        try:
            return cast(BinaryIO, self._path(key).open("rb", buffering=0))
        except OSError as error:
            raise _unusable(self.root, error) from error

    def list(self, prefix: str) -> list[str]:
        """Return the keys that start with ``prefix``, sorted."""
        folder = self.root / prefix.rpartition("/")[0]
        found = []
        for base, folders, files in os.walk(folder, onerror=self._walk_error):
            folders[:] = [name for name in folders if not name.startswith(".")]
            inner = Path(base).relative_to(self.root).as_posix()
            parent = "" if inner == "." else inner + "/"
            found += [parent + name for name in files if not name.startswith(".")]
        return sorted(key for key in found if key.startswith(prefix))

    def delete(self, prefix: str) -> None:
        """Remove ``prefix`` and everything below ``prefix/``; nothing there is no error."""
        path = self._path(prefix.rstrip("/"))
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise _unusable(self.root, error) from error

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _temporary(self, path: Path, data: bytes) -> Path:
        _make_directory(path.parent)
        temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
        try:
            _write_synced(temporary, data)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise
        return temporary

    def _create_exclusive(self, path: Path, data: bytes) -> bool:
        try:
            _write_synced(path, data)
        except FileExistsError:
            return False
        _sync_directory(path.parent)
        return True

    def _walk_error(self, error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise _unusable(self.root, error) from error


class _Whole:
    """A raw file whose ``write`` writes all of what it is given."""

    def __init__(self, file: FileIO) -> None:
        self._file = file

    def write(self, data: memoryview) -> int:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        return len(data)


def _make_directory(path: Path) -> None:
    """Make a directory and its parents, each durable in its own parent."""
    if path.is_dir():
        return
    _make_directory(path.parent)
    with suppress(FileExistsError):
        path.mkdir()
    _sync_directory(path.parent)


def _write_synced(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems have no fsync of a directory
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(handle)


_NO_SYNC = frozenset({errno.EINVAL, errno.EOPNOTSUPP})


def _unusable(root: Path, error: OSError) -> StoreError:
    return StoreError(
        "store-unusable", f"the store {root} cannot be used: {error}",
        "look at the volume: mounted, writable for user and group 1000, with free space",
    )  # fmt: skip
