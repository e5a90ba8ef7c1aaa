"""The objects whose state a checkpoint holds: models, optimizers, schedulers, generators.

Anything with ``state_dict`` and ``load_state_dict`` will do; torch and numpy generators and
``random.Random`` are known too.
"""

from __future__ import annotations

import random
import sys
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gpukit.errors import CheckpointError

from .codec import Mark, mark_of
from .engine import Engine, Stable

if TYPE_CHECKING:
    import torch

__all__ = ["ModelChangedError", "Registry"]

_SHOWN = 6


class ModelChangedError(CheckpointError):
    """The checkpoint belongs to another model or optimizer."""

    permanent = True


class Registry:
    """The named objects of a Checkpointer.

    Args:
        objects: by name; None is left out.

    Raises:
        CheckpointError: an object that has no state to keep.
    """

    def __init__(self, objects: dict[str, Any]) -> None:
        self._objects = {name: value for name, value in objects.items() if value is not None}
        for name, value in self._objects.items():
            if not (_has_state(value) or _is_generator(value)):
                raise CheckpointError(
                    "object-without-state",
                    f"{name} is a {type(value).__name__}, which has no state_dict",
                    "give it state_dict() and load_state_dict(), or leave it out",
                )
        self._optimizers = _optimizers(self._objects)
        self._steps = _Steps(list(self._optimizers.values()))

    def capture(self) -> dict[str, Any]:
        """Return the state of all objects."""
        return {name: _state_of(value) for name, value in self._objects.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Put every object back.

        Raises:
            ModelChangedError: objects, tensors or shapes differ from the checkpoint's.
        """
        if set(state) != set(self._objects):
            mine, saved = set(self._objects), set(state)
            raise _changed(sorted(mine - saved), sorted(saved - mine), [])
        for name, value in self._objects.items():
            _load(name, value, state[name])
            if name in self._optimizers:  # else a scheduler warns that no step came first
                value._opt_called = True

    def live_gradients(self) -> dict[str, Any]:
        """Return the gradients that the next optimizer step needs; none after such a step.

        In the middle of an accumulation the gradients are part of the state of training.
        """
        if self._steps.consumed():
            return {}
        return {
            f"{name}.{key}": parameter.grad
            for name, key, parameter in self._parameters()
            if parameter.grad is not None
        }

    def restore_gradients(self, gradients: dict[str, Any]) -> None:
        """Put back what :meth:`live_gradients` returned."""
        for name, key, parameter in self._parameters():
            saved = gradients.get(f"{name}.{key}")
            if saved is not None:
                parameter.grad = saved.to(parameter.device, parameter.dtype)

    def targets(self, path: str) -> dict[str, torch.Tensor]:
        """Return the live tensors of all modules by their path in the captured state.

        A checkpoint is read straight into them; they are the parameters themselves, so that
        ``load_state_dict`` finds nothing left to copy.
        """
        torch = sys.modules.get("torch")
        found: dict[str, Any] = {}
        for name, value in self._objects.items():
            if torch is not None and isinstance(value, torch.nn.Module):
                for key, tensor in value.state_dict(keep_vars=True).items():
                    if isinstance(tensor, torch.Tensor):
                        found[f".{path}.{name}.{key}"] = tensor
        return found

    def stable(self) -> Stable:
        """Return which tensors only an optimizer's step changes, and which nothing does."""
        settled: set[int] = set()
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                settled.update(p.data_ptr() for p in group["params"] if p.requires_grad)
            for values in optimizer.state.values():
                settled.update(v.data_ptr() for v in values.values() if hasattr(v, "data_ptr"))
        frozen = {p.data_ptr() for _, _, p in self._parameters() if not p.requires_grad}
        return Stable(settled, frozen)

    def replicated(self) -> set[Mark]:
        """Return marks of all parameters, and of what the optimizers know of them."""
        tensors = [p for _, _, p in self._parameters()]
        for optimizer in self._optimizers.values():
            for values in optimizer.state.values():
                tensors += [v for v in values.values() if _is_tensor(v)]
        return {mark_of(tensor) for tensor in tensors}

    @property
    def wrapped(self) -> bool:
        """A model is wrapped in DistributedDataParallel."""
        return any(
            type(module).__name__ == "DistributedDataParallel"
            for value in self._objects.values()
            if hasattr(value, "named_parameters")
            for module in value.modules()
        )

    def before_steps(self, engine: Engine) -> None:
        """Have every optimizer's step wait until the engine lets tensors be changed."""
        if not self._optimizers:
            return
        from torch.optim.optimizer import register_optimizer_step_pre_hook

        reference = weakref.ref(engine)

        def wait(*_: object) -> None:
            found = reference()
            if found is not None:
                found.barrier()

        hook = register_optimizer_step_pre_hook(wait)
        weakref.finalize(engine, hook.remove)

    def expected_bytes(self, *, replicated: bool = False) -> int:
        """Estimate how large the state will be, before the optimizers have made theirs.

        Some more than that: an arena that is too small by a header is made anew at the first save.

        Args:
            replicated: without what :meth:`replicated` tells of.
        """
        elsewhere = self.replicated() if replicated else ()
        live = (t for t in self.targets("").values() if mark_of(t) not in elsewhere)
        weights = sum(map(_size, live))
        moments = 0
        for optimizer in () if replicated else self._optimizers.values():
            known = sum(
                _size(v)
                for s in optimizer.state.values()
                for v in s.values()
                if hasattr(v, "numel")
            )
            each = 2 if "betas" in optimizer.defaults else int("momentum" in optimizer.defaults)
            parameters = (p for group in optimizer.param_groups for p in group["params"])
            moments += known or each * sum(_size(p) for p in parameters if p.requires_grad)
        return int((weights + moments) * 1.01) + (1 << 20)

    def _parameters(self) -> Iterator[tuple[str, str, torch.nn.Parameter]]:
        for name, value in self._objects.items():
            if hasattr(value, "named_parameters"):
                for key, parameter in value.named_parameters():
                    yield name, key, parameter


class _Steps:
    """Tells whether gradients have changed since the optimizers last stepped.

    One gradient of each optimizer stands for all: after a step it is the same tensor at the same
    version, or gone, until the next backward pass.
    """

    def __init__(self, optimizers: list[torch.optim.Optimizer]) -> None:
        self._seen: dict[int, tuple[weakref.ref[Any], int] | None] = {}
        self._optimizers = optimizers
        for optimizer in optimizers:
            optimizer.register_step_post_hook(self._after_step)

    def _after_step(self, optimizer: Any, *_: object) -> None:
        grad = _first_gradient(optimizer)
        self._seen[id(optimizer)] = grad if grad is None else (weakref.ref(grad), grad._version)

    def consumed(self) -> bool:
        """Tell whether every optimizer has used the gradients that are there."""
        return bool(self._optimizers) and all(map(self._consumed, self._optimizers))

    def _consumed(self, optimizer: torch.optim.Optimizer) -> bool:
        grad = _first_gradient(optimizer)
        if grad is None:
            return True
        seen, version = self._seen.get(id(optimizer)), grad._version
        return seen is not None and seen[0]() is grad and seen[1] == version


def _first_gradient(optimizer: Any) -> Any:
    parameters: Iterator[Any] = (p for group in optimizer.param_groups for p in group["params"])
    return next((p.grad for p in parameters if p.grad is not None), None)


def _size(tensor: Any) -> int:
    return int(tensor.numel() * tensor.element_size())


def _optimizers(objects: dict[str, Any]) -> dict[str, torch.optim.Optimizer]:
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    return {k: v for k, v in objects.items() if isinstance(v, torch.optim.Optimizer)}


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _has_state(value: Any) -> bool:
    return hasattr(value, "state_dict") and hasattr(value, "load_state_dict")


def _is_generator(value: Any) -> bool:
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    return (
        isinstance(value, random.Random)
        or (torch is not None and isinstance(value, torch.Generator))
        or (numpy is not None and isinstance(value, numpy.random.Generator))
    )


def _state_of(value: Any) -> Any:
    if _has_state(value):
        return value.state_dict()
    if isinstance(value, random.Random):
        return value.getstate()
    if hasattr(value, "bit_generator"):
        return value.bit_generator.state
    return value.get_state()


def _load(name: str, value: Any, state: Any) -> None:
    if isinstance(value, random.Random):
        value.setstate(state)
    elif not _has_state(value):
        if hasattr(value, "bit_generator"):
            value.bit_generator.state = state
        else:
            value.set_state(state)
    else:
        _load_state_dict(name, value, state)


def _load_state_dict(name: str, value: Any, state: Any) -> None:
    if hasattr(value, "named_parameters"):
        _compare(name, value.state_dict(), state)
    try:
        value.load_state_dict(state)
    except (ValueError, RuntimeError, KeyError) as error:
        raise ModelChangedError(
            "model-changed",
            f"the checkpoint's {name} does not fit this one: {error}",
            "go back to the code that wrote the checkpoint, or start over with --fresh",
        ) from None


def _compare(name: str, mine: dict[str, Any], saved: dict[str, Any]) -> None:
    missing = [f"{name}.{k}" for k in mine if k not in saved]
    extra = [f"{name}.{k}" for k in saved if k not in mine]
    shapes = [
        f"{name}.{k} is {tuple(mine[k].shape)} here and {tuple(saved[k].shape)} there"
        for k in mine
        if k in saved
        and hasattr(mine[k], "shape")
        and hasattr(saved[k], "shape")
        and mine[k].shape != saved[k].shape
    ]
    if missing or extra or shapes:
        raise _changed(missing, extra, shapes)


def _changed(missing: list[str], extra: list[str], shapes: list[str]) -> ModelChangedError:
    parts = []
    kinds = (("not in it", missing), ("only in it", extra), ("of another shape", shapes))
    for what, names in kinds:
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            parts.append(f"{what}: {', '.join(names[:_SHOWN])}{more}")
    return ModelChangedError(
        "model-changed",
        f"the checkpoint does not fit this job's objects ({'; '.join(parts)})",
        "go back to the code that wrote the checkpoint, or start over with --fresh",
    )
