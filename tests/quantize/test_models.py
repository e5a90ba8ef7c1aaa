"""Every kind of model goes through every kind of recipe: it loads, and computes about the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gpukit.quantize import graph, intake, steps
from gpukit.quantize.api import _batch
from gpukit.quantize.candidates import FAMILIES, Recipe, recipes_for
from gpukit.quantize.data import Array, Examples
from gpukit.quantize.datafiles import read_examples
from gpukit.quantize.metrics import Metric
from gpukit.quantize.session import open_session, output_names
from gpukit.quantize.steps import Place

from .models import MODELS, made

# Relative mean squared errors: what 8 and 4 bits are expected to cost, and no more.
_ALLOWED = {"w8": 1e-3, "w16": 1e-5, "fp16": 1e-4, "dynamic": 5e-3, "static": 0.3, "int8": 5e-3}
_NOT = {("half", "dynamic")}  # there is no operator for 16-bit inputs: the search notes it


class Bench:
    """A model, prepared, with its examples: as the worker sees it, in this process."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder
        self.path, data = made(name, folder)
        self.inputs = intake.inputs_of(intake.read_onnx(self.path)[0])
        examples = read_examples(data, self.inputs, "--eval")
        self.place = Place(batch=_batch(self.inputs, examples, 1))
        self.data = examples.save(folder / "examples")
        self.rows = list(range(8))
        self.lifted, self.prepared, self.notes, self.census = steps.prepare_model(
            self.path, folder, self.data, self.rows[:2], self.place
        )

    def recipes(self) -> list[Recipe]:
        found = recipes_for(self.census, calibrated=True, families=frozenset(FAMILIES))
        return [r for r in found if r.calibration in (None, "MinMax")]

    def build(self, recipe: Recipe, only: list[str] | None = None) -> Path:
        ranges = None
        if recipe.calibration:
            ranges = steps.calibrate_ranges(
                self.prepared, self.data, self.rows, recipe, self.place, self.folder / "ranges"
            )
        target = self.folder / "candidate.onnx"
        steps.build_candidate(recipe, self.lifted, self.prepared, target, ranges, self.place)
        return target

    def outputs(self, model: Path) -> list[Array]:
        session = open_session(model, 1)
        names = output_names(open_session(self.path, 1))
        examples = Examples.open(self.data)
        batches = examples.batches(self.rows, self.place.batch)
        return [np.asarray(v) for _, feeds in batches for v in session.run(names, feeds)]

    def agrees_with_itself(self) -> bool:
        """Tell whether the original's outputs, once kept, are as good as themselves."""
        for metric in (Metric("cosine"), Metric("accuracy")):
            kept = self.folder / metric.name
            how = (self.path, self.data, self.rows, metric, self.place)
            steps.evaluate(*how, keep=kept)
            if abs(metric.combine(steps.evaluate(*how, original=kept).rows) - 1) > 1e-6:
                return False
        return True


@pytest.mark.parametrize("name", MODELS)
def test_each_recipe_loads_and_stays_near(name: str, tmp_path: Path) -> None:
    bench = Bench(name, tmp_path)
    assert bench.agrees_with_itself()
    wanted = bench.outputs(bench.path)
    tried = set()
    for recipe in bench.recipes():
        if (name, recipe.family) in _NOT:
            continue
        found = bench.outputs(bench.build(recipe))
        floats = [
            (a, b) for a, b in zip(wanted, found, strict=True)
            if a.dtype.kind == "f" and a.shape == b.shape
        ]  # fmt: skip
        error = max(np.square(a - b).mean() / np.square(a).mean() for a, b in floats)
        assert error < _ALLOWED.get(recipe.family, 0.2), recipe.name
        tried.add(recipe.family)
    assert {"w8", "w16"} <= tried or not bench.census.parameters


@pytest.mark.parametrize(
    ("name", "family", "ratio"),
    [("dense opset 18", "w8", 3.0), ("lstm", "w8", 2.8), ("if", "w8", 1.4), ("loop", "w8", 2.5),
     ("constants", "dynamic", 2.4), ("tokens", "int4", 3.2), ("shared weight", "w8", 2.9),
     ("functions", "static", 1.9)],
)  # fmt: skip
def test_files_become_smaller(name: str, family: str, ratio: float, tmp_path: Path) -> None:
    bench = Bench(name, tmp_path)
    recipe = next(r for r in bench.recipes() if r.family == family)
    assert graph.file_bytes(bench.path) > ratio * graph.file_bytes(bench.build(recipe))


def test_constants_become_weights_and_outputs_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # symbolic shape inference fails on it, and leaves files
    bench = Bench("constants", tmp_path)
    assert list((tmp_path / "here").iterdir()) == []
    model = graph.load(bench.lifted)
    assert "w" in graph.initializer_names(model.graph)
    assert [n.op_type for n in model.graph.node] == ["Constant", "MatMul", "Mul"]
    assert "constants lifted to weights" in bench.notes


@pytest.mark.parametrize("name", ["dense opset 11", "conv opset 11", "weights as inputs"])
def test_old_opsets_are_upgraded(name: str, tmp_path: Path) -> None:
    bench = Bench(name, tmp_path)
    assert "opset 11 upgraded to 17" in bench.notes
    assert graph.opset_of(graph.load(bench.prepared)) == 17


@pytest.mark.parametrize(("name", "family"), [
    ("dense opset 13", "dynamic"), ("conv opset 17", "static"), ("lstm", "w8"),
    ("tokens", "dynamic"), ("dense opset 15", "static"),
])  # fmt: skip
def test_what_is_left_out_stays_exact(name: str, family: str, tmp_path: Path) -> None:
    bench = Bench(name, tmp_path)
    recipe = next(r for r in bench.recipes() if r.family == family)
    units = steps.units(recipe, bench.lifted, bench.prepared)
    assert len(units) > 1
    wanted = bench.outputs(bench.path)

    def error(path: Path) -> float:
        pairs = zip(wanted, bench.outputs(path), strict=True)
        return float(max(np.abs(a - b).max() for a, b in pairs if a.dtype.kind == "f"))

    left = error(bench.build(recipe.without(tuple(units))))
    assert left < error(bench.build(recipe))


def test_sensitivity_finds_the_node_that_breaks(tmp_path: Path) -> None:
    bench = Bench("dense opset 18", tmp_path)
    recipe = Recipe("8-bit storage", "w8")
    model = graph.load(bench.lifted)
    for tensor in model.graph.initializer:
        if tensor.name == "w1":  # 8 bits hold these exactly
            values = np.frombuffer(tensor.raw_data, np.float32)
            tensor.raw_data = (np.sign(values) / 2).astype(np.float32).tobytes()
    graph.save(model, bench.lifted)
    groups = [["w1"], ["w2"]]
    errors = steps.sensitivities(
        recipe, groups, bench.lifted, bench.prepared, None, bench.data, [0, 1], bench.place,
        tmp_path, 60,
    )  # fmt: skip
    assert errors[0] < 1e-12 < errors[1]


def test_the_same_recipe_gives_the_same_bytes(tmp_path: Path) -> None:
    bench = Bench("conv opset 17", tmp_path)
    for recipe in bench.recipes():
        first = bench.build(recipe).read_bytes()
        assert bench.build(recipe).read_bytes() == first, recipe.name
