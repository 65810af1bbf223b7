"""The ridge penalty by restricted maximum likelihood.

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

import numpy as np

from batch_predictions.core.arrays import Doubles

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
