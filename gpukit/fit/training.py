"""Tracing a training step, or a forward pass, of the model that a factory makes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map

from gpukit.errors import GpukitError

from .cuda_rules import as_on_cuda, mixed
from .factory import Example, call_factory
from .optimizers import make_optimizer
from .trace import BLOCK, Bytes, Tracker

__all__ = ["PRECISIONS", "Traced", "trace_inference", "trace_training"]

PRECISIONS: dict[str, tuple[torch.dtype | None, torch.dtype | None]] = {
    "fp32": (None, None),
    "bf16-mixed": (None, torch.bfloat16),
    "fp16-mixed": (None, torch.float16),
    "bf16": (torch.bfloat16, None),
    "fp16": (torch.float16, None),
}
"""Name to the type of the weights (None: as the factory made them) and that of autocast."""

Factory = Callable[..., object]


@dataclass(frozen=True)
class Traced:
    """What one step allocates.

    Attributes:
        step: bytes in use at the peak of forward and backward pass, by purpose.
        update: bytes in use at the peak of the optimizer's step.
        parameters: how many there are.
        trained: how many of them have gradients.
        batch: samples in the batch; None: the factory gave no batch, so there were no passes.
        activations: the most bytes of activations, which may be before the peak.
        recurrent: it has recurrent layers, whose kernels on a GPU keep memory of their own.
    """

    step: Bytes
    update: Bytes
    parameters: int
    trained: int
    batch: int | None
    activations: int = 0
    recurrent: bool = False


def trace_training(
    factory: Factory, *, batch: int | None = None, optimizer: str = "adamw",
    precision: str = "fp32", accumulate: bool = False, real: bool = False,
    as_cuda: bool = True, block: int = BLOCK,
) -> Traced:  # fmt: skip
    """Run two training steps, and return what the second allocates.

    Args:
        factory: see :func:`gpukit.fit.factory.call_factory`.
        batch: samples of a batch; None: as many as it gives.
        optimizer: one of :data:`gpukit.fit.optimizers.OPTIMIZERS`.
        precision: one of :data:`PRECISIONS`.
        accumulate: gradients of earlier batches are there during the step.
        real: with data, on this CPU; else with shapes alone.
        as_cuda: keep for the backward pass what CUDA keeps.
        block: bytes to which allocations are rounded up.

    Raises:
        GpukitError: the model cannot be made or traced.
    """
    weights, compute = PRECISIONS[precision]
    with _tracking(real=real, as_cuda=as_cuda, block=block) as tracker:
        example = _made(factory, batch, weights, tracker)
        model = example.model.train()
        for param in model.parameters():
            if param.requires_grad:
                param.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                    lambda param: tracker.see(param.grad, "gradients")
                )
        stepper = make_optimizer(optimizer, model.parameters())
        if not example.has_inputs:
            return _without_passes(model, stepper, tracker)

        def passes() -> None:
            tracker.kind = "activations"
            with mixed(compute):
                loss = _loss(example, _call(example))
            tracker.kind = "working"
            loss.backward()  # type: ignore[no-untyped-call]

        return _steps(example, passes, stepper, tracker, accumulate=accumulate)


def trace_inference(
    factory: Factory, *, batch: int | None = None, precision: str = "fp32", real: bool = False,
    as_cuda: bool = True, block: int = BLOCK,
) -> Traced:  # fmt: skip
    """Run a forward pass without gradients, and return what it allocates.

    Raises:
        GpukitError: the model cannot be made or traced.
    """
    weights, compute = PRECISIONS[precision]
    with _tracking(real=real, as_cuda=as_cuda, block=block) as tracker:
        example = _made(factory, batch, weights, tracker)
        model = example.model.eval()
        if not example.has_inputs:
            return _without_passes(model, None, tracker)

        def passes() -> None:
            tracker.kind = "activations"
            with torch.no_grad(), mixed(compute):
                _call(example)

        return _steps(example, passes, None, tracker)


def _steps(
    example: Example, passes: Callable[[], None], stepper: torch.optim.Optimizer | None,
    tracker: Tracker, *, accumulate: bool = False,
) -> Traced:  # fmt: skip
    for _ in range(2):  # the first one makes the optimizer's state
        tracker.restart()
        passes()
        step, activations = tracker.peak, tracker.activations
        update = _update(stepper, tracker)
        if not accumulate:
            example.model.zero_grad(set_to_none=True)
    recurrent = any(isinstance(module, nn.RNNBase) for module in example.model.modules())
    return Traced(step, update, *_counts(example.model), example.batch, activations, recurrent)


def _without_passes(
    model: nn.Module, stepper: torch.optim.Optimizer | None, tracker: Tracker
) -> Traced:
    if stepper is not None:
        tracker.kind = "gradients"
        for param in model.parameters():
            if param.requires_grad:
                param.grad = torch.zeros_like(param)
        _update(stepper, tracker)
    tracker.restart()
    return Traced(tracker.peak, _update(stepper, tracker), *_counts(model), None)


def _update(stepper: torch.optim.Optimizer | None, tracker: Tracker) -> Bytes:
    tracker.kind = "working"
    tracker.restart()
    if stepper is not None:
        stepper.step()
        tracker.see([list(state.values()) for state in stepper.state.values()], "optimizer")
    return tracker.peak


@contextmanager
def _tracking(*, real: bool, as_cuda: bool, block: int) -> Iterator[Tracker]:
    """Run operations without data, and follow them.

    Whatever fails in the user's code fails as one error with its reason.
    """
    try:
        with ExitStack() as stack:
            if as_cuda:
                stack.enter_context(as_on_cuda())
            if not real:
                stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
            yield stack.enter_context(Tracker(block))
    except GpukitError:
        raise
    except Exception as error:
        words = " ".join(str(error).split("\n")[0].split())[:300]
        if real:
            raise GpukitError(
                "fit-step", f"the step fails: {type(error).__name__}: {words}",
                "call the factory and run a step of it in Python; GPUKIT_DEBUG=1 shows where",
            ) from error  # fmt: skip
        raise GpukitError(
            "fit-trace",
            f"it cannot be traced without data: {type(error).__name__}: {words}",
            "--real makes the model and runs two steps on this CPU; GPUKIT_DEBUG=1 shows where",
        ) from error


def _made(
    factory: Factory, batch: int | None, weights: torch.dtype | None, tracker: Tracker
) -> Example:
    example = call_factory(factory, batch)
    inputs = (example.args, example.kwargs)
    if weights is not None:
        _convert(example.model, weights)
        inputs = tree_map(lambda leaf: _narrowed(leaf, weights), inputs)
    args, kwargs = inputs
    tracker.see(inputs, "activations")
    tracker.see([list(example.model.parameters()), list(example.model.buffers())], "parameters")
    return Example(example.model, args, kwargs, example.loss)


def _convert(model: nn.Module, dtype: torch.dtype) -> None:
    """Do what ``model.to(dtype)`` does; that cannot swap parameters without data."""
    done: dict[int, nn.Parameter] = {}  # tied weights stay one
    for module in model.modules():
        for name, param in module._parameters.items():
            if param is not None and param.is_floating_point():
                if id(param) not in done:
                    new = param.detach().to(dtype)
                    done[id(param)] = nn.Parameter(new, requires_grad=param.requires_grad)
                module._parameters[name] = done[id(param)]
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_floating_point():
                module._buffers[name] = buffer.to(dtype)


def _narrowed(leaf: Any, dtype: torch.dtype) -> Any:
    return leaf.to(dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def _call(example: Example) -> Any:
    return example.model(*(example.args or ()), **(example.kwargs or {}))


def _loss(example: Example, output: Any) -> Tensor:
    if example.loss is not None:
        return example.loss(output)
    found = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if isinstance(found, Tensor):
        return found
    parts = [x.mean() for x in tree_leaves(_plain(output)) if _has_gradient(x)]
    if not parts:
        raise GpukitError(
            "fit-no-gradient", "no output of the model has a gradient",
            "give a loss function as the third value of the factory, or use --inference",
        )  # fmt: skip
    total: Tensor = sum(parts[1:], parts[0])
    return total


def _plain(output: Any) -> Any:
    return dict(output) if isinstance(output, Mapping) else output


def _has_gradient(value: object) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _counts(model: nn.Module) -> tuple[int, int]:
    params = list(model.parameters())
    return sum(p.numel() for p in params), sum(p.numel() for p in params if p.requires_grad)
