"""Accuracy and F1, with bootstrap intervals over clusters: single reviews or whole products.

A classifier's probabilities are calibrated by maximum likelihood, with few parameters: one
temperature (Guo et al. 2017), or Platt scaling (Platt 1999): a temperature and an intercept for
each class.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from batch_predictions.core.arrays import Doubles, Floats
from batch_predictions.models.common.intervals import Interval, percentile_interval, resample_counts
from batch_predictions.models.sentiment.models.base import log_softmax
from batch_predictions.models.sentiment.text.labelled_reviews import Labels
from batch_predictions.models.sentiment.text.token_ids import Ints

ACCURACY, MACRO_F1 = "accuracy", "macro_f1"


@dataclass(frozen=True)
class EvaluatedClassifier:
    """Predicted and true classes of test reviews.

    Attributes:
        truth: true class of each review.
        predicted: predicted class of each review.
        clusters: cluster of each review, 0 to clusters - 1; a bootstrap draws whole clusters.
        classes: number of classes.
    """

    truth: Labels
    predicted: Labels
    clusters: Ints
    classes: int

    @cached_property
    def confusion(self) -> Doubles:
        """Counts by true class (rows) and predicted class (columns), (classes, classes)."""
        return self._confusion_by_cluster.sum(axis=0).reshape(self.classes, self.classes)

    @cached_property
    def _confusion_by_cluster(self) -> Doubles:
        """Flattened confusion matrix of every cluster, (clusters, classes²)."""
        counts = np.zeros((int(self.clusters.max()) + 1, self.classes**2))
        np.add.at(counts, (self.clusters, self.truth * self.classes + self.predicted), 1)
        return counts

    def bootstrap_confusions(self, seed: int) -> Doubles:
        """Confusion matrices of bootstrap samples of clusters, (samples, classes, classes)."""
        counts = self._confusion_by_cluster
        samples = [
            cluster_counts @ counts
            for chunk in resample_counts(len(counts), seed)
            for cluster_counts in chunk
        ]
        return np.stack(samples).reshape(-1, self.classes, self.classes)

    def f1(self) -> Doubles:
        """F1 by class, (classes,)."""
        return f1_by_class(self.confusion[np.newaxis])[0]

    def intervals(self, seed: int) -> dict[str, Interval]:
        """Accuracy, macro-F1 and F1 by class (`f1_0`, …) with 95 % bootstrap intervals."""
        samples = self.bootstrap_confusions(seed)
        f1_samples = f1_by_class(samples)
        accuracy_samples = np.trace(samples, axis1=1, axis2=2) / samples.sum(axis=(1, 2))
        f1, n = self.f1(), len(self.truth)
        accuracy = float(np.trace(self.confusion) / n)
        intervals = {
            ACCURACY: percentile_interval(accuracy, accuracy_samples, n),
            MACRO_F1: percentile_interval(float(f1.mean()), f1_samples.mean(axis=1), n),
        }
        for k in range(self.classes):
            intervals[f"f1_{k}"] = percentile_interval(float(f1[k]), f1_samples[:, k], n)
        return intervals


def f1_by_class(confusions: Doubles) -> Doubles:
    """F1 of each class of confusion matrices (n, classes, classes): (n, classes).

    It is 0 for a class that is neither true nor predicted anywhere.
    """
    hits = np.diagonal(confusions, axis1=1, axis2=2)
    predicted_and_true = confusions.sum(axis=1) + confusions.sum(axis=2)
    return np.asarray(
        np.divide(
            2 * hits,
            predicted_and_true,
            out=np.zeros_like(predicted_and_true),
            where=predicted_and_true > 0,
        )
    )


def macro_f1(truth: Labels, predicted: Labels, classes: int) -> float:
    """Macro-F1: the mean of F1 over the classes.

    Args:
        truth: class of each review, 0 to `classes` - 1, (reviews,).
        predicted: of the same form.
        classes: number of classes.
    """
    counts = np.bincount(truth * classes + predicted, minlength=classes**2).astype(float)
    return float(f1_by_class(counts.reshape(1, classes, classes)).mean())


def macro_f1_difference(a: EvaluatedClassifier, b: EvaluatedClassifier, seed: int) -> Interval:
    """Macro-F1 of `a` minus that of `b` on the same reviews, with its 95 % bootstrap interval.

    Args:
        a: a classifier's predictions.
        b: another one's for the same reviews, with the same clusters.
        seed: of the bootstrap samples.
    """
    # The same seed draws the same clusters, so that the samples are paired.
    a_samples = f1_by_class(a.bootstrap_confusions(seed)).mean(axis=1)
    b_samples = f1_by_class(b.bootstrap_confusions(seed)).mean(axis=1)
    difference = float(a.f1().mean() - b.f1().mean())
    return percentile_interval(difference, a_samples - b_samples, len(a.truth))


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
