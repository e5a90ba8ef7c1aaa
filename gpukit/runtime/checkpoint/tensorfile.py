"""Tensors in a safetensors file, written and read with the standard library.

The format (https://github.com/huggingface/safetensors#format): eight bytes of header length,
little endian; a JSON header of dtype, shape and offsets; the raw bytes. The data starts at a
multiple of 4096 so that it can be written and mapped by whole pages; spaces pad the header.
:class:`Layout` says where each tensor lies: the same in a file that is streamed and in memory
that is written as a whole.
"""

from __future__ import annotations

import ctypes
import json
import math
import queue
import struct
import threading
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from gpukit.errors import CheckpointError
from gpukit.runtime.directio import CHUNK

from .pages import prefaulted

if TYPE_CHECKING:
    import torch

__all__ = [
    "OLDER_INSTEAD", "PAGE", "Checksums", "DamagedFileError", "Layout", "check", "layout_of",
    "plain", "read", "write",
]  # fmt: skip

PAGE = 4096
_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "complex64": "C64",
}  # fmt: skip


class DamagedFileError(CheckpointError):
    """The bytes of a file are not those that were written."""


OLDER_INSTEAD = "an older checkpoint is taken in its place; keep=3 keeps one more"


@dataclass
class Checksums:
    """CRC-32 of each :data:`CHUNK` bytes of a stream, and its size in bytes."""

    size: int = 0
    crc32: list[int] = field(default_factory=list)

    def add(self, data: memoryview) -> None:
        """Take the next bytes of the stream into account."""
        while data:
            room = CHUNK - self.size % CHUNK
            part = data[:room]
            start = 0 if room == CHUNK else self.crc32.pop()
            self.crc32.append(zlib.crc32(part, start))
            self.size += len(part)
            data = data[room:]

    def to_json(self) -> dict[str, Any]:
        """Return what the manifest keeps of a file."""
        return {"size": self.size, "chunk": CHUNK, "crc32": self.crc32}


class _Summing:
    """Checksums of what is read, made on a thread of their own.

    A disk gives some 3 GB/s and one core sums up 7 GB/s: one after the other they cost half as
    much again, side by side nothing.
    """

    def __init__(self) -> None:
        self._sums = Checksums()
        self._parts: queue.SimpleQueue[memoryview | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="gpukit-verify", daemon=True)

    def add(self, data: memoryview) -> None:
        """Sum these bytes up, soon: they are not to be changed before the end."""
        self._parts.put(data)

    def __enter__(self) -> _Summing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.put(None)
        self._thread.join()

    def compare(self, expected: dict[str, Any]) -> None:
        """Raise where size or checksums are not those; called after the end."""
        _compare(self._sums, expected)

    def _run(self) -> None:
        while (part := self._parts.get()) is not None:
            self._sums.add(part)


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    """Return the memory of a contiguous CPU tensor, without a copy; the view holds the tensor."""
    size = tensor.numel() * tensor.element_size()
    if size == 0:
        return memoryview(b"")
    memory = (ctypes.c_char * size).from_address(tensor.data_ptr())
    memory.owner = tensor  # type: ignore[attr-defined]
    return memoryview(memory).cast("B")


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor's values without autograd and without lazy conjugation or negation."""
    return tensor.detach().resolve_conj().resolve_neg()


@dataclass(frozen=True)
class Layout:
    """Where each tensor lies in its file.

    Attributes:
        head: the length and the header, padded to a page.
        places: name of each tensor to its first byte and the byte after it, in order.
        size: bytes of the file.
    """

    head: bytes
    places: dict[str, tuple[int, int]]
    size: int


def layout_of(tensors: Mapping[str, torch.Tensor]) -> Layout:
    """Lay ``tensors`` out; wide elements come first, so each one is aligned.

    Raises:
        CheckpointError: a tensor whose dtype or layout the format does not know.
    """
    header: dict[str, Any] = {}
    offset = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: -item[1].element_size()):
        header[name] = entry = _entry(name, tensor, offset)
        offset = entry["data_offsets"][1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % PAGE)
    head = struct.pack("<Q", len(text)) + text
    spans = {name: entry["data_offsets"] for name, entry in header.items()}
    places = {name: (len(head) + a, len(head) + b) for name, (a, b) in spans.items()}
    return Layout(head, places, len(head) + offset)


def write(tensors: dict[str, torch.Tensor], sink: Callable[[memoryview], object]) -> Checksums:
    """Write ``tensors`` to ``sink`` as one safetensors stream; return its checksums.

    Raises:
        CheckpointError: a tensor whose dtype or layout the format does not know.
    """
    layout = layout_of(tensors)
    sums = Checksums()
    for part in _parts(layout, tensors):
        sums.add(part)
        sink(part)
    return sums


def _entry(name: str, tensor: torch.Tensor, offset: int) -> dict[str, Any]:
    import torch

    shape, dtype = list(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    size = tensor.numel() * tensor.element_size()
    if dtype not in _DTYPES or tensor.layout is not torch.strided:
        raise CheckpointError(
            "tensor-unsupported",
            f"{name} is a tensor of {tensor.dtype}, layout {tensor.layout}, "
            "which a checkpoint cannot hold",
            "keep it as a dense tensor of an ordinary dtype in the state_dict",
        )
    return {"dtype": _DTYPES[dtype], "shape": shape, "data_offsets": [offset, offset + size]}


def _parts(layout: Layout, tensors: Mapping[str, torch.Tensor]) -> Iterator[memoryview]:
    yield memoryview(layout.head)
    for name in layout.places:
        data = _bytes_of(plain(tensors[name]).to("cpu").contiguous())
        for start in range(0, len(data), CHUNK):
            yield data[start : start + CHUNK]


def read(
    source: BinaryIO,
    expected: dict[str, Any],
    into: Mapping[str, torch.Tensor] | None = None,
    wanted: Collection[str] | None = None,
) -> dict[str, torch.Tensor]:
    """Read a safetensors stream front to back, straight into tensors, and verify it.

    Args:
        source: a binary file at its beginning.
        expected: what :meth:`Checksums.to_json` gave when it was written.
        into: tensors to read into, by name, where dtype, shape and memory allow it; the others
            are new. What they hold after an error is undefined.
        wanted: names of those that are returned, the others are only verified; None: all.

    Raises:
        DamagedFileError: a size or a checksum differs.
        CheckpointError: there is no memory for the tensors.
    """
    summing = _Summing()
    with summing:
        head = _take(source, 8, summing)
        length = struct.unpack("<Q", head)[0]
        if length > expected["size"]:
            raise _damaged("its header is longer than the file")
        try:
            header = json.loads(bytes(_take(source, length, summing)))
            tensors, fresh = _targets(header, expected["size"], into or {}, wanted)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _damaged(f"its header cannot be read ({error})") from None
        with prefaulted(fresh):
            for target in tensors.values():
                if isinstance(target, int):
                    _pass_over(source, target, summing)
                else:
                    _fill(source, _bytes_of(target), summing)
        longer = source.read(1)
    if longer:
        raise _damaged("it is longer than it was")
    summing.compare(expected)
    return {name: target for name, target in tensors.items() if not isinstance(target, int)}


def check(source: BinaryIO, expected: dict[str, Any]) -> None:
    """Read a file front to back and verify it; nothing of it is kept.

    Raises:
        DamagedFileError: a size or a checksum differs.
    """
    sums = Checksums()
    buffer = memoryview(bytearray(CHUNK))
    while count := source.readinto(buffer):  # type: ignore[attr-defined]
        sums.add(buffer[:count])
    _compare(sums, expected)


def _compare(sums: Checksums, expected: dict[str, Any]) -> None:
    if sums.size != expected["size"] or sums.crc32 != expected["crc32"]:
        raise _damaged("its size or a checksum differs")


def _targets(
    header: dict[str, Any], size: int, into: Mapping[str, torch.Tensor],
    wanted: Collection[str] | None,
) -> tuple[dict[str, torch.Tensor | int], list[tuple[int, int]]]:  # fmt: skip
    """Return the tensors to read into, in the file's order, and where the new ones lie.

    Of those that are not wanted: their bytes.
    """
    import torch

    names = {v: k for k, v in _DTYPES.items()}
    tensors: dict[str, torch.Tensor | int] = {}
    fresh = []
    offset = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, target = getattr(torch, names[entry["dtype"]]), into.get(name)
        begin, end = entry["data_offsets"]
        count = math.prod(entry["shape"]) if min(entry["shape"], default=0) >= 0 else -1
        if begin != offset or end - begin != count * dtype.itemsize:
            raise _damaged("a shape does not fit its bytes")
        if end > size:  # before so much is asked for
            raise _damaged("a tensor is larger than the file")
        offset = end
        if wanted is not None and name not in wanted:
            tensors[name] = end - begin
            continue
        if target is None or not _fits(target, dtype, entry["shape"]):
            target = _empty(entry["shape"], dtype)
            fresh.append((target.data_ptr(), target.data_ptr() + end - begin))
        tensors[name] = target
    return tensors, fresh


def _empty(shape: list[int], dtype: torch.dtype) -> torch.Tensor:
    import torch

    try:
        return torch.empty(shape, dtype=dtype)
    except RuntimeError as error:  # no damage: an older one would not fit either
        raise CheckpointError(
            "no-room-to-resume", f"there is no memory for a tensor of {shape}: {error}",
            "raise memory= by the size of the model and its optimizer",
        ) from None  # fmt: skip


def _fits(tensor: torch.Tensor, dtype: torch.dtype, shape: list[int]) -> bool:
    """Tell whether bytes can be read straight into the tensor's memory."""
    same = tensor.dtype is dtype and list(tensor.shape) == shape
    here = tensor.device.type == "cpu" and tensor.is_contiguous()
    return same and here and not tensor.is_conj() and not tensor.is_neg()


def _pass_over(source: BinaryIO, size: int, summing: _Summing) -> None:
    for start in range(0, size, CHUNK):
        _take(source, min(CHUNK, size - start), summing)


def _take(source: BinaryIO, size: int, summing: _Summing) -> memoryview:
    buffer = memoryview(bytearray(size))
    _fill(source, buffer, summing)
    return buffer


def _fill(source: BinaryIO, target: memoryview, summing: _Summing) -> None:
    done = 0
    while done < len(target):
        part = target[done : done + CHUNK]
        count = source.readinto(part)  # type: ignore[attr-defined]
        if not count:
            raise _damaged("it is truncated")
        summing.add(part[:count])
        done += count


def _damaged(why: str) -> DamagedFileError:
    return DamagedFileError("checkpoint-damaged", f"the file is damaged: {why}", OLDER_INSTEAD)
