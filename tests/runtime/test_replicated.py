"""What is the same on all ranks, as DistributedDataParallel has it: kept by rank 0, read by all."""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

from gpukit import Checkpointer
from gpukit.errors import CheckpointError
from gpukit.runtime.checkpoint import tensorfile
from gpukit.runtime.checkpoint.codec import Mark, mark_of
from gpukit.runtime.checkpoint.commit import RanksDifferError
from gpukit.runtime.checkpoint.engine import SyncEngine, Writer
from gpukit.runtime.checkpoint.state import Registry
from gpukit.runtime.store import DirectoryStore

STEP = 5


def test_parameters_and_the_states_of_optimizers_are_replicated_and_buffers_are_not() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    net[0].bias.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad])
    registry = Registry({"model": net, "optimizer": optimizer})
    buffers = sum(b.numel() * b.element_size() for b in net.buffers())
    assert registry.expected_bytes(replicated=True) < buffers * 2 + (1 << 20)
    net(torch.rand(3, 4)).sum().backward()
    optimizer.step()
    moments = [v for one in optimizer.state.values() for v in one.values()]
    assert registry.replicated() == {mark_of(t) for t in [*net.parameters(), *moments]}
    assert registry.expected_bytes(replicated=True) < buffers * 2 + (1 << 20)


def save(root: Path, states: list[dict[str, Any]], shared: Collection[Mark]) -> None:
    """Save a checkpoint of several ranks; all but rank 0 leave out what is shared."""
    for rank, state in reversed(list(enumerate(states))):
        engine = SyncEngine(DirectoryStore(root), Writer("run", 1, "pod", rank, len(states)))
        if rank:
            engine.leave_out(lambda: shared)
        engine.save(STEP, state)


def test_what_is_not_wanted_is_verified_and_takes_no_memory() -> None:
    tensors = {"a": torch.rand(5), "b": torch.rand(3 << 20), "c": torch.rand(7)}
    stream = io.BytesIO()
    sums = tensorfile.write(tensors, stream.write).to_json()
    found = tensorfile.read(io.BytesIO(stream.getvalue()), sums, wanted={"a", "c"})
    assert found.keys() == {"a", "c"}
    assert torch.equal(found["c"], tensors["c"])
    damaged = bytearray(stream.getvalue())
    damaged[len(damaged) // 2] ^= 1
    with pytest.raises(tensorfile.DamagedFileError):
        tensorfile.read(io.BytesIO(damaged), sums, wanted={"a", "c"})


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
    empty = torch.empty(0)
    save(tmp_path, states, {mark_of(weight), mark_of(moment), mark_of(empty)})
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
    with pytest.raises(RanksDifferError, match=r"rank 1 counts on rank 0 to keep \.b"):
        save(tmp_path, [{"a": weight}, {"b": weight}], {mark_of(weight)})
    assert SyncEngine(DirectoryStore(tmp_path), Writer("run", 2, "pod")).load_newest() is None


def test_a_word_is_no_flag(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="replicated='no' is neither True nor False"):
        Checkpointer(directory=tmp_path / "new", replicated="no")  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()
