"""``gpukit mig-plan``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from gpukit.cli.main import main

WORKLOADS = """
workloads:
- {name: serve, memory: 8Gi, count: 12}
- {name: train, memory: 30Gi, compute: 3, count: 2}
"""


@pytest.fixture
def workloads(tmp_path: Path) -> str:
    path = tmp_path / "workloads.yaml"
    path.write_text(WORKLOADS)
    return str(path)


def test_the_table_names_slices_jobs_and_what_is_left(
    workloads: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mig-plan", workloads, "--gpus", "h100:4"]) == 0
    out, err = capsys.readouterr()
    assert "nvidia.com/mig-3g.40gb" in out
    assert "4 × 1g.10gb" in out
    assert "whole" in out
    assert "14 jobs on 3 of 4 cards of h100; fewer are impossible" in err
    assert "stranded" in err


def test_json_holds_the_plan_and_all_that_makes_it_real(
    workloads: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--node", "gpu-1", "-o", "json"]
    assert main(["mig-plan", workloads, "--gpus", "h100:4", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["cards"], found["cards_free"], found["proven_optimal"]) == (3, 1, True)
    (node,) = found["nodes"]
    assert node["label"].startswith("nvidia.com/mig.config=")
    assert [gpu["mig"] for gpu in node["gpus"]] == [True, True, True, False]
    assert all(line.startswith("sudo nvidia-smi") for line in node["nvidia_smi"])
    assert "kubectl label node gpu-1 " in found["commands"][1]
    assert yaml.safe_load(found["config_map"])["data"]["config.yaml"]


def test_config_and_commands_alone(workloads: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mig-plan", workloads, "--gpus", "h100", "-o", "config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["kind"] == "ConfigMap"
    assert main(["mig-plan", workloads, "--gpus", "h100", "-o", "commands"]) == 0
    out = capsys.readouterr().out
    assert "-C" in out
    assert "kubectl label node NODE-1" in out


@pytest.mark.parametrize(
    ("gpus", "text", "code"),
    [
        ("h100:2", WORKLOADS, 3),
        ("h100:none", WORKLOADS, 2),
        ("h100:0", WORKLOADS, 2),
        ("h100:1,a30:2", WORKLOADS, 2),
        ("h100", "{", 2),
        ("h100", "workloads: []", 2),
    ],
)
def test_mistakes_are_said_without_a_traceback(
    gpus: str, text: str, code: int, workloads: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(workloads).write_text(text)
    assert main(["mig-plan", workloads, "--gpus", gpus]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "error:" in err
    assert "hint:" in err
    assert "Traceback" not in err


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mig-plan", "nowhere.yaml", "--gpus", "h100"]) == 2
    assert "nowhere.yaml" in capsys.readouterr().err
