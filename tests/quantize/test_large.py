"""A model of more than 2 GB, which no protobuf holds: its weights stay in files beside it.

It takes minutes, 10 GB of disk and 13 GB of memory, so it runs with GPUKIT_SOAK only.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto

from gpukit.quantize import export, graph, quantize

from .models import INT64, model_of, node, value

ROWS, WIDTH, CLASSES = 530_000, 1024, 64  # a table of 2.17 GB


def large(folder: Path) -> Path:
    """Write an embedding and a dense layer; one random block again and again fills the file."""
    random = np.random.default_rng(0)
    block = random.normal(0, 0.05, 1 << 22).astype(np.float32).tobytes()
    weights, offset = [], 0
    for name, dims in (("table", (ROWS, WIDTH)), ("dense", (WIDTH, CLASSES))):
        size = dims[0] * dims[1] * 4
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims)
        tensor.data_location = TensorProto.EXTERNAL
        for key, text in (("location", "w.bin"), ("offset", offset), ("length", size)):
            tensor.external_data.add(key=key, value=str(text))
        weights.append(tensor)
        offset += size
    with (folder / "w.bin").open("wb") as file:
        for start in range(0, offset, len(block)):
            file.write(block[: offset - start])
    model = model_of(
        [
            node("Gather", ["table", "ids"], ["e"]),
            node("ReduceMean", ["e"], ["m"], axes=[1], keepdims=0),
            node("MatMul", ["m", "dense"], ["y"]),
        ],
        [value("ids", ["n", "t"], INT64)], [value("y", ["n", CLASSES])], weights,
    )  # fmt: skip
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.skipif(not os.environ.get("GPUKIT_SOAK"), reason="GPUKIT_SOAK is not set")
@pytest.mark.timeout(900)
def test_a_model_over_two_gigabytes_is_quantized_and_copied(tmp_path: Path) -> None:
    model = large(tmp_path)
    assert (tmp_path / "w.bin").stat().st_size > 2**31
    ids = np.random.default_rng(1).integers(0, ROWS, (40, 8))
    report = quantize(
        model, tmp_path / "out", eval={"ids": ids}, recipe="dynamic", objective="size",
        max_latency_ratio=100, time_limit=600,
    )  # fmt: skip
    assert report.outcome == "quantized", report.reason
    assert report.original.file_bytes > 3.9 * report.result.file_bytes
    feeds = {"ids": ids[:4]}
    (wanted,) = ort.InferenceSession(str(model)).run(None, feeds)
    (found,) = ort.InferenceSession(str(tmp_path / "out" / "model.onnx")).run(None, feeds)
    np.testing.assert_allclose(found, wanted, atol=0.02 * float(np.abs(wanted).max()))
    (tmp_path / "copy").mkdir()
    copy = export.put_model(model, tmp_path / "copy")  # what is done where nothing qualifies
    assert [f.name for f in graph.external_files(copy)] == ["model.onnx.data"]
    (copied,) = ort.InferenceSession(str(copy)).run(None, feeds)
    np.testing.assert_array_equal(copied, wanted)
