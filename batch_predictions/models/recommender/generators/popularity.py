"""What everybody takes: the baseline that a personal model has to beat.

With a half-life it is a strong one: on grocery and film data the last two weeks predict the next
one better than many a learned model does (Ji et al. 2020, "A Re-visit of the Popularity Baseline
in Recommender Systems").
"""

from __future__ import annotations

from datetime import date
from typing import Any, Self

import numpy as np

from batch_predictions.models.recommender.base import Floats, Recommender
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import HALF_LIVES, ItemFacts


def popularity_name(half_life_days: float | None) -> str:
    """The candidate's name in evaluation tables: popularity, recency_popularity_14d."""
    return "popularity" if half_life_days is None else f"recency_popularity_{half_life_days:g}d"


class Popularity(Recommender):
    """Every user is offered what all take, as of the day that is scored."""

    kind = "popularity"

    @classmethod
    def fit(cls, interactions: Interactions, as_of: date, **params: Any) -> Self:
        """`half_life_days` (None: all days count alike; else one of HALF_LIVES) weighs an event by
        its age."""
        half_life_days: int | None = params.pop("half_life_days", None)
        if params:
            raise TypeError(f"popularity: unknown parameters {sorted(params)}")
        if half_life_days is not None and half_life_days not in HALF_LIVES:
            raise ValueError(f"popularity: half_life_days is one of {list(HALF_LIVES)} or None")
        return cls(
            popularity_name(half_life_days),
            interactions.item_ids,
            {"half_life_days": half_life_days},
            {},
        )

    def scores(self, histories: Histories, facts: ItemFacts | None = None) -> Floats:
        """Shares of all (weighted) events, the same for every user; nan where nobody took any."""
        assert facts is not None, "popularity is counted as of the day"
        days = self.params["half_life_days"]
        shares = facts.share("events" if days is None else f"recent_{days}")
        known = np.where(shares > 0, shares, np.nan).astype(np.float32)
        return np.broadcast_to(known, (histories.users, len(known)))
