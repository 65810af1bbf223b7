"""Rows of integers of different lengths, stored in two flat arrays: the token ids of texts.

Here are also the types of the numpy arrays that the sentiment modules pass to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RaggedArray:
    """Rows of integers of different lengths, in two flat arrays.

    Attributes:
        values: the integers of all rows, one row after the other, (values,).
        bounds: where each row starts in `values`, and where the last row ends, (rows + 1,).
    """

    values: npt.NDArray[np.integer]
    bounds: Ints

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[int]]) -> Self:
        """Builds the array from a list of rows."""
        bounds = bounds_from_lengths(np.fromiter(map(len, rows), np.int64, len(rows)))
        values = (value for row in rows for value in row)
        return cls(np.fromiter(values, np.int64, int(bounds[-1])), bounds)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @cached_property
    def lengths(self) -> Ints:
        """Number of values in each row, (rows,)."""
        return np.diff(self.bounds)

    def take(self, indices: npt.NDArray[np.integer]) -> RaggedArray:
        """Selects the rows at these indices, in their order."""
        return self._gather(self.bounds[:-1][indices], self.lengths[indices])

    def truncate(self, max_length: int) -> RaggedArray:
        """Cuts every row to its first `max_length` values."""
        if not len(self) or self.lengths.max() <= max_length:
            return self
        return self._gather(self.bounds[:-1], np.minimum(self.lengths, max_length))

    def fill_empty(self, value: int) -> RaggedArray:
        """Puts one `value` into each row that is empty; other rows stay."""
        empty = self.lengths == 0
        if not empty.any():
            return self
        bounds = bounds_from_lengths(np.where(empty, 1, self.lengths))
        values = np.full(int(bounds[-1]), value, self.values.dtype)
        values[np.repeat(~empty, np.diff(bounds))] = self.values
        return RaggedArray(values, bounds)

    def expand(self, replacements: RaggedArray) -> RaggedArray:
        """Replaces every value v by row v of `replacements`; rows grow or shrink accordingly."""
        lengths = replacements.lengths[self.values]
        expanded = replacements.take(self.values)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return RaggedArray(expanded.values, offsets[self.bounds])

    def tolist(self) -> list[list[int]]:
        """Converts the rows to lists of integers."""
        values, bounds = self.values.tolist(), self.bounds.tolist()
        return [values[start:stop] for start, stop in pairwise(bounds)]

    def _gather(self, starts: Ints, lengths: Ints) -> RaggedArray:
        """Rows of these lengths, each from its start in `values`."""
        bounds = bounds_from_lengths(lengths)
        indices = np.arange(int(bounds[-1])) + np.repeat(starts - bounds[:-1], lengths)
        return RaggedArray(self.values[indices], bounds)


def bounds_from_lengths(lengths: Ints) -> Ints:
    """Start of each row of these lengths in a flat array, and the end of the last, (rows + 1,)."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
