"""A thousand saves under the real supervisor: nothing grows, and nothing is left over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpukit.contract import Env
from gpukit.runtime.checkpoint.inspection import list_checkpoints
from gpukit.runtime.store import DirectoryStore
from tests.runtime.local import processes_with
from tests.runtime.pod import Run

pytest.importorskip("torch")
pytestmark = pytest.mark.e2e

SAVES, WARM = 1000, 100
SOURCE = """
import torch
from gpukit import Checkpointer

def usage(before=None):
    ours, above = os.getpid(), os.getppid()
    children = Path(f"/proc/{above}/task/{above}/children").read_text().split()
    (writer,) = {int(child) for child in children} - {ours}
    pids = {"trainer": ours, "supervisor": above, "writer": writer}
    most = {name: before[name][1] if before else 0 for name in pids}
    return {n: [p, files(p, most[n]), resident(p), threads(p)] for n, p in pids.items()}

def files(pid, most):  # the least of many looks: one may be open for a moment
    least, end = 1000, time.monotonic() + (10 if most else 0.2)
    while least > most and time.monotonic() < end:
        least = min(least, len(os.listdir(f"/proc/{pid}/fd")))
        time.sleep(0.005)
    return least

def resident(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))

def main(saves, warm):
    model = torch.nn.Linear(100, 100)
    optimizer = torch.optim.AdamW(model.parameters())
    ckpt = Checkpointer(model=model, optimizer=optimizer, every=3600)
    for _ in ckpt.epochs(1):
        for number in ckpt.batches(range(saves)):
            optimizer.zero_grad()
            model(torch.rand(2, 100)).sum().backward()
            optimizer.step()
            if number == warm:
                before = usage()
            ckpt.save()
    return [before, usage(before)]
"""


@pytest.mark.timeout(1200)
def test_a_thousand_saves_leak_no_memory_descriptor_thread_or_process(
    make_run: Callable[..., Run],
) -> None:
    run = make_run(SOURCE, arguments={"saves": SAVES, "warm": WARM})
    pod = run.start()
    assert pod.wait(patience=900) == 0, pod.output
    result = run.record.result()
    assert result is not None
    before, after = result.value
    for name, (pid, files, memory, threads) in before.items():
        pid_now, files_now, memory_now, threads_now = after[name]
        assert pid_now == pid, f"the {name} was replaced"
        assert files_now <= files, f"descriptors of the {name}"
        assert threads_now <= threads, f"threads of the {name}"
        grown = (memory_now - memory) / (SAVES - WARM)
        assert grown < 2048, f"the {name} grows by {grown:.0f} bytes a save"
    assert [one.name.number for one in list_checkpoints(DirectoryStore(run.store))] == [
        SAVES,
        SAVES - 1,
    ]
    assert processes_with(f"{Env.STORE}={run.store}") == []
