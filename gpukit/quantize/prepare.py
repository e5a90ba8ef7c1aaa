"""Making a model ready for quantizers: names, weights as initializers, an opset that works."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx import GraphProto, ModelProto, TensorProto, numpy_helper, version_converter

from . import graph

__all__ = ["deduplicate", "lift_constants", "prepare", "upgrade"]

_WANTED = (17, 15, 13)
"""Opsets that quantizers write valid graphs for, per channel: of 11 and 12 they do not."""

_TOO_LARGE = 1_500_000_000
Same = Callable[[Path], bool]


def prepare(source: Path, folder: Path, same: Same) -> tuple[Path, Path, list[str]]:
    """Write the model with its weights lifted, and the same one optimized for static quantization.

    Args:
        source: the original.
        folder: where both are written.
        same: loads a model and tells whether it computes what the original does.

    Returns:
        The lifted model, the optimized one (the same file where that failed), and notes.
    """
    notes: list[str] = []
    model = graph.load(source)
    model.metadata_props.add(key="gpukit.quantize", value="1")
    lifted = folder / "lifted.onnx"
    steps: list[tuple[str, Callable[[ModelProto], ModelProto]]] = [
        ("functions inlined", _inlined),
        ("weights taken out of the inputs", _constant_weights),
        ("constants lifted to weights", lift_constants),
        ("equal weights merged", deduplicate),
        ("biases filled up", _full_biases),
    ]
    for note, step in steps:
        model = _tried(step, model, note, notes)
    graph.name_nodes(model)
    graph.save(model, lifted)
    if not same(lifted):
        notes.append("preparing changed what the model computes: the original is used as it is")
        model = graph.load(source)
        graph.name_nodes(model)
        graph.save(model, lifted)
    best = _upgraded(model, lifted, folder, same, notes)
    return lifted, _optimized(best, folder, same, notes), notes


def _tried(
    step: Callable[[ModelProto], ModelProto], model: ModelProto, note: str, notes: list[str]
) -> ModelProto:
    try:
        before = _parts(model)
        made = step(model)
        if _parts(made) != before:
            notes.append(note)
        return made
    except Exception as error:  # a pass that cannot cope is left out
        notes.append(f"not {note}: {type(error).__name__}")
        return model


def _parts(model: ModelProto) -> tuple[int, int, int]:
    """Return what every step changes some of; bytes of models over 2 GB cannot be counted."""
    stored = sum(len(part.initializer) for part in graph.graphs(model.graph))
    return sum(1 for _ in graph.nodes(model)), stored, len(model.graph.input)


def _inlined(model: ModelProto) -> ModelProto:
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def _constant_weights(model: ModelProto) -> ModelProto:
    """Make weights constants that older exporters also list as inputs, in place."""
    stored = {t.name: graph.elements(t) for t in model.graph.initializer}
    old = model.ir_version < 4  # there, all had to be listed
    for value in list(model.graph.input):
        if value.name in stored and (old or stored[value.name] >= 64):
            model.graph.input.remove(value)
    model.ir_version = max(model.ir_version, 4)
    return model


def lift_constants(model: ModelProto) -> ModelProto:
    """Turn Constant nodes with a tensor into initializers, in place, in every graph."""
    for part in graph.graphs(model.graph):
        outputs = {o.name for o in part.output}
        for node in list(part.node):
            if node.op_type != "Constant" or node.output[0] in outputs or not node.attribute:
                continue
            tensor = _constant(node.attribute[0])
            if tensor is not None:
                tensor.name = node.output[0]
                part.initializer.append(tensor)
                part.node.remove(node)
    return model


def _constant(attribute: onnx.AttributeProto) -> TensorProto | None:
    if attribute.name == "value":
        made = TensorProto()
        made.CopyFrom(attribute.t)
        return made
    values: dict[str, Callable[[], Any]] = {
        "value_float": lambda: np.float32(attribute.f),
        "value_floats": lambda: np.array(attribute.floats, dtype=np.float32),
        "value_int": lambda: np.int64(attribute.i),
        "value_ints": lambda: np.array(attribute.ints, dtype=np.int64),
    }
    made_of = values.get(attribute.name)
    return None if made_of is None else numpy_helper.from_array(np.asarray(made_of()))


def deduplicate(model: ModelProto) -> ModelProto:
    """Keep one of several equal weights of the main graph, in place."""
    part = model.graph
    named = {o.name for o in part.output} | {i.name for i in part.input}
    first: dict[tuple[Any, ...], str] = {}
    renamed: dict[str, str] = {}
    for tensor in list(part.initializer):
        if graph.elements(tensor) < 64 or tensor.name in named or not tensor.raw_data:
            continue
        digest = hashlib.blake2b(tensor.raw_data, digest_size=16).digest()
        key = (tensor.data_type, tuple(tensor.dims), digest)
        kept = first.setdefault(key, tensor.name)
        if kept != tensor.name:
            renamed[tensor.name] = kept
            part.initializer.remove(tensor)
    if renamed:
        _rename(part, renamed)
    return model


def _rename(part: GraphProto, renamed: dict[str, str]) -> None:
    for node in part.node:
        for i, name in enumerate(node.input):
            if name in renamed:
                node.input[i] = renamed[name]
    for inner in graph.graphs(part):
        if inner is part:
            continue
        own = graph.initializer_names(inner) | {o for n in inner.node for o in n.output}
        for node in inner.node:
            for i, name in enumerate(node.input):
                if name in renamed and name not in own:
                    node.input[i] = renamed[name]


def _full_biases(model: ModelProto) -> ModelProto:
    """Give each Gemm a bias for every channel, in place: quantizers expect no shorter one."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Gemm" or len(node.input) < 3 or node.input[1] not in stored:
            continue
        bias = stored.get(node.input[2])
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        channels = stored[node.input[1]].dims[0 if transposed else 1]
        if bias is None or graph.elements(bias) != 1 or channels == 1:
            continue
        full = np.full(channels, numpy_helper.to_array(bias).reshape(()))
        made = numpy_helper.from_array(full, f"{bias.name}:{channels}")
        if made.name not in stored:
            stored[made.name] = made
            model.graph.initializer.append(made)
        node.input[2] = made.name
    return model


def upgrade(model: ModelProto, opset: int) -> ModelProto:
    """Return the model in the operators of a later opset."""
    made = version_converter.convert_version(model, opset)
    made.ir_version = max(made.ir_version, 8)
    return made


def _upgraded(model: ModelProto, lifted: Path, folder: Path, same: Same, notes: list[str]) -> Path:
    before = graph.opset_of(model)
    if before >= min(_WANTED) or graph.file_bytes(lifted) > _TOO_LARGE:
        return lifted
    for opset in _WANTED:
        path = folder / "upgraded.onnx"
        try:
            made = upgrade(model, opset)
            graph.name_nodes(made)
            graph.save(made, path)
        except Exception as error:  # the converter lacks many operators
            notes.append(f"opset {before} to {opset} failed: {type(error).__name__}")
            continue
        if same(path):
            notes.append(f"opset {before} upgraded to {opset}")
            return path
        notes.append(f"opset {before} to {opset} changes what the model computes: not used")
    return lifted


def _optimized(source: Path, folder: Path, same: Same, notes: list[str]) -> Path:
    """Return the model after onnxruntime's own pre-processing, if it survives that unchanged."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if graph.file_bytes(source) > _TOO_LARGE:
        notes.append("not pre-processed: for a model this large it takes longer than it is worth")
        return source
    source, folder = source.absolute(), folder.absolute()
    path = folder / "prepared.onnx"
    for symbolic in (True, False):
        try:
            with _inside(folder):
                quant_pre_process(str(source), str(path), skip_symbolic_shape=not symbolic)
            made = graph.load(path)
            graph.name_nodes(made)
            graph.save(made, path)
        except Exception as error:  # symbolic shapes fail on most models
            notes.append(
                f"pre-processing {'with' if symbolic else 'without'} symbolic shapes failed: "
                f"{type(error).__name__}"
            )
            continue
        if same(path):
            notes.append(f"pre-processed {'with' if symbolic else 'without'} symbolic shapes")
            return path
        notes.append("pre-processing changes what the model computes: not used")
    return source


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in a folder: symbolic shape inference leaves files where it is called."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
