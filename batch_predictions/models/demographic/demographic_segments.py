"""Segments of users by age bracket, gender and location: their users, and what these took."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.recommender.data.interactions import Codes, encode_ids
from batch_predictions.tables import SEGMENT_LEVELS as LEVELS
from batch_predictions.tables import TRAITS

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

UNKNOWN = "unknown"
EVERYONE = "everyone"

PARENTS: dict[str, str] = {
    "age_gender_location": "age_location",
    "age_location": "age",
    "age_gender": "age",
    "gender_location": "location",
    "age": EVERYONE,
    "location": EVERYONE,
    "gender": EVERYONE,
}
"""The coarser level whose shares a level's counts are shrunk to."""

Segment: TypeAlias = tuple[str | None, str | None, str | None]
"""Age bracket, gender, location; None outside the segment's level."""

Leaf: TypeAlias = tuple[str, str, str]
"""Age bracket, gender and location of a user; `unknown` where a trait is not known."""

ALL: Segment = (None, None, None)


def segment_of(level: str, leaf: Sequence[str | None]) -> Segment:
    """Returns the segment of a leaf at a level."""
    age, gender, location = (
        value if trait in LEVELS[level] else None for trait, value in zip(TRAITS, leaf, strict=True)
    )
    return age, gender, location


def encode_leaves(table: pa.Table) -> tuple[list[Leaf], Codes]:
    """The sorted distinct leaves of the rows, and each row's position among them.

    A trait that is null or empty is `unknown`.
    """
    distinct, codes = [], []
    for trait in TRAITS:
        column = pc.cast(table[trait], pa.string())
        column = pc.if_else(pc.equal(column, ""), UNKNOWN, column).fill_null(UNKNOWN)
        values, code = encode_ids(column)
        distinct.append(values.to_pylist())
        codes.append(code)
    shape = [max(len(values), 1) for values in distinct]
    used, rows = np.unique(np.ravel_multi_index(tuple(codes), shape), return_inverse=True)
    leaves: list[Leaf] = []
    for positions in zip(*np.unravel_index(used, shape), strict=True):
        age, gender, location = (
            values[position] for values, position in zip(distinct, positions, strict=True)
        )
        leaves.append((age, gender, location))
    return leaves, rows.astype(np.int32)


def encode_user_leaves(user_ids: pa.StringArray, segments: pa.Table) -> tuple[list[Leaf], Codes]:
    """The leaves that occur, and each user's position among them.

    Args:
        user_ids: the users, (n,); those without a row have unknown traits.
        segments: user_id, age_bracket, gender, location; of a user's rows the first counts.
    """
    row = pc.index_in(user_ids, value_set=pc.cast(segments["user_id"], pa.string()))
    return encode_leaves(segments.select(list(TRAITS)).take(row))


def _rows_by_segment(leaves: Sequence[Leaf]) -> dict[Segment, list[int]]:
    rows: dict[Segment, list[int]] = {}
    for row, leaf in enumerate(leaves):
        for level in LEVELS:
            rows.setdefault(segment_of(level, leaf), []).append(row)
    return rows


class SegmentUsers:
    """The number of users of each leaf, and of any segment.

    Args:
        leaves: distinct leaves, (l,).
        sizes: their users, >= 0, (l,).
    """

    def __init__(self, leaves: Sequence[Leaf], sizes: npt.NDArray[np.integer]) -> None:
        self.leaves = list(leaves)
        self.sizes = np.asarray(sizes, dtype=np.int64)
        self.counts_by_level: dict[str, dict[Segment, int]] = {level: {} for level in LEVELS}
        self.counts_by_level[EVERYONE][ALL] = 0
        for leaf, number in zip(self.leaves, self.sizes.tolist(), strict=True):
            for level, counts in self.counts_by_level.items():
                segment = segment_of(level, leaf)
                counts[segment] = counts.get(segment, 0) + number
        self._rows = _rows_by_segment(self.leaves)

    @classmethod
    def from_table(cls, users: pa.Table) -> SegmentUsers:
        """Reads rows age_bracket, gender, location, users; rows of the same leaf are added up."""
        leaves, rows = encode_leaves(users)
        sizes = np.zeros(len(leaves), dtype=np.int64)
        np.add.at(sizes, rows, pc.cast(users["users"], pa.int64()).to_numpy())
        return cls(leaves, sizes)

    def count(self, level: str, segment: Segment) -> int:
        """Users of a segment; 0 for one that does not occur."""
        return self.counts_by_level[level].get(segment, 0)

    def rows(self, segment: Segment) -> list[int]:
        """Positions in `leaves` of the leaves of a segment."""
        return self._rows.get(segment, [])

    def find_segment(
        self, leaf: Leaf, min_users: int, *, uses_location: bool = True
    ) -> tuple[str, Segment]:
        """Level and segment whose list a lookup finds: the finest one with enough users.

        Args:
            leaf: traits of the user.
            min_users: users that a segment needs for a list.
            uses_location: whether there are lists of levels with a location.
        """
        for level, traits in LEVELS.items():
            if "location" in traits and not uses_location:
                continue
            segment = segment_of(level, leaf)
            if self.count(level, segment) >= max(min_users, 1):
                return level, segment
        return EVERYONE, ALL


class SegmentCounts:
    """Weights per leaf and item, and their sums for any segment, always added in the same order.

    Args:
        leaves: distinct leaves, (l,).
        items: ids, (m,).
        weights: CSR of doubles, l x m.
    """

    def __init__(self, leaves: Sequence[Leaf], items: pa.StringArray, weights: csr_matrix) -> None:
        self.items = items
        self._weights = weights
        self._rows = _rows_by_segment(leaves)
        # Segments come in the order of their values, so that few parents are needed at a time.
        self.weights_of = lru_cache(maxsize=64)(self._sum_weights)

    @classmethod
    def from_table(cls, counts: pa.Table) -> SegmentCounts:
        """Reads rows age_bracket, gender, location, item_id, weight (double, >= 0) in any order."""
        from scipy.sparse import csr_matrix

        leaves, rows = encode_leaves(counts)
        items, columns = encode_ids(counts["item_id"])
        weights = pc.cast(counts["weight"], pa.float64()).to_numpy()
        # Sums of doubles depend on their order, and a database's order on its threads.
        order = np.lexsort((weights, columns, rows))
        matrix = csr_matrix(
            (weights[order], (rows[order], columns[order])), shape=(len(leaves), len(items))
        )
        matrix.sum_duplicates()
        return cls(leaves, items, matrix)

    def _sum_weights(self, segment: Segment) -> Doubles:
        """Summed weights of a segment's items, (m,)."""
        rows = self._weights[self._rows.get(segment, [])]
        sums = np.bincount(rows.indices, rows.data, minlength=len(self.items))
        return sums.astype(np.float64, copy=False)

    def overall_shares(self) -> Doubles:
        """All users' shares of the items, summing to 1; zeros without any weight, (m,)."""
        weights = self.weights_of(ALL)
        total = weights.sum()
        return weights / total if total > 0 else weights


SegmentShares: TypeAlias = Callable[[str, Segment], Doubles]
"""Level and segment to p(item) over `SegmentCounts.items`, summing to 1, or 0 without weights."""
