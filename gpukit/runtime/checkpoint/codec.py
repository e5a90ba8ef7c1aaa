"""Nested Python state as JSON plus tensors, and back: no pickle, nothing executed.

Tensors and numpy arrays leave the tree and go to the tensor file; what stays is JSON with a tag
where JSON has no word for it (tuples, non-string keys, bytes, non-finite floats).
"""

from __future__ import annotations

import base64
import collections
import math
import sys
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from gpukit.errors import CheckpointError

if TYPE_CHECKING:
    import torch

__all__ = ["Json", "Mark", "Tensors", "decode", "encode", "kept_names", "mark_of", "shared_names"]

Json = Any
Mark: TypeAlias = tuple[int, int]
_TAG = "$"
_TENSOR, _SHARED = "tensor", "shared"
_INLINE = 64 << 10  # bytes


def mark_of(tensor: torch.Tensor) -> Mark:
    """Return the address and the bytes of a tensor's memory."""
    return tensor.data_ptr(), tensor.numel() * tensor.element_size()


class Tensors(dict[str, "torch.Tensor"]):
    """The tensors of one state by name; one that comes twice is kept once.

    Args:
        elsewhere: tensors that are the same on rank 0, which keeps them.
    """

    def __init__(self, elsewhere: Collection[Mark] = ()) -> None:
        super().__init__()
        self.elsewhere = elsewhere
        self.marks: dict[tuple[Any, ...], str] = {}


def encode(value: object, tensors: dict[str, torch.Tensor], path: str) -> Json:
    """Return ``value`` as JSON; its tensors are put into ``tensors`` under their paths.

    Raises:
        CheckpointError: something that cannot be kept, named by its path.
    """
    if value is None or isinstance(value, bool | str) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {_TAG: "float", "v": repr(value)}
    if isinstance(value, dict):
        return _encode_dict(value, tensors, path)
    if isinstance(value, list):
        return [encode(v, tensors, f"{path}.{i}") for i, v in enumerate(value)]
    if type(value) in (tuple, set, frozenset, collections.deque):
        kind = type(value).__name__
        items = [encode(v, tensors, f"{path}.{i}") for i, v in enumerate(value)]  # type: ignore[arg-type, var-annotated]
        return {_TAG: kind, "v": items}
    if isinstance(value, bytes):
        return {_TAG: "bytes", "v": base64.b64encode(value).decode()}
    return _encode_foreign(value, tensors, path)


def _encode_dict(value: dict[Any, Any], tensors: dict[str, torch.Tensor], path: str) -> Json:
    if all(isinstance(k, str) for k in value) and _TAG not in value:
        return {k: encode(v, tensors, f"{path}.{k}") for k, v in value.items()}
    pairs = [
        [encode(k, tensors, f"{path}.key"), encode(v, tensors, f"{path}.{k}")]
        for k, v in value.items()
    ]
    return {_TAG: "dict", "v": pairs}


def _encode_foreign(value: object, tensors: dict[str, torch.Tensor], path: str) -> Json:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        if value.dtype is torch.complex128:  # a dtype that safetensors has no word for
            tensors[path] = torch.view_as_real(value.detach().resolve_conj())
            return {_TAG: "complex128", "v": path}
        return _keep(value.detach(), tensors, path)
    if torch is not None and isinstance(value, torch.dtype):
        return {_TAG: "dtype", "v": str(value).removeprefix("torch.")}
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        array = numpy.asarray(value)
        if not array.dtype.hasobject:
            return {
                _TAG: "ndarray", "v": _encode_array(array, tensors, path),
                "dtype": array.dtype.str, "shape": list(array.shape),
                "scalar": isinstance(value, numpy.generic),
            }  # fmt: skip
    raise CheckpointError(
        "state-unsupported",
        f"{path} is a {type(value).__module__}.{type(value).__qualname__}, "
        "which a checkpoint cannot hold",
        "keep numbers, text, lists, dicts, tensors and numpy arrays in a state_dict",
    )


def _keep(tensor: torch.Tensor, tensors: dict[str, torch.Tensor], path: str) -> Json:
    """Put a tensor among the others, where no other rank keeps it; tied weights are kept once.

    What shares memory, dtype, shape and strides is the same tensor.
    """
    if isinstance(tensors, Tensors) and str(tensor.layout) == "torch.strided":
        mark = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.is_conj())
        if tensor.numel():
            path = tensors.marks.setdefault(mark, path)
            if mark_of(tensor) in tensors.elsewhere:
                return {_TAG: _SHARED, "v": path}
    tensors.setdefault(path, tensor)
    return {_TAG: _TENSOR, "v": path}


def kept_names(tree: Json) -> set[str]:
    """Return the names of the tensors that are kept with this state."""
    return set(_names(tree, _TENSOR))


def shared_names(tree: Json) -> set[str]:
    """Return the names of the tensors that are kept with the state of rank 0 instead."""
    return set(_names(tree, _SHARED))


def _names(value: Json, tag: str) -> Iterator[str]:
    if isinstance(value, dict):
        if value.get(_TAG) == tag:
            yield value["v"]
            return
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _names(item, tag)


def _encode_array(array: Any, tensors: dict[str, torch.Tensor], path: str) -> Json:
    """Keep a small array in the tree, so that a job without torch stays without it."""
    raw = bytearray(array.tobytes())
    if len(raw) <= _INLINE:
        return {_TAG: "bytes", "v": base64.b64encode(raw).decode()}
    import torch

    tensors[path] = torch.frombuffer(raw, dtype=torch.uint8)
    return {_TAG: "tensor", "v": path}


def decode(value: Json, tensors: dict[str, torch.Tensor]) -> Any:
    """Return the state that :func:`encode` was given."""
    if isinstance(value, list):
        return [decode(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    tag = value.get(_TAG)
    if tag is None:
        return {k: decode(v, tensors) for k, v in value.items()}
    return _DECODERS[tag](value, tensors)


def _decode_ndarray(value: Json, tensors: dict[str, torch.Tensor]) -> Any:
    import numpy

    raw = decode(value["v"], tensors)
    data = raw if isinstance(raw, bytes) else raw.numpy().tobytes()
    array = numpy.frombuffer(data, dtype=numpy.dtype(value["dtype"]))
    array = array.reshape(tuple(value["shape"])).copy()
    return array[()] if value["scalar"] else array


def _decode_complex(value: Json, tensors: dict[str, torch.Tensor]) -> Any:
    import torch

    return torch.view_as_complex(tensors[value["v"]])


def _decode_dtype(value: Json, _: dict[str, torch.Tensor]) -> Any:
    import torch

    return getattr(torch, value["v"])


_DECODERS: dict[str, Callable[[Json, dict[str, Any]], Any]] = {
    "float": lambda v, _: float(v["v"]),
    "tuple": lambda v, t: tuple(decode(i, t) for i in v["v"]),
    "set": lambda v, t: {decode(i, t) for i in v["v"]},
    "frozenset": lambda v, t: frozenset(decode(i, t) for i in v["v"]),
    "deque": lambda v, t: collections.deque(decode(i, t) for i in v["v"]),
    "bytes": lambda v, _: base64.b64decode(v["v"]),
    "dict": lambda v, t: {decode(k, t): decode(i, t) for k, i in v["v"]},
    _TENSOR: lambda v, t: t[v["v"]],
    _SHARED: lambda v, t: t[v["v"]],
    "complex128": _decode_complex,
    "ndarray": _decode_ndarray,
    "dtype": _decode_dtype,
}
