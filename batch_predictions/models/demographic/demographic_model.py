"""The fallback's model: which lists users without history get.

A list is the recency-weighted popularity of the day, times the uplift of the coming week's
promotions where they are known, times the segment's adjustment: `CountAdjustment`,
`RidgeAdjustment`, or none. Training chooses.

`CountAdjustment` shrinks segment counts to the shares of the parent segment.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.common.ranking_metrics import top_k
from batch_predictions.models.demographic.demographic_segments import (
    ALL,
    EVERYONE,
    PARENTS,
    Segment,
    SegmentCounts,
    SegmentShares,
    SegmentUsers,
    segment_of,
)
from batch_predictions.models.demographic.promotion_uplift import PromotionUplift
from batch_predictions.models.demographic.ridge import RidgeAdjustment
from batch_predictions.models.recommender.business_rules import Rules
from batch_predictions.tables import SEGMENT_LEVELS as LEVELS
from batch_predictions.tables import TRAITS


@dataclass(frozen=True)
class CountAdjustment:
    """Shares from the segment's own counts, shrunk to its parent segment.

    With n events of an item and N in all,

        p(item) = (n + kappa p_parent(item)) / (N + kappa),

    the posterior mean under a Dirichlet prior of weight `kappa` around the parent, which is
    empirical Bayes in the sense of Casella (1985), "An Introduction to Empirical Bayes Data
    Analysis". A small segment has nearly its parent's shares.

    Attributes:
        kappa: prior weight, in recency-weighted events, > 0; infinity: all segments have the shares
            of all users.
    """

    kind: ClassVar[str] = "segments"

    kappa: float

    def __post_init__(self) -> None:
        if not self.kappa > 0:
            raise ValueError(f"demographic: `kappa` is {self.kappa}, and must be positive")

    def __str__(self) -> str:
        return f"kappa {self.kappa:g}"

    @property
    def uses_location(self) -> bool:
        """Lists differ by location, since counts are by location too."""
        return True

    def required_users(self, min_users: int) -> int:
        """Returns the setting unchanged: a segment of fewer users gets no list from its counts."""
        return min_users

    def apply(self, counts: SegmentCounts, users: SegmentUsers) -> SegmentShares:
        """Shrunk shares of segments; those of recent parents are cached."""

        def compute(level: str, segment: Segment) -> Doubles:
            if level == EVERYONE:
                return counts.overall_shares()
            weights = counts.weights_of(segment)
            parent = PARENTS[level]
            prior = cached(parent, segment_of(parent, segment))
            shares = (weights + self.kappa * prior) / (weights.sum() + self.kappa)
            return np.asarray(shares, dtype=np.float64)

        cached = lru_cache(maxsize=64)(compute)
        if math.isinf(self.kappa):
            return lambda level, segment: cached(EVERYONE, ALL)
        return lambda level, segment: (cached if level == EVERYONE else compute)(level, segment)


SegmentAdjustment: TypeAlias = CountAdjustment | RidgeAdjustment
"""Adjusts the items' shares from those of all users to a segment's.

Popularity changes daily, preferences of segments slowly: an adjustment is trained every week and
applied to the counts of each day.
"""
NO_ADJUSTMENT = CountAdjustment(math.inf)
"""The list of all users for every segment: recency-weighted popularity."""


MANIFEST = "demographic.json"


@dataclass(frozen=True)
class DemographicModel:
    """The model of the fallback, as a training learns it.

    Attributes:
        half_life_days: of popularity, > 0.
        adjustment: of segments.
        uplift: of the coming week's promotions; None: they change nothing.
    """

    half_life_days: float
    adjustment: SegmentAdjustment = NO_ADJUSTMENT
    uplift: PromotionUplift | None = None

    def __post_init__(self) -> None:
        if not self.half_life_days > 0:
            raise ValueError("demographic: `half_life_days` must be positive")

    @property
    def has_segment_lists(self) -> bool:
        """Whether lists of items differ by demographic segment."""
        return self.adjustment != NO_ADJUSTMENT

    def save(self, folder: Path) -> None:
        """Writes `demographic.json` (an infinite kappa is null) and the adjustment's files."""
        folder.mkdir(parents=True, exist_ok=True)
        adjustment = self.adjustment
        kappa = adjustment.kappa if isinstance(adjustment, CountAdjustment) else math.inf
        values = {
            "kind": "demographic",
            "adjustment": adjustment.kind,
            "kappa": kappa if math.isfinite(kappa) else None,
            "half_life_days": self.half_life_days,
            "uplift": asdict(self.uplift) if self.uplift else None,
        }
        (folder / MANIFEST).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
        if isinstance(adjustment, RidgeAdjustment):
            adjustment.save(folder)

    @staticmethod
    def load(folder: Path) -> DemographicModel:
        """Reads what `save` wrote."""
        values = json.loads((folder / MANIFEST).read_text())
        adjustment: SegmentAdjustment = NO_ADJUSTMENT
        if values["adjustment"] == RidgeAdjustment.kind:
            adjustment = RidgeAdjustment.load(folder)
        elif values["kappa"] is not None:
            adjustment = CountAdjustment(float(values["kappa"]))
        uplift = PromotionUplift(**values["uplift"]) if values["uplift"] else None
        return DemographicModel(float(values["half_life_days"]), adjustment, uplift)

    def ranker(
        self, counts: pa.Table, users: pa.Table, changes: pa.Table | None = None
    ) -> SegmentRanker:
        """Builds the ranker of a day.

        Args:
            counts: age_bracket, gender, location, item_id, weight, with weights of
                `half_life_days`. Only a `CountAdjustment` of finite kappa reads the segments.
            users: age_bracket, gender, location, users.
            changes: of promotions: item_id, display, mailer, promoted; None: unknown.
        """
        segment_counts = SegmentCounts.from_table(counts)
        factors = None
        if self.uplift is not None and changes is not None:
            factors = self.uplift.factors(changes, segment_counts.items)
        return SegmentRanker(
            self.adjustment, segment_counts, SegmentUsers.from_table(users), factors
        )


class SegmentRanker:
    """Ranks items for segments.

    Args:
        adjustment: of segments.
        counts: of the day.
        users: of the day.
        factors: multiply every segment's shares of the items, (m,); None: 1.

    Attributes:
        shares: p(item) over `counts.items` by level and segment.
    """

    def __init__(
        self,
        adjustment: SegmentAdjustment,
        counts: SegmentCounts,
        users: SegmentUsers,
        factors: Doubles | None = None,
    ) -> None:
        self.counts, self.users, self.factors = counts, users, factors
        self.shares = adjustment.apply(counts, users)

    def top_k(self, segments: pa.Table, k: int, rules: Rules | None = None) -> pa.Table:
        """The k best items of segments.

        Args:
            segments: segment_level, age_bracket, gender, location.
            k: items of each list at most; fewer where fewer items have weights.
            rules: that lists follow, for `counts.items`; None: the best k.

        Returns:
            The columns of `segments`, rank (from 1), item_id, score (share) and support (users of
            the segment). Ties go to the lower item id.

        Raises:
            ValueError: a segment level is unknown.
        """
        chunks: dict[str, list[npt.NDArray[np.generic]]] = {
            name: [] for name in ("row", "rank", "item", "score")
        }
        supports = np.zeros(segments.num_rows, dtype=np.int64)
        for row, (level, segment) in enumerate(_iterate_segments(segments)):
            supports[row] = self.users.count(level, segment)
            shares = self.shares(level, segment)
            if self.factors is not None:
                shares = shares * self.factors
                shares = shares / max(shares.sum(), 1e-300)
            scores = np.where(shares > 0, shares, -np.inf)
            ranked = top_k(scores[np.newaxis], rules.depth(k) if rules is not None else k)
            best = ranked[0][ranked[0] >= 0]
            if rules is not None:
                columns = rules.apply(ranked, k)[0]
                best = ranked[0][columns[columns >= 0]]
            chunks["row"].append(np.full(len(best), row))
            chunks["rank"].append(np.arange(1, len(best) + 1))
            chunks["item"].append(best)
            chunks["score"].append(scores[best])
        empty = np.empty(0, dtype=np.int64)
        rows, ranks, items = (
            np.concatenate([empty, *chunks[name]]) for name in ("row", "rank", "item")
        )
        lists = segments.select(["segment_level", *TRAITS]).take(pa.array(rows))
        columns = {
            "rank": pa.array(ranks, pa.int32()),
            "item_id": self.counts.items.take(pa.array(items)),
            "score": pa.array(np.concatenate([np.empty(0), *chunks["score"]]), pa.float64()),
            "support": pa.array(supports[rows], pa.int64()),
        }
        for name, column in columns.items():
            lists = lists.append_column(name, column)
        return lists


def _iterate_segments(segments: pa.Table) -> Iterator[tuple[str, Segment]]:
    """Yields the level and the segment of each row."""
    columns = [segments[name].to_pylist() for name in ("segment_level", *TRAITS)]
    for level, *values in zip(*columns, strict=True):
        if level not in LEVELS:
            raise ValueError(f"unknown segment level {level!r}; known are {list(LEVELS)}")
        yield level, segment_of(level, values)
