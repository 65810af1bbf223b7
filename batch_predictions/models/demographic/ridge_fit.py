"""The regression of `demographic_ridge`, fitted: its effects and how much to believe of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from batch_predictions.models.common.ranking_metrics import Doubles, Positions
from batch_predictions.models.demographic.penalty import (
    METRICS,
    common_penalty,
    log_likelihoods,
    own_penalties,
)
from batch_predictions.models.demographic.ridge import (
    DAMPING_USERS,
    DemographicDesign,
    RidgeAdjustment,
)
from batch_predictions.models.demographic.segments import SegmentUsers


class RidgeFit:
    """The regression up to its penalties: decomposed once, solved for as many as are tried."""

    def __init__(
        self,
        users: SegmentUsers,
        items: pa.StringArray,
        sums: Any,
        *,
        places: bool,
        place_variance: float = 1.0,
    ) -> None:
        """Decompose X'X.

        Args:
            users: the users learned from, by leaf. Inputs are the same within a leaf, so that
                sums over leaves give exactly the regression over users.
            items: whose effects are learned.
            sums: csr, len(users.leaves) x len(items): log(1 + events) summed over a leaf's users.
            places: whether locations are among the inputs.
            place_variance: how much locations' effects are expected to vary, relative to the
                effects of ages and genders; their penalty is the common one over this.
        """
        from threadpoolctl import threadpool_limits

        self.items, self.inputs = items, DemographicDesign.of(users, places=places)
        self._number = number = max(int(users.sizes.sum()), 1)
        rows = self.inputs.matrix(users.leaves)
        with threadpool_limits(limits=1, user_api="blas"):
            self.means = users.sizes @ rows / number
            self._scale = np.ones(len(self.inputs))
            self._scale[len(self._scale) - len(self.inputs.locations) :] = place_variance**0.5
            centred = (rows - self.means) * self._scale
            gram = (centred * users.sizes[:, np.newaxis]).T @ centred
            self._values, self._vectors = np.linalg.eigh(gram)
            cross = np.asarray(sums.T @ centred).T
            self._rotated = self._vectors.T @ cross
        self._means = np.asarray(sums.sum(axis=0)).ravel() / number
        self._level = self._means + DAMPING_USERS * np.log(2.0) / number

    def tilt(self, penalty: float) -> RidgeAdjustment:
        """The solution for a penalty (> 0), in users: an input of so many users is halved."""
        if not penalty > 0:
            raise ValueError(f"ridge: the penalty is {penalty}, and must be positive")
        return self._tilt(penalty, self._rotated * self._weights(penalty))

    def learned(self, wanted: Positions, together: Doubles) -> tuple[RidgeAdjustment, float]:
        """The solution with the penalties that the data say, and the log-likelihood of the common
        one, which tells which inputs are worth having.

        Args:
            wanted: positions of the most wanted items, the most wanted first. All items have the
                common penalty, which is estimated on the first of these; each principal direction
                of these has one of its own.
            together: their Y'Y, not centred, (len(wanted), len(wanted)).
        """
        from threadpoolctl import threadpool_limits

        means = self._means[wanted]
        with threadpool_limits(limits=1, user_api="blas"):
            centred = together - self._number * np.outer(means, means)
            of_wanted = self._rotated[:, wanted]
            sizes, directions = np.linalg.eigh(centred)
            rotated = of_wanted @ directions
            judges = slice(0, METRICS)
            penalty, likelihood = common_penalty(
                self._likelihoods(of_wanted[:, judges], np.diag(centred)[judges])
            )
            weights = self._weights(penalty)
            own = own_penalties(self._likelihoods(rotated, sizes), penalty)
            effects = self._rotated * weights
            effects[:, wanted] += (rotated * (self._weights(own) - weights)) @ directions.T
        return self._tilt(penalty, effects), likelihood

    def _likelihoods(self, rotated: Doubles, squares: Doubles) -> Doubles:
        return log_likelihoods(self._values, rotated, np.maximum(squares, 0.0), self._number)

    def _weights(self, penalty: float | Doubles) -> Doubles:
        """What X'Y is multiplied by in the basis of eigenvectors, (len(inputs), penalties)."""
        return np.asarray(1.0 / (np.maximum(self._values, 0.0)[:, np.newaxis] + penalty))

    def _tilt(self, penalty: float, effects: Doubles) -> RidgeAdjustment:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(limits=1, user_api="blas"):
            scaled = self._scale[:, np.newaxis] * (self._vectors @ effects) / self._level
        return RidgeAdjustment(
            penalty, self.inputs, self.means, self.items, scaled.astype(np.float32)
        )
