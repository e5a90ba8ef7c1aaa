"""Whole runs: what is written, that it is proven, and that mistakes leave nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnxruntime as ort
import pytest

from gpukit.cli.main import main
from gpukit.errors import UsageError
from gpukit.quantize import Money, quantize
from gpukit.quantize.compare import BenchmarkReport, verdict_of_ratio
from gpukit.quantize.data import Examples
from gpukit.quantize.results import Report
from gpukit.quantize.session import open_session
from gpukit.quantize.steps import Place
from gpukit.quantize.worker import StepFailed, Worker

from .models import made, model_of, node, value, weight

LIMIT = 240.0


class Task:
    """A classifier of 24 numbers, and examples that it is mostly right about."""

    def __init__(self, folder: Path) -> None:
        self.model = folder / "model.onnx"
        self.out = folder / "out"
        self.folder = folder
        self.model.write_bytes(
            model_of(
                [
                    node("MatMul", ["x", "w1"], ["a"]), node("Relu", ["a"], ["b"]),
                    node("MatMul", ["b", "w2"], ["y"]),
                ],
                [value("x", ["n", 24])], [value("y", ["n", 6])],
                [weight("w1", 24, 96), weight("w2", 96, 6)],
            ).SerializeToString()
        )  # fmt: skip
        random = np.random.default_rng(0)
        x = random.normal(size=(900, 24)).astype(np.float32)
        scores = ort.InferenceSession(str(self.model)).run(None, {"x": x})[0]
        best = np.sort(scores, axis=1)
        sure = best[:, -1] - best[:, -2] > 0.05  # nothing that rounding alone decides
        x, labels = x[sure][:700], scores.argmax(1)[sure][:700]
        labels[::10] = (labels[::10] + 1) % 6
        np.savez(folder / "calib.npz", x=x[:60])
        np.savez(folder / "eval.npz", x=x[60:], labels=labels[60:])
        (folder / "tokenizer.json").write_text("{}")

    def arguments(self, *more: str) -> list[str]:
        return [
            "quantize", str(self.model), "-o", str(self.out), "--eval",
            str(self.folder / "eval.npz"), "--time-limit", str(LIMIT), *more,
        ]  # fmt: skip


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return Task(tmp_path)


@pytest.mark.e2e
def test_a_run_is_proven_and_complete(task: Task, capsys: pytest.CaptureFixture[str]) -> None:
    calib = str(task.folder / "calib.npz")
    options = ("--calib", calib, "--objective", "size", "--price-per-hour", "2",
               "--max-latency-ratio", "50", "--requests-per-second", "5")  # fmt: skip
    assert main(task.arguments(*options)) == 0
    shown = capsys.readouterr()
    assert "held-out examples" in shown.out
    assert {p.name for p in task.out.iterdir()} == {
        "model.onnx", "report.json", "report.html", "README.md", "tokenizer.json",
    }  # fmt: skip
    written = json.loads((task.out / "report.json").read_text())
    jsonschema.validate(written, Report.model_json_schema())
    report = Report.model_validate(written)
    assert report.outcome == "quantized"
    assert report.test.verdict == "met"
    assert report.test.baseline == pytest.approx(0.9, abs=0.03)
    assert report.rows == {"calibration": 60, "validation": 320, "test": 320}
    assert report.original.file_bytes > 2.3 * report.result.file_bytes
    assert all(c.reason for c in report.candidates)
    assert [c.status for c in report.candidates].count("chosen") == 1
    assert report.result_cost is not None
    assert report.result_cost.replicas == 1
    page = (task.out / "report.html").read_text()
    assert "<svg" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    code = (task.out / "README.md").read_text().split("```python")[1].split("```")[0]
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=task.out, capture_output=True, text=True, check=True
    ).stdout
    assert said == "[('y', (1, 6))]\n"
    session = open_session(task.out / "model.onnx", 1)
    with np.load(task.folder / "eval.npz") as data:
        classes = session.run(None, {"x": data["x"]})[0].argmax(1)
        assert (classes == data["labels"]).mean() > 0.88


@pytest.mark.e2e
def test_latency_and_cost_are_relative_to_fp16_where_that_is_the_baseline(task: Task) -> None:
    report = quantize(
        task.model, task.out, eval=str(task.folder / "eval.npz"), recipe="w8", baseline="fp16",
        max_latency_ratio=50, time_limit=LIMIT, money=Money(Decimal(2)),
    )  # fmt: skip
    half = next(c.latency for c in report.candidates if c.family == "fp16")
    assert report.baseline == "FP16"
    assert half is not None
    assert half.ratio == half.ratio_high == 1
    assert report.original_latency.ratio != 1
    assert report.baseline_cost is not None
    assert report.baseline_cost.throughput == half.throughput
    assert "of FP16" in report.reason
    assert "of FP16" in (task.out / "README.md").read_text()


@pytest.mark.e2e
def test_the_original_comes_back_where_nothing_is_good_enough(task: Task) -> None:
    before = (task.model).read_bytes()
    report = quantize(
        task.model, task.out, eval=str(task.folder / "eval.npz"), recipe="int4",
        max_latency_ratio=0.01, time_limit=LIMIT,
    )  # fmt: skip
    assert report.outcome == "original"
    assert "0.01" in report.reason
    assert (task.out / "model.onnx").read_bytes() == before
    assert report.test.drop.value == 0


MINE = """
import numpy as np

def rows():
    with np.load("eval.npz") as data:
        return [{"x": x, "gold": int(y)} for x, y in zip(data["x"], data["labels"])]

def right(outputs, labels):
    return (outputs.argmax(1) == labels).mean()
"""


@pytest.mark.e2e
def test_a_metric_and_data_of_ones_own(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(task.folder)
    Path("mine.py").write_text(MINE)
    Path("calib").mkdir()
    with np.load("calib.npz") as data:
        np.save("calib/x.npy", data["x"])
    options = ["--eval", "mine.py:rows", "--label-key", "gold", "--metric", "mine.py:right",
               "--max-latency-ratio", "50", "--recipe", "static"]  # fmt: skip
    assert main(task.arguments(*options, "--calib", "calib")) == 0
    report = Report.model_validate_json((task.out / "report.json").read_text())
    assert (report.metric, report.outcome) == ("mine.py:right", "quantized")
    assert report.test.baseline == pytest.approx(0.9, abs=0.05)


@pytest.mark.e2e
def test_the_same_seed_gives_the_same_file(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name, seed in (("a", "1"), ("b", "2")):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        report = quantize(
            task.model, task.folder / name, eval=str(task.folder / "eval.npz"),
            calib=str(task.folder / "calib.npz"), objective="size", max_latency_ratio=100,
            time_limit=LIMIT,
        )  # fmt: skip
        found.append((report.chosen, (task.folder / name / "model.onnx").read_bytes()))
    assert found[0] == found[1]


@pytest.mark.e2e
def test_a_benchmark_rolls_back_what_is_slower(
    task: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = task.folder / "slow.onnx"
    wide = [
        weight("w1", 24, 96),
        weight("w2", 96, 6),
        weight("w3", 96, 2000),
        weight("w4", 2000, 96),
    ]
    slow.write_bytes(
        model_of(
            [
                node("MatMul", ["x", "w1"], ["a"]), node("MatMul", ["a", "w3"], ["c"]),
                node("MatMul", ["c", "w4"], ["b"]), node("MatMul", ["b", "w2"], ["y"]),
            ],
            [value("x", ["n", 24])], [value("y", ["n", 6])], wide,
        ).SerializeToString()
    )  # fmt: skip
    data = str(task.folder / "eval.npz")
    options = ["--data", data, "--rounds", "60", "--batch-sizes", "1,4", "-f", "json"]
    assert main(["benchmark", str(task.model), str(slow), *options]) == 3
    report = BenchmarkReport.model_validate_json(capsys.readouterr().out)
    assert report.decision == "roll back"
    assert [(s.batch, s.models[1].decision) for s in report.settings] == [
        (1, "roll back"), (4, "roll back"),
    ]  # fmt: skip
    assert main(["benchmark", str(slow), str(task.model), *options]) == 0
    assert BenchmarkReport.model_validate_json(capsys.readouterr().out).decision == "keep"


JOBS = """
import numpy as np, torch
from torch import nn

def make():
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3))

def data():
    x = np.random.default_rng(0).normal(size=(900, 20)).astype("float32")
    return x, x[:, :3].argmax(1)

def train(module):
    x, y = map(torch.from_numpy, data())
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(x[:600]), y[:600]).backward()
        optimizer.step()

if __name__ == "__main__":
    module = make()
    train(module)
    torch.save(module.state_dict(), "model.pt")
    x, y = data()
    np.savez("eval.npz", x=x[600:], labels=y[600:])
"""


@pytest.mark.e2e
def test_a_checkpoint_is_pruned_trained_and_quantized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("jobs.py").write_text(JOBS)
    subprocess.run([sys.executable, "jobs.py"], check=True)
    report = quantize(
        "model.pt", "out", eval="eval.npz", factory="jobs.py:make", trainer="jobs.py:train",
        recipe="prune", max_drop=0.05, max_latency_ratio=50, time_limit=LIMIT,
    )  # fmt: skip
    assert report.outcome == "quantized"
    assert "pruned" in report.chosen
    small, before = report.result.compressed_bytes, report.original.compressed_bytes
    assert small is not None
    assert before is not None
    assert before > 3 * small


MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("no model", {"model": "gone.onnx"}, "there is no model"),
    ("no data", {"--eval": "gone.npz"}, "there is nothing at"),
    ("static without calibration", {"--recipe": "static"}, "needs examples"),
    ("pruning without a trainer", {"--recipe": "prune"}, "ruins a model"),
    ("recipe", {"--recipe": "dinamic"}, "did you mean 'dynamic'"),
    ("drop", {"--max-drop": "nan"}, "--max-drop is nan"),
    ("drop below zero", {"--max-drop": "-1"}, "--max-drop is -1"),
    ("time", {"--time-limit": "1"}, "--time-limit is 1"),
    ("no price", {"--requests-per-second": "5"}, "without --price-per-hour"),
    ("price", {"--price-per-hour": "cheap"}, "not an amount"),
    ("overlap", {"--calib": "eval.npz"}, "are in --calib too"),
    ("metric", {"--metric": "acuracy"}, "did you mean 'accuracy'"),
    ("output", {"--output-name": "z"}, "the model has no output 'z'"),
    ("label", {"--label-key": "gold"}, "has no 'gold'"),
    ("chance", {"--eval": "shuffled.npz"}, "no better than guessing"),
    ("one example", {"--eval": "one.npz"}, "1 different example"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES]
)
def test_a_mistake_is_told_and_leaves_nothing(
    options: dict[str, Any], said: str, task: Task, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(task.folder)
    with np.load("eval.npz") as data:
        x, labels = data["x"], data["labels"]
    np.savez("shuffled.npz", x=x, labels=np.random.default_rng(0).permutation(labels))
    np.savez("one.npz", x=x[:1], labels=labels[:1])
    before = sorted(p.name for p in task.folder.iterdir())
    arguments = task.arguments()
    if "model" in options:
        arguments[1] = options["model"]
    arguments += [word for key, text in options.items() if key != "model" for word in (key, text)]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "hint:" in error
    assert "Traceback" not in error
    assert sorted(p.name for p in task.folder.iterdir()) == before


def test_a_folder_with_something_in_it_is_left_alone(task: Task) -> None:
    task.out.mkdir()
    (task.out / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match="is not empty"):
        quantize(task.model, task.out, eval=str(task.folder / "eval.npz"))
    assert [p.name for p in task.out.iterdir()] == ["mine.txt"]


@pytest.mark.e2e
def test_a_step_that_takes_too_long_is_ended_and_the_next_one_runs(tmp_path: Path) -> None:
    path, data = made("dense opset 18", tmp_path)
    examples = Examples({"x": data["x"]}, {"x": 2}).save(tmp_path / "d")
    with Worker(tmp_path / "log", 1) as worker:
        assert worker.call("describe", path, Place(), timeout=120) == ["y"]
        start = time.monotonic()
        with pytest.raises(StepFailed) as caught:
            worker.call("race", [path], examples, [0], Place(), 0, 1e9, 10**9, timeout=1)
        assert caught.value.timed_out
        assert time.monotonic() - start < 60
        assert worker.call("describe", path, Place(), timeout=120) == ["y"]
        with pytest.raises(StepFailed, match=r"NoSuchFile|doesn.t exist|does not exist"):
            worker.call("describe", tmp_path / "none.onnx", Place(), timeout=120)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0.9, 1.0, "keep"), (1.0, 1.1, "inconclusive"), (1.06, 1.2, "roll back"), (0.2, 1.05, "keep")],
)
def test_the_verdict_of_a_ratio(low: float, high: float, wanted: str) -> None:
    assert verdict_of_ratio(low, high) == wanted
