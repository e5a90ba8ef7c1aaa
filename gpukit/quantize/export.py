"""The output folder: made beside its place and renamed, so that it is whole or not there."""

from __future__ import annotations

import contextlib
import lzma
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from gpukit.errors import UsageError

from . import graph

__all__ = [
    "check_out", "companions_of", "compressed", "compression_for", "put_model", "staged",
]  # fmt: skip

_COMPANIONS = (
    "*config*.json", "*token*.json", "*vocab*", "*process*.json", "*label*.json", "*label*.txt",
    "modules.json", "merges.txt", "chat_template.*", "*.tiktoken", "*.spm", "spiece.*",
    "sentencepiece.*", "tokenizer.model",
)  # fmt: skip
"""Files of a model's folder that go along: configuration, tokenizer, vocabulary. Nothing else does:
who knows what lies beside a model."""

_SMALL = 40_000_000


def check_out(out: Path) -> None:
    """Raise where the output folder cannot be made.

    Raises:
        UsageError: it is a file, or has something in it.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError("out-not-a-folder", f"{out} is not a folder", "name a new folder with -o")
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(
            "out-not-empty", f"{out} is not empty", "name a new folder with -o, or empty this one"
        )
    if not out.absolute().parent.is_dir():
        raise UsageError(
            "out-parent-missing", f"there is no folder {out.absolute().parent}", "make it first"
        )


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Yield a folder beside ``out`` that becomes ``out`` at the end, or vanishes on an error."""
    parent = out.absolute().parent
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=parent))
    except OSError as error:
        raise UsageError(
            "out-not-writable", f"nothing can be written into {parent}: {error.strerror}",
            "name another folder with -o",
        ) from None  # fmt: skip
    try:
        yield folder
        folder.chmod(0o777 & ~_umask())
        folder.replace(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def put_model(model: Path, folder: Path) -> Path:
    """Copy a model as ``model.onnx``, with the file of its weights if it has one."""
    target = folder / "model.onnx"
    files = graph.external_files(model)
    if not files:
        shutil.copyfile(model, target)
    else:  # its weights are found by name, so they are written anew
        graph.save(graph.load(model), target)
    return target


def companions_of(folder: Path) -> list[Path]:
    """Return the files beside a model that go along with it."""
    found = {file for pattern in _COMPANIONS for file in folder.glob(pattern)}
    return sorted(file for file in found if file.is_file())


def compression_for(files: list[Path]) -> str:
    """Return with what files are compressed: well, or where they are large, fast."""
    return "xz -6" if sum(file.stat().st_size for file in files) < _SMALL else "gzip -1"


def compressed(files: list[Path], how: str, until: float) -> int | None:
    """Return the bytes of files after compression, None where it takes too long.

    Args:
        files: the files of a model.
        how: what :func:`compression_for` says.
        until: when to give up, on the monotonic clock.
    """
    packer = lzma.LZMACompressor(preset=6) if how == "xz -6" else zlib.compressobj(1)
    size = 0
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                size += len(packer.compress(chunk))
                if time.monotonic() > until:
                    return None
    return size + len(packer.flush())
