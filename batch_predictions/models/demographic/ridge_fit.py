"""Fits the ridge regression on demographics, and its penalties."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Doubles, Positions
from batch_predictions.models.demographic.demographic_segments import SegmentUsers
from batch_predictions.models.demographic.design import DemographicDesign
from batch_predictions.models.demographic.penalty import (
    COMMON_PENALTY_ITEMS,
    common_penalty,
    log_likelihoods,
    penalty_per_response,
)
from batch_predictions.models.demographic.ridge import DAMPING_USERS, RidgeAdjustment

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class RidgeFit:
    """The regression before its penalties: decomposed once, solved for any penalty.

    Args:
        users: the training users by leaf. Inputs are equal within a leaf, so that sums over leaves
            give exactly the regression over users.
        items: whose effects are fitted, (m,).
        sums: CSR, len(users.leaves) x m: log(1 + events) summed over a leaf's users.
        uses_location: whether locations are among the inputs.
        location_variance: prior variance of the locations' effects relative to those of ages and
            genders; their penalty is the common one over this.
    """

    def __init__(
        self,
        users: SegmentUsers,
        items: pa.StringArray,
        sums: csr_matrix,
        *,
        uses_location: bool,
        location_variance: float = 1.0,
    ) -> None:
        from threadpoolctl import threadpool_limits

        self.items = items
        self.inputs = DemographicDesign.from_users(users, uses_location=uses_location)
        self._users = number = max(int(users.sizes.sum()), 1)
        rows = self.inputs.matrix(users.leaves)
        with threadpool_limits(limits=1, user_api="blas"):
            self.means = users.sizes @ rows / number
            self._scale = np.ones(len(self.inputs))
            self._scale[len(self._scale) - len(self.inputs.locations) :] = location_variance**0.5
            centred = (rows - self.means) * self._scale
            gram = (centred * users.sizes[:, np.newaxis]).T @ centred
            self._values, self._vectors = np.linalg.eigh(gram)
            cross = np.asarray(sums.T @ centred).T
            self._rotated = self._vectors.T @ cross
        self._item_means = np.asarray(sums.sum(axis=0)).ravel() / number
        self._level = self._item_means + DAMPING_USERS * np.log(2.0) / number

    def solve(self, penalty: float) -> RidgeAdjustment:
        """Solves the regression for a penalty (> 0), in users.

        The effect of an input that this many users have is halved.

        Raises:
            ValueError: the penalty is not positive.
        """
        if not penalty > 0:
            raise ValueError(f"ridge: the penalty is {penalty}, and must be positive")
        return self._adjustment(penalty, self._rotated * self._weights(penalty))

    def solve_by_likelihood(
        self, popular: Positions, gram: Doubles
    ) -> tuple[RidgeAdjustment, float]:
        """The solution with the penalties of highest likelihood.

        With it comes the log-likelihood of the common penalty, by which sets of inputs are
        compared.

        All items have the common penalty, which is estimated on the first `COMMON_PENALTY_ITEMS`
        of `popular`; each principal direction of `popular` has its own.

        Args:
            popular: positions of the most popular items, the most popular first, (d,).
            gram: their Y'Y, not centred, (d, d).
        """
        from threadpoolctl import threadpool_limits

        means = self._item_means[popular]
        with threadpool_limits(limits=1, user_api="blas"):
            centred = gram - self._users * np.outer(means, means)
            rotated_items = self._rotated[:, popular]
            sizes, directions = np.linalg.eigh(centred)
            rotated_directions = rotated_items @ directions
            first = slice(0, COMMON_PENALTY_ITEMS)
            penalty, likelihood = common_penalty(
                self._likelihoods(rotated_items[:, first], np.diag(centred)[first])
            )
            weights = self._weights(penalty)
            penalties = penalty_per_response(self._likelihoods(rotated_directions, sizes), penalty)
            effects = self._rotated * weights
            change = rotated_directions * (self._weights(penalties) - weights)
            effects[:, popular] += change @ directions.T
        return self._adjustment(penalty, effects), likelihood

    def _likelihoods(self, rotated: Doubles, squares: Doubles) -> Doubles:
        return log_likelihoods(self._values, rotated, np.maximum(squares, 0.0), self._users)

    def _weights(self, penalty: float | Doubles) -> Doubles:
        """Shrinkage of X'Y in the basis of eigenvectors: 1 / (eigenvalue + penalty)."""
        return np.asarray(1.0 / (np.maximum(self._values, 0.0)[:, np.newaxis] + penalty))

    def _adjustment(self, penalty: float, effects: Doubles) -> RidgeAdjustment:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(limits=1, user_api="blas"):
            scaled = self._scale[:, np.newaxis] * (self._vectors @ effects) / self._level
        return RidgeAdjustment(
            penalty, self.inputs, self.means, self.items, scaled.astype(np.float32)
        )
