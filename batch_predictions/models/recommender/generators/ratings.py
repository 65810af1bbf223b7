"""What ratings say, beside that an item was taken: which items a user would like.

Interactions say what people meet, ratings what they think of it, and who is offered what others
like comes to take it too. Both models below propose nothing alone: what is liked most is often
known to few.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.models.recommender.base import Floats, Positions, Recommender
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Doubles, Interactions, summed
from batch_predictions.models.recommender.data.item_features import ItemFacts
from batch_predictions.models.recommender.generators.ease import EASE, loudest_parts, most_bought
from batch_predictions.models.recommender.generators.item_neighbours import refuse

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class PredictedRating(Recommender):
    """The rating that a user would give: the item's mean, and how far the user's ratings of like
    items are from what is usual for user and item.

    Item neighbours of Koren (2010), "Factor in the Neighbors: Scalable and Accurate Collaborative
    Filtering", section 3.1, with covariances that are shrunk by the number of common raters.
    """

    kind = "predicted_rating"

    @classmethod
    def fit(cls, interactions: Interactions, as_of: date, **params: Any) -> Self:
        """Parameters: `name`; `lift`, whether only the part counts that is the user's own;
        `max_items`, those with most ratings; priors in ratings: `mean_prior` of an item's mean and
        a user's, `pair_prior` of two items' covariance, `heard_prior` of the sum over a history."""
        name = str(params.pop("name", cls.kind))
        settings = {
            "lift": bool(params.pop("lift", False)),
            "max_items": int(params.pop("max_items", 3000)),
            "mean_prior": float(params.pop("mean_prior", 5.0)),
            "pair_prior": float(params.pop("pair_prior", 20.0)),
            "heard_prior": float(params.pop("heard_prior", 1.0)),
        }
        refuse(name, params)
        rated = _rated(interactions)
        kept = most_bought(rated, int(settings["max_items"]))
        matrix, there = (each[:, kept] for each in _matrices(rated))
        prior = float(settings["mean_prior"])
        numbers = np.asarray(there.sum(axis=0), dtype=np.float64).ravel()
        usual = float(matrix.sum()) / max(float(there.sum()), 1.0)
        sums = np.asarray(matrix.sum(axis=0), dtype=np.float64).ravel()
        means = (sums + prior * usual) / (numbers + prior)
        own = _unusual(matrix.tocsr(), means, prior)
        common = (there.T @ there).toarray()
        likeness = (own.T @ own).toarray() / (common + float(settings["pair_prior"]))
        arrays = {
            "means": means.astype(np.float32),
            "likeness": likeness.astype(np.float32),
        }
        return cls(name, rated.item_ids.take(pa.array(kept)), settings, arrays)

    def scores(self, histories: Histories, facts: ItemFacts | None = None) -> Floats:
        """In units of ratings, (n, items); a lift is 0 for whom the ratings say nothing."""
        own = self._own(histories)
        heard = own.copy()
        heard.data = np.ones_like(heard.data)
        parts = own @ self._likeness
        parts /= heard @ self._weights + np.float32(self.params["heard_prior"])
        scores: Floats = parts if self.params["lift"] else parts + self.arrays["means"]
        return scores

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """The item of the history whose rating raises the pick's most."""
        return loudest_parts(self._own(histories), self.arrays["likeness"], picks)

    @cached_property
    def _likeness(self) -> Floats:
        return np.ascontiguousarray(self.arrays["likeness"])

    @cached_property
    def _weights(self) -> Floats:
        return np.abs(self._likeness)

    def _own(self, histories: Histories) -> csr_matrix:
        """How far each rating is from the usual one of its user and item, float32."""
        rated = histories.rated_above(-np.inf)
        numbers = np.diff(np.append(rated.starts, len(rated.ages)))
        ratings = rated.ratings if rated.ratings is not None else np.empty(0)
        means = rated.summed(ratings) / np.maximum(numbers, 1)
        matrix = rated.csr(means.astype(np.float64))
        prior = float(self.params["mean_prior"])
        return _unusual(matrix, self.arrays["means"].astype(np.float64), prior).astype(np.float32)


class LikedEASE(Recommender):
    """EASE over what was rated above the mean of all ratings alone."""

    kind = "liked_ease"

    @classmethod
    def fit(cls, interactions: Interactions, as_of: date, **params: Any) -> Self:
        """Parameters: those of EASE."""
        rated = _rated(interactions)
        assert rated.ratings is not None
        above = float(rated.ratings.mean())
        liked = rated.where(rated.ratings > above)
        if not len(liked):
            # All ratings are alike.
            above, liked = -float(np.finfo(np.float64).max), rated
        within = EASE.fit(liked, as_of, **params)
        return cls(cls.kind, within.items, {**within.params, "above": above}, within.arrays)

    @cached_property
    def _within(self) -> EASE:
        return EASE("ease", self.items, self.params, self.arrays)

    def scores(self, histories: Histories, facts: ItemFacts | None = None) -> Floats:
        """As EASE's, of what the user liked."""
        return self._within.scores(histories.rated_above(self.params["above"]), facts)

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """The liked item with the largest part in the pick's score."""
        return self._within.explain(histories.rated_above(self.params["above"]), picks)


def _rated(interactions: Interactions) -> Interactions:
    """The rows with a rating; where nobody rated, all of them, alike."""
    if interactions.ratings is None or not interactions.are_rated:
        return replace(interactions, ratings=np.ones(len(interactions)))
    return interactions.where(~np.isnan(interactions.ratings))


def _matrices(rated: Interactions) -> tuple[csr_matrix, csr_matrix]:
    """Mean rating of every user and item, and ones where there is one, doubles."""
    assert rated.ratings is not None
    shape = (len(rated.user_ids), len(rated.item_ids))
    numbers = summed(rated.users, rated.items, np.ones(len(rated)), shape).astype(np.float64)
    matrix = summed(rated.users, rated.items, rated.ratings, shape).astype(np.float64)
    matrix.data = matrix.data / numbers.data
    numbers.data = np.ones_like(numbers.data)
    return matrix, numbers


def _unusual(matrix: csr_matrix, means: Doubles, prior: float) -> csr_matrix:
    """Ratings less their item's mean and their user's (shrunk) mean difference to such means."""
    own = matrix.copy()
    own.data = own.data - means[own.indices]
    numbers: npt.NDArray[np.int64] = np.diff(own.indptr)
    owners = np.repeat(np.arange(own.shape[0]), numbers)
    usual = np.bincount(owners, own.data, minlength=own.shape[0]) / (numbers + prior)
    own.data = own.data - usual[owners]
    return own
