"""A store in an object store (s3://, gs://, az://, memory://), through fsspec.

What fails for a moment (500, 503, a connection that breaks) is tried again with growing pauses; a
write is whole or not there, so it may be done twice.
"""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from gpukit.errors import GpukitError, StoreError

from .directio import CHUNK
from .keys import check_key

__all__ = ["FsspecStore"]

_TRIES = 5
_PAUSE = 0.5  # seconds, doubled after each try; up to 8 s in all
_PART = 32 << 20  # bytes: of an upload's part, and of what is read ahead
_FINAL = (PermissionError, TypeError, NotImplementedError, ValueError, ImportError)
"""What trying again does not change."""

T = TypeVar("T")

_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


class FsspecStore:
    """Objects under a URL; one object is written by one PUT, which is atomic and durable.

    Args:
        url: such as ``s3://bucket/runs/train-1a2b``.

    Raises:
        StoreError: fsspec, or the package of the scheme, is not installed.
    """

    def __init__(self, url: str) -> None:
        scheme = url.partition("://")[0]
        if not scheme.isalnum():
            raise _unknown(url, "it has no name")
        try:
            import fsspec
        except ImportError:
            raise _missing(url, "fsspec " + _PACKAGES.get(scheme, "")) from None
        try:
            self._fs: Any
            self._fs, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except ImportError:
            raise _missing(url, _PACKAGES.get(scheme, scheme)) from None
        except ValueError as error:
            raise _unknown(url, str(error)) from None
        self._url = url

    def create(self, key: str, data: bytes) -> bool:
        """Write ``data`` if there is nothing under ``key``; tell whether this call did it."""
        path, tried = self._path(key), False

        def create() -> bool:
            nonlocal tried
            if self._fs.exists(path):  # an answer that was lost: was it this call, a moment ago?
                return tried and self._fs.cat_file(path) == data
            tried = True
            try:
                self._fs.pipe_file(path, data, mode="create")
            except FileExistsError:
                return bool(self._fs.cat_file(path) == data)
            except (TypeError, NotImplementedError):  # a file system without a conditional PUT
                self._fs.pipe_file(path, data)
                return bool(self._fs.cat_file(path) == data)
            return True

        return self._try(create)

    def put(self, key: str, data: bytes) -> None:
        """Replace what is under ``key``, atomically; durable on return."""
        path = self._path(key)
        self._try(lambda: self._fs.pipe_file(path, data))

    def put_file(self, key: str, path: Path) -> None:
        """Replace what is under ``key`` by the content of a local file, streamed."""
        target = self._path(key)
        self._try(lambda: self._fs.put_file(str(path), target))

    def get(self, key: str) -> bytes | None:
        """Return what is under ``key``; None where there is nothing."""
        path = self._path(key)

        def get() -> bytes | None:
            with suppress(FileNotFoundError):
                return bytes(self._fs.cat_file(path))
            return None

        return self._try(get)

    @contextmanager
    def open_write(self, key: str) -> Iterator[BinaryIO]:
        """Write a large object in parts; it appears when all of it is there."""
        path = self._path(key)
        with self._translated():
            file = self._fs.open(path, "wb", block_size=_PART)
            try:
                yield file
            except BaseException:
                with suppress(Exception):
                    file.discard()
                file.closed = True  # closing would make an object of what is there
                raise
            file.close()

    def put_memory(self, key: str, data: memoryview, size: int) -> Sequence[int]:
        """Write the first ``size`` bytes of memory in parts; it appears when all of it is there."""

        def put() -> list[int]:
            sums: list[int] = []
            with self.open_write(key) as file:
                for start in range(0, size, CHUNK):
                    part = data[start : min(start + CHUNK, size)]
                    sums.append(zlib.crc32(part))
                    file.write(part)
            return sums

        return self._try(put)

    def open_read(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Read a large object from its beginning."""
        path = self._path(key)
        file = self._try(
            lambda: self._fs.open(path, "rb", block_size=_PART, cache_type="readahead")
        )
        return cast(AbstractContextManager[BinaryIO], file)

    def list(self, prefix: str) -> list[str]:
        """Return the keys that start with ``prefix``, sorted."""
        root = self._root.rstrip("/") + "/"
        folder = (root + prefix.rpartition("/")[0]).rstrip("/")

        def find() -> Iterable[str]:
            with suppress(FileNotFoundError):
                self._fs.invalidate_cache()
                return cast(Iterable[str], self._fs.find(folder))
            return ()

        keys = (path[len(root) :] for path in self._try(find) if path.startswith(root))
        return sorted(key for key in keys if key.startswith(prefix))

    def delete(self, prefix: str) -> None:
        """Remove ``prefix`` and everything below ``prefix/``; nothing there is no error."""
        path = self._path(prefix.rstrip("/"))

        def delete() -> None:
            with suppress(FileNotFoundError):
                self._fs.rm(path, recursive=True)

        self._try(delete)

    def _try(self, action: Callable[[], T]) -> T:
        """Do what is safe to do again; what a store has now and then is tried again, later."""
        with self._translated():
            for number in range(_TRIES):
                try:
                    return action()
                except (*_FINAL, GpukitError) as error:
                    passing = isinstance(error.__cause__, Exception) and not isinstance(
                        error.__cause__, _FINAL
                    )
                    if not (isinstance(error, StoreError) and passing):
                        raise
                    last: Exception = error
                except Exception as error:
                    last = error
                if number + 1 < _TRIES:
                    time.sleep(_PAUSE * 2**number * random.uniform(0.5, 1.0))
            raise last

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what any cloud's client may raise into one error for a person."""
        try:
            yield
        except GpukitError:
            raise
        except Exception as error:
            raise StoreError(
                "store-unusable",
                f"the store {self._url} cannot be used: {type(error).__name__}: {error}",
                "look at the credentials of the pod (secrets=…) and at the bucket",
            ) from error

    def _path(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{check_key(key)}"


def _unknown(url: str, why: str) -> StoreError:
    return StoreError(
        "store-scheme", f"the store {url} has a scheme that is not known: {why}",
        "use s3://, gs://, az:// or a volume (pvc:NAME, new:SIZE)",
    )  # fmt: skip


def _missing(url: str, packages: str) -> StoreError:
    return StoreError(
        "store-package", f"the store {url} needs a package that is not installed: {packages}",
        f"add it to the image, or to the job: packages=[{', '.join(map(repr, packages.split()))}]",
    )  # fmt: skip
