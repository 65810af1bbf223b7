"""Calibration of a classifier's probabilities by maximum likelihood, with few parameters.

One temperature (Guo et al. 2017), or Platt scaling (Platt 1999): a temperature and an intercept for
each class.
"""

from __future__ import annotations

import numpy as np

from batch_predictions.models.sentiment.models.probabilities import log_softmax
from batch_predictions.models.sentiment.text.arrays import Doubles, Floats
from batch_predictions.models.sentiment.text.labelled_reviews import Labels

TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5)
MAX_INTERCEPT = 5.0
"""Scores that separate the classes have no finite maximum of the likelihood: it is bounded."""


def log_loss(scores: Floats, labels: Labels) -> float:
    """Mean negative log-likelihood of the classes.

    Args:
        scores: log-probabilities up to a constant per row, (reviews, classes).
        labels: class of each review.
    """
    return float(-log_softmax(scores)[np.arange(len(labels)), labels].mean())


def fit_temperature(scores: Floats, labels: Labels) -> float:
    """The temperature of TEMPERATURES with the lowest log loss of `scores / temperature`."""
    return min(TEMPERATURES, key=lambda temperature: log_loss(scores / temperature, labels))


def fit_platt(scores: Floats, labels: Labels) -> tuple[float, Doubles]:
    """Temperature and intercepts with the lowest log loss of `scores / temperature + intercepts`.

    Args:
        scores: mean log-probabilities, (reviews, classes).
        labels: class of each review.

    Returns:
        The temperature, within the range of TEMPERATURES, and the intercepts, (classes,), of mean
        0; 0 for a class without a review.
    """
    from scipy.optimize import minimize

    present = np.unique(labels)
    intercepts = np.zeros(scores.shape[1])

    def loss(parameters: Doubles) -> float:
        intercepts[present] = parameters[1:]
        return log_loss(scores * np.exp(-parameters[0]) + intercepts, labels)

    bounds = [(np.log(TEMPERATURES[0]), np.log(TEMPERATURES[-1]))]
    bounds += [(-MAX_INTERCEPT, MAX_INTERCEPT)] * len(present)
    # Without derivatives, because log_softmax rounds to single precision.
    fitted = minimize(loss, np.zeros(1 + len(present)), method="Powell", bounds=bounds)
    intercepts[present] = fitted.x[1:] - fitted.x[1:].mean()
    return float(np.exp(fitted.x[0])), intercepts
