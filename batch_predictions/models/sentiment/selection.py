"""Which classifier serves: every candidate is judged on the same held-out reviews.

A candidate serves where its macro-F1 is better than the TF-IDF baseline's by more than chance
(the paired 95 % interval lies above 0); of those the best. Then it is fitted on all reviews.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from batch_predictions.models.common.bootstrap import Interval, Row, metric_row
from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.data import CLASSES, Reviews, distinct, holdout
from batch_predictions.models.sentiment.metrics import (
    MACRO_F1,
    EvaluatedClassifier,
    clusters_of,
    difference,
)
from batch_predictions.models.sentiment.models.base import ModelTraining
from batch_predictions.models.sentiment.training import BASELINE, ClassifierTrainer

UNTRAINED = "untrained"
GAIN = f"{MACRO_F1}_gain"


@dataclass(frozen=True)
class SentimentSelection:
    """The classifier that serves, its name, and what all candidates reached."""

    classifier: Classifier
    chosen: str
    beats_baseline: bool
    why: str
    metrics: list[Row]
    split: str


def select_sentiment(
    reviews: Reviews,
    candidates: Sequence[str],
    training: ModelTraining,
    *,
    holdout_share: float,
    min_reviews: int,
    max_reviews: int,
) -> SentimentSelection:
    """Judges the candidates and fits the winner on everything.

    Reviews of which fewer than `min_reviews` different texts are labelled, or all with one label,
    teach nothing: the classifier then has no parts, and its reviews are excluded with a reason.
    """
    once = distinct(reviews)
    if len(once) > max_reviews:
        newest = np.argsort(-once.days, kind="stable")[:max_reviews]
        once = once.take(np.sort(newest))
    counts = np.bincount(once.labels, minlength=len(CLASSES))
    if len(once) < min_reviews or (counts >= 5).sum() < 2:
        there = ", ".join(f"{n} {name}" for name, n in zip(CLASSES, counts, strict=True))
        why = (
            f"nothing was learned: {len(once)} different labelled texts ({there}), and "
            f"sentiment.min_reviews = {min_reviews}, of at least two classes, are needed"
        )
        empty = Classifier([], len(CLASSES), np.full(len(CLASSES), 1 / len(CLASSES)))
        return SentimentSelection(empty, UNTRAINED, False, why, [], "none")
    split = holdout(once, holdout_share, training.seed)
    judged_reviews = once.take(split.test)
    fitter = ClassifierTrainer(once.take(split.train), training)
    names = list(dict.fromkeys([BASELINE, *candidates]))
    # Reviews of one product are alike: whole products are resampled.
    clusters = clusters_of(judged_reviews.groups)
    judged: dict[str, EvaluatedClassifier] = {}
    metrics: list[Row] = []
    for name in names:
        guess = fitter.fit(name).probabilities(judged_reviews.documents).argmax(axis=1)
        judged[name] = EvaluatedClassifier(judged_reviews.labels, guess, clusters, len(CLASSES))
        for metric, interval in judged[name].intervals(training.seed).items():
            place = metric.removeprefix("f1_")
            shown = f"f1_{CLASSES[int(place)]}" if place.isdigit() else metric
            metrics.append(metric_row(name, shown, interval))
    gains = {name: difference(judged[name], judged[BASELINE], training.seed) for name in names[1:]}
    metrics += [metric_row(name, GAIN, gain) for name, gain in gains.items()]
    chosen = _best(gains)
    held = f"{len(judged_reviews):,} reviews held out ({split.kind})"
    reached = judged[chosen or BASELINE].f1().mean()
    if chosen:
        why = f"{chosen} has macro-F1 {reached:.4f} on {held}, {BASELINE} {_less(gains[chosen])}"
    else:
        why = f"no candidate is surely better than {BASELINE}, macro-F1 {reached:.4f} on {held}"
    training.progress(why)
    final = ClassifierTrainer(once, training).fit(chosen or BASELINE)
    return SentimentSelection(
        final, chosen or BASELINE, chosen is not None, why, metrics, split.kind
    )


def _best(gains: dict[str, Interval]) -> str | None:
    """The candidate with the largest gain among those that gain more than by chance."""
    sure = {name: gain.mean for name, gain in gains.items() if gain.lower > 0}
    return max(sure, key=lambda name: sure[name]) if sure else None


def _less(gain: Interval) -> str:
    return f"{gain.mean:.4f} less (95 % interval {gain.lower:.4f} to {gain.upper:.4f})"
