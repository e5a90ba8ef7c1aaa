"""Small models of many shapes, built here: what people have, and what breaks quantizers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

__all__ = ["FLOAT", "INT64", "MODELS", "Made", "made", "model_of", "node", "value", "weight"]

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
Array = npt.NDArray[Any]
Made = tuple[ModelProto, dict[str, Array]]
"""A model, and arrays for its inputs whose first axis counts examples."""

ROWS = 24


# fmt: off
def weight(name: str, *shape: int, seed: int = 0) -> TensorProto:
    values = np.random.default_rng([seed, *name.encode()]).normal(0, 0.2, shape)
    return numpy_helper.from_array(values.astype(np.float32), name)


def model_of(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: list[TensorProto],
    opset: int = 17, ir: int = 8,
) -> ModelProto:  # fmt: skip
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def value(name: str, shape: list[Any] | None, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def rows(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(0, 1, (ROWS, *shape)).astype(np.float32)


def node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    return helper.make_node(kind, inputs, outputs, **attributes)


def dense(opset: int = 17) -> Made:
    """Two layers, unnamed nodes, MatMul and Gemm."""
    made = model_of(
        [
            node("MatMul", ["x", "w1"], ["a"]), node("Relu", ["a"], ["b"]),
            node("Gemm", ["b", "w2", "c2"], ["y"], transB=1),
        ],
        [value("x", ["n", 32])], [value("y", ["n", 10])],
        [weight("w1", 32, 64), weight("w2", 10, 64), weight("c2", 10)], opset,
    )  # fmt: skip
    return made, {"x": rows(32)}


def conv(opset: int = 17) -> Made:
    """A small convolution net with batch normalization, pooling and a dense end."""

    def norm(n: int) -> list[TensorProto]:
        ones = np.ones(n, np.float32)
        return [
            numpy_helper.from_array(ones * k, f"bn{i}") for i, k in enumerate((1.1, 0.1, 0.2, 0.9))
        ]

    made = model_of(
        [
            node("Conv", ["x", "k1", "b1"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            node("BatchNormalization", ["a", "bn0", "bn1", "bn2", "bn3"], ["b"]),
            node("Relu", ["b"], ["c"]),
            node("Conv", ["c", "k2"], ["d"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=4),
            node("Clip", ["d", "lo", "hi"], ["e"]),
            node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[2, 2]),
            node("GlobalAveragePool", ["f"], ["g"]), node("Flatten", ["g"], ["h"]),
            node("Gemm", ["h", "w", "c0"], ["y"]),
        ],
        [value("x", ["n", 3, 8, 8])], [value("y", ["n", 5])],
        [
            weight("k1", 16, 3, 3, 3), weight("b1", 16), *norm(16), weight("k2", 16, 4, 3, 3),
            numpy_helper.from_array(np.float32(0), "lo"),
            numpy_helper.from_array(np.float32(6), "hi"), weight("w", 16, 5), weight("c0", 5),
        ],
        opset,
    )  # fmt: skip
    return made, {"x": rows(3, 8, 8)}


def constants() -> Made:
    """Weights in Constant nodes, and an output that is one of them."""
    w = numpy_helper.to_array(weight("w", 32, 48))
    made = model_of(
        [
            node("Constant", [], ["w"], value=numpy_helper.from_array(w)),
            node("Constant", [], ["half"], value_float=0.5),
            node("Constant", [], ["told"], value_ints=[1, 2]),
            node("MatMul", ["x", "w"], ["a"]), node("Mul", ["a", "half"], ["y"]),
        ],
        [value("x", ["n", 32])], [value("y", ["n", 48]), value("told", [2], INT64)], [],
    )  # fmt: skip
    return made, {"x": rows(32)}


def lstm() -> Made:
    """An LSTM of both directions over a batch in its second axis."""
    made = model_of(
        [
            node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
            node("LSTM", ["t", "W", "R", "B"], ["s", "h"], hidden_size=24,
                 direction="bidirectional"),
            node("Transpose", ["h"], ["u"], perm=[1, 0, 2]), node("Flatten", ["u"], ["f"]),
            node("MatMul", ["f", "w"], ["y"]),
        ],
        [value("x", ["n", 7, 16])], [value("y", ["n", 12])],
        [
            weight("W", 2, 96, 16), weight("R", 2, 96, 24), weight("B", 2, 192),
            weight("w", 48, 12),
        ],
    )  # fmt: skip
    return made, {"x": rows(7, 16)}


def gru_state() -> Made:
    """A GRU whose state is an input with its batch in the middle, and a scalar that all share."""
    made = model_of(
        [
            node("Mul", ["x", "gain"], ["m"]),
            node("GRU", ["m", "W", "R", "", "", "state"], ["s", "last"], hidden_size=24),
            node("Squeeze", ["last", "axis"], ["q"]), node("MatMul", ["q", "w"], ["y"]),
        ],
        [value("x", [5, 1, 16]), value("state", [1, 1, 24]), value("gain", [])],
        [value("y", [1, 9]), value("last", [1, 1, 24])],
        [
            weight("W", 1, 72, 16), weight("R", 1, 72, 24), weight("w", 24, 9),
            numpy_helper.from_array(np.array([0]), "axis"),
        ],
    )  # fmt: skip
    return made, {"x": rows(5, 1, 16), "state": rows(1, 1, 24), "gain": np.float32(0.7)}


def tokens() -> Made:
    """Integer inputs, an embedding, attention of sorts, two outputs."""
    made = model_of(
        [
            node("Gather", ["table", "ids"], ["e"]),
            node("Cast", ["mask"], ["m"], to=FLOAT), node("Unsqueeze", ["m", "last"], ["mm"]),
            node("Mul", ["e", "mm"], ["em"]), node("MatMul", ["em", "wq"], ["q"]),
            node("Transpose", ["em"], ["k"], perm=[0, 2, 1]), node("MatMul", ["q", "k"], ["s"]),
            node("Softmax", ["s"], ["p"]), node("MatMul", ["p", "em"], ["v"]),
            node("ReduceMean", ["v"], ["pooled"], axes=[1], keepdims=0),
            node("MatMul", ["pooled", "wc"], ["logits"]),
        ],
        [value("ids", ["n", "t"], INT64), value("mask", ["n", "t"], INT64)],
        [value("logits", ["n", 4]), value("pooled", ["n", 32])],
        [
            weight("table", 100, 32), weight("wq", 32, 32), weight("wc", 32, 4),
            numpy_helper.from_array(np.array([-1]), "last"),
        ],
    )  # fmt: skip
    random = np.random.default_rng(3)
    return made, {
        "ids": random.integers(0, 100, (ROWS, 6)), "mask": np.ones((ROWS, 6), dtype=np.int64),
    }  # fmt: skip


def branches() -> Made:
    """If: each branch has a convolution with weights of its own, one of the main graph's."""

    def branch(name: str, kind: str, inner: str) -> Any:
        pads = {"pads": [1, 1]} if kind == "Conv" else {}
        return helper.make_graph(
            [node(kind, ["x", inner], [f"{name}_y"], **pads)],
            name, [], [value(f"{name}_y", ["n", "c", "t"])],
            [weight(inner, *((8, 8, 3) if kind == "Conv" else (16, 40)))],
        )  # fmt: skip

    made = model_of(
        [
            node("ReduceMax", ["x"], ["largest"], keepdims=0),
            node("Greater", ["largest", "zero"], ["positive"]),
            node("If", ["positive"], ["z"], then_branch=branch("then", "MatMul", "wt"),
                 else_branch=branch("else", "Conv", "wc")),
            node("MatMul", ["x", "w"], ["y"]),
        ],
        [value("x", ["n", 8, 16])], [value("y", ["n", 8, 24]), value("z", ["n", 8, "t"])],
        [weight("w", 16, 24), numpy_helper.from_array(np.float32(0), "zero")],
    )  # fmt: skip
    return made, {"x": rows(8, 16)}


def loop() -> Made:
    """Loop: three times through the same weights."""
    body = helper.make_graph(
        [
            node("MatMul", ["state", "w"], ["moved"]), node("Tanh", ["moved"], ["next"]),
            node("Identity", ["go"], ["still"]),
        ],
        "body",
        [value("i", [], INT64), value("go", [], TensorProto.BOOL), value("state", ["n", 32])],
        [value("still", [], TensorProto.BOOL), value("next", ["n", 32])], [weight("w", 32, 32)],
    )  # fmt: skip
    made = model_of(
        [node("Loop", ["three", "yes", "x"], ["y"], body=body)],
        [value("x", ["n", 32])], [value("y", ["n", 32])],
        [
            numpy_helper.from_array(np.int64(3), "three"),
            numpy_helper.from_array(np.array(True), "yes"),
        ],
    )  # fmt: skip
    return made, {"x": rows(32)}


def unbatched() -> Made:
    """No batch axis at all: a vector in, a vector out."""
    made = model_of(
        [node("MatMul", ["x", "w"], ["y"])], [value("x", [32])], [value("y", [20])],
        [weight("w", 32, 20)],
    )  # fmt: skip
    return made, {"x": rows(32)}


def fixed_batch() -> Made:
    """A batch of four, written into the model."""
    made = model_of(
        [node("MatMul", ["x", "w"], ["y"])], [value("x", [4, 32])], [value("y", [4, 20])],
        [weight("w", 32, 20)],
    )  # fmt: skip
    return made, {"x": rows(32)}


def old() -> Made:
    """IR version 3: weights are listed among the inputs."""
    made, data = dense(11)
    made.ir_version = 3
    for tensor in made.graph.initializer:
        made.graph.input.append(value(tensor.name, list(tensor.dims)))
    return made, data


def shared() -> Made:
    """One weight that an embedding and its projection share; a detour through Reshape."""
    made = model_of(
        [
            node("Gather", ["table", "ids"], ["e"]),
            node("Transpose", ["table"], ["back"], perm=[1, 0]),
            node("ReduceMean", ["e"], ["m"], axes=[1], keepdims=0),
            node("MatMul", ["m", "back"], ["y"]),
        ],
        [value("ids", ["n", 5], INT64)], [value("y", ["n", 80])], [weight("table", 80, 24)],
    )  # fmt: skip
    return made, {"ids": np.random.default_rng(5).integers(0, 80, (ROWS, 5))}


def functions() -> Made:
    """A function of the model's own, as newer exporters write them."""
    inner = helper.make_function(
        "local", "Dense", ["a", "b"], ["c"],
        [node("MatMul", ["a", "b"], ["m"]), node("Relu", ["m"], ["c"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node("Dense", ["x", "w"], ["y"], domain="local")],
        "g", [value("x", ["n", 32])], [value("y", ["n", 40])], [weight("w", 32, 40)],
    )  # fmt: skip
    made = helper.make_model(
        graph, functions=[inner], ir_version=8,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("local", 1)],
    )  # fmt: skip
    return made, {"x": rows(32)}


def half() -> Made:
    """Weights and arithmetic in 16 bits."""
    w = numpy_helper.from_array(numpy_helper.to_array(weight("w", 32, 40)).astype(np.float16), "w")
    made = model_of(
        [node("MatMul", ["x", "w"], ["y"])],
        [value("x", ["n", 32], TensorProto.FLOAT16)],
        [value("y", ["n", 40], TensorProto.FLOAT16)], [w],
    )  # fmt: skip
    return made, {"x": rows(32).astype(np.float16)}


def double() -> Made:
    """Arithmetic in 64 bits, which no quantizer takes."""
    w = numpy_helper.from_array(numpy_helper.to_array(weight("w", 32, 40)).astype(np.float64), "w")
    made = model_of(
        [node("MatMul", ["x", "w"], ["y"])], [value("x", ["n", 32], TensorProto.DOUBLE)],
        [value("y", ["n", 40], TensorProto.DOUBLE)], [w],
    )  # fmt: skip
    return made, {"x": rows(32).astype(np.float64)}


def transposed_conv() -> Made:
    """A decoder: ConvTranspose, Resize, Conv over one dimension less."""
    made = model_of(
        [
            node("ConvTranspose", ["x", "k"], ["a"], kernel_shape=[2, 2], strides=[2, 2]),
            node("LeakyRelu", ["a"], ["b"], alpha=0.1),
            node("Resize", ["b", "", "scales"], ["c"], mode="nearest"),
            node("Conv", ["c", "k2"], ["y"], kernel_shape=[1, 1]),
        ],
        [value("x", ["n", 8, 4, 4])], [value("y", ["n", 48, 16, 16])],
        [
            weight("k", 8, 12, 2, 2), weight("k2", 48, 12, 1, 1),
            numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"),
        ],
    )  # fmt: skip
    return made, {"x": rows(8, 4, 4)}


def detector() -> Made:
    """An output whose length depends on the input, as of detectors: NonZero."""
    made = model_of(
        [
            node("MatMul", ["x", "w"], ["s"]), node("Greater", ["s", "limit"], ["hit"]),
            node("NonZero", ["hit"], ["where"]),
        ],
        [value("x", [1, 32])], [value("s", [1, 40]), value("where", [2, "found"], INT64)],
        [weight("w", 32, 40), numpy_helper.from_array(np.float32(0.5), "limit")],
    )  # fmt: skip
    return made, {"x": rows(1, 32)}


def text() -> Made:
    """An input that is text."""
    made = model_of(
        [
            node("LabelEncoder", ["word"], ["id"], domain="ai.onnx.ml", keys_strings=["a", "b"],
                 values_int64s=[1, 2], default_int64=0),
            node("Gather", ["table", "id"], ["y"]),
        ],
        [value("word", ["n"], TensorProto.STRING)], [value("y", ["n", 400])],
        [weight("table", 3, 400)],
    )  # fmt: skip
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    return made, {"word": np.array(["a", "b", "c"] * (ROWS // 3))}


def trees() -> Made:
    """A tree with classes that are text, as scikit-learn's are exported: labels and scores."""
    made = model_of(
        [
            node("TreeEnsembleClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml",
                 class_ids=[0, 1], class_nodeids=[1, 2], class_treeids=[0, 0],
                 class_weights=[1.0, 1.0], classlabels_strings=["no", "yes"],
                 nodes_falsenodeids=[2, 0, 0], nodes_featureids=[3, 0, 0],
                 nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_nodeids=[0, 1, 2],
                 nodes_treeids=[0, 0, 0], nodes_truenodeids=[1, 0, 0],
                 nodes_values=[0.1, 0.0, 0.0], post_transform="NONE"),
        ],
        [value("x", ["n", 8])], [value("label", ["n"], TensorProto.STRING),
                                 value("scores", ["n", 2])], [],
    )  # fmt: skip
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return made, {"x": rows(8)}


def one_number() -> Made:
    """A regression without an axis for its number, and a bias of one element for all channels."""
    made = model_of(
        [
            node("Gemm", ["x", "w1", "c"], ["a"], transB=1, beta=2.0), node("Relu", ["a"], ["b"]),
            node("ReduceMean", ["b"], ["y"], axes=[1], keepdims=0),
        ],
        [value("x", ["n", 32])], [value("y", ["n"])],
        [weight("w1", 40, 32), weight("c", 1)],
    )  # fmt: skip
    return made, {"x": rows(32)}


MODELS: dict[str, Callable[[], Made]] = {
    **{f"dense opset {n}": functools.partial(dense, n) for n in (11, 13, 15, 18, 21)},
    **{f"conv opset {n}": functools.partial(conv, n) for n in (11, 13, 17, 20)},
    "constants": constants, "lstm": lstm, "gru with a state": gru_state, "tokens": tokens,
    "if": branches, "loop": loop, "no batch axis": unbatched, "fixed batch": fixed_batch,
    "weights as inputs": old, "shared weight": shared, "functions": functions, "half": half,
    "double": double, "transposed conv": transposed_conv, "detector": detector, "text": text,
    "trees": trees, "one number": one_number,
}  # fmt: skip


def made(name: str, folder: Path) -> tuple[Path, dict[str, Array]]:
    """Write one of the models, and return its file and arrays for it."""
    model, data = MODELS[name]()
    onnx.checker.check_model(model)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path, data
