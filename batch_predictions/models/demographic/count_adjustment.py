"""Segment counts, shrunk to the shares of the parent segment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from batch_predictions.models.common.ranking_metrics import Doubles
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
        """Whether lists differ by location: always true, since counts are by location too."""
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


NO_ADJUSTMENT = CountAdjustment(math.inf)
"""The list of all users for every segment: recency-weighted popularity."""
