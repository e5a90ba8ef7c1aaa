"""What DistributedDataParallel keeps the same on all ranks is saved by rank 0, and read by all."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors import safe_open
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from gpukit.errors import CheckpointError
from gpukit.runtime.checkpoint.engine import SyncEngine, Writer
from gpukit.runtime.checkpoint.state import Registry
from gpukit.runtime.store import DirectoryStore

STEP = 5


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    where = f"file://{tmp_path / 'rendezvous'}"
    dist.init_process_group("gloo", init_method=where, rank=0, world_size=1)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


class Own(torch.optim.AdamW):
    """What an optimizer of somebody else shares out among ranks cannot be known."""


def trained(optimizer_class: Any = torch.optim.AdamW, hook: Any = None) -> tuple[Any, Any]:
    """Return a model with parameters, a frozen one and buffers, and its optimizer, after a step."""
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    net[0].bias.requires_grad_(False)
    model = DistributedDataParallel(net)
    if hook is not None:
        model.register_comm_hook(None, hook)
    optimizer = optimizer_class([p for p in model.parameters() if p.requires_grad])
    model(torch.rand(3, 4)).sum().backward()
    optimizer.step()
    return model, optimizer


def replicated(model: Any, optimizer: Any, world_size: int = 1) -> set[str]:
    """Return the names of what is taken for the same on all ranks."""
    found = Registry({"model": model, "optimizer": optimizer}).replicated(world_size)
    known = dict(model.module.named_parameters()) | dict(model.module.named_buffers())
    known |= {
        f"{name} {key}": value
        for name, parameter in model.module.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }
    return {name for name, tensor in known.items() if tensor.data_ptr() in found}


def test_parameters_and_the_state_of_known_optimizers_are_replicated(group: None) -> None:
    model, optimizer = trained()
    parameters = {name for name, _ in model.module.named_parameters()}
    moments = {
        f"{name} {key}"
        for name in parameters - {"0.bias"}
        for key in ("step", "exp_avg", "exp_avg_sq")
    }
    assert replicated(model, optimizer) == parameters | moments, "and no buffer"
    assert replicated(*trained(Own)) == parameters
    dist.destroy_process_group()
    assert replicated(model, optimizer) == parameters | moments, "a save may come after that"


def test_what_may_differ_is_not_replicated(group: None) -> None:
    assert replicated(*trained(hook=default_hooks.allreduce_hook)) == set()
    model, optimizer = trained()
    assert replicated(model, optimizer, world_size=2) == set(), "a group of some ranks only"
    plain = model.module
    assert Registry({"model": plain, "optimizer": optimizer}).replicated(1) == set()


def save(root: Path, states: list[dict[str, Any]], shared: Collection[int]) -> None:
    """Save a checkpoint of several ranks; all but rank 0 leave out what is shared."""
    for rank, state in reversed(list(enumerate(states))):
        engine = SyncEngine(DirectoryStore(root), Writer("run", 1, "pod", rank, len(states)))
        if rank:
            engine.leave_out(lambda: shared)
        engine.save(STEP, state)


def load(root: Path, rank: int, into: dict[str, torch.Tensor] | None = None) -> Any:
    engine = SyncEngine(DirectoryStore(root), Writer("run", 2, "pod", rank, 3))
    loaded = engine.load_newest(into)
    assert loaded is not None
    assert not loaded.skipped
    return loaded.state


def test_each_rank_gets_its_own_and_what_rank_0_kept(tmp_path: Path) -> None:
    weight, moment = torch.rand(50, 4), torch.rand(50, 4)
    model = {"w": weight, "tied": weight, "none": torch.empty(0)}
    states = [{"model": model, "moment": moment, "own": torch.full((3,), r)} for r in range(3)]
    save(tmp_path, states, {weight.data_ptr(), moment.data_ptr(), 0})
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert [file.name for file in files] == [f"rank-{rank}.safetensors" for rank in range(3)]
    for file in files[1:]:
        with safe_open(file, "pt") as content:
            assert set(content.keys()) == {".own", ".model.none"}
    for rank in range(3):
        waiting = torch.zeros(50, 4)
        state = load(tmp_path, rank, {".model.w": waiting})
        assert torch.equal(waiting, weight), "read straight into the tensor that waits"
        assert state["model"]["w"] is state["model"]["tied"] is waiting
        assert torch.equal(state["moment"], moment)
        assert torch.equal(state["own"], torch.full((3,), rank))


def test_ranks_that_hold_other_things_make_no_checkpoint(tmp_path: Path) -> None:
    weight = torch.rand(4)
    with pytest.raises(CheckpointError, match=r"rank 1 counts on rank 0 to keep \.b"):
        save(tmp_path, [{"a": weight}, {"b": weight}], {weight.data_ptr()})
    assert SyncEngine(DirectoryStore(tmp_path), Writer("run", 2, "pod")).load_newest() is None
