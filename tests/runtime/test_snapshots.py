"""Snapshots in shared memory: what they hold, when training may go on, and what it costs."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from gpukit import Checkpointer
from gpukit.errors import StoreError
from gpukit.runtime.checkpoint import arena, setup
from gpukit.runtime.checkpoint.arena_engine import ArenaEngine, SnapshotTornError
from gpukit.runtime.checkpoint.copying import Copy
from gpukit.runtime.checkpoint.engine import (
    Failed,
    FencedError,
    Saved,
    Stable,
    SyncEngine,
    Writer,
)
from gpukit.runtime.checkpoint.manifest import FOLDER, checkpoint_names
from gpukit.runtime.store import DirectoryStore

LARGE = 100_000  # elements: of a tensor that may be copied later
PATIENCE = 240.0


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[ArenaEngine]:
    made = open_arena(tmp_path)
    yield made
    made.close()


def open_arena(root: Path, keep: int = 2) -> ArenaEngine:
    made = setup.open_engine(None, root, keep)
    assert isinstance(made, ArenaEngine)
    return made


def begin(engine: ArenaEngine, step: int, state: Any, stable: Stable | None = None) -> None:
    """Begin a save as soon as the memory for it is there."""
    while why := engine.begin(step, state, stable):
        assert "prepared" in why
        engine._arena.wait(PATIENCE)


def loaded(root: Path) -> Any:
    found = SyncEngine(DirectoryStore(root), Writer("reader", 0)).load_newest()
    assert found is not None
    return found.state


DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int8, torch.uint8, torch.bool, torch.complex64, torch.complex128,
]  # fmt: skip


def test_every_dtype_and_form_comes_back(engine: ArenaEngine, tmp_path: Path) -> None:
    state: dict[str, torch.Tensor] = {}
    for dtype in DTYPES:
        whole = (torch.arange(24).reshape(4, 6) % 5).to(dtype)
        state |= {
            f"{dtype}": whole, f"{dtype} scalar": whole[1, 2], f"{dtype} empty": whole[:0],
            f"{dtype} transposed": whole.t(), f"{dtype} strided": whole[:, 1::2],
            f"{dtype} conj": whole.conj(),
        }  # fmt: skip
    engine.save(1, state)
    back = loaded(tmp_path)
    for name, tensor in state.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor), name


def test_tensors_that_grow_shrink_come_and_go(engine: ArenaEngine, tmp_path: Path) -> None:
    states = [
        {"a": torch.rand(10)},
        {"a": torch.rand(3_000_000)},
        {"a": torch.rand(3_000_000), "b": torch.rand(2, 3)},
        {"b": torch.rand(2, 3)},
        {},
        {"c": torch.rand(20_000_000).bfloat16()},
        {"c": torch.rand(5).bfloat16()},
    ]
    for step, state in enumerate(states):
        engine.save(step, state)
        back = loaded(tmp_path)
        assert back.keys() == state.keys()
        assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
    assert engine._arena.size < 20 << 20  # what is no longer needed has been given back


def test_tied_weights_are_stored_once_and_stay_tied(engine: ArenaEngine, tmp_path: Path) -> None:
    embedding, head = nn.Embedding(1000, 64), nn.Linear(64, 1000, bias=False)
    head.weight = embedding.weight
    model = nn.ModuleDict({"embedding": embedding, "head": head})
    engine.save(1, {"model": model.state_dict()})
    (file,) = tmp_path.rglob("*.safetensors")
    assert len(load_file(file)) == 1  # the official reader
    state = loaded(tmp_path)["model"]
    assert state["embedding.weight"] is state["head.weight"]
    assert torch.equal(state["head.weight"], head.weight)


def test_the_snapshot_shows_the_state_at_its_step(
    engine: ArenaEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The optimizer waits for the copy; buffers are copied before training goes on."""
    model = nn.Sequential(nn.Linear(400, 400), nn.BatchNorm1d(400))
    optimizer = torch.optim.AdamW(model.parameters())
    registry = setup_registry(model, optimizer, engine)
    train_step(model, optimizer)
    hold, reached, finish = threading.Event(), threading.Event(), Copy.finish

    def slow(self: Copy) -> bool:
        reached.set()
        assert hold.wait(PATIENCE)
        return finish(self)

    monkeypatch.setattr(Copy, "finish", slow)
    begin(engine, 1, {"objects": registry.capture()}, registry.stable())
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert reached.wait(PATIENCE)
    step = threading.Thread(target=train_step, args=(model, optimizer))
    step.start()
    step.join(0.2)
    assert step.is_alive()  # it waits at the barrier
    hold.set()
    step.join(PATIENCE)
    assert not step.is_alive()
    assert engine.wait(PATIENCE)
    assert isinstance(engine.outcomes()[0], Saved)
    back = loaded(tmp_path)["objects"]["model"]
    assert all(torch.equal(back[name], tensor) for name, tensor in expected.items())
    assert not torch.equal(model.state_dict()["0.weight"], expected["0.weight"])


def setup_registry(model: nn.Module, optimizer: Any, engine: ArenaEngine) -> Any:
    from gpukit.runtime.checkpoint.state import Registry

    registry = Registry({"model": model, "optimizer": optimizer})
    registry.before_steps(engine)
    return registry


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.rand(8, 400)).square().sum().backward()
    optimizer.step()


def test_what_accelerate_prepared_is_copied_while_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accelerate = pytest.importorskip("accelerate")
    from gpukit.integrations.accelerate import checkpointer

    model = nn.Linear(400, 400)
    optimizer: Any = torch.optim.AdamW(model.parameters())
    accelerator = accelerate.Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(model, optimizer)
    ckpt = checkpointer(accelerator, model=model, optimizer=optimizer, directory=tmp_path)
    train_step(model, optimizer)
    later: list[int] = []
    made = Copy.__init__

    def noted(self: Copy, *arguments: Any) -> None:
        made(self, *arguments)
        later.append(len(self._later))

    monkeypatch.setattr(Copy, "__init__", noted)
    for _ in ckpt.epochs(1):
        for _ in ckpt.batches(range(3)):
            ckpt._schedule._every_steps = 1
            train_step(model, optimizer)
    assert max(later) == 3, "the weights, and both moments of the optimizer"


@pytest.mark.parametrize("how", ["in place", "data"])
def test_a_change_behind_the_optimizers_back_tears_no_checkpoint(
    engine: ArenaEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    weights = torch.rand(LARGE)
    hold, finish = threading.Event(), Copy.finish
    monkeypatch.setattr(Copy, "finish", lambda self: hold.wait(PATIENCE) and finish(self))
    begin(engine, 1, {"weights": weights}, Stable(settled={weights.data_ptr()}))
    target = weights if how == "in place" else weights.data
    target.mul_(2)
    hold.set()
    assert engine.wait(PATIENCE)
    (outcome,) = engine.outcomes()
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, SnapshotTornError)
    assert checkpoint_names(DirectoryStore(tmp_path).list(FOLDER)) == []
    begin(engine, 2, {"weights": weights}, Stable(settled={weights.data_ptr()}))
    weights.zero_()  # everything was copied before begin() returned
    assert engine.wait(PATIENCE)
    assert float(loaded(tmp_path)["weights"].sum()) > 0


def test_frozen_tensors_are_compared_not_copied(engine: ArenaEngine, tmp_path: Path) -> None:
    frozen = torch.rand(LARGE)
    stable = Stable(frozen={frozen.data_ptr()})
    begin(engine, 1, {"frozen": frozen}, stable)
    assert engine.wait(PATIENCE)
    begin(engine, 2, {"frozen": frozen}, stable)
    assert engine._flight is not None
    assert len(engine._flight.copy._known) == 1
    assert engine.wait(PATIENCE)
    assert [type(outcome) for outcome in engine.outcomes()] == [Saved, Saved]
    frozen.data.add_(1)  # the version does not tell
    begin(engine, 3, {"frozen": frozen}, stable)
    assert engine.wait(PATIENCE)
    (outcome,) = engine.outcomes()
    assert isinstance(outcome, Failed)
    begin(engine, 4, {"frozen": frozen}, stable)
    assert engine.wait(PATIENCE)
    assert torch.equal(loaded(tmp_path)["frozen"], frozen)


def test_one_is_in_flight_and_the_next_one_waits_for_its_turn(
    engine: ArenaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, finish = threading.Event(), Copy.finish
    monkeypatch.setattr(Copy, "finish", lambda self: hold.wait(PATIENCE) and finish(self))
    begin(engine, 1, {"a": torch.rand(10)})
    why = engine.begin(2, {"a": torch.rand(10)})
    assert "step 1 is not durable yet" in why
    assert engine.outcomes() == []
    hold.set()
    assert engine.wait(PATIENCE)
    (outcome,) = engine.outcomes()
    assert isinstance(outcome, Saved)
    assert outcome.step == 1


def test_a_killed_writer_is_replaced_and_the_checkpoint_comes(
    engine: ArenaEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.save(1, {"a": torch.rand(10)})
    os.kill(setup._started[-1], signal.SIGKILL)
    engine.save(2, {"a": torch.full((10,), 2.0)})
    assert float(loaded(tmp_path)["a"].sum()) == 20
    monkeypatch.setattr(engine, "_connect", refuse)
    os.kill(setup._started[-1], signal.SIGKILL)
    with pytest.raises(StoreError, match="died"):
        engine.save(3, {"a": torch.rand(10)})
    assert float(loaded(tmp_path)["a"].sum()) == 20  # the last good one stays


def refuse() -> Any:
    raise ConnectionRefusedError


def test_a_disk_that_hangs_holds_up_no_training(engine: ArenaEngine, tmp_path: Path) -> None:
    """A writer that waits in the kernel is as one that is stopped."""
    weights = torch.rand(LARGE)
    engine.save(1, {"a": weights})
    os.kill(setup._started[-1], signal.SIGSTOP)
    begin(engine, 2, {"a": weights}, Stable(settled={weights.data_ptr()}))
    engine.barrier()  # the optimizer may go on: it waits for the copy, not for the disk
    weights.mul_(2)
    assert "step 2 is not durable yet" in engine.begin(3, {"a": weights})
    assert not engine.wait(0.3)
    assert float(loaded(tmp_path)["a"].sum()) == pytest.approx(float(weights.sum()) / 2)
    os.kill(setup._started[-1], signal.SIGCONT)
    assert engine.wait(PATIENCE)
    assert [type(outcome) for outcome in engine.outcomes()] == [Saved]


DYING_TRAINER = """
import os, signal, sys, torch
from gpukit.runtime.checkpoint import arena_engine, setup
engine = setup.open_engine(None, sys.argv[1], 2)
engine.save(1, {"a": torch.zeros(3_000_000)})
os.kill(setup._started[-1], signal.SIGSTOP)
print(setup._started[-1], flush=True)
send = arena_engine.send
def send_and_die(connection, body, handles=()):
    send(connection, body, handles)
    os.kill(os.getpid(), signal.SIGKILL)
arena_engine.send = send_and_die
engine.save(2, {"a": torch.ones(3_000_000)})
"""


def test_a_writer_without_its_trainer_finishes_and_leaves(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DYING_TRAINER, str(tmp_path)]
    trainer = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert trainer.returncode == -signal.SIGKILL
    handle = os.pidfd_open(int(trainer.stdout))
    signal.pidfd_send_signal(handle, signal.SIGCONT)
    assert select.select([handle], [], [], PATIENCE)[0], "the writer is still there"
    os.close(handle)
    assert float(loaded(tmp_path)["a"].sum()) == 3_000_000


def test_without_room_checkpoints_are_streamed_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(arena, "room", lambda: 300 << 20)
    model = nn.Linear(4000, 4000)  # 64 MB
    ckpt = Checkpointer(model=model, directory=tmp_path)
    assert ckpt.save() == 0
    said = capfd.readouterr().err
    assert len(said.splitlines()) == 1
    assert "a snapshot needs 62 MiB" in said  # 61 MiB of weights, and what is added for the rest
    assert "checkpoints are streamed, and training waits for them" in said
    assert "raise memory=" in said
    back = loaded(tmp_path)["objects"]["model"]
    assert torch.equal(back["weight"], model.weight)


def test_memory_that_the_kernel_refuses_is_no_end_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What looked free when the arena was made is gone when its pages are touched."""

    def refuse(*_: object) -> None:
        raise MemoryError  # as for ENOMEM

    monkeypatch.setattr(arena.Arena, "_populate", refuse)
    model = nn.Linear(400, 400)
    ckpt = Checkpointer(model=model, directory=tmp_path)
    for _ in range(3):
        ckpt.save()
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1, "one plain line, once"
    assert said[0].startswith("gpukit: the kernel has no memory for a snapshot: checkpoints are st")
    assert torch.equal(loaded(tmp_path)["objects"]["model"]["weight"], model.weight)


def test_a_second_process_in_a_directory_fences_the_first_one_off(tmp_path: Path) -> None:
    first = open_arena(tmp_path)
    first.save(1, {"a": torch.rand(3)})
    second = open_arena(tmp_path)
    begin(first, 2, {"a": torch.rand(3)})
    assert first.wait(PATIENCE)
    (outcome,) = first.outcomes()
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, FencedError)
    second.save(3, {"a": torch.rand(3)})
    names = checkpoint_names(DirectoryStore(tmp_path).list(FOLDER))
    assert [name.step for name in names] == [3, 1]
    first.close()
    second.close()


SAVES = 1000 if os.environ.get("GPUKIT_SOAK") else 60


def test_many_saves_leak_nothing(engine: ArenaEngine) -> None:
    weights = torch.rand(LARGE)
    for step in range(5):
        engine.save(step, {"weights": weights})
    writer = setup._started[-1]
    before = usage(os.getpid()), usage(writer)
    for step in range(5, SAVES):
        engine.save(step, {"weights": weights})
    after = usage(os.getpid()), usage(writer)
    for (files, memory), (files_now, memory_now) in zip(before, after, strict=True):
        assert files_now <= files
        assert memory_now - memory < 16 << 20
    assert setup._started[-1] == writer


def usage(pid: int) -> tuple[int, int]:
    """Open descriptors and resident bytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return len(list(Path(f"/proc/{pid}/fd").iterdir())), pages * 4096
