"""From what was asked to what is needed: the parts, and how the need grows with the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from gpukit.finops.fit import CONTEXT, WORKSPACE, Need, Part, need_of

from .optimizers import OPTIMIZERS
from .training import Traced, trace_inference, trace_training

__all__ = ["Asked", "Estimate", "estimate_model", "with_batches"]

Factory = Callable[..., object]

_GROWTH = 4
_MOST_TRACES = 10

_WORDS = {
    "parameters": "parameters", "gradients": "gradients", "optimizer": "optimizer state",
    "activations": "activations", "working": "working memory",
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """How the model is to run; see the options of ``gpukit fit``."""

    batch: int | None = None
    optimizer: str = "adamw"
    precision: str = "fp32"
    inference: bool = False
    accumulate: bool = False
    real: bool = False
    headroom: Fraction = Fraction(1, 10)


@dataclass(frozen=True)
class Estimate:
    """What a model needs.

    Attributes:
        need: in all, at the larger of the two peaks.
        traced: what one step allocates.
        each: bytes that one more sample of the batch takes; None: unknown.
        points: batches and the bytes of tensors at their peak, ascending; empty: unknown.
        headroom: of the tensors.
    """

    need: Need
    traced: Traced
    each: int | None
    points: tuple[tuple[int, int], ...]
    headroom: Fraction

    def largest(self, memory: int) -> int | None:
        """Return the largest batch whose need is at most that memory; None where unknown.

        Peaks are the largest of several that grow evenly, so a line between two batches is never
        below the truth; beyond the largest batch that was traced nothing is said but that one.
        """
        if not self.points:
            return None
        tensors = int((memory - CONTEXT - WORKSPACE) / (1 + self.headroom))
        first, least = self.points[0]
        if tensors < least:
            return None if first > 1 else 0
        for (low, below), (high, above) in pairwise(self.points):
            if tensors < above:
                return low + (high - low) * (tensors - below) // max(above - below, 1)
        return self.points[-1][0]


def estimate_model(factory: Factory, asked: Asked) -> Estimate:
    """Trace a model, and add up.

    Raises:
        GpukitError: it cannot be made or traced.
    """
    traced = _trace(factory, asked, asked.batch)
    need = need_of(_parts(traced, _peak(traced)[1], asked), asked.headroom)
    return Estimate(need, traced, None, (), asked.headroom)


def with_batches(found: Estimate, factory: Factory, asked: Asked, most: int) -> Estimate:
    """Return the estimate with what is known of other batches: up to ``most`` bytes of tensors.

    Not where the steps are run for real, which takes as long and as much memory as they do.
    """
    batch = found.traced.batch
    if batch is None or asked.real:
        return found
    points = [(batch, _peak(found.traced)[0])]
    if batch > 1:
        points.insert(0, (1, _peak(_trace(factory, asked, 1))[0]))
    while points[-1][1] < most and len(points) < _MOST_TRACES:
        batch = points[-1][0] * _GROWTH
        points.append((batch, _peak(_trace(factory, asked, batch))[0]))
        if points[-1][1] == points[-2][1]:
            return found  # it does not grow with the batch
    each = None
    if len(points) > 1:
        (low, below), (high, above) = points[-2:]
        each = (above - below) // (high - low)
    return replace(found, each=each, points=tuple(points))


def _peak(traced: Traced) -> tuple[int, Literal["passes", "update"]]:
    passes, update = sum(traced.step.values()), sum(traced.update.values())
    return (update, "update") if update > passes else (passes, "passes")


def _trace(factory: Factory, asked: Asked, batch: int | None) -> Traced:
    if asked.inference:
        return trace_inference(factory, batch=batch, precision=asked.precision, real=asked.real)
    return trace_training(
        factory, batch=batch, optimizer=asked.optimizer, precision=asked.precision,
        accumulate=asked.accumulate, real=asked.real,
    )  # fmt: skip


def _parts(traced: Traced, moment: str, asked: Asked) -> list[Part]:
    found = traced.update if moment == "update" else traced.step
    when = "when the optimizer steps" if moment == "update" else "in the passes"
    frozen = traced.parameters - traced.trained
    count = f"{traced.parameters / 1e6:.1f} M" + (f", {frozen / 1e6:.1f} M frozen" * bool(frozen))
    why = {
        "parameters": f"{count}, and buffers; {asked.precision}",
        "gradients": f"those that are there at the peak, {when}",
        "optimizer": f"{asked.optimizer}: {OPTIMIZERS[asked.optimizer][1]}",
        "activations": f"batch of {traced.batch}, and what is kept for the backward pass"
        if not asked.inference else f"batch of {traced.batch}",
        "working": f"of the backward pass or the optimizer, {when}",
    }  # fmt: skip
    parts = []
    for kind, size in found.items():
        if asked.inference and kind not in ("parameters", "activations"):
            continue
        if kind == "activations" and traced.batch is None:
            parts.append(Part(_WORDS[kind], None, "unknown: the factory gives no inputs"))
        else:
            parts.append(Part(_WORDS[kind], size, why[kind]))
    return parts
