"""Several ranks in a pod: all save, and all stop, at the same step."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gpukit.ladder import ExitCode
from gpukit.runtime.checkpoint.agreement import Agreement, Request
from tests.runtime.exactness import Executed
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
        agreement = Agreement(rank, world, tmp_path / "shared")
        for step in range(1, steps + 1):
            barrier.wait(30)  # the collective inside of the step
            time.sleep(chance.random() * 0.002)
            wish: Request | None = chance.choice([None, None, "save", "stop"])
            action = agreement.at(step, wish)
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

def main(trace, pause=0.0):
    torch.manual_seed(0); torch.set_num_threads(1)
    dist.init_process_group("gloo")
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))
    model = DistributedDataParallel(net)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    data = torch.arange(480.0).reshape(120, 4) / 480
    sampler = DistributedSampler(data, shuffle=True)
    loader = DataLoader(data, batch_size=2, sampler=sampler)
    torch.manual_seed(run_info().rank)  # each rank its own dropout
    ckpt = Checkpointer(model=model, optimizer=optimizer, every_steps=7)
    lines = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for epoch in ckpt.epochs(2):
        sampler.set_epoch(epoch)
        for x in ckpt.batches(loader):
            optimizer.zero_grad()
            model(x).pow(2).mean().backward()
            optimizer.step()
            os.write(lines, b"%d %d\\n" % (run_info().attempt, ckpt.step + 1))
            time.sleep(pause)
    h = hashlib.sha256(b"".join(t.numpy().tobytes() for t in model.state_dict().values()))
    dist.destroy_process_group()
    return h.hexdigest()
"""


@pytest.mark.e2e
def test_two_ranks_are_preempted_together_and_resume_exactly(
    make_run: Callable[..., Run], tmp_path: Path
) -> None:
    whole = make_run(DDP, processes=2, arguments={"trace": str(tmp_path / "whole")})
    code, pod = whole.run()
    assert code == 0, pod.output
    trace = tmp_path / "trace"
    run = make_run(DDP, processes=2, grace=20, arguments={"trace": str(trace), "pause": 0.003})
    pod = run.start(index=0)
    pod_runs_until(pod, trace, 45)
    pod.terminate()
    assert pod.wait() == ExitCode.PREEMPTED, pod.output
    stopped = max(step for _, step in Executed.read(trace).steps)
    assert Executed.read(trace).of(1) != []
    code, pod = run.run(index=1)
    assert code == 0, pod.output
    assert min(Executed.read(trace).of(2)) == stopped + 1  # no step lost on either rank
    first, second = whole.record.result(), run.record.result()
    assert first is not None
    assert second is not None
    assert first.value == second.value
