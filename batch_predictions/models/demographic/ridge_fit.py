"""Fits the ridge regression on demographics; penalties are by restricted maximum likelihood.

Ridge regression is the posterior mean where effects have a normal prior whose variance is that of
the noise over the penalty. The penalty is therefore a ratio of two variances, and is estimated
where the restricted likelihood of what users took is highest (Patterson and Thompson 1971,
Biometrika 58; empirical Bayes), over many items at once. A penalty chosen by the NDCG of a few
folds would depend on the folds.

Tastes differ by demographics rather than single items do. The principal directions of the items
(those that the same users take) are uncorrelated, so each has its own likelihood and penalty, close
to the common one, since a single direction has little information (Breiman and Friedman 1997, JRSS
B 59: shrinkage in the directions of the responses).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Doubles, Positions
from batch_predictions.models.demographic.demographic_segments import SegmentUsers
from batch_predictions.models.demographic.ridge import (
    DAMPING_USERS,
    DemographicDesign,
    RidgeAdjustment,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


PENALTIES: Doubles = 5.0 * 2.0 ** (np.arange(31) / 2.0)[::-1]
"""The grid: from 163,840 users, with which no segment differs, down to 5."""
MAX_RATIO_TO_COMMON = 2.0
"""A direction's penalty is the common one times or over this at most."""
COMMON_PENALTY_ITEMS = 30
"""The most popular items, by which the common penalty is estimated: lists consist of these."""
DIRECTION_ITEMS = 250
"""The most popular items, whose principal directions are taken."""


def log_likelihoods(values: Doubles, rotated: Doubles, squares: Doubles, users: int) -> Doubles:
    """Restricted log-likelihood of each penalty and response, (len(PENALTIES), d).

    Up to a constant of the response; the noise variance is the maximum-likelihood estimate of each.

    Args:
        values: eigenvalues of X'X of centred inputs, (p,).
        rotated: X'Y in the basis of its eigenvectors, (p, d).
        squares: sums of squares of the centred responses, (d,).
        users: rows of X.
    """
    values = np.maximum(values, 0.0)[:, np.newaxis]
    degrees_of_freedom = max(users - 1, 1)
    result = np.empty((len(PENALTIES), len(squares)))
    for row, penalty in zip(result, PENALTIES.tolist(), strict=True):
        explained = (rotated**2 / (values + penalty)).sum(axis=0)
        residual = np.maximum(squares - explained, 1e-9 * squares)
        # A response without variance has the same likelihood at every penalty.
        share = np.divide(residual, squares, out=np.ones_like(residual), where=squares > 0)
        row[:] = -0.5 * (degrees_of_freedom * np.log(share) + np.log1p(values / penalty).sum())
    return result


def common_penalty(likelihoods: Doubles) -> tuple[float, float]:
    """Finds the penalty of highest likelihood over all responses, and this likelihood.

    Of equal ones the largest penalty.
    """
    sums = likelihoods.sum(axis=1)
    best = int(np.argmax(sums))
    return float(PENALTIES[best]), float(sums[best])


def penalty_per_response(likelihoods: Doubles, common: float) -> Doubles:
    """Each response's penalty of highest likelihood, clipped to near the common one, (d,)."""
    best = PENALTIES[np.argmax(likelihoods, axis=0)]
    return np.asarray(np.clip(best, common / MAX_RATIO_TO_COMMON, common * MAX_RATIO_TO_COMMON))


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
