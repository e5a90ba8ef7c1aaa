"""Which ways to quantize are worth a try for a model, in which order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from .census import Census
from .storage import STORED_FROM

__all__ = ["FAMILIES", "Family", "Recipe", "recipes_for"]

Family = Literal["w8", "w16", "dynamic", "static", "int4", "int8", "fp16", "prune"]
FAMILIES: tuple[Family, ...] = ("w8", "w16", "dynamic", "static", "int4", "int8", "fp16", "prune")

_CORE = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_WIDE = (
    *_CORE, "Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "LeakyRelu",
    "MaxPool", "Mul", "Pad", "Relu", "Reshape", "Resize", "Sigmoid", "Split", "Squeeze",
    "Transpose", "Unsqueeze",
)  # fmt: skip
_SPARSITIES = (0.9, 0.8, 0.6)
_WORTH = 0.02  # part of the weights from which on an operator is worth a recipe of its own


@dataclass(frozen=True)
class Recipe:
    """A way to quantize; every one of them also stores the weights that are left in 8 bits.

    Args:
        name: how it is called in reports.
        family: what it is; the word of ``--recipe``.
        operators: the operators that are quantized.
        dynamic: operators that are quantized dynamically after the rest.
        calibration: how activation ranges are found, for static ones.
        bits: of the weights of MatMulNBits.
        excluded: names of nodes that stay in floating point; of weights stored in 16 bits, for w8.
        stored: bits in which remaining weights are stored.
        sparsity: part of the weights that is pruned before, 0 for none.
    """

    name: str
    family: Family
    operators: tuple[str, ...] = ()
    dynamic: tuple[str, ...] = ()
    calibration: Literal["MinMax", "Percentile", "Entropy"] | None = None
    bits: int = 8
    excluded: tuple[str, ...] = ()
    stored: Literal[8, 16] = 8
    sparsity: float = 0.0

    @property
    def fused(self) -> bool:
        """Whether it begins with the model whose attention blocks are one node each."""
        return "Attention" in self.operators

    def without(self, nodes: tuple[str, ...]) -> Recipe:
        """Return the same recipe with these nodes left in floating point."""
        what = "16-bit" if self.family == "w8" else "FP32"
        return replace(self, name=f"{self.name}, {len(nodes)} left {what}", excluded=nodes)


def recipes_for(
    census: Census, *, calibrated: bool, half: bool = False, fused: bool = False,
    families: frozenset[str] | None = None,
) -> list[Recipe]:  # fmt: skip
    """Return recipes for a model: the safe one first, then those that suit most of its weights.

    Args:
        census: what the model is made of.
        calibrated: whether there are examples for activation ranges.
        half: whether FP16 is what the others are compared with; then it is among them.
        families: only these; None for all that make sense.
        fused: whether there is a form of the model with its attention blocks as one node each.
    """
    if census.parameters < STORED_FROM:
        return []
    matmul = [op for op in ("MatMul", "Gemm") if census.operators.get(op)]
    conv = [op for op in ("Conv", "ConvTranspose") if census.operators.get(op)]
    gather = ["Gather"] if census.weights.get("Gather") else []
    lstm = ["LSTM"] if census.weights.get("LSTM") else []
    found: list[Recipe] = [
        Recipe("8-bit storage", "w8"), Recipe("16-bit storage", "w16", stored=16),
    ]  # fmt: skip
    dense = [Recipe(
        f"dynamic {'+'.join([*matmul, *gather])}", "dynamic", (*matmul, *gather)
    )] if matmul and census.share("MatMul", "Gemm", "Gather") > _WORTH else []  # fmt: skip
    if dense and fused:
        whole = ["Attention", *matmul, *gather]
        dense.insert(0, Recipe(f"dynamic {'+'.join(whole)}", "dynamic", tuple(whole)))
    if lstm:
        every = [*matmul, *gather, *lstm]
        dense.append(Recipe(f"dynamic {'+'.join(every)}", "dynamic", tuple(every)))
    static = _static(conv, matmul) if calibrated and (conv or matmul) else []
    heavy = census.share("Conv", "ConvTranspose") > census.share("MatMul", "Gemm", "Gather")
    found += [*static, *dense] if heavy else [*dense, *static]
    if calibrated and conv and matmul and min(
        census.share("Conv", "ConvTranspose"), census.share("MatMul", "Gemm")
    ) > _WORTH:  # fmt: skip
        found.append(Recipe(
            f"static {'+'.join(conv)}, dynamic {'+'.join([*matmul, *gather])}", "static",
            tuple(conv), (*matmul, *gather), calibration="MinMax",
        ))  # fmt: skip
    if census.operators.get("MatMul") and census.share("MatMul") > _WORTH:
        tail = "".join(f", 8-bit {op}" for op in gather)
        for bits in (4, 8):
            family: Family = "int4" if bits == 4 else "int8"
            found.append(Recipe(
                f"{bits}-bit MatMul{tail}", family, ("MatMul",), tuple(gather), bits=bits
            ))  # fmt: skip
    if list(families or ()) == ["prune"]:
        found = _pruned([r for r in found if r.family in ("w8", "static", "dynamic")])
    elif families is not None:
        found = [r for r in found if r.family in families]
    if (half or "fp16" in (families or ())) and not census.half:
        found.insert(0, Recipe("FP16", "fp16", stored=16))
    return found


def _pruned(recipes: list[Recipe]) -> list[Recipe]:
    """Return the recipes after pruning: of much, then of less."""
    once = [r for r in recipes if r.calibration in (None, "MinMax")]
    return [
        replace(r, name=f"{sparsity:.0%} pruned, {r.name}".replace("%", " %"), sparsity=sparsity)
        for sparsity in _SPARSITIES
        for r in once
    ]


def _static(conv: list[str], matmul: list[str]) -> list[Recipe]:
    core = (*conv, *matmul)
    name = f"static {'+'.join(core)}"
    found = [Recipe(f"{name}, min-max", "static", core, calibration="MinMax")]
    if conv:
        found.append(Recipe("static all operators, min-max", "static", _WIDE, calibration="MinMax"))
    found += [
        Recipe(f"{name}, percentile", "static", core, calibration="Percentile"),
        Recipe(f"{name}, entropy", "static", core, calibration="Entropy"),
    ]
    return found
