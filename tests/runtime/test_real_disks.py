"""A file system that is full, or read-only, under a training: it goes on, and saves again."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from gpukit.runtime.checkpoint.inspection import list_checkpoints, verify
from gpukit.runtime.store import DirectoryStore
from tests.runtime.pod import Run

pytest.importorskip("torch")
pytestmark = pytest.mark.e2e

SOURCE = """
import subprocess
import torch
from gpukit import Checkpointer
from gpukit.runtime.checkpoint.inspection import list_checkpoints, verify
from gpukit.runtime.store import DirectoryStore

def fill(store):
    with open(store / "ballast", "wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                return

FAULTS = {
    "full": (fill, lambda store: (store / "ballast").unlink()),
    "read-only": (lambda store: mount("ro", store), lambda store: mount("rw", store)),
}

def mount(how, store):  # it is busy while the supervisor writes its record
    end = time.monotonic() + 30
    while subprocess.run(["mount", "-o", f"remount,{how}", store]).returncode:
        assert time.monotonic() < end
        time.sleep(0.01)

def intact(store):
    disk = DirectoryStore(store)
    return [one.name.step for one in list_checkpoints(disk) if verify(disk, one).state == "intact"]

def main(fault):
    store = Path(context.current().store)
    model = torch.nn.Linear(500, 500)
    ckpt = Checkpointer(model=model, every_steps=3)
    for _ in ckpt.epochs(1):
        for n in ckpt.batches(range(30)):
            if n == 10:
                ckpt.save()
                FAULTS[fault][0](store)
            if n in (11, 15):
                try:
                    ckpt.save()
                except Exception as error:
                    print("refused:", error, flush=True)
                print("intact", intact(store), flush=True)
            if n == 20:
                FAULTS[fault][1](store)
                ckpt.save()
            with torch.no_grad():
                model.weight.fill_(n)
            time.sleep(0.02)
    return ckpt.step
"""
MOUNTED = """
mount -t tmpfs -o size=5m none "$GPUKIT_STORE" && "$@"
code=$?
cp -r "$GPUKIT_STORE" "$0"  # the mount is gone when this shell is
exit $code
"""
WORDS = {"full": "No space left on device", "read-only": "Read-only file system"}


@pytest.mark.parametrize("fault", WORDS)
def test_training_goes_on_and_what_was_saved_stays(
    make_run: Callable[..., Run], fault: str
) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this system makes no mount namespace: unshare -rm")
    run = make_run(SOURCE, arguments={"fault": fault})
    run.store.mkdir(parents=True)
    copy = run.root / "copy"
    pod = run.start(inside=["unshare", "-rm", "sh", "-c", MOUNTED, str(copy)])
    assert pod.wait() == 0, pod.output
    assert pod.message["result"] == 30
    assert pod.output.count("refused: ") == 2
    assert WORDS[fault] in pod.output
    assert pod.output.count("intact [10") == 2, "nothing was lost to what failed"
    store = DirectoryStore(copy)
    states = [verify(store, one) for one in list_checkpoints(store)]
    assert {one.state for one in states} == {"intact"}
    assert states[0].name.step >= 20
