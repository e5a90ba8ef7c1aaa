"""Examples for calibration and evaluation: rows that fit a model's inputs, and labels."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Column", "Examples", "Feeds", "Input", "rows_key"]

Array = npt.NDArray[Any]
Column = Array | list[Array]
Feeds = dict[str, Array]


@dataclass(frozen=True)
class Input:
    """An input of a model: its name, element type, and shape.

    A dimension that is open is None; the shape of an input of unknown rank is None.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    required: bool = True


@dataclass(frozen=True)
class Examples:
    """Rows for a model: a column for each input, constants that all rows share, and labels.

    A column is an array whose first axis counts the examples, or a list where examples differ in
    shape. ``ranks`` has the number of axes that the model wants, batch axis included; None where
    it says nothing.
    """

    columns: Mapping[str, Column]
    ranks: Mapping[str, int | None]
    constants: Feeds = field(default_factory=dict)
    labels: Column | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    @property
    def ragged(self) -> bool:
        """Whether examples differ in shape, so that they cannot share a batch."""
        return any(isinstance(column, list) for column in self.columns.values())

    @property
    def has_batch_axis(self) -> bool:
        """Whether every column gets its batch axis from us, so that rows can be put together."""
        return all(self._adds_axis(name) for name in self.columns)

    def _adds_axis(self, name: str) -> bool:
        rank = self.ranks[name]
        return rank is None or np.ndim(self.columns[name][0]) == rank - 1

    def feeds(self, rows: Sequence[int]) -> Feeds:
        """Return the inputs of one inference over ``rows``; several only with a batch axis."""
        made: Feeds = dict(self.constants)
        for name, column in self.columns.items():
            if self._adds_axis(name):
                made[name] = np.stack([np.asarray(column[i]) for i in rows])
            else:
                made[name] = np.asarray(column[rows[0]])
        return made

    def batches(self, rows: Sequence[int], size: int) -> Iterator[tuple[list[int], Feeds]]:
        """Yield rows and inputs, ``size`` at a time; the last one is filled up by repetition."""
        for start in range(0, len(rows), size):
            mine = list(rows[start : start + size])
            yield mine, self.feeds(mine + [mine[-1]] * (size - len(mine)))

    def keys(self) -> list[bytes]:
        """Return for each row a digest of its inputs."""
        return [
            rows_key([np.asarray(self.columns[name][i]) for name in sorted(self.columns)])
            for i in range(len(self))
        ]

    def take(self, rows: Sequence[int]) -> Examples:
        """Return the examples of ``rows``, in that order."""

        def of(column: Column) -> Column:
            return [column[i] for i in rows] if isinstance(column, list) else column[list(rows)]

        return replace(
            self, columns={name: of(column) for name, column in self.columns.items()},
            labels=None if self.labels is None else of(self.labels),
        )  # fmt: skip

    def save(self, folder: Path) -> Path:
        """Write the examples for another process of ours: large arrays are mapped, not copied."""
        folder.mkdir(parents=True)
        light: dict[str, Column | None] = {}
        for number, (name, column) in enumerate(self.columns.items()):
            if isinstance(column, list):
                light[name] = column
            else:
                light[name] = None
                np.save(folder / f"{number}.npy", column, allow_pickle=False)
        rest = replace(self, columns={})
        with (folder / "rest.pickle").open("wb") as file:
            pickle.dump((rest, light), file)
        return folder

    @classmethod
    def open(cls, folder: Path) -> Examples:
        """Read what :meth:`save` wrote."""
        with (folder / "rest.pickle").open("rb") as file:
            rest, light = pickle.load(file)
        columns = {
            name: np.load(folder / f"{number}.npy", mmap_mode="r") if column is None else column
            for number, (name, column) in enumerate(light.items())
        }
        made: Examples = replace(rest, columns=columns)
        return made


def rows_key(arrays: Sequence[Array]) -> bytes:
    """Return a digest of the arrays of one example, their types and shapes included."""
    total = hashlib.blake2b(digest_size=16)
    for array in arrays:
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.digest()
