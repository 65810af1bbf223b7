"""Log-probabilities, class shares, and the coefficients of a logistic regression by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles, Floats
from batch_predictions.models.sentiment.text.labelled_reviews import Labels

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

IMPOSSIBLE_LOGIT = float(np.log(1e-6))
"""Log-odds of a class that no training text has."""


def log_softmax(scores: npt.NDArray[np.floating]) -> Floats:
    """Log-probabilities from scores, row by row, (n, classes)."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), np.float32)


def class_shares(labels: Labels, classes: int) -> Doubles:
    """Computes the share of every class, (classes,)."""
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    return np.asarray(counts / max(1.0, float(counts.sum())))


def is_imbalanced(shares: Doubles) -> bool:
    """Returns whether the rarest class has less than 0.8 of the largest one's share."""
    return bool(shares.min() < 0.8 * shares.max())


def coefficients_by_class(model: LogisticRegression, classes: int) -> tuple[Doubles, Doubles]:
    """Coefficients (classes, features) and intercepts (classes,) of a fitted regression.

    scikit-learn has a single row for two classes, the second against the first, and no row for a
    class that is not in the training data.
    """
    rows, intercepts = model.coef_, model.intercept_
    if len(intercepts) == 1:
        rows, intercepts = np.vstack([-rows, rows]) / 2, np.append(-intercepts, intercepts) / 2
    weights = np.zeros((classes, rows.shape[1]))
    biases = np.full(classes, IMPOSSIBLE_LOGIT)
    weights[model.classes_], biases[model.classes_] = rows, intercepts
    return weights, biases
