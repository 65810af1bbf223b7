"""Statistics of segments from some users' rows: counts, and the adjustments fitted to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.core.arrays import Doubles, Positions
from batch_predictions.models.common.ranking_metrics import DEPTH, top_k
from batch_predictions.models.demographic.demographic_model import (
    CountAdjustment,
    SegmentAdjustment,
)
from batch_predictions.models.demographic.demographic_segments import (
    Leaf,
    SegmentCounts,
    SegmentShares,
    SegmentUsers,
)
from batch_predictions.models.demographic.ridge import RidgeAdjustment
from batch_predictions.models.demographic.ridge_fit import (
    COMMON_PENALTY_ITEMS,
    DIRECTION_ITEMS,
    RidgeFit,
)
from batch_predictions.models.recommender.data.interactions import Codes, Interactions

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MAX_ITEMS = 2_000
"""The most popular items: lists consist of these, and the regression fits their effects."""

LOCATION_VARIANCES = (0.0, 0.1, 0.3, 1.0)
"""Prior variances of the locations' effects that are compared; 0: locations are not inputs.

Locations must raise the log-likelihood by 1 for each of the `COMMON_PENALTY_ITEMS`, and so must
demographics at all: as if each item spent a parameter on them (Akaike 1974, IEEE Transactions on
Automatic Control 19)."""


@dataclass(frozen=True)
class Candidate:
    """An adjustment to be fitted.

    Attributes:
        kind: of the adjustment.
        kappa: of `segments`: weight of the parent's shares. `ridge` estimates its penalties itself.
    """

    kind: Literal["segments", "ridge"]
    kappa: float = math.inf


class SegmentStatistics:
    """Counts, users and adjustments from some users' rows up to a day.

    Args:
        interactions: names of users and items.
        leaves: that occur.
        leaf_of_user: position in `leaves` of each user.
        weights: CSR users x items, recency-weighted events.
        log_events: CSR users x items, log(1 + all events).
        users: mask of the users to learn from.
    """

    def __init__(
        self,
        interactions: Interactions,
        leaves: Sequence[Leaf],
        leaf_of_user: Codes,
        weights: csr_matrix,
        log_events: csr_matrix,
        users: npt.NDArray[np.bool_],
    ) -> None:
        from scipy.sparse import csr_matrix, hstack

        active = np.flatnonzero(users & (np.diff(log_events.indptr) > 0))
        self.users = SegmentUsers(
            leaves, np.bincount(leaf_of_user[active], minlength=len(leaves)).astype(np.int64)
        )
        membership = csr_matrix(
            (np.ones(len(active)), (leaf_of_user[active], active)),
            shape=(len(leaves), len(interactions.user_ids)),
        )
        leaf_weights = membership @ weights
        totals = np.asarray(leaf_weights.sum(axis=0)).ravel()
        best = top_k(np.where(totals > 0, totals, -np.inf)[np.newaxis], MAX_ITEMS)[0]
        self.columns: Positions = np.sort(best[best >= 0])
        self.items = interactions.item_ids.take(pa.array(self.columns))
        listed = leaf_weights[:, self.columns]
        # All further items count as one that is never recommended, so that shares stay shares.
        unlisted = np.asarray(leaf_weights.sum(axis=1) - listed.sum(axis=1))
        self.counts = SegmentCounts(
            leaves,
            pa.concat_arrays([self.items, pa.array([None], pa.string())]),
            hstack([listed, csr_matrix(np.maximum(unlisted, 0.0))], format="csr"),
        )
        self._log_events = log_events[active][:, self.columns]
        self._leaf_sums = membership[:, active] @ self._log_events
        self._ridge: RidgeAdjustment | None = None

    def fit(self, candidate: Candidate) -> SegmentAdjustment:
        """Fits the adjustment of a candidate."""
        if candidate.kind == "segments":
            return CountAdjustment(candidate.kappa)
        return self.fit_ridge()

    def fit_ridge(self) -> RidgeAdjustment:
        """The regression of highest likelihood, which is fitted once.

        It is without demographics, by age and gender, or by location too.
        """
        if self._ridge is None:
            totals = np.asarray(self._log_events.sum(axis=0)).ravel()
            popular = top_k(totals[np.newaxis], min(DIRECTION_ITEMS, len(totals)))[0]
            events = self._log_events[:, popular]
            gram = (events.T @ events).toarray()
            fits = [
                RidgeFit(
                    self.users,
                    self.items,
                    self._leaf_sums,
                    uses_location=variance > 0,
                    location_variance=variance,
                )
                for variance in LOCATION_VARIANCES
            ]
            solutions = [fit.solve_by_likelihood(popular, gram) for fit in fits]
            # Likelihoods are relative to that without demographics; more inputs must raise it.
            min_gain = float(min(COMMON_PENALTY_ITEMS, len(popular)))
            self._ridge, best = fits[0].solve(math.inf), 0.0
            for group in (solutions[:1], solutions[1:]):
                adjustment, likelihood = max(group, key=lambda solution: solution[1])
                if likelihood > best + min_gain:
                    self._ridge, best = adjustment, likelihood
        return self._ridge

    def lists(
        self,
        candidate: Candidate,
        leaves: Sequence[Leaf],
        min_users: int,
        factors: Doubles | None = None,
    ) -> npt.NDArray[np.int64]:
        """Positions in `columns` of the best items for users of each leaf, (n, DEPTH), -1 fills.

        Args:
            candidate: the adjustment.
            leaves: (n,); the list of a leaf is that of the finest level that has one.
            min_users: users that a segment needs for a list from its counts.
            factors: multiply the shares of all items; None: 1.
        """
        adjustment = self.fit(candidate)
        shares = adjustment.apply(self.counts, self.users)
        column_factors = None if factors is None else factors[self.columns]
        return serve_lists(adjustment, shares, self.users, leaves, min_users, column_factors)


def serve_lists(
    adjustment: SegmentAdjustment,
    shares: SegmentShares,
    users: SegmentUsers,
    leaves: Sequence[Leaf],
    min_users: int,
    factors: Doubles | None = None,
) -> npt.NDArray[np.int64]:
    """Positions among the items, without the last, of the lists that users of leaves get.

    Args:
        adjustment: which levels have lists.
        shares: of segments.
        users: of segments.
        leaves: (n,).
        min_users: users that a segment needs for a list from its counts.
        factors: multiply the shares; None: 1.

    Returns:
        (n, DEPTH), -1 fills.
    """
    required = adjustment.required_users(min_users)
    keys = [
        users.find_segment(leaf, required, uses_location=adjustment.uses_location)
        for leaf in leaves
    ]
    distinct = sorted(set(keys), key=str)
    scores = np.array([shares(*key)[:-1] for key in distinct]).reshape(len(distinct), -1)
    if factors is not None:
        scores = scores * factors
    lists = top_k(np.where(scores > 0, scores, -np.inf), DEPTH)
    return lists[[distinct.index(key) for key in keys]]


def recency_weights(
    interactions: Interactions, as_of: date, half_life: float, window_days: int | None
) -> Doubles:
    """Returns a weight for each row: halved per half-life, 0 for days before the window.

    Args:
        interactions: the rows, (n,).
        as_of: the last day of the window, whose rows have weight 1.
        half_life: days; infinity: every row has weight 1.
        window_days: days of the window; None: all.
    """
    weights = interactions.recency_weights(half_life, as_of)
    if window_days is not None:
        age = (np.datetime64(as_of, "D") - interactions.dates).astype(np.int64)
        weights = np.where(age < window_days, weights, 0.0)
    return weights


def event_matrices(
    interactions: Interactions, rows: npt.NDArray[np.bool_], weights: Doubles
) -> tuple[csr_matrix, csr_matrix]:
    """Sums `weights` and log(1 + events) of some rows, users x items, CSR of doubles.

    Args:
        interactions: all rows, (n,).
        rows: mask of those that are summed, (n,).
        weights: of the rows that the mask marks.
    """
    from scipy.sparse import csr_matrix

    coordinates = (interactions.users[rows], interactions.items[rows])
    shape = (len(interactions.user_ids), len(interactions.item_ids))
    summed = csr_matrix((weights, coordinates), shape=shape)
    log_events = csr_matrix((interactions.events[rows], coordinates), shape=shape)
    log_events.data = np.log1p(log_events.data)
    return summed, log_events
