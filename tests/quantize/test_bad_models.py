"""What is refused as a model, before anything of it is run or read."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from gpukit.errors import UsageError
from gpukit.quantize import build, graph, intake, sources
from gpukit.quantize.candidates import Recipe
from gpukit.quantize.worker import Worker

from .models import made


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        intake.read_onnx(path)
    assert caught.value.hint
    return caught.value.id


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return made("dense opset 18", tmp_path)[0]


@pytest.mark.parametrize(
    "content",
    [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", b"\x00" * 64,
     b"PK\x03\x04 not a model", bytes(range(256))],
)  # fmt: skip
def test_what_is_no_model(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert refused(path) == "model-corrupt"


def test_a_model_that_is_cut_off(model: Path) -> None:
    model.write_bytes(model.read_bytes()[:-500])
    assert refused(model) == "model-corrupt"


def test_nothing_there_and_a_folder(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.onnx") == "model-missing"
    assert refused(tmp_path) == "model-not-a-file"


@pytest.mark.parametrize("recipe", [
    Recipe("w8", "w8"), Recipe("dynamic", "dynamic", ("MatMul",)),
    Recipe("4-bit", "int4", ("MatMul",), bits=4),
])  # fmt: skip
def test_what_is_quantized_already(recipe: Recipe, model: Path, tmp_path: Path) -> None:
    target = tmp_path / "q.onnx"
    build.build(recipe, model, model, target)
    assert refused(target) == "model-already-quantized"


def external(model: Path, location: str, length: int = 0) -> None:
    loaded = onnx.load(str(model))
    tensor = loaded.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    model.write_bytes(loaded.SerializeToString())


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "a/../../secret", "..\\secret", ""]
)
def test_external_data_outside_of_the_folder_is_not_read(
    location: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    external(model, location)
    opened: list[str] = []
    monkeypatch.setattr(onnx, "load_external_data_for_model", lambda *a: opened.append("read"))
    assert refused(model) == "external-data-outside"
    assert not opened


def test_a_link_out_of_the_folder_is_not_followed(model: Path, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    moved = model.rename(tmp_path / "inside" / "model.onnx")
    (tmp_path / "secret").write_bytes(b"\x00" * 100_000)
    (moved.parent / "weights").symlink_to(tmp_path / "secret")
    external(moved, "weights", 8192)
    assert refused(moved) == "external-data-outside"


def test_external_data_that_is_missing_or_short(model: Path) -> None:
    external(model, "weights.bin", 8192)
    assert refused(model) == "external-data-missing"
    (model.parent / "weights.bin").write_bytes(b"\x00" * 100)
    assert refused(model) == "external-data-short"


def test_external_data_is_read_and_counted(model: Path, tmp_path: Path) -> None:
    alone = model.stat().st_size
    onnx.save_model(
        onnx.load(str(model)), str(model), save_as_external_data=True, location="w.bin",
        size_threshold=0,
    )  # fmt: skip
    loaded, source = intake.read_onnx(model)
    assert [f.name for f in source.files] == ["model.onnx", "w.bin"]
    assert source.bytes > alone * 0.9
    target = tmp_path / "q.onnx"
    graph.save(loaded, target)
    assert graph.external_files(target) == []


class Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with Worker(tmp_path_factory.mktemp("worker") / "log", 1) as started:
        yield started


FACTORY = """
import torch
def make():
    return torch.nn.Linear(4, 2)
"""


@pytest.mark.e2e
@pytest.mark.parametrize("kind", ["pickle", "torch", "cut off"])
def test_a_checkpoint_runs_no_code(kind: str, tmp_path: Path, worker: Worker) -> None:
    import numpy as np
    import torch

    harmed, checkpoint = tmp_path / "harmed", tmp_path / "model.pt"
    if kind == "pickle":
        checkpoint.write_bytes(pickle.dumps({"weight": Harm(harmed)}))
    else:
        torch.save({"weight": Harm(harmed), "bias": torch.zeros(2)}, checkpoint)
    if kind == "cut off":
        checkpoint.write_bytes(checkpoint.read_bytes()[:200])
    (tmp_path / "factory.py").write_text(FACTORY)
    with pytest.raises(UsageError) as caught:
        sources.resolve(
            checkpoint, tmp_path, f"{tmp_path}/factory.py:make",
            {"x": np.zeros((3, 4), np.float32)}, worker, 120,
        )  # fmt: skip
    assert caught.value.id in ("checkpoint-unsafe", "checkpoint-corrupt")
    assert not harmed.exists()


def test_weights_without_a_factory(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"x")
    with Worker(tmp_path / "log", 1) as worker, pytest.raises(UsageError) as caught:
        sources.resolve(tmp_path / "w.safetensors", tmp_path, None, {}, worker, 10)
    assert caught.value.id == "factory-missing"


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with Worker(tmp_path / "log", 1) as worker, pytest.raises(UsageError) as caught:
        sources.resolve(tmp_path, tmp_path, None, {}, worker, 10)
    assert caught.value.id == "model-directory"


def test_a_model_in_several_files_is_told_so(tmp_path: Path) -> None:
    folder = tmp_path / "t5"
    (folder / "onnx").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    made("dense opset 18", folder)[0].rename(folder / "onnx" / "encoder_model.onnx")
    with Worker(tmp_path / "log", 1) as worker:
        given = sources.resolve(folder, tmp_path, None, {}, worker, 10)
        assert given.onnx == folder / "onnx" / "encoder_model.onnx"
        assert [file.name for file in given.companions] == ["config.json"]
        made("dense opset 18", folder)[0].rename(folder / "onnx" / "decoder_model.onnx")
        with pytest.raises(UsageError, match=r"decoder_model.onnx, encoder_model.onnx") as caught:
            sources.resolve(folder, tmp_path, None, {}, worker, 10)
    assert caught.value.id == "model-several"
