"""What a step really takes on this CPU: by the allocator's own count, and by autograd's hooks."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from gpukit.fit.factory import Example, call_factory
from gpukit.fit.optimizers import make_optimizer

__all__ = ["allocated", "saved_for_backward"]


def loss_of(example: Example) -> Tensor:
    output = example.model(*(example.args or ()), **(example.kwargs or {}))
    if example.loss is not None:
        return example.loss(output)
    if hasattr(output, "loss"):
        found: Tensor = output.loss
        return found
    parts = output if isinstance(output, tuple) else (output,)
    leaves = [x for part in parts for x in (part if isinstance(part, tuple) else (part,))]
    total: Tensor = torch.stack([x.mean() for x in leaves]).sum()
    return total


def allocated(factory: Callable[..., object], optimizer: str, folder: Path) -> tuple[int, int]:
    """Return the most bytes that PyTorch's allocator had given out in the passes and the update.

    They come from the profiler, which the allocator itself tells of each allocation; of the second
    step, as the first makes the optimizer's state.
    """
    gc.collect()  # else what earlier tests left goes in the middle
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        example = call_factory(factory, None)
        example.model.train()
        stepper = make_optimizer(optimizer, example.model.parameters())
        for number in range(2):
            with record_function(f"passes {number}"):
                loss = loss_of(example)
                loss.backward()  # type: ignore[no-untyped-call]
                del loss
            with record_function(f"update {number}"):
                if stepper is not None:
                    stepper.step()
            example.model.zero_grad()
            gc.collect()
    file = folder / "trace.json"
    found.export_chrome_trace(str(file))
    events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    counted = sorted(
        (e["ts"], e["args"]["Total Allocated"], e["args"]["Bytes"])
        for e in events if e.get("name") == "[memory]"
    )  # fmt: skip
    before = counted[0][1] - counted[0][2]  # what earlier tests left

    def most(name: str) -> int:
        [(begin, end)] = {
            (e["ts"], e["ts"] + e["dur"]) for e in events
            if e.get("name") == name and e.get("cat") == "user_annotation"
        }  # fmt: skip
        within = [total for at, total, _ in counted if begin <= at <= end]
        already = [total for at, total, _ in counted if at < begin][-1]
        return int(max([already, *within]) - before)

    return most("passes 1"), most("update 1")


def saved_for_backward(factory: Callable[..., object]) -> int:
    """Return the bytes of the storages that autograd keeps, weights not counted."""
    example = call_factory(factory, None)
    example.model.train()
    weights = {p.untyped_storage().data_ptr() for p in example.model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = loss_of(example)
    total = sum(kept.values())
    del loss
    return total
