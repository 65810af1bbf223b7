"""What can be learned of segments from some users' rows: counts, and the tilts fitted to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.models.common.ranking_metrics import DEPTH, Doubles, Positions, top_k
from batch_predictions.models.demographic.model import CountAdjustment
from batch_predictions.models.demographic.penalty import METRICS, SIGNED_METRICS
from batch_predictions.models.demographic.ridge import RidgeAdjustment
from batch_predictions.models.demographic.ridge_fit import RidgeFit
from batch_predictions.models.demographic.segments import (
    Leaf,
    SegmentAdjustment,
    SegmentCounts,
    SegmentShares,
    SegmentUsers,
)
from batch_predictions.models.recommender.data.interactions import Codes, Interactions

ITEMS = 2_000
"""Most wanted items, from which lists are drawn here and whose effects the regression learns."""

PLACE_VARIANCES = (0.0, 0.1, 0.3, 1.0)
"""How much places' effects may vary, relative to those of ages and genders; 0: no places. They
must be likelier by a unit for each item that judges, and so must the demographics at all: as if
each item spent a parameter on them (Akaike 1974, IEEE Transactions on Automatic Control 19)."""


@dataclass(frozen=True)
class Candidate:
    """A tilt to be fitted."""

    kind: Literal["segments", "ridge"]
    kappa: float = math.inf
    """segments: weight of the parent's shares. The regression estimates all it needs itself."""


class SegmentStatistics:
    """What is learned from some users' rows up to a day: counts, users and tilts."""

    def __init__(
        self,
        known: Interactions,
        leaves: Sequence[Leaf],
        leaf_of_user: Codes,
        popular: Any,
        ever: Any,
        users: npt.NDArray[np.bool_],
    ) -> None:
        """Sum over leaves.

        Args:
            known: names of users and items.
            leaves: that occur.
            leaf_of_user: position in `leaves` of each user.
            popular: csr users x items, recency-weighted events.
            ever: csr users x items, log(1 + all events).
            users: who is learned from.
        """
        from scipy.sparse import csr_matrix, hstack

        active = users & (np.diff(ever.indptr) > 0)
        chosen = np.flatnonzero(active)
        self.users = SegmentUsers(
            leaves, np.bincount(leaf_of_user[chosen], minlength=len(leaves)).astype(np.int64)
        )
        member = csr_matrix(
            (np.ones(len(chosen)), (leaf_of_user[chosen], chosen)),
            shape=(len(leaves), len(known.user_ids)),
        )
        weights = member @ popular
        totals = np.asarray(weights.sum(axis=0)).ravel()
        best = top_k(np.where(totals > 0, totals, -np.inf)[np.newaxis], ITEMS)[0]
        self.columns: Positions = np.sort(best[best >= 0])
        self.items = known.item_ids.take(pa.array(self.columns))
        kept = weights[:, self.columns]
        # All other items are one that is never offered: shares keep their meaning.
        others = np.asarray(weights.sum(axis=1) - kept.sum(axis=1))
        self.counts = SegmentCounts(
            leaves,
            pa.concat_arrays([self.items, pa.array([None], pa.string())]),
            hstack([kept, csr_matrix(np.maximum(others, 0.0))], format="csr"),
        )
        self._ever = ever[chosen][:, self.columns]
        self._sums = member[:, chosen] @ self._ever
        self._ridge: RidgeAdjustment | None = None

    def tilt(self, candidate: Candidate) -> SegmentAdjustment:
        """The candidate, fitted."""
        if candidate.kind == "segments":
            return CountAdjustment(candidate.kappa)
        return self.ridge()

    def ridge(self) -> RidgeAdjustment:
        """The regression, learned once: with as much of places as is likeliest, or without them; of
        an infinite penalty where demographics say nothing."""
        if self._ridge is None:
            level = np.asarray(self._ever.sum(axis=0)).ravel()
            wanted = top_k(level[np.newaxis], min(SIGNED_METRICS, len(level)))[0]
            taken = self._ever[:, wanted]
            together = (taken.T @ taken).toarray()
            fits = [
                RidgeFit(
                    self.users,
                    self.items,
                    self._sums,
                    places=variance > 0,
                    place_variance=variance,
                )
                for variance in PLACE_VARIANCES
            ]
            tried = [fit.learned(wanted, together) for fit in fits]
            # Nobody differs (the likelihood is relative to that), or by age and gender, or by place
            # too: the more is said, the likelier it has to be.
            least = float(min(METRICS, len(wanted)))
            self._ridge, likelihood = fits[0].tilt(math.inf), 0.0
            for group in (tried[:1], tried[1:]):
                tilt, likely = max(group, key=lambda found: found[1])
                if likely > likelihood + least:
                    self._ridge, likelihood = tilt, likely
        return self._ridge

    def lists(
        self,
        candidate: Candidate,
        leaves: Sequence[Leaf],
        min_users: int,
        factor: Doubles | None = None,
    ) -> npt.NDArray[np.int64]:
        """Positions in `columns` of the best items for each leaf's users, (n, DEPTH), -1 fills.

        A lookup searches from the finest level on. `factor` multiplies the shares of all items.
        """
        tilt = self.tilt(candidate)
        shares = tilt.on(self.counts, self.users)
        own = None if factor is None else factor[self.columns]
        return served(tilt, shares, self.users, leaves, min_users, own)


def served(
    tilt: SegmentAdjustment,
    shares: SegmentShares,
    users: SegmentUsers,
    leaves: Sequence[Leaf],
    min_users: int,
    factor: Doubles | None = None,
) -> npt.NDArray[np.int64]:
    """Positions among the items, without the last, of the lists that leaves' users are served;
    `factor` multiplies their shares."""
    keys = [users.serving(leaf, tilt.fewest(min_users), places=tilt.places) for leaf in leaves]
    distinct = sorted(set(keys), key=str)
    scores = np.array([shares(*key)[:-1] for key in distinct]).reshape(len(distinct), -1)
    if factor is not None:
        scores = scores * factor
    tops = top_k(np.where(scores > 0, scores, -np.inf), DEPTH)
    return tops[[distinct.index(key) for key in keys]]


def recency(known: Interactions, as_of: date, half_life: float, window_days: int | None) -> Doubles:
    """A weight for each row: halved per half-life, 0 for days before the window."""
    weights = known.recency_weights(half_life, as_of)
    if window_days is not None:
        age = (np.datetime64(as_of, "D") - known.dates).astype(np.int64)
        weights = np.where(age < window_days, weights, 0.0)
    return weights


def matrices(known: Interactions, rows: npt.NDArray[np.bool_], weights: Doubles) -> tuple[Any, Any]:
    """Users x items of some rows: their `weights` summed, and log(1 + events); csr, double."""
    from scipy.sparse import csr_matrix

    places = (known.users[rows], known.items[rows])
    shape = (len(known.user_ids), len(known.item_ids))
    popular = csr_matrix((weights, places), shape=shape)
    ever = csr_matrix((known.events[rows], places), shape=shape)
    ever.data = np.log1p(ever.data)
    return popular, ever
