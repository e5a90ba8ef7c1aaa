"""Reading and writing ONNX graphs: nodes of subgraphs too, weights of any size, the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

__all__ = [
    "FLOATS", "consumers", "elements", "external_files", "file_bytes", "graphs",
    "initializer_names", "load", "name_nodes", "nodes", "opset_of", "save", "tensors",
]  # fmt: skip

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
_LARGEST = 1_800_000_000  # bytes in one file; protobuf ends at 2 GiB


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and all graphs inside of its nodes (If, Loop, Scan)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from graphs(attribute.g)
            for inner in attribute.graphs:
                yield from graphs(inner)


def nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Yield all nodes: of the graph, its subgraphs, and the model's own functions."""
    for graph in graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield every stored tensor: initializers, sparse ones, and those of attributes."""
    for graph in graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)


def elements(tensor: TensorProto) -> int:
    """Return how many numbers a tensor has."""
    return int(np.prod(tensor.dims, dtype=np.int64)) if tensor.dims else 1


def initializer_names(graph: GraphProto) -> set[str]:
    """Return the names of the weights of one graph."""
    return {tensor.name for tensor in graph.initializer}


def consumers(graph: GraphProto) -> dict[str, list[tuple[NodeProto, int]]]:
    """Return for each value who reads it, and as which input; readers in subgraphs included."""
    found: dict[str, list[tuple[NodeProto, int]]] = {}
    for inner in graphs(graph):
        for node in inner.node:
            for position, name in enumerate(node.input):
                found.setdefault(name, []).append((node, position))
    return found


def opset_of(model: ModelProto) -> int:
    """Return the version of the standard operators; 0 where the model names none."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def name_nodes(model: ModelProto) -> None:
    """Give each node a name of its own: quantizers speak of nodes by their names."""
    seen: set[str] = set()
    for number, node in enumerate(nodes(model)):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{number}"
            while node.name in seen:
                node.name += "_"
        seen.add(node.name)


def load(path: Path) -> ModelProto:
    """Load a model with all its weights."""
    return onnx.load(str(path))


def save(model: ModelProto, path: Path) -> None:
    """Write a model, its weights beside it where they do not fit; the same model, the same bytes.

    Files that belong to an earlier model of that name are replaced.
    """
    beside = path.with_name(path.name + ".data")
    for old in (path, beside):
        old.unlink(missing_ok=True)
    for entry in sorted(model.metadata_props, key=lambda p: p.key):
        if entry.key.startswith("onnx."):  # notes of the quantizer's passes, of no use to a reader
            model.metadata_props.remove(entry)
    if sum(len(t.raw_data) + 4 * len(t.float_data) for t in tensors(model)) > _LARGEST:
        onnx.save_model(
            model, str(path), save_as_external_data=True, all_tensors_to_one_file=True,
            location=beside.name, size_threshold=1024,
        )  # fmt: skip
        return
    for tensor in tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
    path.write_bytes(model.SerializeToString(deterministic=True))


def external_files(path: Path) -> list[Path]:
    """Return the files with weights that a model needs beside it."""
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception:  # counted, not judged: other places check the model
        return []
    names = {
        entry.value
        for tensor in tensors(model)
        if tensor.data_location == TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return [path.parent / name for name in sorted(names)]


def file_bytes(path: Path) -> int:
    """Return the bytes of a model: of its file, and of the weights that lie beside it."""
    return sum(file.stat().st_size for file in (path, *external_files(path)))
