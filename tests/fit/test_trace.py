"""The estimate beside what really happens on this CPU, model by model.

No GPU is at hand: what is compared is a trace without data with the bytes that PyTorch's allocator
gives out when the same step runs here. What CUDA keeps differently has tests of its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from gpukit.fit.training import trace_inference, trace_training

from .measure import allocated, saved_for_backward
from .models import FACTORIES

WITHIN = 0.01
"""Relative error that is stated in docs/how-to/fit-a-model.md: 0.0 % in all but the convolutions,
whose workspace is not seen. What LSTMs do inside one kernel is said to be unknown there."""


@pytest.mark.e2e
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("name", [name for name in FACTORIES if name != "recurrent"])
def test_a_trace_is_what_the_allocator_gives_out(name: str, optimizer: str, tmp_path: Path) -> None:
    factory = FACTORIES[name]
    passes, update = allocated(factory, optimizer, tmp_path)
    traced = trace_training(factory, optimizer=optimizer, as_cuda=False, block=1)
    assert sum(traced.step.values()) == pytest.approx(passes, rel=WITHIN)
    assert sum(traced.update.values()) == pytest.approx(update, rel=WITHIN)


@pytest.mark.parametrize("name", ["mlp", "convolutions", "language", "half_frozen"])
def test_activations_hold_what_autograd_saves(name: str) -> None:
    saved = saved_for_backward(FACTORIES[name])
    traced = trace_training(FACTORIES[name], as_cuda=False, block=1)
    assert saved <= traced.activations <= 1.7 * saved, "inputs and outputs are there as well"


def test_with_data_it_is_the_same() -> None:
    shapes = trace_training(FACTORIES["mlp"])
    data = trace_training(FACTORIES["mlp"], real=True)
    assert (shapes.step, shapes.update, shapes.parameters) == (
        data.step, data.update, data.parameters,
    )  # fmt: skip


def of(name: str, kind: str = "activations", **how: object) -> int:
    traced = trace_training(FACTORIES[name], **how)  # type: ignore[arg-type]
    return traced.activations if kind == "activations" else traced.update[kind]  # type: ignore[index]


def test_optimizers_keep_what_they_are_known_to_keep() -> None:
    weights = of("mlp", "parameters")
    states = {
        name: of("mlp", "optimizer", optimizer=name) / weights
        for name in ("adamw", "adam", "momentum", "sgd", "adam8bit", "none")
    }
    assert states["adamw"] == states["adam"] == pytest.approx(2, rel=0.01)
    assert states["momentum"] == pytest.approx(1, rel=0.01)
    assert states["sgd"] == states["none"] == 0
    assert states["adam8bit"] == pytest.approx((2 + 8 / 256) / 4, rel=0.05)
    assert 0 < of("mlp", "optimizer", optimizer="adafactor") < weights / 50


def test_precisions() -> None:
    assert of("mlp", "parameters", precision="bf16") == pytest.approx(
        of("mlp", "parameters") / 2, rel=0.01
    )
    assert of("mlp", "optimizer", precision="bf16-mixed") == of("mlp", "optimizer")
    assert of("language", precision="bf16") < 0.6 * of("language")


def test_frozen_parameters_have_neither_gradient_nor_state() -> None:
    traced = trace_training(FACTORIES["half_frozen"])
    frozen = 256 * 1024 + 1024
    assert traced.parameters - traced.trained == frozen
    assert traced.update["optimizer"] == pytest.approx(8 * traced.trained, rel=0.01)
    assert traced.update["gradients"] == pytest.approx(4 * traced.trained, rel=0.01)


def test_accumulated_gradients_are_there_in_the_passes() -> None:
    once, added = (trace_training(FACTORIES["mlp"], accumulate=word) for word in (False, True))
    assert sum(added.step.values()) > sum(once.step.values())
    assert added.step["gradients"] == pytest.approx(4 * added.parameters, rel=0.01)


def test_the_batch_has_the_size_that_is_asked_for() -> None:
    for name in ("mlp", "convolutions"):  # one takes batch_size, the other's samples are repeated
        small, large = (trace_training(FACTORIES[name], batch=batch) for batch in (8, 80))
        assert (small.batch, large.batch) == (8, 80)
        assert large.activations == pytest.approx(10 * small.activations, rel=0.02)


def test_inference_keeps_no_activations_of_earlier_layers() -> None:
    training, inference = trace_training(FACTORIES["mlp"]), trace_inference(FACTORIES["mlp"])
    assert inference.step["gradients"] == inference.step["optimizer"] == 0
    assert inference.step["activations"] < training.activations / 2


def test_recurrent_layers_are_traced_step_by_step_and_told() -> None:
    traced = trace_training(FACTORIES["recurrent"])
    assert traced.recurrent
    gates = 8 * 20 * 4 * 128 * 4  # batch, steps, four gates, width, float32
    assert traced.activations > gates
    assert not trace_training(FACTORIES["mlp"]).recurrent


# ---- what CUDA keeps differently


def test_dropout_keeps_bytes_and_attention_no_weights() -> None:
    plain = of("language", as_cuda=True)
    dropout = of("language_with_dropout", as_cuda=True)
    masks = 3 * 4 * 64 * 128  # of three layers, a byte for each value
    assert dropout - plain == pytest.approx(masks, rel=0.05)
    assert of("language_with_dropout", as_cuda=False) > dropout + 3 * 4 * 64 * 128 * 3


def test_autocast_follows_the_rules_of_cuda() -> None:
    def normed() -> object:
        model = nn.Sequential(nn.Linear(64, 1000, bias=False), nn.Softmax(-1))
        return model, torch.randn(100, 64)

    on_cuda = trace_training(normed, precision="bf16-mixed").activations
    on_cpu = trace_training(normed, precision="bf16-mixed", as_cuda=False).activations
    assert on_cuda >= on_cpu + 100 * 1000 * 2, "softmax's result is float32 there, bfloat16 here"


def test_the_rules_are_taken_back() -> None:
    trace_training(FACTORIES["mlp"], precision="bf16-mixed")
    x = torch.randn(4, 8, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.softmax(nn.functional.linear(x, torch.randn(8, 8)), -1).dtype is torch.bfloat16
    assert "Mul" in type(nn.functional.dropout(x, 0.5).grad_fn).__name__
