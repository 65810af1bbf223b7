"""Popularity: the same list for every user, and the baseline that a personal model must beat.

With a half-life it is a strong one: in groceries and films, the last two weeks predict the next one
better than many models (Ji et al. 2020, "A Re-visit of the Popularity Baseline in
Recommender Systems").
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.core.arrays import Floats
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import (
    POPULARITY_HALF_LIVES,
    ItemFeatures,
)
from batch_predictions.models.recommender.generators.base import Generator
from batch_predictions.models.recommender.generators.shared_scores import SharedScoresRecommender


def popularity_name(half_life_days: float | None) -> str:
    """Names popularity in evaluation tables: popularity, recency_popularity_14d."""
    return "popularity" if half_life_days is None else f"recency_popularity_{half_life_days:g}d"


@dataclass(frozen=True)
class PopularityParams:
    """Parameters of the generator Popularity.

    Attributes:
        half_life_days: half-life of events, one of `POPULARITY_HALF_LIVES`; None: all count alike.
    """

    half_life_days: int | None = None


class Popularity(SharedScoresRecommender):
    """The most popular items as of the day of scoring."""

    kind = "popularity"
    Params = PopularityParams

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        as_of: date,
        params: PopularityParams | None = None,
        users: pa.Table | None = None,
    ) -> Self:
        """Learns which items there are; their popularity is read when scoring.

        Raises:
            ValueError: `half_life_days` is not one of `POPULARITY_HALF_LIVES`.
        """
        params = params or PopularityParams()
        half_life = params.half_life_days
        if half_life is not None and half_life not in POPULARITY_HALF_LIVES:
            half_lives = list(POPULARITY_HALF_LIVES)
            raise ValueError(f"popularity: half_life_days must be one of {half_lives} or None")
        return cls(interactions.item_ids, params, name=popularity_name(half_life))

    def segment_of_user(
        self, histories: Histories, item_features: ItemFeatures | None
    ) -> npt.NDArray[np.int64]:
        """Puts all users into one segment, (n,)."""
        return np.zeros(histories.users, dtype=np.int64)

    def segment_scores(self, segment: int, item_features: ItemFeatures | None) -> Floats:
        """Shares of all (decayed) events; nan without events, (m,)."""
        assert item_features is not None, "popularity is read from the day's item features"
        days = self.params.half_life_days
        shares = item_features.share("events" if days is None else f"decayed_events_{days}")
        return np.where(shares > 0, shares, np.nan).astype(np.float32)


recent = Generator(
    "recent",
    Popularity,
    "trend",
    params_for_new_items=PopularityParams(half_life_days=14),
    params_for_repeats=PopularityParams(half_life_days=14),
    order=90,
)
