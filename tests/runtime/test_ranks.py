"""Several ranks in a pod: all save, and all stop, at the same step."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open

from gpukit.contract import Env
from gpukit.errors import CheckpointError
from gpukit.ladder import ExitCode
from gpukit.runtime.checkpoint import agreement
from gpukit.runtime.checkpoint.agreement import Agreement, RanksApartError, Request
from gpukit.runtime.checkpoint.commit import data_file
from gpukit.runtime.checkpoint.inspection import list_checkpoints, verify
from gpukit.runtime.checkpoint.manifest import FOLDER, CheckpointName, checkpoint_names
from gpukit.runtime.context import Preempted
from gpukit.runtime.store import DirectoryStore
from tests.runtime.exactness import FAILS_A_READ, Executed, assert_ranks_do_not_part
from tests.runtime.pod import Run
from tests.runtime.test_kill import pod_runs_until


@pytest.mark.parametrize("seed", range(10))
def test_all_ranks_act_at_the_same_step(tmp_path: Path, seed: int) -> None:
    """Ranks in lockstep, as collectives make them, with wishes at any moment."""
    world, steps = 4, 60
    barrier = threading.Barrier(world)
    done: list[list[tuple[int, Request]]] = [[] for _ in range(world)]

    def rank_loop(rank: int) -> None:
        chance = random.Random(f"{seed}/{rank}")
        agree = Agreement(rank, world, tmp_path / "shared")
        for step in range(1, steps + 1):
            barrier.wait(30)  # the collective inside of the step
            time.sleep(chance.random() * 0.002)
            wish: Request | None = chance.choice([None, None, "save", "stop"])
            action = agree.at(step, wish)
            if action is not None:
                done[rank].append((step, action))

    threads = [threading.Thread(target=rank_loop, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done[0], "nothing was ever agreed on"
    assert all(actions == done[0] for actions in done)


DDP = """
import hashlib
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler
from gpukit import Checkpointer, run_info

REPLICATED = True

def hook():
    pass

def main(trace, pause=0.0, hold=0):  # the first attempt waits in a step to be interrupted
    torch.manual_seed(0); torch.set_num_threads(1)
    dist.init_process_group("gloo")
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))
    model = DistributedDataParallel(net)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    data = torch.arange(480.0).reshape(120, 4) / 480
    sampler = DistributedSampler(data, shuffle=True)
    loader = DataLoader(data, batch_size=2, sampler=sampler)
    torch.manual_seed(run_info().rank)  # each rank its own dropout
    hook()
    ckpt = Checkpointer(model=model, optimizer=optimizer, every_steps=7, replicated=REPLICATED)
    lines = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for epoch in ckpt.epochs(2):
        sampler.set_epoch(epoch)
        for x in ckpt.batches(loader):
            optimizer.zero_grad()
            model(x).pow(2).mean().backward()
            optimizer.step()
            os.write(lines, b"%d %d\\n" % (run_info().attempt, ckpt.step + 1))
            time.sleep(pause)
            while ckpt.step + 1 == hold and run_info().attempt == 1 and not ckpt.stopping:
                time.sleep(0.001)
    moments = [t for one in optimizer.state_dict()["state"].values() for t in one.values()]
    parts = [*model.state_dict().values(), *moments]
    found = hashlib.sha256(b"".join(t.numpy().tobytes() for t in parts)).hexdigest()
    all_found = [None, None]
    dist.all_gather_object(all_found, found)
    assert all_found == [found, found], "the ranks have drifted apart"
    dist.destroy_process_group()
    return found
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("undisturbed")
    run = Run(root, DDP, {"processes": 2, "arguments": {"trace": str(root / "trace")}})
    try:
        code, pod = run.run()
        assert code == 0, pod.output
        return str(pod.message["result"])
    finally:
        run.close()


@pytest.mark.e2e
def test_two_ranks_are_preempted_together_and_resume_exactly(
    make_run: Callable[..., Run], tmp_path: Path, undisturbed: str
) -> None:
    trace = tmp_path / "trace"
    run = make_run(DDP, processes=2, grace=20, arguments={"trace": str(trace), "hold": 50})
    pod = run.start(index=0)
    pod_runs_until(pod, trace, 45)
    pod.terminate()
    assert pod.wait() == ExitCode.PREEMPTED, pod.output
    stopped = max(step for _, step in Executed.read(trace).steps)
    assert Executed.read(trace).of(1) != []
    assert kept(run.store, 1) == GENERATORS, "what is the same on both ranks is kept once"
    assert len(kept(run.store, 0)) == len(GENERATORS) + 4 * 4, "weights, steps, two moments"
    code, pod = run.run(index=1)
    assert code == 0, pod.output
    assert min(Executed.read(trace).of(2)) == stopped + 1  # no step lost on either rank
    assert pod.message["result"] == undisturbed
    assert "each rank keeps all of the model" not in pod.output


@pytest.mark.e2e
def test_ranks_that_keep_all_of_it_are_told_and_resume_exactly(
    make_run: Callable[..., Run], tmp_path: Path, undisturbed: str
) -> None:
    trace = tmp_path / "trace"
    source = DDP.replace("REPLICATED = True", "REPLICATED = False")
    run = make_run(source, processes=2, grace=20, arguments={"trace": str(trace), "hold": 50})
    pod = run.start(index=0)
    pod_runs_until(pod, trace, 45)
    pod.terminate()
    assert pod.wait() == ExitCode.PREEMPTED, pod.output
    assert pod.output.count("each rank keeps all of the model") == 1
    assert kept(run.store, 0) == kept(run.store, 1)
    code, pod = run.run(index=1)
    assert code == 0, pod.output
    assert pod.message["result"] == undisturbed


@pytest.mark.e2e
def test_ranks_that_hold_other_things_end_the_run_at_the_first_save(
    make_run: Callable[..., Run], tmp_path: Path
) -> None:
    source = DDP.replace("model=model, o", "**{f'model{run_info().rank}': model}, o").replace(
        "time.sleep(pause)",
        """while ckpt.step >= 8 and ckpt._saves.in_flight:  # else the job may end before its answer
                ckpt._saves.collect()""",
    )
    run = make_run(source, processes=2, arguments={"trace": str(tmp_path / "trace")})
    code, pod = run.run()
    assert code == ExitCode.PERMANENT, pod.output
    assert "rank 1 counts on rank 0 to keep .objects.model1." in pod.message["reason"]
    assert "leave replicated=True out" in pod.message["reason"]


@pytest.mark.e2e
def test_ranks_never_go_on_from_different_checkpoints(
    make_run: Callable[..., Run], tmp_path: Path, undisturbed: str
) -> None:
    trace = tmp_path / "trace"
    source = DDP + FAILS_A_READ + "\ndef hook():\n    fail_a_read()\n"
    run = make_run(source, processes=2, arguments={"trace": str(trace), "hold": 50})
    assert_ranks_do_not_part(run, lambda pod: pod_runs_until(pod, trace, 45))
    assert run.pods[-1].message["result"] == undisturbed


@pytest.mark.parametrize("steps", [(7, 7), (7, None), (7, 14), (None, None)])
def test_ranks_agree_on_where_they_go_on(tmp_path: Path, steps: tuple[int | None, ...]) -> None:
    found: dict[int, str] = {}

    def rank_loop(rank: int) -> None:
        agree, step = Agreement(rank, 2, tmp_path / "shared"), steps[rank]
        try:
            agree.resume(None if step is None else CheckpointName(1, 1, step))
            found[rank] = "goes on"
        except RanksApartError as error:
            found[rank] = error.message

    threads = [threading.Thread(target=rank_loop, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if steps[0] == steps[1]:
        assert found == {0: "goes on", 1: "goes on"}
    else:
        assert found[0] == found[1]
        assert "rank 0 from step-000000007" in found[0]


def test_a_rank_that_waits_for_the_others_hears_sigterm(tmp_path: Path) -> None:
    with pytest.raises(Preempted):
        Agreement(0, 2, tmp_path / "shared").resume(None, stopping=lambda: True)


def test_a_rank_that_never_comes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "_PATIENCE", 0.1)
    with pytest.raises(CheckpointError, match="rank 1 has made no Checkpointer"):
        Agreement(0, 2, tmp_path / "shared").resume(None)


GENERATORS = [".loop.rng.torch", ".rng.torch"]


def kept(store: Path, rank: int) -> list[str]:
    """Return the names of a rank's tensors in the newest checkpoint."""
    newest = checkpoint_names(DirectoryStore(store).list(FOLDER))[0]
    with safe_open(store / newest.key(data_file(rank)), "pt") as content:
        return sorted(content.keys())


DYING = (
    DDP.replace("time.sleep(pause)", "time.sleep(LATE if ckpt.step > 30 else pause)")
    + """
LATE = 0.5 if run_info().attempt == 1 else 0.02  # no disk is too slow to save before the end


def hook():
    ctx = context.current()
    if (ctx.attempt, ctx.rank) == (1, 1):
        globals()[MOMENT]()

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def with_its_snapshot(handed_over=False):
    from gpukit.runtime.checkpoint import arena_engine
    send, steps = arena_engine.send, []
    def dying(connection, body, handles=()):
        steps.extend([body["step"]] if "step" in body else [])
        if handed_over:
            send(connection, body, handles)
        if len(steps) == 2:
            die()
        if not handed_over:
            send(connection, body, handles)
    arena_engine.send = dying

def after_handing_it_over():
    with_its_snapshot(handed_over=True)

def with_its_first_snapshot():
    from gpukit.runtime.checkpoint import setup
    setup.connect = lambda path: die()

def with_half_of_its_part_in_the_store():
    from gpukit.runtime.checkpoint.commit import Publisher
    put, steps = Publisher.put_tree, []
    def dying(self, name, *more):
        steps.append(name.step)
        die() if len(steps) == 2 else put(self, name, *more)
    Publisher.put_tree = dying
"""
)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("moment", "snapshot", "whole"),
    [
        ("with_its_snapshot", "lazy", 1),
        ("with_its_first_snapshot", "lazy", 0),
        ("with_half_of_its_part_in_the_store", "stream", 1),
        ("after_handing_it_over", "lazy", 2),  # the writer has all parts: it finishes
    ],
)
def test_a_rank_that_dies_in_a_save_leaves_a_whole_checkpoint_or_none(
    make_run: Callable[..., Run],
    tmp_path: Path,
    undisturbed: str,
    moment: str,
    snapshot: str,
    whole: int,
) -> None:
    source = DYING.replace("MOMENT", repr(moment))
    arguments = {"trace": str(tmp_path / "trace"), "pause": 0.02}
    run = make_run(source, processes=2, arguments=arguments)
    began = time.monotonic()
    code, pod = run.run(environ={Env.SNAPSHOT: snapshot})
    assert code == ExitCode.CRASH, pod.output
    assert time.monotonic() - began < 110, "nobody waits for a part that cannot come"
    store = DirectoryStore(run.store)
    complete = checkpoint_names(store.list(FOLDER))
    assert len(complete) == whole, "it died in its second save"
    assert all(
        verify(store, one).state in ("intact", "incomplete") for one in list_checkpoints(store)
    )
    code, pod = run.run(index=0)
    assert code == 0, pod.output
    assert "passed over" not in pod.output
    started = run.record.attempts()[1].progress.start_step
    assert started == (complete[0].step if complete else 0)
    assert pod.message["result"] == undisturbed
    assert {one.state for one in list_checkpoints(store)} == {"complete"}, "scraps are gone"
