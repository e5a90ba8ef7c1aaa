"""Forms of a transformer for faster kernels: they compute the same, and INT8 finds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from gpukit.quantize import build, fuse, graph, steps
from gpukit.quantize.candidates import Recipe, recipes_for
from gpukit.quantize.census import take_census
from gpukit.quantize.data import Array, Column, Examples
from gpukit.quantize.session import open_session
from gpukit.quantize.steps import Place

from .models import FLOAT, INT64, model_of, node, value, weight

WIDTH, HEADS, LENGTH = 32, 4, 6


def encoder_layer(prefix: str, x: str, mask: str) -> tuple[list[onnx.NodeProto], str]:
    """Return the nodes of self-attention and a feed-forward layer, as torch exports BERT."""
    made: list[onnx.NodeProto] = []

    def add(op: str, inputs: list[str], name: str, **more: object) -> str:
        made.append(node(op, inputs, [f"{prefix}{name}"], **more))
        return f"{prefix}{name}"

    def dense(source: str, name: str) -> str:
        product = add("MatMul", [source, f"{prefix}{name}.w"], f"{name}.m")
        return add("Add", [f"{prefix}{name}.b", product], f"{name}.a")

    def headed(source: str, name: str, order: list[int]) -> str:
        split = add("Reshape", [dense(source, name), "split"], f"{name}.r")
        return add("Transpose", [split], f"{name}.t", perm=order)

    q = headed(x, "q", [0, 2, 1, 3])
    k = headed(x, "k", [0, 2, 3, 1])
    v = headed(x, "v", [0, 2, 1, 3])
    scores = add("Div", [add("MatMul", [q, k], "qk"), "root"], "scaled")
    weights = add("Softmax", [add("Add", [scores, mask], "masked")], "p", axis=-1)
    mixed = add("Transpose", [add("MatMul", [weights, v], "pv")], "back", perm=[0, 2, 1, 3])
    first = dense(add("Reshape", [mixed, "merge"], "flat"), "o")
    normed = add(
        "LayerNormalization", [add("Add", [first, x], "res1"), "gamma", "beta"], "ln1", axis=-1
    )
    second = dense(add("Relu", [dense(normed, "f1")], "relu"), "f2")
    last = add(
        "LayerNormalization", [add("Add", [second, normed], "res2"), "gamma", "beta"], "ln2",
        axis=-1,
    )  # fmt: skip
    return made, last


@pytest.fixture
def encoder(tmp_path: Path) -> tuple[Path, Path]:
    """A two-layer encoder with a padding mask, and its examples."""
    start = [
        node("Unsqueeze", ["mask", "axis1"], ["mask3"]),
        node("Unsqueeze", ["mask3", "axis2"], ["mask4"]),
        node("Cast", ["mask4"], ["maskf"], to=FLOAT),
        node("Sub", ["one", "maskf"], ["hidden"]),
        node("Mul", ["hidden", "least"], ["bias"]),
        node("LayerNormalization", ["x", "gamma", "beta"], ["e"], axis=-1),
    ]
    layers, out = [], "e"
    for prefix in ("l0.", "l1."):
        nodes, out = encoder_layer(prefix, out, "bias")
        layers += nodes
    layers.append(node("Identity", [out], ["y"]))
    sizes = {"q": (WIDTH, WIDTH), "k": (WIDTH, WIDTH), "v": (WIDTH, WIDTH), "o": (WIDTH, WIDTH),
             "f1": (WIDTH, 64), "f2": (64, WIDTH)}  # fmt: skip
    weights = [
        t for p in ("l0.", "l1.") for n, (a, b) in sizes.items()
        for t in (weight(f"{p}{n}.w", a, b), weight(f"{p}{n}.b", b))
    ]  # fmt: skip
    constants = {
        "split": np.array([0, 0, HEADS, WIDTH // HEADS]), "merge": np.array([0, 0, WIDTH]),
        "axis1": np.array([1]), "axis2": np.array([2]), "root": np.float32((WIDTH / HEADS) ** 0.5),
        "one": np.float32(1), "least": np.float32(-10000), "gamma": np.ones(WIDTH, np.float32),
        "beta": np.zeros(WIDTH, np.float32),
    }  # fmt: skip
    weights += [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    path = tmp_path / "encoder.onnx"
    inputs = [value("x", ["n", "s", WIDTH]), value("mask", ["n", "s"], INT64)]
    graph.save(model_of([*start, *layers], inputs, [value("y", ["n", "s", WIDTH])], weights), path)
    random = np.random.default_rng(0)
    mask = np.ones((8, LENGTH), np.int64)
    mask[::2, 4:] = 0
    mask[1, :2] = 0  # padded on the left
    columns: dict[str, Column] = {
        "x": random.normal(size=(8, LENGTH, WIDTH)).astype(np.float32),
        "mask": mask,
    }
    return path, Examples(columns, {"x": 3, "mask": 2}).save(tmp_path / "data")


def outputs(path: Path, data: Path) -> Array:
    session = open_session(path, 1)
    rows = [session.run(None, f)[0] for _, f in Examples.open(data).batches(list(range(8)), 1)]
    return np.concatenate(rows)


def test_attention_becomes_one_node_and_is_quantized_whole(
    encoder: tuple[Path, Path], tmp_path: Path
) -> None:
    path, data = encoder
    fused = tmp_path / "fused.onnx"
    assert fuse.has_attention(take_census(graph.load(path)))
    assert steps.fuse_model(path, fused, data, list(range(8)), Place()) == 2
    wanted = outputs(path, data)
    seen = np.asarray(Examples.open(data).columns["mask"])[..., None] == 1
    np.testing.assert_allclose(outputs(fused, data) * seen, wanted * seen, atol=1e-4)
    recipe = next(
        r for r in recipes_for(take_census(graph.load(path)), calibrated=False,
                               fused=True) if r.fused
    )  # fmt: skip
    target = tmp_path / "int8.onnx"
    build.build(recipe, fused, fused, target)
    made = [n.op_type for n in graph.load(target).graph.node]
    assert made.count("QAttention") == 2
    assert made.count("MatMul") == 0
    error = np.square((outputs(target, data) - wanted) * seen).mean() / np.square(wanted).mean()
    assert 0 < error < 5e-3


def test_a_fused_form_that_computes_something_else_is_not_used(
    encoder: tuple[Path, Path], tmp_path: Path
) -> None:
    fused = tmp_path / "fused.onnx"
    assert fuse.fuse_attention(encoder[0], fused, lambda _: False) == 0
    assert fuse.fuse_attention(tmp_path / "encoder.onnx", fused, lambda _: True) == 2


def test_residuals_stay_apart_from_the_norm(encoder: tuple[Path, Path], tmp_path: Path) -> None:
    path, data = encoder
    model = graph.load(path)
    assert fuse.part_residuals(model) == 4
    assert fuse.part_residuals(model) == 0
    parted = tmp_path / "parted.onnx"
    graph.save(model, parted)
    np.testing.assert_allclose(outputs(parted, data), outputs(path, data), atol=1e-5)
    build.build(Recipe("w8", "w8"), path, path, parted)
    assert sum(n.op_type == "Sum" for n in graph.load(parted).graph.node) == 4
    build.build(Recipe("w8", "w8"), path, path, parted, device="cuda")
    assert not any(n.op_type == "Sum" for n in graph.load(parted).graph.node)


def test_norms_of_older_exporters_are_seen_too() -> None:
    model = model_of(
        [
            node("Add", ["x", "b"], ["r"]), node("ReduceMean", ["r"], ["m"], axes=[-1]),
            node("Sub", ["r", "m"], ["c"]), node("Relu", ["c"], ["y"]),
        ],
        [value("x", ["n", 4])], [value("y", ["n", 4])], [weight("b", 4)],
    )  # fmt: skip
    assert fuse.part_residuals(model) == 1
    assert model.graph.node[0].op_type == "Sum"


@pytest.mark.parametrize(("shape", "wanted"), [((4, -1), (4, 32)), ((-1, 8), (4, 32)),
                                               ((4, 8), (4, 32)), ((5, -1), (0, 0))])  # fmt: skip
def test_heads_are_read_where_the_rest_of_a_shape_is_computed(
    shape: tuple[int, int], wanted: tuple[int, int]
) -> None:
    parts = [
        onnx.numpy_helper.from_array(np.array([size]), name)
        for name, size in zip(("heads", "size"), shape, strict=True)
    ]
    model = model_of(
        [
            node("MatMul", ["x", "w"], ["p"]),
            node("Concat", ["n", "s", "heads", "size"], ["shape"], axis=0),
            node("Reshape", ["p", "shape"], ["r"]),
            node("Transpose", ["r"], ["y"], perm=[0, 2, 1, 3]),
        ],
        [value("x", ["n", "s", 16]), value("n", [1], INT64), value("s", [1], INT64)],
        [value("y", None)], [weight("w", 16, 32), *parts],
    )  # fmt: skip
    assert fuse.heads_of(model) == wanted
