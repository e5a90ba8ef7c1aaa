"""The fewest cards that could do, by linear programming in exact numbers.

With x cards of each geometry, the fewest cards that hold ``demand`` is an integer program. Its
relaxation is solved here by the simplex method on the dual: weights of the slices, such that no
geometry weighs more than 1, that make the demand weigh the most. Any such weights bound the number
of cards from below, for this demand and for every other (Gilmore and Gomory, "A Linear Programming
Approach to the Cutting-Stock Problem", 1961).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Relaxation", "relax"]


@dataclass(frozen=True)
class Relaxation:
    """The optimum of the linear program.

    Attributes:
        weights: of each slice; no geometry weighs more than 1.
        cards: how many of each geometry, in fractions; together as many as the demand weighs.
    """

    weights: tuple[Fraction, ...]
    cards: tuple[Fraction, ...]


def relax(patterns: Sequence[Sequence[int]], demand: Sequence[int]) -> Relaxation:
    """Return the optimum for a demand; every slice of it is in one of the patterns.

    Bland's rule chooses the pivots, so that it ends.
    """
    rows, columns = len(patterns), len(demand)
    table = [
        [
            *map(Fraction, pattern),
            *(Fraction(i == j) for j in range(rows)),
            Fraction(1),
        ]
        for i, pattern in enumerate(patterns)
    ]
    costs = [*(Fraction(-d) for d in demand), *[Fraction(0)] * (rows + 1)]
    basis = list(range(columns, columns + rows))
    while (enter := next((j for j, cost in enumerate(costs[:-1]) if cost < 0), None)) is not None:
        ratios = [
            (row[-1] / row[enter], basis[i], i) for i, row in enumerate(table) if row[enter] > 0
        ]
        leave = min(ratios)[2]
        _pivot(table, costs, leave, enter)
        basis[leave] = enter
    weights = [Fraction(0)] * (columns + rows)
    for i, variable in enumerate(basis):
        weights[variable] = table[i][-1]
    return Relaxation(tuple(weights[:columns]), tuple(costs[columns:-1]))


def _pivot(table: list[list[Fraction]], costs: list[Fraction], row: int, column: int) -> None:
    pivot = table[row][column]
    table[row] = [value / pivot if value else value for value in table[row]]
    used = [j for j, value in enumerate(table[row]) if value]
    for line in [*table[:row], *table[row + 1 :], costs]:
        factor = line[column]
        if factor:
            for j in used:
                line[j] -= factor * table[row][j]
