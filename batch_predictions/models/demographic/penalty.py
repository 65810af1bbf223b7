"""How strongly a regression's effects are drawn to nothing, as the data themselves say.

Ridge regression is the mean of what is to be believed where effects are drawn from a normal
distribution whose variance is that of the noise over the penalty. So the penalty is a ratio of two
variances, and it is estimated where the restricted likelihood of what users took is highest
(Patterson and Thompson 1971, Biometrika 58; empirical Bayes), over many items at once. A penalty
by the NDCG of a few folds is one of the lottery of those folds.

Items do not differ by demographics each for itself: tastes do, and items come in tastes. The
principal directions of the items (those that the same users take) are uncorrelated, so each has a
likelihood and a penalty of its own, near the common one since a single direction tells little
(Breiman and Friedman 1997, JRSS B 59: shrinkage in the directions of the responses).
"""

from __future__ import annotations

import numpy as np

from batch_predictions.models.common.ranking_metrics import Doubles

PENALTIES: Doubles = 5.0 * 2.0 ** (np.arange(31) / 2.0)[::-1]
"""Tried, from 163,840 users, with which no segment differs, down to 5."""
WITHIN = 2.0
"""A direction's penalty is the common one times or over this at most."""
METRICS = 30
"""Most wanted items, by which the common penalty is estimated: lists are drawn there."""
SIGNED_METRICS = 250
"""Most wanted items, of which directions are taken."""


def log_likelihoods(values: Doubles, rotated: Doubles, squares: Doubles, users: int) -> Doubles:
    """The restricted log-likelihood of each penalty and response, (len(PENALTIES), d), up to a
    constant of the response; the variance of the noise is at its best for each.

    Args:
        values: (p,) eigenvalues of X'X, of centred inputs.
        rotated: (p, d) X'Y in the basis of its eigenvectors.
        squares: (d,) the sums of squares of the centred responses.
        users: rows of X.
    """
    values = np.maximum(values, 0.0)[:, np.newaxis]
    degrees = max(users - 1, 1)
    out = np.empty((len(PENALTIES), len(squares)))
    for row, penalty in zip(out, PENALTIES.tolist(), strict=True):
        told = (rotated**2 / (values + penalty)).sum(axis=0)
        left = np.maximum(squares - told, 1e-9 * squares)
        # A response without variance tells nothing, whatever the penalty.
        share = np.divide(left, squares, out=np.ones_like(left), where=squares > 0)
        row[:] = -0.5 * (degrees * np.log(share) + np.log1p(values / penalty).sum())
    return out


def common_penalty(likelihoods: Doubles) -> tuple[float, float]:
    """The one of highest likelihood over all responses, and that; among equals the largest."""
    sums = likelihoods.sum(axis=1)
    best = int(np.argmax(sums))
    return float(PENALTIES[best]), float(sums[best])


def own_penalties(likelihoods: Doubles, common: float) -> Doubles:
    """Each response's best, (d,), near the common one."""
    best = PENALTIES[np.argmax(likelihoods, axis=0)]
    return np.asarray(np.clip(best, common / WITHIN, common * WITHIN))
