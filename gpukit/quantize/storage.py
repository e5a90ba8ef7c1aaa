"""Weights stored in 8 or 16 bits and computed with in 32: smaller files, the same speed.

A weight becomes an integer tensor with one scale per channel, a Cast and a Mul. onnxruntime folds
both when it loads the model, so a loaded model is what it was, apart from rounding: the saving is
in the file and on the wire, not in memory and not in time.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from . import graph

__all__ = ["STORED_FROM", "Bits", "storable", "store_weights"]

Bits = Literal[8, 16]
STORED_FROM = 512
"""Elements of a weight from which on storing it in fewer bits pays for two more nodes."""

_OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1, "Gather": 0, "LSTM": 1, "GRU": 1, "RNN": 1}
_AVOIDED = frozenset({"Resize", "Upsample", "Range", "NonMaxSuppression", "QLinearConv"})
_LARGEST_HALF = 65_504.0


def storable(model: ModelProto) -> list[str]:
    """Return the names of the weights that can be stored in fewer bits, of all graphs."""
    readers = graph.consumers(model.graph)
    return [
        tensor.name
        for part in graph.graphs(model.graph)
        for tensor in part.initializer
        if _fits(tensor, readers.get(tensor.name, []))
    ]


def store_weights(
    model: ModelProto, bits: Bits = 8, *, only: Collection[str] | None = None,
    half: Collection[str] = (),
) -> int:  # fmt: skip
    """Store weights in fewer bits, in place, and return how many.

    Args:
        model: a model whose weights are initializers; of its subgraphs too.
        bits: 8 for integers with a scale per channel, 16 for half precision. Vectors, such as
            biases, always get 16: one scale for all is coarse, and they weigh next to nothing.
        only: names of the weights to store; None stores all that can be.
        half: names of those that are stored in 16 bits, whatever ``bits`` is.
    """
    chosen = set(storable(model))
    if only is not None:
        chosen &= set(only)
    readers = graph.consumers(model.graph)
    outputs = {o.name for part in graph.graphs(model.graph) for o in part.output}
    count = 0
    for part in graph.graphs(model.graph):
        kept: list[TensorProto] = []
        made: list[NodeProto] = []
        for tensor in part.initializer:
            if tensor.name not in chosen or tensor.name in outputs:
                kept.append(tensor)
                continue
            of = 16 if tensor.name in half or len(tensor.dims) < 2 else bits
            stored, expanding = (
                _as_half(tensor) if of == 16 else _as_int8(tensor, _axis(tensor, readers))
            )
            if not stored:
                kept.append(tensor)
                continue
            kept += stored
            made += expanding
            count += 1
        if made:
            _replace(part, kept, made)
    return count


def _fits(tensor: TensorProto, readers: list[tuple[NodeProto, int]]) -> bool:
    return (
        tensor.data_type in graph.FLOATS
        and graph.elements(tensor) >= STORED_FROM
        and bool(readers)
        and not any(node.op_type in _AVOIDED for node, _ in readers)
    )


def _axis(tensor: TensorProto, readers: dict[str, list[tuple[NodeProto, int]]]) -> int:
    """Return the axis of output channels, which each get a scale of their own."""
    node, _ = readers[tensor.name][0]
    rank = len(tensor.dims)
    if node.op_type == "Gemm":
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return 0 if transposed else rank - 1
    axis = _OUTPUT_AXIS.get(node.op_type, rank - 1)
    return axis if axis < rank else rank - 1


def _as_int8(tensor: TensorProto, axis: int) -> tuple[list[TensorProto], list[NodeProto]]:
    weight = numpy_helper.to_array(tensor)
    if not np.isfinite(weight).all():
        return [], []
    precise = weight.astype(np.float32)
    keep = (0, 1) if weight.ndim == 3 and axis == 1 else (axis,)  # recurrent: each direction too
    others = tuple(i for i in range(weight.ndim) if i not in keep)
    largest = np.abs(precise).max(axis=others, keepdims=True)
    scale = np.maximum(largest, np.finfo(np.float16).tiny) / 127
    integers = np.clip(np.rint(precise / scale), -127, 127).astype(np.int8)
    if integers.nbytes + scale.nbytes > 0.9 * weight.nbytes:  # many short channels
        return [], []
    name, kind = tensor.name, tensor.data_type
    stored = [
        numpy_helper.from_array(integers, f"{name}:int8"),
        numpy_helper.from_array(scale.astype(weight.dtype), f"{name}:scale"),
    ]
    expanding = [
        helper.make_node("Cast", [f"{name}:int8"], [f"{name}:float"], to=kind, name=f"{name}:cast"),
        helper.make_node("Mul", [f"{name}:float", f"{name}:scale"], [name], name=f"{name}:mul"),
    ]
    return stored, expanding


def _as_half(tensor: TensorProto) -> tuple[list[TensorProto], list[NodeProto]]:
    weight = numpy_helper.to_array(tensor)
    fits = np.isfinite(weight).all() and np.abs(weight).max(initial=0) < _LARGEST_HALF
    if tensor.data_type != TensorProto.FLOAT or not fits:
        return [], []
    name = tensor.name
    stored = numpy_helper.from_array(weight.astype(np.float16), f"{name}:half")
    expanding = helper.make_node(
        "Cast", [stored.name], [name], to=TensorProto.FLOAT, name=f"{name}:cast"
    )
    return [stored], [expanding]


def _replace(part: GraphProto, kept: list[TensorProto], made: list[NodeProto]) -> None:
    """Put in the stored tensors and, first of all nodes, those that expand them."""
    names = {tensor.name for tensor in kept}
    expanded = {node.output[-1] for node in made}
    for value in [v for v in part.input if v.name in expanded and v.name not in names]:
        part.input.remove(value)  # a weight with a default is a weight now
    nodes = [*made, *part.node]
    del part.initializer[:]
    part.initializer.extend(kept)
    del part.node[:]
    part.node.extend(nodes)
