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
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from gpukit.errors import CheckpointError
from gpukit.runtime.directio import CHUNK

if TYPE_CHECKING:
    import torch

__all__ = [
    "OLDER_INSTEAD", "PAGE", "Checksums", "DamagedFileError", "Layout", "layout_of", "plain",
    "read", "write",
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


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    """Return the memory of a contiguous CPU tensor, without a copy."""
    size = tensor.numel() * tensor.element_size()
    if size == 0:
        return memoryview(b"")
    return memoryview((ctypes.c_char * size).from_address(tensor.data_ptr())).cast("B")


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
        kept = plain(tensors[name]).to("cpu").contiguous()  # holds the memory while it is written
        data = _bytes_of(kept)
        for start in range(0, len(data), CHUNK):
            yield data[start : start + CHUNK]


def read(
    source: BinaryIO,
    expected: dict[str, Any],
    into: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """Read a safetensors stream front to back, straight into tensors, and verify it.

    Args:
        source: a binary file at its beginning.
        expected: what :meth:`Checksums.to_json` gave when it was written.
        into: tensors to read into, by name, where dtype, shape and memory allow it; the others
            are new. What they hold after an error is undefined.

    Raises:
        DamagedFileError: a size or a checksum differs.
    """
    sums = Checksums()
    head = _take(source, 8, sums)
    length = struct.unpack("<Q", head)[0]
    if length > expected["size"]:
        raise _damaged("its header is longer than the file")
    try:
        header = json.loads(bytes(_take(source, length, sums)))
        entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
        tensors = {
            name: _read_tensor(source, entry, sums, (into or {}).get(name))
            for name, entry in entries
        }
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _damaged(f"its header cannot be read ({error})") from None
    if source.read(1) or sums.size != expected["size"] or sums.crc32 != expected["crc32"]:
        raise _damaged("its size or a checksum differs")
    return tensors


def _read_tensor(
    source: BinaryIO, entry: dict[str, Any], sums: Checksums, target: torch.Tensor | None
) -> torch.Tensor:
    import torch

    names = {v: k for k, v in _DTYPES.items()}
    dtype = getattr(torch, names[entry["dtype"]])
    if target is None or not _fits(target, dtype, entry["shape"]):
        target = torch.empty(entry["shape"], dtype=dtype)
    begin, end = entry["data_offsets"]
    data = _bytes_of(target)
    if len(data) != end - begin:
        raise _damaged("a shape does not fit its bytes")
    _fill(source, data, sums)
    return target


def _fits(tensor: torch.Tensor, dtype: torch.dtype, shape: list[int]) -> bool:
    """Tell whether bytes can be read straight into the tensor's memory."""
    same = tensor.dtype is dtype and list(tensor.shape) == shape
    here = tensor.device.type == "cpu" and tensor.is_contiguous()
    return same and here and not tensor.is_conj() and not tensor.is_neg()


def _take(source: BinaryIO, size: int, sums: Checksums) -> memoryview:
    buffer = memoryview(bytearray(size))
    _fill(source, buffer, sums)
    return buffer


def _fill(source: BinaryIO, target: memoryview, sums: Checksums) -> None:
    done = 0
    while done < len(target):
        part = target[done : done + CHUNK]
        count = source.readinto(part)  # type: ignore[attr-defined]
        if not count:
            raise _damaged("it is truncated")
        sums.add(part[:count])
        done += count


def _damaged(why: str) -> DamagedFileError:
    return DamagedFileError("checkpoint-damaged", f"the file is damaged: {why}", OLDER_INSTEAD)
