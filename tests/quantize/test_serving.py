"""The recipe that serves a model: its manifests are valid, and its server answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import numpy as np
import onnxruntime as ort
import pytest
import yaml

from .models import made

RECIPE = Path(__file__).parents[2] / "recipes" / "onnx-serving.yaml"


def manifests() -> dict[str, Any]:
    return {m["kind"]: m for m in yaml.safe_load_all(RECIPE.read_text(encoding="utf-8"))}


def test_the_manifests_are_valid() -> None:
    found = manifests()
    assert set(found) == {"ConfigMap", "Deployment", "Service"}
    for manifest in found.values():
        kubernetes_validate.validate(manifest, "1.31", strict=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    model, _ = made("tokens", tmp_path)
    (tmp_path / "server.py").write_text(manifests()["ConfigMap"]["data"]["server.py"])
    environment = {**os.environ, "MODEL": str(model), "HOST": "127.0.0.1", "PORT": "0"}
    command = [sys.executable, str(tmp_path / "server.py")]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        port = process.stdout.readline().split()[-1]
        yield f"http://127.0.0.1:{port}", model
        process.kill()


def post(url: str, body: Any) -> tuple[int, Any]:
    request = urllib.request.Request(f"{url}/infer", json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_server_answers_as_the_model_does(server: tuple[str, Path]) -> None:
    url, model = server
    with urllib.request.urlopen(f"{url}/healthz", timeout=60) as answer:
        assert json.load(answer)["inputs"] == {"ids": "int64", "mask": "int64"}
    inputs = {"ids": [[1, 2, 3]], "mask": [[1, 1, 0]]}
    code, said = post(url, {"inputs": inputs})
    feeds = {name: np.array(value) for name, value in inputs.items()}
    wanted = ort.InferenceSession(str(model)).run(["logits"], feeds)[0]
    assert code == 200
    np.testing.assert_allclose(said["outputs"]["logits"], wanted, rtol=1e-5)
    for wrong in ({}, {"inputs": {"ids": [[1]]}}, {"inputs": {"ids": "x", "mask": 1}}, [1]):
        assert post(url, wrong)[0] == 400
    assert post(url, {"inputs": inputs})[0] == 200
