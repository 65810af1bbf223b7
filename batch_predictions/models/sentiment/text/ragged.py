"""Rows of numbers of different lengths, in two arrays: what texts become before they are padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

Places: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RaggedArray:
    """Rows of numbers.

    Attributes:
        values: all numbers, row after row, (numbers,).
        bounds: numbers before each row, and in all, (rows + 1,).
    """

    values: npt.NDArray[np.integer]
    bounds: Places

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Self:
        """Rows of lists."""
        bounds = bounds_of(np.fromiter(map(len, rows), np.int64, len(rows)))
        flat = (each for row in rows for each in row)
        return cls(np.fromiter(flat, np.int64, int(bounds[-1])), bounds)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @cached_property
    def lengths(self) -> Places:
        """Numbers of every row, (rows,)."""
        return np.diff(self.bounds)

    def take(self, places: npt.NDArray[np.integer]) -> RaggedArray:
        """The rows at some places."""
        return self._spans(self.bounds[:-1][places], self.lengths[places])

    def cut(self, longest: int) -> RaggedArray:
        """Rows of which no more than the first `longest` numbers are left."""
        if not len(self) or self.lengths.max() <= longest:
            return self
        return self._spans(self.bounds[:-1], np.minimum(self.lengths, longest))

    def filled(self, value: int) -> RaggedArray:
        """Rows of which the empty ones have this one number."""
        empty = self.lengths == 0
        if not empty.any():
            return self
        bounds = bounds_of(np.where(empty, 1, self.lengths))
        values = np.full(int(bounds[-1]), value, self.values.dtype)
        values[np.repeat(~empty, np.diff(bounds))] = self.values
        return RaggedArray(values, bounds)

    def replaced(self, by: RaggedArray) -> RaggedArray:
        """Every number replaced by the row of `by` at that place."""
        lengths = by.lengths[self.values]
        inner = by.take(self.values)
        before = np.concatenate([[0], np.cumsum(lengths)])
        return RaggedArray(inner.values, before[self.bounds])

    def tolist(self) -> list[list[int]]:
        """Lists of the rows."""
        flat, ends = self.values.tolist(), self.bounds.tolist()
        return [flat[a:b] for a, b in pairwise(ends)]

    def _spans(self, first: Places, lengths: Places) -> RaggedArray:
        bounds = bounds_of(lengths)
        at = np.arange(int(bounds[-1])) + np.repeat(first - bounds[:-1], lengths)
        return RaggedArray(self.values[at], bounds)


def bounds_of(lengths: Places) -> Places:
    """Where rows of these lengths begin, and where the last one ends, (rows + 1,)."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
