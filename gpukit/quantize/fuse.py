"""Forms of a transformer that onnxruntime has faster kernels for; each computes the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from . import graph
from .census import Census
from .prepare import Same

__all__ = ["fuse_attention", "has_attention", "heads_of", "part_residuals"]

_KINDS = ("bert", "vit", "bart")  # the layouts that the fusions of onnxruntime know

_DOMAIN = "com.microsoft"
_Weights = dict[str, TensorProto]
_MadeBy = dict[str, NodeProto]


def has_attention(census: Census) -> bool:
    """Tell whether a model looks like one with attention: then fusing is worth the time."""
    found = census.operators
    normed = found.get("LayerNormalization", 0) or found.get("ReduceMean", 0)
    return bool(found.get("Softmax") and normed and found.get("MatMul", 0) >= 6)


def fuse_attention(source: Path, target: Path, same: Same) -> int:
    """Write a model whose attention blocks are one node each, and return how many these are.

    onnxruntime quantizes such a node as a whole: the three projections become one product, and the
    transposes and reshapes around them vanish. 0 and no file where no block is found, or where the
    result computes something else.

    Args:
        source: the model with its weights as initializers.
        target: the file to write.
        same: loads a model and tells whether it computes what the original does.
    """
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_by_fusion

    heads, width = heads_of(graph.load(source))
    for kind in _KINDS:
        options = FusionOptions(kind)
        if kind != "vit":
            options.use_raw_attention_mask(True)  # the other form takes padding to be at the end
        for name in ("skip_layer_norm", "bias_skip_layer_norm", "embed_layer_norm", "bias_gelu"):
            setattr(options, f"enable_{name}", False)  # slower on a CPU, or in the way of INT8
        try:
            made = optimize_by_fusion(
                graph.load(source), kind, heads, width, optimization_options=options
            ).model
        except Exception:  # a layout that its patterns trip over
            continue
        count = len([node for node in made.graph.node if node.op_type == "Attention"])
        if not count:
            continue
        if not any(opset.domain == _DOMAIN for opset in made.opset_import):
            made.opset_import.add(domain=_DOMAIN, version=1)
        graph.name_nodes(made)
        graph.save(made, target)
        if same(target):
            return count
    return 0


def heads_of(model: ModelProto) -> tuple[int, int]:
    """Return how many heads attention has, and the width of all together; zeros if unknown.

    They are read from the shapes that projections are given: (batch, sequence, heads, size), where
    one of the last two may be -1. The first two are often computed in the graph.
    """
    part = model.graph
    weights = {tensor.name: tensor for tensor in part.initializer}
    made_by = {name: node for node in part.node for name in node.output}
    turned = {node.input[0] for node in part.node if node.op_type == "Transpose"}
    found: Counter[tuple[int, int]] = Counter()
    for node in part.node:
        if node.op_type != "Reshape" or node.output[0] not in turned:
            continue
        shape = _last_of(node.input[1], weights, made_by)
        width = _width(node.input[0], weights, made_by)
        if len(shape) == 2 and width:
            heads = shape[0] if shape[0] > 0 else width // max(shape[1], 1)
            if heads > 0 and width % heads == 0:
                found[heads, width] += 1
    return found.most_common(1)[0][0] if found else (0, 0)


def _last_of(name: str, weights: _Weights, made_by: _MadeBy) -> list[int]:
    """Return the last two of four dimensions, where they are constants."""
    if name in weights:
        whole = numpy_helper.to_array(weights[name]).ravel().tolist()
        return whole[2:] if len(whole) == 4 else []
    node = made_by.get(name)
    if node is None or node.op_type != "Concat" or len(node.input) != 4:
        return []
    parts = [weights[n] for n in node.input[2:] if n in weights]
    return [int(numpy_helper.to_array(t).ravel()[0]) for t in parts]


def _width(name: str, weights: _Weights, made_by: _MadeBy) -> int:
    """Return how wide a projection is: MatMul, perhaps with an Add after it."""
    node = made_by.get(name)
    for _ in range(2):
        if node is None:
            return 0
        for one in node.input:
            if one in weights and weights[one].dims:
                return int(weights[one].dims[-1])
        node = made_by.get(node.input[0])
    return 0


def part_residuals(model: ModelProto) -> int:
    """Write residual Adds before a LayerNormalization as Sum, in place; return how many.

    onnxruntime merges Add and LayerNormalization into SkipLayerNormalization when it loads a
    model. On CPUs that kernel works number by number and divides by the deviation in each: with
    onnxruntime 1.32 it took 4 (16 x 384) to 9 times (256 x 1024) as long as the two apart.
    """
    if graph.opset_of(model) < 8:  # Sum does not broadcast there
        return 0
    count = 0
    for part in graph.graphs(model.graph):
        made_by = {name: node for node in part.node for name in node.output}
        for node in part.node:
            added = made_by.get(_normalized(node, made_by))
            if added is not None and added.op_type == "Add":
                added.op_type = "Sum"
                count += 1
    return count


def _normalized(node: NodeProto, made_by: dict[str, NodeProto]) -> str:
    """Return what a node normalizes, of one operator or of the many of older exporters."""
    first = str(node.input[0]) if node.input else ""
    if node.op_type == "LayerNormalization":
        return first
    mean = made_by.get(node.input[1]) if node.op_type == "Sub" else None
    if mean is None or mean.op_type != "ReduceMean" or mean.input[0] != first:
        return ""
    return first
