"""Distances between outputs: cosine, squared error, edit distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .data import Array

__all__ = ["cosine", "edits", "padded", "squared_error"]


def cosine(given: Mapping[str, Array], original: Mapping[str, Array]) -> Array:
    """Return for each example the cosine to the original: of the output that is farthest off.

    Outputs of classes or counts give the part that agrees. Two vectors of zeros agree.
    """
    rows = []
    for name, value in given.items():
        a, b = (x.reshape(len(x), -1) for x in padded(value, original[name]))
        if a.dtype.kind not in "fc":
            rows.append((a == b).mean(1) if a.shape[1] else np.ones(len(a)))
            continue
        a, b = a.astype(np.float64), b.astype(np.float64)
        norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        both_zero = ~a.any(axis=1) & ~b.any(axis=1)
        product = (a * b).sum(1)
        rows.append(np.where(both_zero, 1.0, product / np.where(norm > 0, norm, 1)))
    return np.asarray(np.min(rows, axis=0))[:, None]


def squared_error(given: Mapping[str, Array], original: Mapping[str, Array]) -> Array:
    """Return for each example the mean squared error against the original, over all outputs."""
    rows = []
    for name, value in given.items():
        a, b = (x.reshape(len(x), -1).astype(np.float64) for x in padded(value, original[name]))
        rows.append(np.square(a - b).mean(1) if a.shape[1] else np.zeros(len(a)))
    return np.asarray(np.mean(rows, axis=0))[:, None]


def padded(a: Array, b: Array) -> tuple[Array, Array]:
    """Return both arrays at their common size: a model may find more boxes than the other."""
    if a.shape == b.shape:
        return a, b
    size = np.maximum(a.shape, b.shape) if a.ndim == b.ndim else None
    if size is None:
        a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
        size = np.maximum(a.shape, b.shape)
    return tuple(  # type: ignore[return-value]
        np.pad(x, [(0, int(s) - n) for n, s in zip(x.shape, size, strict=True)]) for x in (a, b)
    )


def edits(a: Sequence[Any], b: Sequence[Any]) -> int:
    """Return the Levenshtein distance."""
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y)))
        last = row
    return last[-1]
