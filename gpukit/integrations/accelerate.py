"""The Checkpointer for a loop written with Accelerate.

::

    from gpukit.integrations.accelerate import checkpointer

    model, optimizer, scheduler, loader = accelerator.prepare(model, optimizer, scheduler, loader)
    ckpt = checkpointer(accelerator, model=model, optimizer=optimizer, scheduler=scheduler)
    for epoch in ckpt.epochs(epochs):
        for batch in ckpt.batches(loader):
            with accelerator.accumulate(model):
                ...

What ``prepare`` wrapped is unwrapped, and where Accelerate is in the accumulation of gradients is
kept too, so that a run may be interrupted between two of its batches. The prepared loader loads a
batch ahead: augmentation that draws random numbers in the main process is not exact, and after a
resume the batches of the epoch that are done are loaded again and dropped.
"""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.scheduler import AcceleratedScheduler

from gpukit.runtime.checkpoint import Checkpointer

__all__ = ["checkpointer"]


def checkpointer(accelerator: Accelerator, *, model: Any, **options: Any) -> Checkpointer:
    """Return a Checkpointer over prepared objects; it restores if there is something to restore.

    Args:
        accelerator: that prepared them.
        model: the model.
        options: as for :class:`gpukit.Checkpointer`: ``optimizer``, ``scheduler``, ``every``, …

    Raises:
        CheckpointError: as :class:`gpukit.Checkpointer` does.
    """
    if accelerator.scaler is not None:
        options.setdefault("scaler", accelerator.scaler)
    inner = {name: _unwrapped(value) for name, value in options.items()}
    return Checkpointer(
        model=accelerator.unwrap_model(model), accelerator=_Accumulation(accelerator), **inner
    )


def _unwrapped(value: Any) -> Any:
    if isinstance(value, AcceleratedOptimizer):
        return value.optimizer
    return value.scheduler if isinstance(value, AcceleratedScheduler) else value


class _Accumulation:
    """How many batches Accelerate has counted towards the next step of the optimizer."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator

    def state_dict(self) -> dict[str, int]:
        """Return the count."""
        return {"step": self._accelerator.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on counting."""
        self._accelerator.step = state["step"]
