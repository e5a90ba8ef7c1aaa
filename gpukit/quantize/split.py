"""Which examples are for what: calibration, validation, test; never one for two of them."""

from __future__ import annotations

import numpy as np

from gpukit.errors import UsageError

from .data import Examples

__all__ = ["halves", "without_overlap"]

_TOLERATED = 0.01


def without_overlap(
    kept: Examples, other: Examples, names: tuple[str, str]
) -> tuple[Examples, int]:
    """Return ``kept`` without the few examples that ``other`` has too, and how many these were.

    Args:
        kept: the examples to clean, such as those for evaluation.
        other: examples that must not be among them, such as those for calibration.
        names: how the person called the two.

    Raises:
        UsageError: more than one in a hundred is in both: that is no accident.
    """
    seen = set(other.keys())
    double = [i for i, key in enumerate(kept.keys()) if key in seen]
    if not double:
        return kept, 0
    if len(double) > _TOLERATED * min(len(kept), len(other)):
        raise UsageError(
            "data-overlap",
            f"{len(double)} of {len(kept)} examples of {names[0]} are in {names[1]} too",
            "an example that was used to choose must not be used to judge: split them first",
        )
    gone = set(double)
    return kept.take([i for i in range(len(kept)) if i not in gone]), len(double)


def halves(examples: Examples, seed: int) -> tuple[list[int], list[int]]:
    """Return the rows for validation and those for the test, in random order.

    Equal examples are on one side, one after the other.

    Raises:
        UsageError: fewer than two different examples.
    """
    groups: dict[bytes, list[int]] = {}
    for i, key in enumerate(examples.keys()):
        groups.setdefault(key, []).append(i)
    if len(groups) < 2:
        raise UsageError(
            "data-too-few", f"--eval has {len(groups)} different example",
            "one half chooses, the other judges: give a few hundred",
        )  # fmt: skip
    order = list(groups.values())
    random = np.random.default_rng(seed)
    shuffled = [order[i] for i in random.permutation(len(order))]
    first: list[int] = []
    second: list[int] = []
    for rows in shuffled:
        side = first if len(first) <= len(second) else second
        side.extend(rows)
    return first, second
