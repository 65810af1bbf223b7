"""What people of an age, a gender and a place take: the answer for whoever has no history.

Each segment's shares of items are drawn to those of its parent, the more so the fewer events it
has: with n events of an item and N in all,

    p(item) = (n + kappa p_parent(item)) / (N + kappa),

the posterior mean under a Dirichlet prior of weight `kappa` (events) around the parent, which is
empirical Bayes in the sense of Casella (1985), "An Introduction to Empirical Bayes Data Analysis".
A thin segment so says what its parent says, and kappa = infinity says "everyone" everywhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.models.ranking import Doubles, top_k
from batch_predictions.models.recommender.data import Codes, encode
from batch_predictions.tables import SEGMENT_LEVELS as LEVELS

TRAITS = ("age_bracket", "gender", "location")
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

MANIFEST = "demographic.json"


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


def segments(users: pa.Table, min_users: int) -> pa.Table:
    """Every segment of every level with at least `min_users` users; `everyone` always.

    `users` has age_bracket, gender, location, users (a row per leaf). Columns of the answer:
    segment_level, age_bracket, gender, location (null outside the level), users; in the order of
    the levels, then by value.
    """
    counts = _count_users(users)
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


def _count_users(users: pa.Table) -> dict[str, dict[Segment, int]]:
    counts: dict[str, dict[Segment, int]] = {level: {} for level in LEVELS}
    counts[EVERYONE][segment_of(EVERYONE, (None, None, None))] = 0
    leaves, rows = leaves_of(users)
    sizes = np.zeros(len(leaves), dtype=np.int64)
    np.add.at(sizes, rows, pc.cast(users["users"], pa.int64()).to_numpy())
    for leaf, number in zip(leaves, sizes, strict=True):
        for level in LEVELS:
            segment = segment_of(level, leaf)
            counts[level][segment] = counts[level].get(segment, 0) + int(number)
    return counts


@dataclass(frozen=True)
class DemographicModel:
    """What training learns: how fast taste ages, and how far segments are trusted."""

    kappa: float
    """Prior weight in (recency-weighted) events; infinity: everyone's shares for all."""
    half_life_days: float

    def __post_init__(self) -> None:
        if not self.kappa > 0 or not self.half_life_days > 0:
            raise ValueError("demographic: `kappa` and `half_life_days` must be positive")

    def save(self, folder: Path) -> None:
        """Write `demographic.json`; an infinite kappa is null, which JSON can say."""
        folder.mkdir(parents=True, exist_ok=True)
        values = {
            "kind": "demographic",
            "kappa": self.kappa if math.isfinite(self.kappa) else None,
            "half_life_days": self.half_life_days,
        }
        (folder / MANIFEST).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")

    @staticmethod
    def load(folder: Path) -> DemographicModel:
        """Read what `save` wrote."""
        values = json.loads((folder / MANIFEST).read_text())
        kappa = math.inf if values["kappa"] is None else float(values["kappa"])
        return DemographicModel(kappa, float(values["half_life_days"]))

    def ranker(self, counts: pa.Table, users: pa.Table) -> SegmentRanker:
        """Ready to rank, from leaf counts (age_bracket, gender, location, item_id, weight, with
        weights of this half-life) and users per leaf (age_bracket, gender, location, users)."""
        return SegmentRanker(self.kappa, SegmentCounts.from_table(counts), users)


class SegmentCounts:
    """Weights per leaf and item, and their sums for any segment, in a fixed order of adding."""

    def __init__(self, leaves: Sequence[Leaf], items: pa.StringArray, weights: Any) -> None:
        """`weights` is csr, double, len(leaves) x len(items); `leaves` and `items` are sorted."""
        self.items = items
        self._weights = weights
        self._rows: dict[Segment, list[int]] = {}
        for row, leaf in enumerate(leaves):
            for level in LEVELS:
                self._rows.setdefault(segment_of(level, leaf), []).append(row)
        # 64 vectors: a batch in order of value needs few parents at a time.
        self.of = lru_cache(maxsize=64)(self._sum)

    @classmethod
    def from_table(cls, counts: pa.Table) -> SegmentCounts:
        """From rows age_bracket, gender, location, item_id, weight (double, >= 0), in any order."""
        leaves, rows = leaves_of(counts)
        items, columns = encode(counts["item_id"])
        weights = pc.cast(counts["weight"], pa.float64()).to_numpy()
        return cls.from_codes(leaves, items, rows, columns, weights)

    @classmethod
    def from_codes(
        cls,
        leaves: Sequence[Leaf],
        items: pa.StringArray,
        rows: npt.NDArray[Any],
        columns: npt.NDArray[Any],
        weights: Doubles,
    ) -> SegmentCounts:
        """From positions of leaves and items, one weight for each; repeated ones are added."""
        from scipy.sparse import csr_matrix

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


class SegmentRanker:
    """The most likely items of segments."""

    def __init__(self, kappa: float, counts: SegmentCounts, users: pa.Table) -> None:
        self.kappa = kappa
        self.counts = counts
        self._users = _count_users(users)
        self._parent_shares = lru_cache(maxsize=64)(self._shrunk)

    def shares(self, level: str, segment: Segment) -> Doubles:
        """p(item) over `counts.items`, summing to 1; zeros where nobody took anything."""
        if level == EVERYONE:
            return self._parent_shares(level, segment)
        if math.isinf(self.kappa):
            return self._parent_shares(EVERYONE, segment_of(EVERYONE, segment))
        return self._shrunk(level, segment)

    def serving(self, leaf: Leaf, min_users: int) -> tuple[str, Segment]:
        """Where a lookup ends for such a user: the first level with enough users."""
        for level in LEVELS:
            segment = segment_of(level, leaf)
            if self._users[level].get(segment, 0) >= min_users:
                return level, segment
        return EVERYONE, segment_of(EVERYONE, leaf)

    def _shrunk(self, level: str, segment: Segment) -> Doubles:
        counts = self.counts.of(segment)
        total = counts.sum()
        if level == EVERYONE:
            return counts / total if total > 0 else counts
        parent = PARENTS[level]
        prior = self._parent_shares(parent, segment_of(parent, segment))
        return np.asarray((counts + self.kappa * prior) / (total + self.kappa), dtype=np.float64)

    def top_k(self, wanted: pa.Table, k: int, blocked: pa.Array | None = None) -> pa.Table:
        """The k best items of each wanted segment, without the blocked ones.

        `wanted` has segment_level, age_bracket, gender, location. The answer repeats them, with
        rank (from 1), item_id, score (share) and support (users in the segment). Ties go to the
        lower item id; fewer than k rows where fewer items have been taken at all.
        """
        out: dict[str, list[npt.NDArray[Any]]] = {"row": [], "rank": [], "item": [], "score": []}
        supports = np.zeros(wanted.num_rows, dtype=np.int64)
        barred = np.zeros(len(self.counts.items), dtype=bool)
        if blocked is not None and len(blocked):
            barred = pc.is_in(self.counts.items, value_set=pc.cast(blocked, pa.string())).to_numpy(
                zero_copy_only=False
            )
        for row, (level, segment) in enumerate(_keys(wanted)):
            supports[row] = self._users[level].get(segment, 0)
            shares = self.shares(level, segment)
            scores = np.where((shares > 0) & ~barred, shares, -np.inf)
            best = top_k(scores[np.newaxis], k)[0]
            best = best[best >= 0]
            out["row"].append(np.full(len(best), row))
            out["rank"].append(np.arange(1, len(best) + 1))
            out["item"].append(best)
            out["score"].append(scores[best])
        nothing = np.empty(0, dtype=np.int64)
        rows, ranks, items = (
            np.concatenate([nothing, *out[name]]) for name in ("row", "rank", "item")
        )
        kept = wanted.select(["segment_level", *TRAITS]).take(pa.array(rows))
        columns = {
            "rank": pa.array(ranks, pa.int32()),
            "item_id": self.counts.items.take(pa.array(items)),
            "score": pa.array(np.concatenate([np.empty(0), *out["score"]]), pa.float64()),
            "support": pa.array(supports[rows], pa.int64()),
        }
        for name, column in columns.items():
            kept = kept.append_column(name, column)
        return kept


def _keys(wanted: pa.Table) -> Iterator[tuple[str, Segment]]:
    """Each row's level and segment."""
    columns = [wanted[name].to_pylist() for name in ("segment_level", *TRAITS)]
    for level, *values in zip(*columns, strict=True):
        if level not in LEVELS:
            raise ValueError(f"unknown segment level {level!r}; known are {list(LEVELS)}")
        yield level, segment_of(level, values)
