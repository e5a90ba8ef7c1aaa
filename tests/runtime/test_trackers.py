"""Experiment trackers see one run, whatever number of attempts it took, and each step once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpukit.ladder import Cause
from gpukit.runtime.record import Attempt, Progress, Start
from gpukit.runtime.trackers import environment
from tests.runtime.pod import Run

MakeRun = Callable[..., Run]

LOOP = """
from gpukit import Checkpointer, output_dir, run_info
import torch

def loop(log, last=12):
    model = torch.nn.Linear(2, 2)
    ckpt = Checkpointer(model=model, every_steps=3)
    for epoch in ckpt.epochs(1):
        for batch in ckpt.batches(range(last)):
            step = ckpt.step + 1
            log(ckpt, step, step / 2)
            if run_info().attempt == 1 and step == 8:
                os.kill(os.getpid(), signal.SIGKILL)
    return ckpt.step
"""

TRACKED = (
    LOOP
    + """
from gpukit.integrations.mlflow import tracked

def main():
    with tracked(run_name="demo") as log:
        loop(lambda ckpt, step, value: log({"loss": value}, step=step))
        return os.environ["WANDB_RUN_ID"]
"""
)

PLAIN = (
    LOOP
    + """
import mlflow

def main():
    with mlflow.start_run():
        def log(ckpt, step, value):
            mlflow.log_metric("loss", value, step=step)
            time.sleep(0.2 if step == 2 else 0)  # past the half second between step events
        loop(log)
        time.sleep(0.5)
        return mlflow.active_run().info.run_id
"""
)

BOARD = (
    LOOP
    + """
from torch.utils.tensorboard import SummaryWriter

def main():
    writers = []
    def log(ckpt, step, value):
        if not writers:
            folder = str(output_dir() / "board")
            writers.append(SummaryWriter(folder, purge_step=step, flush_secs=1))
        writers[0].add_scalar("loss", value, step)
        writers[0].flush()
    loop(log)
    writers[0].close()
"""
)


def interrupted(make_run: MakeRun, source: str, **environ: str) -> Run:
    run = make_run(source)
    code, pod = run.run(index=0, environ=environ)
    assert code == 1, pod.output
    code, pod = run.run(index=0, environ=environ)
    assert code == 0, pod.output
    assert run.record.attempts()[1].progress.start_step < 8  # steps were done again
    return run


def history(folder: Path) -> dict[str, list[Any]]:
    """The metric history of each MLflow run in a folder."""
    from mlflow import MlflowClient

    client = MlflowClient(folder.as_uri())
    return {
        run.info.run_id: client.get_metric_history(run.info.run_id, "loss")
        for run in client.search_runs(["0"])
    }


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3 asks for it
    return tmp_path / "mlruns"


@pytest.mark.e2e
@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_one_run_and_each_step_once(make_run: MakeRun, store: Path) -> None:
    run = interrupted(make_run, TRACKED, MLFLOW_TRACKING_URI=store.as_uri())
    ((run_id, points),) = history(store).items()
    assert sorted((p.step, p.value) for p in points) == [(n, n / 2) for n in range(1, 13)]
    assert run.record.trackers() == {"mlflow": run_id}
    first = run.record.attempts()[0].start.started
    result = run.record.result()
    assert result is not None
    assert result.value == f"demo-1-{int(first)}", "what Weights & Biases takes"


@pytest.mark.e2e
@pytest.mark.filterwarnings("ignore")
def test_plain_mlflow_goes_on_in_the_same_run(make_run: MakeRun, store: Path) -> None:
    run = interrupted(make_run, PLAIN, MLFLOW_TRACKING_URI=store.as_uri())
    ((run_id, points),) = history(store).items()
    result = run.record.result()
    assert result is not None
    assert result.value == run_id
    assert {p.step for p in points} == set(range(1, 13))


@pytest.mark.e2e
@pytest.mark.filterwarnings("ignore")
def test_tensorboard_shows_each_step_once(make_run: MakeRun) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = interrupted(make_run, BOARD)
    found = reader.EventAccumulator(str(run.store / "outputs" / "board"))
    found.Reload()
    points = [(e.step, e.value) for e in found.Scalars("loss")]
    assert points == [(n, n / 2) for n in range(1, 13)]


def test_a_run_begun_afresh_is_another_run_to_a_tracker() -> None:
    first = [Attempt(Start(1, started=100.5), Progress(), None, Cause.LOST)]
    later = environment("train-1", first, {"mlflow": "abc"}, 500.0)
    assert later == {
        "WANDB_RUN_ID": "train-1-100", "WANDB_RESUME": "allow", "MLFLOW_RUN_ID": "abc"
    }  # fmt: skip
    assert environment("train-1", [], {}, 500.0)["WANDB_RUN_ID"] == "train-1-500"


def test_a_variable_of_the_users_own_stays(make_run: MakeRun) -> None:
    code, pod = make_run("""
        def main():
            return [os.environ["WANDB_RUN_ID"], os.environ["WANDB_RESUME"]]
    """).run(environ={"WANDB_RUN_ID": "mine"})
    assert code == 0
    assert pod.message["result"] == ["mine", "allow"]
