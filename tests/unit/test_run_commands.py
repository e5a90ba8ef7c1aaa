"""Commands over runs, as far as they need no cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpukit.cli.main import main
from gpukit.cli.sweeps import parse_axis
from gpukit.errors import GpukitError
from gpukit.runs.sweep import grid

JOB = (
    "from gpukit import gpu_job, output_dir\n\n@gpu_job\ndef train(seed: int = 0) -> int:\n"
    "    (output_dir() / 'made').write_text('x')\n    print('said', seed)\n    return seed\n"
)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_a_local_run_is_listed_shown_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    Path("job_of_runs.py").write_text(JOB, encoding="utf-8")
    assert said(capsys, "list", "--local") == (0, "", "no runs here\n")
    assert said(capsys, "submit", "--local", "job_of_runs.py", "--seed", "3")[:2] == (0, "3\n")
    run = said(capsys, "list", "--local", "-o", "name")[1].strip()
    [row] = json.loads(said(capsys, "list", "--local", "-o", "json")[1])
    assert (row["run"], row["status"], row["attempts"]) == (run, "succeeded", 1)
    assert said(capsys, "list", "--local", "--status", "failed", "-o", "json")[1] == "[]\n"
    assert said(capsys, "status", run)[1] == f"{run} (local)  succeeded\n"
    assert json.loads(said(capsys, "status", "-o", "json", run)[1])["status"] == "succeeded"
    assert "said 3" in said(capsys, "logs", run)[1].splitlines()
    assert said(capsys, "logs", "--tail", "1", run)[1].startswith('{"gpukit":"end"')
    assert said(capsys, "logs", "-f", run)[0] == 0
    assert said(capsys, "wait", run)[:2] == (0, "3\n")
    assert said(capsys, "download", run)[1] == f"{run}/made\n"
    assert "is not running" in said(capsys, "cancel", run)[2]
    code, out, err = said(capsys, "events", run)
    assert (code, out) == (2, "")
    assert "is a run of this machine" in err
    assert said(capsys, "delete", run)[0] == 2
    assert said(capsys, "delete", "--checkpoints", "--yes", run)[0] == 0
    code, out, err = said(capsys, "status", run)
    assert (code, out) == (2, "")
    assert "there is no run" in err


@pytest.mark.parametrize(
    ("words", "id"),
    [
        (["cancel"], "cancel-what"),
        (["logs", "-f", "--tail", "3", "x"], "logs-follow"),
        (["list", "--local", "-n", "x"], "local-cluster"),
        (["extend", "--preemptions", "many", "x"], "extend-form"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_cluster_is_asked(
    words: list[str], id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpukit.cli.main import run

    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(GpukitError) as caught:
        run(words)
    assert caught.value.id == id
    assert caught.value.hint


def test_axes_of_a_sweep() -> None:
    assert parse_axis("lr=1e-3,1e-4") == ("lr", ["1e-3", "1e-4"])
    assert parse_axis("seed=0..2,9") == ("seed", ["0", "1", "2", "9"])
    assert parse_axis("shift=-1..1") == ("shift", ["-1", "0", "1"])
    assert grid({"a": [1, 2], "b": [3, 4]}) == [
        {"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 3}, {"a": 2, "b": 4},
    ]  # fmt: skip
    for wrong in ("lr", "=1", "lr=", "seed=9..0", "seed=0..99999999"):
        with pytest.raises(GpukitError):
            parse_axis(wrong)
