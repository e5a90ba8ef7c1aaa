"""Which sets of slices one card can hold, from the placements of each.

A set is a tuple of counts, one for each of the slices in question, in their order. Counting is
enough: two slices of the same profile are interchangeable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from gpukit.catalog.mig import MigCard, MigSlice

__all__ = ["Counts", "Geometries", "covers"]

Counts = tuple[int, ...]


def covers(large: Counts, small: Counts) -> bool:
    """Return whether ``large`` holds every slice of ``small``."""
    return all(a >= b for a, b in zip(large, small, strict=True))


class Geometries:
    """The sets of some slices that a card can hold.

    Args:
        card: the GPU.
        slices: the profiles in question, in the order of the counts; by default all of them.
    """

    def __init__(self, card: MigCard, slices: Sequence[MigSlice] | None = None) -> None:
        self.card = card
        self.slices = tuple(card.slices if slices is None else slices)
        self._roomiest: dict[Counts, Counts] = {}

    @cached_property
    def placements(self) -> dict[Counts, Counts]:
        """Every valid set that is not empty, to the starts of its slices, in their order."""
        found: dict[Counts, Counts] = {}
        for placed in self._place(0, 0, 0, False, ()):
            counts = [0] * len(self.slices)
            for index, _ in placed:
                counts[index] += 1
            starts = tuple(start for _, start in sorted(placed))
            found.setdefault(tuple(counts), starts)
        found.pop((0,) * len(self.slices), None)
        return found

    @cached_property
    def maximal(self) -> tuple[Counts, ...]:
        """The sets to which no slice can be added, the largest slices first."""
        found = [
            counts
            for counts in self.placements
            if not any(_with_one_more(counts, i) in self.placements for i in range(len(counts)))
        ]
        return tuple(sorted(found, reverse=True))

    def fits(self, counts: Counts) -> bool:
        """Return whether one card can hold this set."""
        return not any(counts) or counts in self.placements

    def roomiest(self, counts: Counts) -> Counts:
        """Return a set with ``counts`` in it that uses the card best, in the largest slices."""
        if counts not in self._roomiest:
            fuller = (full for full in self.placements if covers(full, counts))
            self._roomiest[counts] = max(fuller, key=self._fullness)
        return self._roomiest[counts]

    def _fullness(self, counts: Counts) -> tuple[int, int, int]:
        pairs = list(zip(counts, self.slices, strict=True))
        slots = sum(n * one.size for n, one in pairs)
        return slots, sum(n * one.compute for n, one in pairs), -sum(counts)

    def _place(
        self, slot: int, compute: int, media: int, extra: bool, placed: tuple[tuple[int, int], ...]
    ) -> Iterator[tuple[tuple[int, int], ...]]:
        """Yield every way to fill the axis from ``slot`` on, as (index of the slice, start)."""
        if slot >= self.card.slots:
            yield placed
            return
        for index, one in enumerate(self.slices):
            if (
                slot in one.starts
                and slot + one.size <= self.card.slots
                and compute + one.compute <= self.card.compute
                and (not self.card.media or media + one.media <= self.card.media)
                and not (extra and one.extra)
            ):
                yield from self._place(
                    slot + one.size, compute + one.compute, media + one.media,
                    extra or one.extra, (*placed, (index, slot)),
                )  # fmt: skip
        yield from self._place(slot + 1, compute, media, extra, placed)


def _with_one_more(counts: Counts, index: int) -> Counts:
    return (*counts[:index], counts[index] + 1, *counts[index + 1 :])
