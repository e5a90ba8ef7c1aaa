"""Exact resume of a plain PyTorch loop: interrupted anywhere, nothing changes but the time."""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from gpukit import Checkpointer
from gpukit.runtime.checkpoint import loader as loader_module
from gpukit.runtime.checkpoint import rng
from gpukit.runtime.checkpoint.arena_engine import ArenaEngine
from gpukit.runtime.checkpoint.state import Registry


@pytest.fixture(autouse=True)
def each_save_is_durable_before_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a kill has an exact place; else saves are left out while one is in flight."""
    begin = ArenaEngine.begin

    def begin_and_wait(self: ArenaEngine, *args: Any) -> str:
        while begin(self, *args):
            self._arena.wait(1)
        self.wait(60)
        return ""

    busy = ArenaEngine.busy

    def busy_once_ready(self: ArenaEngine) -> str:
        self._arena.wait(60)
        return busy(self)

    monkeypatch.setattr(ArenaEngine, "begin", begin_and_wait)
    monkeypatch.setattr(ArenaEngine, "busy", busy_once_ready)


EPOCHS, SAMPLES, BATCH = 3, 40, 4
STEPS = EPOCHS * SAMPLES // BATCH


class Augmented(Dataset[tuple[torch.Tensor, int]]):
    """Samples with augmentation from all three generators."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        base = torch.arange(4, dtype=torch.float32) + index
        noise = torch.rand(4) + random.random() + float(np.random.rand())
        return base / SAMPLES + noise * 0.1, index % 2


class LazySampler(Sampler[int]):
    """A sampler of the user's own that draws from the global generator at every sample."""

    def __init__(self, data: Augmented) -> None:
        self.size = len(data)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Any:
        return (random.randrange(self.size) for _ in range(self.size))


@dataclass
class Outcome:
    digest: str = ""
    rate: float = 0.0
    steps: list[tuple[int, int, float]] = field(default_factory=list)


class KilledError(Exception):
    """Stands for SIGKILL: nothing after it runs."""


def make_loader(kind: str, workers: int) -> Any:
    data = Augmented()
    options: dict[str, Any] = {"batch_size": BATCH, "num_workers": workers}
    if kind == "shuffle":
        return DataLoader(data, shuffle=True, **options)
    if kind == "persistent":
        return DataLoader(data, shuffle=True, persistent_workers=workers > 0, **options)
    if kind == "generator":
        return DataLoader(data, shuffle=True, generator=torch.Generator().manual_seed(5), **options)
    if kind == "lazy-sampler":
        return DataLoader(data, sampler=LazySampler(data), **options)
    if kind == "iterable":
        return [torch.utils.data.default_collate([data[i], data[i + 1]]) for i in range(0, 20, 2)]
    raise ValueError(kind)


def train(
    directory: Path | None, stop_after: int | None, kind: str = "shuffle", workers: int = 0,
    accumulate: int = 1, evaluate: bool = False,
) -> Outcome:  # fmt: skip
    """Train; be killed in the middle of the step after ``stop_after`` of this attempt's own."""
    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.3), nn.Linear(16, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    loader, out, done = make_loader(kind, workers), Outcome(), 0
    ckpt = Checkpointer(
        model=model, optimizer=optimizer, scheduler=scheduler, directory=directory, every_steps=1
    )
    for epoch in ckpt.epochs(EPOCHS):
        for x, y in ckpt.batches(loader):
            if stop_after is not None and done == stop_after:
                raise KilledError
            out.steps.append((ckpt.step, epoch, float(x.sum())))
            loss = nn.functional.cross_entropy(model(x), y) / accumulate
            loss.backward()  # type: ignore[no-untyped-call]
            if (ckpt.step + 1) % accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
            done += 1
        if evaluate:
            for x, _ in ckpt.batches(loader):
                if stop_after is not None and done == stop_after:
                    raise KilledError
                out.steps.append((ckpt.step, epoch, float(x.sum()) + float(torch.rand(()))))
                done += 1
        scheduler.step()
    parts = [t.detach().numpy().tobytes() for t in model.state_dict().values()]
    out.digest = hashlib.sha256(b"".join(parts)).hexdigest()
    out.rate = optimizer.param_groups[0]["lr"]
    return out


def interrupted(tmp_path: Path, stops: list[int], **options: Any) -> tuple[Outcome, list[Any]]:
    """Train with a kill after each of ``stops``; return the end, and all steps ever executed."""
    executed = []
    for stop in stops:
        with pytest.raises(KilledError):
            train(tmp_path, stop, **options)
        executed.append(stop)
    return train(tmp_path, None, **options), executed


CASES: list[tuple[dict[str, Any], list[int]]] = [
    ({"kind": "shuffle"}, [3, 2, 4]),
    ({"kind": "shuffle"}, [10, 1]),
    ({"kind": "shuffle", "workers": 2}, [3, 2, 4]),
    ({"kind": "shuffle", "workers": 1}, [10, 1]),
    ({"kind": "shuffle", "accumulate": 3}, [3, 2, 4]),
    ({"kind": "shuffle", "workers": 1, "accumulate": 3}, [12]),
    ({"kind": "persistent", "workers": 1}, [12, 1]),
    ({"kind": "generator"}, [3, 2, 4]),
    ({"kind": "generator"}, [10, 1]),
    ({"kind": "generator", "workers": 1}, [10, 1]),
    ({"kind": "lazy-sampler"}, [3, 2, 4]),
    ({"kind": "lazy-sampler", "workers": 1}, [12]),
    ({"kind": "iterable"}, [3, 2, 4]),
    ({"kind": "shuffle", "evaluate": True}, [12, 3]),
    ({"kind": "shuffle", "workers": 1, "evaluate": True}, [12]),
]


@pytest.mark.parametrize(("options", "stops"), CASES, ids=str)
def test_interrupted_training_is_bitwise_equal(
    tmp_path: Path, options: dict[str, Any], stops: list[int]
) -> None:
    reference = train(None, None, **options)
    end, executed = interrupted(tmp_path, stops, **options)
    assert end.digest == reference.digest
    assert end.rate == reference.rate
    assert end.steps == reference.steps[sum(executed) :]  # no step twice, none left out


@pytest.mark.parametrize("mode", ["copy", "stream"])
def test_every_way_to_take_a_snapshot_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    reference = train(None, None)
    monkeypatch.setenv("GPUKIT_SNAPSHOT", mode)
    end, executed = interrupted(tmp_path, [3, 2, 4])
    assert end.digest == reference.digest
    assert end.steps == reference.steps[sum(executed) :]


def test_every_part_of_the_restore_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The equality above fails when one part of the restore is taken out, one at a time."""
    reference = train(None, None)

    def no_optimizer(restore: Callable[[Registry, dict[str, Any]], None]) -> Any:
        def partial(self: Registry, state: dict[str, Any]) -> None:
            kept = self._objects.pop("optimizer")
            restore(self, {k: v for k, v in state.items() if k != "optimizer"})
            self._objects["optimizer"] = kept

        return partial

    source = loader_module._MapStyle.iterate
    cuts: dict[str, tuple[Any, str, Any]] = {
        "rng": (rng, "restore", lambda state: None),
        "optimizer": (Registry, "restore", no_optimizer(Registry.restore)),
        "position": (
            loader_module._MapStyle,
            "iterate",
            lambda self, skip, state, reached: source(self, 0, state, reached),
        ),
    }
    for name, (owner, attribute, replacement) in cuts.items():
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the scheduler notices the optimizer's absence
            patch.setattr(owner, attribute, replacement)
            end, _ = interrupted(tmp_path / name, [13])
        assert end.digest != reference.digest, f"nobody noticed that {name} was not restored"


def test_gradients_are_kept_only_in_the_middle_of_an_accumulation(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    registry = Registry({"model": model, "optimizer": optimizer})
    model(torch.ones(1, 2)).backward()
    assert set(registry.live_gradients()) == {"model.weight", "model.bias"}
    optimizer.step()
    assert registry.live_gradients() == {}
    model(torch.ones(1, 2)).backward()  # accumulates into the same tensors
    assert len(registry.live_gradients()) == 2
    optimizer.step()
    optimizer.zero_grad()
    assert registry.live_gradients() == {}
    model(torch.ones(1, 2)).backward()
    assert len(registry.live_gradients()) == 2


def test_outside_of_a_run_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(None, None)
    assert list(tmp_path.iterdir()) == []


def test_plain_pytorch_sees_the_same_batches(tmp_path: Path) -> None:
    """Without workers a Checkpointer changes nothing about the order that PyTorch gives."""
    torch.manual_seed(3)
    plain = [x.tolist() for x in DataLoader(range(12), batch_size=3, shuffle=True)]  # type: ignore[arg-type]
    torch.manual_seed(3)
    ckpt = Checkpointer(directory=tmp_path)
    ours = [
        x.tolist()
        for _ in ckpt.epochs(1)
        for x in ckpt.batches(DataLoader(range(12), batch_size=3, shuffle=True))  # type: ignore[arg-type]
    ]
    assert ours == plain
