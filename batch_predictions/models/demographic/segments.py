"""Segments of users by age, gender and place: who is in them, and what they took."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.models.common.ranking_metrics import Doubles
from batch_predictions.models.recommender.data.interactions import Codes, encode
from batch_predictions.tables import SEGMENT_LEVELS as LEVELS
from batch_predictions.tables import TRAITS

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

Segment: TypeAlias = tuple[str | None, str | None, str | None]
"""Age bracket, gender, location; None outside the segment's level."""

Leaf: TypeAlias = tuple[str, str, str]
"""Age bracket, gender, location of one kind of users, `unknown` where not known."""

ALL: Segment = (None, None, None)


def segment_of(level: str, leaf: Sequence[str | None]) -> Segment:
    """The leaf's segment at a level."""
    kept = [
        value if trait in LEVELS[level] else None for trait, value in zip(TRAITS, leaf, strict=True)
    ]
    return kept[0], kept[1], kept[2]


def leaves_of(table: pa.Table) -> tuple[list[Leaf], Codes]:
    """The sorted distinct leaves, `unknown` where a trait is null or empty, and each row's."""
    distinct, codes = [], []
    for trait in TRAITS:
        given = pc.cast(table[trait], pa.string())
        values, code = encode(pc.if_else(pc.equal(given, ""), UNKNOWN, given).fill_null(UNKNOWN))
        distinct.append(values.to_pylist())
        codes.append(code)
    shape = [max(len(values), 1) for values in distinct]
    used, rows = np.unique(np.ravel_multi_index(tuple(codes), shape), return_inverse=True)
    leaves: list[Leaf] = []
    for places in zip(*np.unravel_index(used, shape), strict=True):
        age, gender, location = (
            values[place] for values, place in zip(distinct, places, strict=True)
        )
        leaves.append((age, gender, location))
    return leaves, rows.astype(np.int32)


def user_leaves(user_ids: pa.StringArray, segments: pa.Table) -> tuple[list[Leaf], Codes]:
    """The leaves that occur, and each user's; the unknown leaf for users without a row.

    `segments` has user_id, age_bracket, gender, location; of a user's rows the first counts.
    """
    row = pc.index_in(user_ids, value_set=pc.cast(segments["user_id"], pa.string()))
    return leaves_of(segments.select(list(TRAITS)).take(row))


def segments(users: pa.Table, min_users: int) -> pa.Table:
    """Every segment of every level with at least `min_users` users; `everyone` always.

    `users` has age_bracket, gender, location, users (a row per leaf). Columns of the answer:
    segment_level, age_bracket, gender, location (null outside the level), users; in the order of
    the levels, then by value.
    """
    counts = SegmentUsers.from_table(users).by_level
    rows = [
        {"segment_level": level, **dict(zip(TRAITS, segment, strict=True)), "users": count}
        for level in LEVELS
        for segment, count in sorted(
            counts[level].items(), key=lambda entry: [value or "" for value in entry[0]]
        )
        if count >= min_users or level == EVERYONE
    ]
    strings = [("segment_level", pa.string()), *((trait, pa.string()) for trait in TRAITS)]
    return pa.Table.from_pylist(rows, pa.schema([*strings, ("users", pa.int64())]))


def _rows_by_segment(leaves: Sequence[Leaf]) -> dict[Segment, list[int]]:
    rows: dict[Segment, list[int]] = {}
    for row, leaf in enumerate(leaves):
        for level in LEVELS:
            rows.setdefault(segment_of(level, leaf), []).append(row)
    return rows


class SegmentUsers:
    """How many users are in each leaf, and in any segment."""

    def __init__(self, leaves: Sequence[Leaf], sizes: npt.NDArray[np.integer]) -> None:
        """`sizes` has one number of users (>= 0) for each of the distinct `leaves`."""
        self.leaves = list(leaves)
        self.sizes = np.asarray(sizes, dtype=np.int64)
        self.by_level: dict[str, dict[Segment, int]] = {level: {} for level in LEVELS}
        self.by_level[EVERYONE][ALL] = 0
        for leaf, number in zip(self.leaves, self.sizes.tolist(), strict=True):
            for level in LEVELS:
                segment = segment_of(level, leaf)
                self.by_level[level][segment] = self.by_level[level].get(segment, 0) + number
        self._rows = _rows_by_segment(self.leaves)

    @classmethod
    def from_table(cls, users: pa.Table) -> SegmentUsers:
        """From rows age_bracket, gender, location, users; several of one leaf are added."""
        leaves, rows = leaves_of(users)
        sizes = np.zeros(len(leaves), dtype=np.int64)
        np.add.at(sizes, rows, pc.cast(users["users"], pa.int64()).to_numpy())
        return cls(leaves, sizes)

    def count(self, level: str, segment: Segment) -> int:
        """Users in a segment; 0 for one that does not occur."""
        return self.by_level[level].get(segment, 0)

    def rows(self, segment: Segment) -> list[int]:
        """Positions in `leaves` of those that make up a segment."""
        return self._rows.get(segment, [])

    def serving(self, leaf: Leaf, min_users: int, *, places: bool = True) -> tuple[str, Segment]:
        """Where a lookup ends for such a user: the first level with enough users, among those
        without a place where there are no lists by `places`."""
        for level, traits in LEVELS.items():
            if "location" in traits and not places:
                continue
            segment = segment_of(level, leaf)
            if self.count(level, segment) >= max(min_users, 1):
                return level, segment
        return EVERYONE, ALL


class SegmentCounts:
    """Weights per leaf and item, and their sums for any segment, in a fixed order of adding."""

    def __init__(self, leaves: Sequence[Leaf], items: pa.StringArray, weights: Any) -> None:
        """`weights` is csr, double, len(leaves) x len(items); `leaves` are distinct."""
        self.items = items
        self._weights = weights
        self._rows = _rows_by_segment(leaves)
        # 64 vectors: a batch in order of value needs few parents at a time.
        self.of = lru_cache(maxsize=64)(self._sum)

    @classmethod
    def from_table(cls, counts: pa.Table) -> SegmentCounts:
        """From rows age_bracket, gender, location, item_id, weight (double, >= 0), in any order."""
        from scipy.sparse import csr_matrix

        leaves, rows = leaves_of(counts)
        items, columns = encode(counts["item_id"])
        weights = pc.cast(counts["weight"], pa.float64()).to_numpy()
        # Sums of doubles depend on their order, a database's order on its threads.
        order = np.lexsort((weights, columns, rows))
        matrix = csr_matrix(
            (weights[order], (rows[order], columns[order])), shape=(len(leaves), len(items))
        )
        matrix.sum_duplicates()
        return cls(leaves, items, matrix)

    def _sum(self, segment: Segment) -> Doubles:
        chosen = self._weights[self._rows.get(segment, [])]
        sums = np.bincount(chosen.indices, chosen.data, minlength=len(self.items))
        return sums.astype(np.float64, copy=False)

    def shares(self) -> Doubles:
        """Everyone's shares of the items, summing to 1; zeros where nobody took anything."""
        counts = self.of(ALL)
        total = counts.sum()
        return counts / total if total > 0 else counts


SegmentShares: TypeAlias = Callable[[str, Segment], Doubles]
"""Level and segment to p(item) over `SegmentCounts.items`, summing to 1 (or 0 without counts)."""


class SegmentAdjustment(Protocol):
    """How a segment's shares of items differ from everyone's.

    What is popular changes by the day, who likes what hardly does. So the tilt is learned every
    week and applied to the counts of the day, which `on` is given.
    """

    kind: ClassVar[str]

    @property
    def places(self) -> bool:
        """Whether lists differ by location: if not, no level with one is listed, so that a lookup
        finds age and gender first."""
        ...

    def fewest(self, min_users: int) -> int:
        """Users that a segment needs for a list of its own, given the setting for counts."""
        ...

    def on(self, counts: SegmentCounts, users: SegmentUsers) -> SegmentShares:
        """Shares of any segment, given the day's weights and users."""
        ...
