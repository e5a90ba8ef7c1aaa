"""Hugging Face directories, exported through Optimum in an environment of the extra quantize-hf.

The environment is made once with uv, from what pyproject.toml says, and kept in the cache folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpukit.quantize.results import Report

ROOT = Path(__file__).parents[2]
MODELS = Path(__file__).with_name("hf_models.py")
PINS = (
    "optimum==2.1.0", "optimum-onnx[onnxruntime]==0.1.0", "torch==2.13.0", "onnx==1.23.2",
    "onnxruntime==1.32.0",
)  # fmt: skip
PIPELINE = """
import json, sys
from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer, pipeline
model = ORTModelForSequenceClassification.from_pretrained(sys.argv[1])
tell = pipeline("text-classification", model, tokenizer=AutoTokenizer.from_pretrained(sys.argv[1]))
rows = [json.loads(line) for line in open(sys.argv[2])][:100]
print(sum(tell(r["text"])[0]["label"] == f"LABEL_{r['label']}" for r in rows))
"""


@pytest.fixture(scope="session")
def python() -> Path:
    """Return the Python of the environment; made where it is not there, skipped where it cannot."""
    extras = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    key = hashlib.sha256("\n".join((sys.version, extras, *PINS)).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "gpukit" / "tests" / f"quantize-hf-{key}"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        install = [uv, "pip", "install", "-q", "--python", str(folder / "bin" / "python")]
        for command in (
            [uv, "venv", "-q", "--python", sys.executable, str(folder)],
            [*install, f"{ROOT}[quantize-hf]", *PINS],
        ):
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=600)
            except subprocess.TimeoutExpired:
                pytest.skip("no environment: the package index is too slow")
            if done.returncode:
                pytest.skip(f"no environment: {' '.join(done.stderr.split())[-200:]}")
        (folder / "ready").touch()
    return folder / "bin" / "python"


def run(python: Path, *words: object) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
        "NO_COLOR": "1",
    }  # fmt: skip
    return subprocess.run(
        [str(python), *map(str, words)], capture_output=True, text=True, env=environment
    )


@pytest.mark.e2e
@pytest.mark.timeout(1800)
def test_a_directory_is_exported_quantized_and_opens_as_before(
    python: Path, tmp_path: Path
) -> None:
    made = run(python, MODELS, tmp_path / "bert")
    assert made.returncode == 0, made.stderr
    done = run(
        python, "-m", "gpukit.cli", "quantize", tmp_path / "bert", "-o", tmp_path / "out", "--eval",
        tmp_path / "eval.jsonl", "--calib", tmp_path / "calib.jsonl", "--max-drop", "0.03",
        "--max-latency-ratio", "50", "--objective", "size", "--time-limit", "400",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = Report.model_validate_json((tmp_path / "out" / "report.json").read_text())
    assert "exported with Optimum as text-classification" in report.notes
    assert (report.outcome, report.metric, report.test.verdict) == ("quantized", "accuracy", "met")
    assert report.test.score > 0.95
    assert report.original.file_bytes > 2 * report.result.file_bytes
    assert set(report.model.inputs) == {"input_ids", "attention_mask", "token_type_ids"}
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= names
    right = run(python, "-c", PIPELINE, tmp_path / "out", tmp_path / "eval.jsonl")
    assert right.returncode == 0, right.stderr
    assert int(right.stdout) > 90
