"""What everybody takes: the baseline that a personal model has to beat.

With a half-life it is a strong one: on grocery and film data the last two weeks predict the next
one better than many a learned model does (Ji et al. 2020, "A Re-visit of the Popularity Baseline
in Recommender Systems").
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from batch_predictions.models.recommender.base import Floats, Recommender
from batch_predictions.models.recommender.data import Interactions

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def popularity_name(half_life_days: float | None) -> str:
    """The candidate's name in evaluation tables: popularity, recency_popularity_14d."""
    return "popularity" if half_life_days is None else f"recency_popularity_{half_life_days:g}d"


class Popularity(Recommender):
    """One factor: every user's vector is 1, an item's is its share of all events."""

    kind = "popularity"

    @classmethod
    def fit(cls, interactions: Interactions, as_of: date, **params: Any) -> Self:
        """`half_life_days` (None: all days count alike) weighs an event by its age at `as_of`."""
        half_life_days: float | None = params.pop("half_life_days", None)
        if params:
            raise TypeError(f"popularity: unknown parameters {sorted(params)}")
        weights = interactions.events
        if half_life_days is not None:
            weights = weights * interactions.recency_weights(half_life_days, as_of)
        # bincount adds in the order of the rows, which Interactions fixes.
        sums = np.bincount(interactions.items, weights, minlength=len(interactions.item_ids))
        total = sums.sum()
        shares = (sums / total if total > 0 else sums).astype(np.float32)
        return cls(
            popularity_name(half_life_days),
            interactions.item_ids,
            {"half_life_days": half_life_days, "history_half_life_days": None},
            {"shares": shares[:, np.newaxis]},
        )

    def queries(self, histories: csr_matrix) -> Floats:
        """Ones, (n, 1)."""
        self._check(histories)
        return np.ones((histories.shape[0], 1), dtype=np.float32)

    def targets(self) -> Floats:
        """Shares of all (weighted) events, (len(items), 1)."""
        return self.arrays["shares"]
