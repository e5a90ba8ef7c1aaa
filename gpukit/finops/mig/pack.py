"""The fewest cards for a number of slices of each profile: exact, by branch and bound.

This is the cutting-stock problem with few kinds of items and few patterns: a card with seven
compute slices has 28 geometries to which nothing can be added. The linear relaxation is almost
always tight. Its whole part is taken over, the small rest is searched; only where that finds
nothing at the bound is the whole problem searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, lcm

from .bound import relax
from .geometry import Counts, covers

__all__ = ["Packing", "pack"]

_MOST_NODES = 20_000
_MOST_DEPTH = 400
_SLACKS = (0, 1, 3)


@dataclass(frozen=True)
class Packing:
    """Cards that hold a demand.

    Attributes:
        cards: for each card, how many slices of each profile; together exactly the demand.
        bound: no fewer cards can do.
    """

    cards: tuple[Counts, ...]
    bound: int

    @property
    def proven(self) -> bool:
        """Whether fewer cards are proven to be impossible."""
        return len(self.cards) == self.bound


def pack(demand: Sequence[int], patterns: Sequence[Counts], *, nodes: int = _MOST_NODES) -> Packing:
    """Return the fewest cards.

    Args:
        demand: how many slices of each profile, the largest profiles first.
        patterns: what one card can hold; subsets of a pattern are meant with it.
        nodes: how long to look for a proof where the bound is not reached, in nodes.

    Raises:
        ValueError: no pattern holds one of the profiles.
    """
    wanted = tuple(demand)
    missing = [i for i, d in enumerate(wanted) if d and not any(p[i] for p in patterns)]
    if missing:
        raise ValueError(f"no pattern holds slice {missing[0]}")
    if not any(wanted):
        return Packing((), 0)
    relaxation = relax(patterns, wanted)
    search = _Search(patterns, nodes)
    search.add_weights(relaxation.weights)
    bound = cards = search.bound(wanted)
    best: list[Counts] | None = None
    while best is None or cards < len(best):
        found, exhausted = _with_cards(wanted, cards, patterns, relaxation.cards, search)
        if found is not None:
            return Packing(_trimmed(found, wanted), bound)
        if exhausted and bound == cards:
            bound += 1
        cards += 1
        best = best or _rounded(wanted, patterns, relaxation.cards, search)
    return Packing(_trimmed(best, wanted), bound)


def _rounded(
    demand: Counts, patterns: Sequence[Counts], shares: Sequence[Fraction], search: _Search
) -> list[Counts]:
    """Return cards that hold the demand: the whole part of the relaxation, and a greedy rest."""
    kept = _whole_part(patterns, shares, 0)
    return kept + search.greedy(_without(demand, kept))


def _whole_part(patterns: Sequence[Counts], shares: Sequence[Fraction], slack: int) -> list[Counts]:
    times = [max(0, floor(share) - slack) for share in shares]
    return [p for p, n in zip(patterns, times, strict=True) for _ in range(n)]


def _with_cards(
    demand: Counts, cards: int, patterns: Sequence[Counts], shares: Sequence[Fraction],
    search: _Search,
) -> tuple[list[Counts] | None, bool]:  # fmt: skip
    """Return patterns for ``cards`` cards; else None, and whether there are none."""
    for slack in _SLACKS:
        kept = _whole_part(patterns, shares, slack)
        rest = _without(demand, kept)
        found = search.find(rest, cards - len(kept))
        if found is not None:
            return kept + found, True
        if not kept:
            return None, not search.gave_up
    if cards > _MOST_DEPTH:
        return None, False
    found = search.find(demand, cards)
    return found, not search.gave_up


def _without(demand: Counts, cards: Sequence[Counts]) -> Counts:
    return tuple(max(0, d - sum(card[i] for card in cards)) for i, d in enumerate(demand))


def _trimmed(cards: Sequence[Counts], demand: Counts) -> tuple[Counts, ...]:
    """Take from each card what is not asked for any more, from full cards to less full ones."""
    left, found = demand, []
    for card in sorted(cards, reverse=True):
        used = tuple(map(min, card, left))
        left = tuple(a - b for a, b in zip(left, used, strict=True))
        found.append(used)
    return tuple(sorted(found, reverse=True))


class _Search:
    """Depth-first search for a cover of a demand with a number of cards."""

    def __init__(self, patterns: Sequence[Counts], nodes: int) -> None:
        self._patterns = patterns
        self._nodes = nodes
        self._left = 0
        self._weights: list[tuple[tuple[int, ...], int]] = []
        self._failed: dict[Counts, int] = {}
        self.gave_up = False

    def add_weights(self, weights: Sequence[Fraction]) -> None:
        """Use these weights for bounds, in whole numbers."""
        scale = lcm(*(weight.denominator for weight in weights))
        self._weights.append((tuple(int(weight * scale) for weight in weights), scale))

    def bound(self, demand: Counts) -> int:
        """Return the number of cards that no packing of ``demand`` can go below."""
        return max(
            ceil(Fraction(sum(w * d for w, d in zip(weights, demand, strict=True)), scale))
            for weights, scale in self._weights
        )

    def find(self, demand: Counts, cards: int) -> list[Counts] | None:
        """Return at most ``cards`` patterns that cover ``demand``, or None.

        ``gave_up`` says whether None means that they were not found within the limit.
        """
        self._left = self._nodes
        found = self._cover(demand, cards)
        self.gave_up = found is None and self._left <= 0
        return found

    def greedy(self, demand: Counts) -> list[Counts]:
        """Return patterns that cover ``demand``, each the heaviest for what is left."""
        found = []
        while any(demand):
            found.append(self._choices(demand)[0])
            demand = _without(demand, found[-1:])
        return found

    def _cover(self, demand: Counts, cards: int) -> list[Counts] | None:
        if not any(demand):
            return []
        if self._failed.get(demand, -1) >= cards or self._hopeless(demand, cards):
            return None
        self._left -= 1
        if self._left <= 0:
            return None
        for card in self._choices(demand):
            rest = tuple(d - c for d, c in zip(demand, card, strict=True))
            found = self._cover(rest, cards - 1)
            if found is not None:
                return [card, *found]
        if self._left > 0:
            self._failed[demand] = cards
        return None

    def _hopeless(self, demand: Counts, cards: int) -> bool:
        if cards <= 0 or self.bound(demand) > cards:
            return True
        weights = relax(self._patterns, demand).weights
        if ceil(sum(w * d for w, d in zip(weights, demand, strict=True))) > cards:
            self.add_weights(weights)
            return True
        return False

    def _choices(self, demand: Counts) -> list[Counts]:
        """Return what a card can take of ``demand``, all of which holds its largest slice.

        Some card holds that slice, and it may as well be this one; taking more never hurts.
        """
        first = next(i for i, d in enumerate(demand) if d)
        taken = {tuple(map(min, pattern, demand)) for pattern in self._patterns if pattern[first]}
        best = [t for t in taken if not any(o != t and covers(o, t) for o in taken)]
        weights, _ = self._weights[0]
        return sorted(
            best,
            key=lambda t: (sum(w * n for w, n in zip(weights, t, strict=True)), t),
            reverse=True,
        )
