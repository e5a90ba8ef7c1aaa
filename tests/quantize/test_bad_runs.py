"""Every kind of bad input through the command: one error, exit code 2, nothing in OUT, no harm."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from gpukit.cli.main import main
from gpukit.quantize import build
from gpukit.quantize.candidates import Recipe

from .models import INT64, made, model_of, node, value, weight

opened: list[str] = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)


class Place:
    """A folder with a model and data that fit it, and a secret outside of it."""

    def __init__(self, folder: Path) -> None:
        self.secret = folder / "secret"
        self.secret.write_bytes(b"\x00" * 100_000)
        self.folder = folder / "here"
        self.folder.mkdir()
        self.model, data = made("dense opset 18", self.folder)
        self.data(**data)
        self.options: list[str] = []

    def data(self, file: str = "eval", /, **arrays: Any) -> None:
        np.savez(self.folder / f"{file}.npz", allow_pickle=True, **arrays)

    def run(self, capsys: pytest.CaptureFixture[str]) -> str:
        """Run the command, check what holds of every mistake, and return the message."""
        before = sorted(p.name for p in self.folder.iterdir())
        opened.clear()
        code = main([
            "quantize", str(self.model), "-o", str(self.folder / "out"), "--eval",
            str(self.folder / "eval.npz"), "--time-limit", "120", *self.options,
        ])  # fmt: skip
        said = capsys.readouterr()
        assert code == 2
        assert said.out == ""
        starts = [line.split(":")[0] for line in said.err.splitlines()]
        assert starts.count("error") == starts.count("hint") == 1
        assert "Traceback" not in said.err
        after = sorted(p.name for p in self.folder.iterdir() if p.name != "out")
        assert after == [name for name in before if name != "out"]
        assert str(self.secret) not in {os.path.realpath(name) for name in opened}
        return said.err


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    yield Place(tmp_path)
    assert not (tmp_path / "harmed").exists()


def floats(*shape: int) -> Any:
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def spoilt(value: float) -> Any:
    numbers = floats(24, 32)
    numbers[3, 5] = value
    return numbers


def corrupt(place: Place) -> None:
    place.model.write_bytes(place.model.read_bytes()[:-700])


def lfs(place: Place) -> None:
    place.model.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def quantized(place: Place) -> None:
    target = place.folder / "q.onnx"
    build.build(Recipe("d", "dynamic", ("MatMul",)), place.model, place.model, target)
    place.model = target


def qdq(place: Place) -> None:
    scale, zero = np.float32(0.1), np.int8(0)
    model = model_of(
        [node("QuantizeLinear", ["x", "s", "z"], ["q"]),
         node("DequantizeLinear", ["q", "s", "z"], ["y"])],
        [value("x", ["n", 32])], [value("y", ["n", 32])],
        [numpy_helper.from_array(scale, "s"), numpy_helper.from_array(zero, "z")],
    )  # fmt: skip
    place.model.write_bytes(model.SerializeToString())


def not_finite_weights(place: Place) -> None:
    model = onnx.load(str(place.model))
    tensor = model.graph.initializer[0]
    tensor.raw_data = np.full(tensor.dims, np.nan, np.float32).tobytes()
    place.model.write_bytes(model.SerializeToString())


def no_outputs(place: Place) -> None:
    model = onnx.load(str(place.model))
    del model.graph.output[:]
    place.model.write_bytes(model.SerializeToString())


def unknown_operators(place: Place) -> None:
    model = onnx.load(str(place.model))
    model.graph.node[0].domain = "acme.example"
    model.opset_import.append(helper.make_opsetid("acme.example", 1))
    place.model.write_bytes(model.SerializeToString())


def pickled_arrays(place: Place) -> None:
    harmful = np.empty(30, dtype=object)
    harmful[:] = [Harm(place.secret.parent / "harmed") for _ in range(30)]
    place.data(x=harmful)


def pickle_as_data(place: Place) -> None:
    harm = pickle.dumps(Harm(place.secret.parent / "harmed"))
    (place.folder / "eval.npz").write_bytes(harm)


def pickle_as_model(place: Place) -> None:
    place.model.write_bytes(pickle.dumps(Harm(place.secret.parent / "harmed")))


class Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def calibrated(**arrays: Any) -> Callable[[Place], None]:
    def change(place: Place) -> None:
        place.data("calib", **arrays)
        place.options = ["--calib", str(place.folder / "calib.npz")]

    return change


def evaluated(**arrays: Any) -> Callable[[Place], None]:
    return lambda place: place.data(**arrays)


def optional(*words: str) -> Callable[[Place], None]:
    return lambda place: place.options.extend(words)


def overlapping(place: Place) -> None:
    with np.load(place.folder / "eval.npz") as data:
        calibrated(x=data["x"][:9])(place)


def full(place: Place) -> None:
    (place.folder / "out").mkdir()
    (place.folder / "out" / "mine").write_text("x")


def taken(place: Place) -> None:
    (place.folder / "out").write_text("x")


CASES: dict[str, tuple[Callable[[Place], Any], str]] = {
    "missing model": (lambda p: p.model.unlink(), "there is no model"),
    "corrupt model": (corrupt, "is not a readable ONNX model"),
    "git lfs pointer": (lfs, "is not a readable ONNX model"),
    "a pickle as the model": (pickle_as_model, "is not a readable ONNX model"),
    "quantized model": (quantized, "is quantized already: DynamicQuantizeLinear"),
    "qdq model": (qdq, "is quantized already: DequantizeLinear, QuantizeLinear"),
    "NaN in the weights": (not_finite_weights, "gives NaN or infinite numbers"),
    "no outputs": (no_outputs, "is not a readable ONNX model: no outputs"),
    "unknown operators": (unknown_operators, "operators of acme.example are not known"),
    "input name": (evaluated(z=floats(24, 32)), "nothing for the input 'x', only 'z'"),
    "input type": (evaluated(x=np.zeros((24, 32))), "'x' is float64, the model wants float32"),
    "input shape": (evaluated(x=floats(24, 31)), "has examples of shape [31], the model wants"),
    "NaN in --eval": (evaluated(x=spoilt(np.nan)), "has NaN or infinite numbers"),
    "infinity in --eval": (evaluated(x=spoilt(np.inf)), "has NaN or infinite numbers"),
    "NaN among the labels": (
        evaluated(x=floats(24, 32), labels=np.full(24, np.nan)), "NaN among the labels",
    ),
    "NaN in --calib": (calibrated(x=spoilt(np.nan)), "--calib: 'x' has NaN"),
    "empty --eval": (evaluated(x=floats(0, 32)), "--eval has no examples"),
    "empty --calib": (calibrated(x=floats(0, 32)), "--calib has no examples"),
    "input name in --calib": (calibrated(q=floats(9, 32)), "--calib has nothing for the input 'x'"),
    "overlap": (overlapping, "9 of 24 examples of --eval are in --calib too"),
    "pickled arrays": (pickled_arrays, "holds Python objects, which are not loaded"),
    "a pickle as data": (pickle_as_data, "--eval"),
    "labels of another length": (
        evaluated(x=floats(24, 32), labels=np.zeros(23, int)), "differ in length",
    ),
    "static without --calib": (optional("--recipe", "static"), "needs examples"),
    "no CUDA": (optional("--target", "cuda"), "has no CUDAExecutionProvider"),
    "batch of nothing": (optional("--batch-size", "0"), "--batch-size is 0"),
    "full OUT": (full, "is not empty"),
    "OUT is a file": (taken, "is not a folder"),
    "OUT in no folder": (optional("-o", "/nowhere/at/all"), "there is no folder"),
}  # fmt: skip


STARTED = {"NaN in the weights", "unknown operators"}  # a worker looks at these


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.e2e] if n in STARTED else []) for n in CASES]
)
def test_bad_input_is_told_and_leaves_nothing(
    name: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    change, said = CASES[name]
    change(place)
    was_there = (place.folder / "out").exists()
    assert said in place.run(capsys)
    assert (place.folder / "out").exists() == was_there


def outside(location: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[32, 40])
    tensor.data_location = TensorProto.EXTERNAL
    for key, text in (("location", location), ("offset", "0"), ("length", "5120")):
        tensor.external_data.add(key=key, value=text)
    return tensor


def in_weights(tensor: TensorProto) -> ModelProto:
    return _matmul([node("MatMul", ["x", "w"], ["y"])], [tensor])


def in_constant(tensor: TensorProto) -> ModelProto:
    return _matmul([node("Constant", [], ["w"], value=tensor), node("MatMul", ["x", "w"], ["y"])])


def in_subgraph(tensor: TensorProto) -> ModelProto:
    def branch(name: str, weights: list[TensorProto], of: str) -> Any:
        return helper.make_graph(
            [node("MatMul", ["x", of], [name])], name, [], [value(name, ["n", 40])], weights
        )

    return _matmul(
        [node("If", ["yes"], ["y"], then_branch=branch("a", [tensor], "w"),
              else_branch=branch("b", [], "v"))],
        [weight("v", 32, 40), numpy_helper.from_array(np.array(True), "yes")],
    )  # fmt: skip


def in_function(tensor: TensorProto) -> ModelProto:
    model = _matmul([helper.make_node("Dense", ["x"], ["y"], domain="local")])
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.functions.append(helper.make_function(
        "local", "Dense", ["a"], ["b"],
        [node("Constant", [], ["w"], value=tensor), node("MatMul", ["a", "w"], ["b"])],
        [helper.make_opsetid("", 17)],
    ))  # fmt: skip
    return model


def in_sparse(tensor: TensorProto) -> ModelProto:
    model = in_weights(weight("v", 1))
    sparse = model.graph.sparse_initializer.add(dims=[32, 40])
    sparse.values.CopyFrom(tensor)
    sparse.indices.CopyFrom(numpy_helper.from_array(np.arange(1280), "i"))
    return model


def _matmul(nodes: list[Any], weights: list[TensorProto] | None = None) -> ModelProto:
    return model_of(nodes, [value("x", ["n", 32])], [value("y", ["n", 40])], weights or [])


@pytest.mark.parametrize("place_of", [in_weights, in_constant, in_subgraph, in_function, in_sparse])
@pytest.mark.parametrize("how", ["above", "absolute", "link", "linked folder", "detour"])
def test_external_data_elsewhere_is_refused_and_not_read(
    how: str, place_of: Callable[[TensorProto], ModelProto], place: Place,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    location = {
        "above": "../secret", "absolute": str(place.secret), "link": "weights.bin",
        "linked folder": "up/secret", "detour": "deep/../../secret",
    }[how]  # fmt: skip
    if how == "link":
        (place.folder / "weights.bin").symlink_to(place.secret)
    if how == "linked folder":
        (place.folder / "up").symlink_to(place.secret.parent)
    (place.folder / "deep").mkdir()
    place.model.write_bytes(place_of(outside(location)).SerializeToString())
    assert "which is not in the model's folder" in place.run(capsys)


def test_external_data_that_is_not_there(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.model.write_bytes(in_subgraph(outside("weights.bin")).SerializeToString())
    assert "weights.bin, which is missing" in place.run(capsys)
    (place.folder / "weights.bin").write_bytes(b"\x00" * 99)
    assert "lies outside of the 99 bytes of 'weights.bin'" in place.run(capsys)


@pytest.mark.e2e
def test_numbers_that_the_model_has_no_row_for(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of(
        [node("Gather", ["w", "ids"], ["y"])], [value("ids", ["n"], INT64)],
        [value("y", ["n", 40])], [weight("w", 32, 40)],
    )  # fmt: skip
    place.model.write_bytes(model.SerializeToString())
    place.data(ids=np.arange(90, 114))
    assert "does not run on the examples" in place.run(capsys)
