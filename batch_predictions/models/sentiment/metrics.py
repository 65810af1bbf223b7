"""Accuracy and F1 with bootstrap intervals over clusters (reviews, or whole products)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from batch_predictions.models.common.bootstrap import Interval, percentile_interval, resample_counts
from batch_predictions.models.common.ranking_metrics import Doubles
from batch_predictions.models.sentiment.data import Labels

ACCURACY, MACRO_F1 = "accuracy", "macro_f1"


@dataclass(frozen=True)
class EvaluatedClassifier:
    """Predictions beside the truth, and the clusters that are resampled together."""

    truth: Labels
    predicted: Labels
    clusters: npt.NDArray[np.int64]
    classes: int

    @cached_property
    def confusion(self) -> Doubles:
        """Counts by true and predicted class, (classes, classes)."""
        return self._by_cluster.sum(axis=0).reshape(self.classes, self.classes)

    @cached_property
    def _by_cluster(self) -> Doubles:
        """Flattened confusion of every cluster, (clusters, classes²)."""
        counts = np.zeros((int(self.clusters.max()) + 1, self.classes**2))
        np.add.at(counts, (self.clusters, self.truth * self.classes + self.predicted), 1)
        return counts

    def resampled(self, seed: int) -> Doubles:
        """Confusions of samples of whole clusters with replacement, (samples, classes²)."""
        counts = self._by_cluster
        samples = [
            drawn @ counts for chunk in resample_counts(len(counts), seed) for drawn in chunk
        ]
        return np.stack(samples)

    def f1(self) -> Doubles:
        """F1 by class, (classes,)."""
        return f1_of(self.confusion[np.newaxis])[0]

    def intervals(self, seed: int) -> dict[str, Interval]:
        """Accuracy, macro-F1 and F1 by class (`f1_0`, …) with 95 % bootstrap intervals."""
        samples = self.resampled(seed).reshape(-1, self.classes, self.classes)
        by_class = f1_of(samples)
        right = np.trace(samples, axis1=1, axis2=2) / samples.sum(axis=(1, 2))
        here, n = self.f1(), len(self.truth)
        found = {
            ACCURACY: percentile_interval(float(np.trace(self.confusion) / n), right, n),
            MACRO_F1: percentile_interval(float(here.mean()), by_class.mean(axis=1), n),
        }
        for each in range(self.classes):
            found[f"f1_{each}"] = percentile_interval(float(here[each]), by_class[:, each], n)
        return found


def f1_of(confusions: Doubles) -> Doubles:
    """F1 by class of confusions (n, classes, classes); 0 where a class is nowhere. (n, classes)"""
    right = np.diagonal(confusions, axis1=1, axis2=2)
    both = confusions.sum(axis=1) + confusions.sum(axis=2)
    return np.asarray(np.divide(2 * right, both, out=np.zeros_like(both), where=both > 0))


def macro_f1(truth: Labels, predicted: Labels, classes: int) -> float:
    """Mean of F1 over the classes."""
    counts = np.bincount(truth * classes + predicted, minlength=classes**2).astype(float)
    return float(f1_of(counts.reshape(1, classes, classes)).mean())


def difference(a: EvaluatedClassifier, b: EvaluatedClassifier, seed: int) -> Interval:
    """Macro-F1 of a less that of b over the same reviews, with its 95 % bootstrap interval."""
    shape = (-1, a.classes, a.classes)
    # The same seed draws the same clusters: the difference is paired.
    ours = f1_of(a.resampled(seed).reshape(shape)).mean(axis=1)
    theirs = f1_of(b.resampled(seed).reshape(shape)).mean(axis=1)
    return percentile_interval(float(a.f1().mean() - b.f1().mean()), ours - theirs, len(a.truth))


def clusters_of(names: Sequence[str]) -> npt.NDArray[np.int64]:
    """A number for every different name."""
    seen: dict[str, int] = {}
    return np.array([seen.setdefault(name, len(seen)) for name in names], dtype=np.int64)
