"""``gpukit fit`` over factories and models, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpukit.cli.main import main, run
from gpukit.errors import GpukitError

FACTORY = """
import torch
from torch import nn
from gpukit import gpu_job

def build_model(batch_size: int = 8):
    model = nn.Sequential(nn.Linear(512, 2048), nn.ReLU(), nn.Linear(2048, 512))
    return model, torch.randn(batch_size, 512)

def only_a_model():
    return build_model()[0]

def needs_data(path):
    return build_model()

def looks_at_data():
    model, inputs = build_model()
    if inputs.sum() > 0:
        model.append(nn.ReLU())
    return model, inputs

def number():
    return 7

def frozen():
    model, inputs = build_model()
    return model.requires_grad_(False), inputs

@gpu_job(profile="h100")
def train():
    print("trained")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fit_models.py").write_text(FACTORY, encoding="utf-8")
    return tmp_path


def asked(capsys: pytest.CaptureFixture[str], words: str) -> dict[str, Any]:
    assert main(["fit", *words.split(), "-o", "json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_factory_by_file_and_by_module(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_file = asked(capsys, "--gpu h100 fit_models.py")
    assert asked(capsys, "--gpu h100 fit_models.py::build_model")["parts"] == by_file["parts"]
    assert asked(capsys, "--gpu h100 fit_models:build_model")["parts"] == by_file["parts"]
    assert by_file["parameters"] == 512 * 2048 * 2 + 2048 + 512
    assert by_file["batch"] == 8
    assert by_file["recommended"] == {"profile": "mig-1g.10gb", "gpu": "h100"}
    sizes = {part["name"]: part["bytes"] for part in by_file["parts"]}
    assert sum(sizes.values()) == by_file["need_bytes"]
    assert sizes["CUDA context"] == 600 * 2**20


def test_the_largest_batch_fits_and_one_more_does_not(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = asked(capsys, "--gpu t4 fit_models.py")
    [place] = found["places"]
    largest, usable = place["largest_batch"], place["usable_memory_bytes"]
    assert largest > 100_000
    for batch, fits in ((largest, True), (largest + largest // 50, False)):
        again = asked(capsys, f"--gpu t4 --batch-size {batch} fit_models.py")
        assert (again["need_bytes"] <= usable) is fits, batch


def test_the_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--gpu", "h100", "fit_models.py"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("fit_models.py  needs 6")
    assert "\n>  mig-1g.10gb  h100" in shown.out
    assert "adamw: two states per parameter" in shown.out
    assert "one more sample" in shown.err


def test_without_inputs_activations_are_unknown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = asked(capsys, "--gpu h100 fit_models.py::only_a_model")
    sizes = {part["name"]: part["bytes"] for part in found["parts"]}
    assert sizes["activations"] is None
    assert (found["at_least"], found["recommended"], found["batch"]) == (True, None, None)
    assert sizes["optimizer state"] == pytest.approx(2 * sizes["parameters"], rel=0.01)


def test_what_depends_on_data_runs_for_real(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(GpukitError, match="without data") as caught:
        run(["fit", "fit_models.py::looks_at_data"])
    assert "--real" in caught.value.hint
    assert asked(capsys, "--gpu h100 --real fit_models.py::looks_at_data")["batch"] == 8


@pytest.mark.parametrize(
    ("target", "id", "words"),
    [
        ("fit_models.py::build_modle", "factory-missing", "'build_model'"),
        ("fit_models.py::train", "factory-is-job", "::FUNCTION"),
        ("fit_models.py::needs_data", "factory-arguments", "defaults"),
        ("fit_models.py::number", "factory-result", "(model, inputs)"),
        ("fit_models.py::frozen", "fit-no-gradient", "--inference"),
        ("fit_models.py --precision int8", "fit-precision", "fp32"),
    ],
)
def test_factories_that_cannot_be_used(folder: Path, target: str, id: str, words: str) -> None:
    with pytest.raises(GpukitError) as caught:
        run(["fit", *target.split()])
    assert caught.value.id == id
    assert words in caught.value.hint


# ---- models of transformers

TINY = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
    "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 1000,
}  # fmt: skip


@pytest.mark.e2e
def test_a_model_that_is_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights are those of the files, the cache is that which transformers really keeps."""
    import torch
    from transformers import AutoConfig, LlamaForCausalLM

    (tmp_path / "config.json").write_text(json.dumps(TINY), encoding="utf-8")
    words = f"--inference --gpu h100 --context-length 100 --concurrency 5 {tmp_path}"
    counted = asked(capsys, words)
    model = LlamaForCausalLM(AutoConfig.for_model(**TINY))
    model.save_pretrained(tmp_path)
    stored = asked(capsys, words)
    found = {part["name"]: part["bytes"] for part in stored["parts"]}
    assert found["weights"] == 2 * sum(p.numel() for p in model.parameters())
    assert found["weights"] == counted["parts"][0]["bytes"]

    with torch.no_grad():
        kept = model.to(torch.bfloat16)(torch.zeros((5, 100), dtype=torch.long)).past_key_values
    layers = kept.layers
    held = sum(x.keys.nbytes + x.values.nbytes for x in layers)
    assert found["KV cache"] == held
    assert 0 < found["activations"] < 2**20


@pytest.mark.e2e
def test_a_model_that_is_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY), encoding="utf-8")
    found = asked(capsys, f"--gpu h100 --batch-size 3 --context-length 50 {tmp_path}")
    assert found["batch"] == 3
    assert found["parameters"] == found["trained_parameters"]


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY), encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    for text, id in ((json.dumps(TINY), "fit-safetensors"), ("[", "fit-config-form")):
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
        with pytest.raises(GpukitError) as caught:
            run(["fit", "--inference", str(tmp_path)])
        assert caught.value.id == id
