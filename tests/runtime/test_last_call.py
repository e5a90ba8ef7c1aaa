"""SIGTERM and hangs where no safe point is near: what was true at the last one is saved."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from gpukit.contract import Env
from gpukit.ladder import Cause
from tests.runtime.pod import Run

pytest.importorskip("torch")

MakeRun = Callable[..., Run]

SOURCE = """
import hashlib, itertools
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from gpukit import Checkpointer, run_info

def linger(where):
    if where == place and run_info().attempt == 1:
        print("lingering", flush=True)
        if kind == "in C":
            sum(itertools.repeat(1))  # for ever, and no signal is looked at
        wait_for_ever()

class Data(Dataset):
    def __len__(self):
        return 40
    def __getitem__(self, index):
        if len(seen) >= 30:
            linger("loading")
        seen.append(index)
        return torch.rand(4) + index, index % 2

def main(where, how="in Python", slow=False):
    global place, kind, seen
    place = where if isinstance(where, str) else where[run_info().rank]
    kind, seen = how, []
    torch.manual_seed(0); torch.set_num_threads(1)
    model = nn.Linear(4, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    loader = DataLoader(Data(), batch_size=4, shuffle=True)
    ckpt = Checkpointer(model=model, optimizer=optimizer, scheduler=scheduler)
    linger("before the first step")
    for epoch in ckpt.epochs(2):
        for x, y in ckpt.batches(loader):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            time.sleep(0.6 * (slow and run_info().attempt == 1))
            if ckpt.step == 6:
                linger("before the optimizer's step")
            optimizer.step()
            if ckpt.step == 6:
                linger("after the optimizer's step")
            if slow:
                ckpt._rest_cost = 0.0  # one slow capture is not to let the next ones be left out
        linger("evaluation")
        scheduler.step()
        linger("after the scheduler's step")
    weights = b"".join(t.numpy().tobytes() for t in model.state_dict().values())
    return {"sha256": hashlib.sha256(weights).hexdigest(), "steps": ckpt.step}
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = Run(tmp_path_factory.mktemp("undisturbed"), SOURCE, {"arguments": {"where": "nowhere"}})
    try:
        code, pod = run.run()
        assert code == 0, pod.output
        return str(pod.message["result"]["sha256"])
    finally:
        run.close()


EARLY_CALL = """
import runpy
from gpukit.runtime.watch import Watch
Watch._reserve = lambda self, patience: patience - 2  # and all the rest to save in
runpy.run_module("gpukit.runtime", run_name="__main__")
"""


def interrupt(make_run: MakeRun, saved: int, processes: int, **arguments: Any) -> Run:
    """Send SIGTERM once all ranks linger; assert what is saved, and that it is gone on from."""
    run = make_run(SOURCE, arguments=arguments, grace=60, processes=processes)
    pod = run.start(index=0, inside=[sys.executable, "-c", EARLY_CALL])
    pod.wait_for("lingering", times=processes)
    pod.terminate()
    assert pod.wait() == (75 if saved else 76), pod.output
    assert pod.message["durable_step"] == saved
    assert "at a safe point" in pod.message["reason"]
    code, second = run.run(index=1)
    assert code == 0, second.output
    assert "passed over" not in second.output
    assert run.record.attempts()[1].progress.start_step == saved
    return run


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("where", "saved"),
    [
        ("evaluation", 10),
        ("loading", 7),
        ("before the optimizer's step", 6),
        ("after the optimizer's step", 0),
        ("after the scheduler's step", 0),
        ("before the first step", 0),
    ],
)
def test_what_stands_is_saved_and_what_has_moved_on_is_not(
    make_run: MakeRun, undisturbed: str, where: str, saved: int
) -> None:
    slow = "step" in where or where == "loading"  # fast steps are not remembered one by one
    run = interrupt(make_run, saved, 1, where=where, slow=slow)
    assert run.pods[-1].message["result"] == {"sha256": undisturbed, "steps": 20}


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("where", "saved"),
    [
        (["evaluation", "evaluation"], 10),
        (["evaluation", "loading"], 0),  # they stand at different steps
        (["evaluation", "after the scheduler's step"], 0),  # one has moved on
    ],
)
def test_ranks_save_what_all_of_them_stand_at(
    make_run: MakeRun, undisturbed: str, where: list[str], saved: int
) -> None:
    run = interrupt(make_run, saved, 2, where=where, slow="loading" in where)
    assert run.pods[-1].message["result"] == {"sha256": undisturbed, "steps": 20}


@pytest.mark.e2e
def test_code_outside_of_python_is_killed_in_time_and_leaves_what_is_durable(
    make_run: MakeRun, undisturbed: str
) -> None:
    arguments = {"where": "evaluation", "how": "in C", "slow": True}
    source = SOURCE.replace("scheduler=scheduler)", "scheduler=scheduler, every_steps=4)")
    run = make_run(source, arguments=arguments, grace=2)
    pod = run.start(index=0)
    pod.wait_for("lingering")
    pod.wait_for('"gpukit":"checkpoint"')
    pod.terminate()
    pod.terminate()  # a second one changes nothing
    assert pod.wait() == 75, pod.output
    assert 4 <= pod.message["durable_step"] <= 8, "begun at step 4, or once there was room for it"
    assert pod.message["reason"] == "SIGTERM; did not stop in time"
    _, second = run.run(index=1)
    assert second.message["result"] == {"sha256": undisturbed, "steps": 20}


@pytest.mark.e2e
def test_a_hang_is_saved_before_it_ends(make_run: MakeRun, undisturbed: str) -> None:
    run = make_run(SOURCE, arguments={"where": "evaluation"}, hang_timeout=8)
    code, pod = run.run(index=0)
    assert code == 77, pod.output
    assert pod.message["durable_step"] == 10
    assert "in wait_for_ever" in pod.output
    assert run.record.attempts()[0].cause is Cause.HANG
    code, second = run.run(index=0)
    assert code == 0, second.output
    assert second.message["result"] == {"sha256": undisturbed, "steps": 20}


STREAM = {Env.SNAPSHOT: "stream"}  # the trainer writes itself, while it waits

SLOW_SAVE = """
from gpukit import Checkpointer, run_info
from gpukit.runtime import store
import torch

put = store.DirectoryStore.put
def slow(self, key, data):
    if "rank-0.json" in key and run_info().attempt == 1:
        print("saving", flush=True)
        time.sleep(1.5)
    put(self, key, data)
store.DirectoryStore.put = slow

def main():
    model = torch.nn.Linear(2, 2)
    ckpt = Checkpointer(model=model, every_steps=3)
    for _ in ckpt.epochs(1):
        for batch in ckpt.batches(range(6)):
            ckpt.log(batch=batch)
    return ckpt.step
"""


@pytest.mark.e2e
def test_a_save_that_goes_on_is_not_cut_short_by_either_signal(make_run: MakeRun) -> None:
    """The save goes on until the last call has come."""
    waits = "while not context.current()._called: time.sleep(0.01)"
    run = make_run(SLOW_SAVE.replace("time.sleep(1.5)", waits), grace=12)
    pod = run.start(index=0, environ=STREAM)
    pod.wait_for("saving")
    pod.process.send_signal(signal.SIGTERM)
    assert pod.wait() == 75, pod.output
    assert pod.message["durable_step"] == 3
    code, second = run.run(index=1)
    assert (code, second.message["result"]) == (0, 6)
    assert run.record.attempts()[1].progress.start_step == 3


STUCK_DISK = """
from gpukit import Checkpointer
import torch

def main():
    model = torch.nn.Linear(2, 2)
    ckpt = Checkpointer(model=model, every_steps=2)
    for _ in ckpt.epochs(1):
        for batch in ckpt.batches(range(100_000)):
            if batch == 3:
                ckpt.save()
                above = Path(f"/proc/{os.getppid()}/task/{os.getppid()}/children").read_text()
                (writer,) = {int(pid) for pid in above.split()} - {os.getpid()}
                os.kill(writer, signal.SIGSTOP)
            if batch == 20:
                print("goes on", flush=True)
            time.sleep(0.01)
"""


@pytest.mark.e2e
def test_a_disk_that_hangs_keeps_no_pod_beyond_its_grace(make_run: MakeRun) -> None:
    pod = make_run(STUCK_DISK).start(index=0, grace=4)
    pod.wait_for("goes on")
    began = time.monotonic()
    pod.terminate()
    assert pod.wait() == 75, pod.output
    assert time.monotonic() - began < 60, "not for ever"
    assert pod.message["durable_step"] == 3
    assert "not durable in time" in pod.output or "did not stop in time" in pod.message["reason"]


@pytest.mark.e2e
def test_the_pace_of_saves_reaches_the_record_and_the_next_attempt(make_run: MakeRun) -> None:
    run = make_run(
        SLOW_SAVE
        + """
def main():
    ctx = context.current()
    if ctx.attempt == 2:
        h = ctx.history
        return [h.interruptions, h.save_cost > 1.4, h.seconds > 1.4]
    ckpt = Checkpointer(model=torch.nn.Linear(2, 2), every_steps=3)
    for _ in ckpt.epochs(1):
        for batch in ckpt.batches(range(3)):
            pass
    os._exit(1)
"""
    )
    code, pod = run.run(index=0, environ=STREAM)
    assert code == 1, pod.output
    progress = run.record.attempts()[0].progress
    assert progress.save_cost is not None
    assert progress.save_cost > 1.4
    assert progress.interval is not None
    assert 60 < progress.interval < 600, "longer than before the cost was known"
    _, second = run.run(index=0)
    assert second.message["result"] == [1, True, True]
