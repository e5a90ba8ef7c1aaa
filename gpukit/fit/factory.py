"""The function that makes a model and a batch of its inputs, found by name and called."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from gpukit.errors import GpukitError, JobFileError, UsageError, did_you_mean
from gpukit.job import GpuJob
from gpukit.jobfile import import_file

__all__ = ["FACTORIES", "Example", "call_factory", "find_factory"]

FACTORIES = ("build_model", "make_model", "create_model", "get_model", "model_factory")
"""Names that are looked for where none is given."""

_RETURNS = "a factory returns model, (model, inputs) or (model, inputs, loss function)"


@dataclass(frozen=True)
class Example:
    """A model, and a batch to trace it with.

    Attributes:
        model: the module.
        args: positional inputs; None where the factory gave none.
        kwargs: inputs by name.
        loss: from the output to a scalar; None: its ``loss``, or the mean of what it returns.
    """

    model: nn.Module
    args: tuple[Any, ...] | None = None
    kwargs: Mapping[str, Any] | None = None
    loss: Callable[..., Tensor] | None = None

    @property
    def has_inputs(self) -> bool:
        """The factory gave a batch."""
        return self.args is not None or self.kwargs is not None

    @property
    def batch(self) -> int | None:
        """Samples in the batch: the first size of the first tensor; None without one."""
        leaves = tree_leaves((self.args or (), dict(self.kwargs or {})))
        sizes = (leaf.shape[0] for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim())
        return next(sizes, None)

    def resized(self, batch: int) -> Example:
        """Return it with a batch of another size: samples are repeated, or left out."""
        old = self.batch
        if not old or old == batch:
            return self

        def fit(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor) or not leaf.dim() or leaf.shape[0] != old:
                return leaf
            return torch.cat([leaf.detach()] * -(-batch // old))[:batch].clone()

        args, kwargs = tree_map(
            fit, (self.args, None if self.kwargs is None else dict(self.kwargs))
        )
        return replace(self, args=args, kwargs=kwargs)


def find_factory(target: str) -> Callable[..., object]:
    """Return the function that ``file.py::function``, ``file.py`` or ``module:function`` names.

    Raises:
        GpukitError: there is no such file, module or function.
    """
    where, colons, name = target.partition("::")
    if colons or where.endswith(".py"):
        module = import_file(Path(where))
        shown = where
    else:
        where, _, name = target.partition(":")
        module, shown = _import_module(where), where
    if not name:
        name = next((known for known in FACTORIES if hasattr(module, known)), "")
    found = getattr(module, name, None) if name else None
    if isinstance(found, GpuJob):
        raise JobFileError(
            "factory-is-job", f"{name} in {shown} is a job; it would be run, not measured",
            f"name the function that makes its model: gpukit fit {shown}::FUNCTION; {_RETURNS}",
        )  # fmt: skip
    if callable(found):
        function: Callable[..., object] = found
        return function
    own = sorted(
        key for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and key[0] != "_"
    )  # fmt: skip
    raise JobFileError(
        "factory-missing",
        f"{shown} has no function {name!r}" if name
        else f"{shown} has none of the functions {', '.join(FACTORIES)}",
        did_you_mean(name, own) if name and did_you_mean(name, own)
        else f"name the function that makes the model: gpukit fit {shown}::FUNCTION; {_RETURNS}"
        + (f"; it has: {', '.join(own)}" if own else ""),
    )  # fmt: skip


def _import_module(name: str) -> Any:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise JobFileError(
            "factory-module", f"the module {name!r} cannot be imported: {error}",
            "name a file as file.py::function, or a module that is installed or in this folder",
        ) from error  # fmt: skip


def call_factory(factory: Callable[..., object], batch: int | None) -> Example:
    """Call the factory, and take what it returns for a model with a batch of inputs.

    Args:
        factory: it may take ``batch_size``.
        batch: samples of a batch; None: as many as it gives.

    Raises:
        GpukitError: it needs other arguments, fails, or returns something else.
    """
    takes_batch = "batch_size" in _parameters(factory)
    given = {"batch_size": batch} if batch and takes_batch else {}
    example = _example(factory(**given), factory)
    return example.resized(batch) if batch and example.has_inputs else example


def _parameters(factory: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    found = inspect.signature(factory).parameters
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [
        name for name, one in found.items()
        if one.default is one.empty and one.kind not in kinds and name != "batch_size"
    ]  # fmt: skip
    if needed:
        raise UsageError(
            "factory-arguments", f"{_name(factory)} needs arguments: {', '.join(needed)}",
            "give them defaults; only batch_size is filled in",
        )  # fmt: skip
    return found


def _example(made: object, factory: Callable[..., object]) -> Example:
    parts = made if isinstance(made, tuple) else (made,)
    model = parts[0] if parts else None
    if not isinstance(model, nn.Module) or len(parts) > 3:
        kind = type(model).__name__ if len(parts) <= 3 else f"a tuple of {len(parts)}"
        raise GpukitError(
            "factory-result", f"{_name(factory)} returns {kind}, not a torch model", _RETURNS
        )
    loss = parts[2] if len(parts) > 2 else None
    if loss is not None and not callable(loss):
        raise GpukitError(
            "factory-result", f"{_name(factory)}: the loss is a {type(loss).__name__}", _RETURNS
        )
    inputs = parts[1] if len(parts) > 1 else None
    if inputs is None:
        inputs = getattr(model, "dummy_inputs", None)  # models of transformers have them
    if isinstance(inputs, Mapping):
        return Example(model, None, dict(inputs), loss)
    if inputs is None:
        return Example(model, loss=loss)
    return Example(model, tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,),
                   loss=loss)  # fmt: skip


def _name(factory: Callable[..., object]) -> str:
    return getattr(factory, "__name__", repr(factory))
