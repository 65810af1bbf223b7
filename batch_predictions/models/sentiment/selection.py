"""Selects the classifier that serves; all candidates are compared on the same held-out reviews.

A candidate passes where its macro-F1 is significantly higher than that of the TF-IDF baseline: the
95 % interval of the paired difference is above 0. The best that passes serves, else the baseline;
it is then fitted on all reviews.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from batch_predictions.models.common.bootstrap import Row, metric_row
from batch_predictions.models.common.gate import best_significant
from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.data import (
    CLASSES,
    Labels,
    Reviews,
    deduplicate,
    number_distinct,
    split_holdout,
)
from batch_predictions.models.sentiment.metrics import (
    MACRO_F1,
    EvaluatedClassifier,
    macro_f1_difference,
)
from batch_predictions.models.sentiment.models.base import ModelTraining
from batch_predictions.models.sentiment.registry import validate_names
from batch_predictions.models.sentiment.training import BASELINE, ClassifierTrainer

UNTRAINED = "untrained"
GAIN = f"{MACRO_F1}_gain"
MIN_REVIEWS_PER_CLASS = 5
"""A class with fewer texts does not count as one of the two that training needs."""


@dataclass(frozen=True)
class SentimentSelection:
    """The result of a selection.

    Attributes:
        classifier: the classifier that serves.
        candidate: its name; `untrained` if there were too few reviews.
        beats_baseline: whether a candidate passed.
        why: the decision in a sentence.
        metrics: rows of `evaluation.model_metrics`, of all candidates.
        split: how the reviews were split, see `ReviewSplit.kind`.
    """

    classifier: Classifier
    candidate: str
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
    """Compares the candidates with the baseline and fits the winner on all reviews.

    Args:
        reviews: labelled reviews; texts are deduplicated.
        candidates: names of classifiers; the baseline is always compared.
        training: seed, options and files.
        holdout_share: share of the reviews that is held out for the comparison.
        min_reviews: with fewer distinct texts, or with a single class, nothing is trained.
        max_reviews: distinct texts that are used, the newest.

    Raises:
        SettingsError: a candidate or an option is unknown.
    """
    names = list(dict.fromkeys([BASELINE, *candidates]))
    validate_names(names)
    unique = deduplicate(reviews)
    if len(unique) > max_reviews:
        newest = np.argsort(-unique.days, kind="stable")[:max_reviews]
        unique = unique.take(np.sort(newest))
    counts = np.bincount(unique.labels, minlength=len(CLASSES))
    if len(unique) < min_reviews or (counts >= MIN_REVIEWS_PER_CLASS).sum() < 2:
        return _untrained(counts, min_reviews)
    split = split_holdout(unique, holdout_share, training.seed)
    train, test = unique.take(split.train), unique.take(split.test)
    evaluated = _evaluate(names, train, test, training)
    baseline = evaluated[BASELINE]
    gains = {
        name: macro_f1_difference(evaluated[name], baseline, training.seed) for name in names[1:]
    }
    metrics = [
        row for name in names for row in _metric_rows(name, evaluated[name], training.seed)
    ] + [metric_row(name, GAIN, gain) for name, gain in gains.items()]
    winner = best_significant(gains)
    serving = winner or BASELINE
    test_set = f"{len(test):,} held-out reviews ({split.kind})"
    f1 = evaluated[serving].f1().mean()
    if winner:
        gain = gains[winner]
        why = (
            f"{winner} has macro-F1 {f1:.4f} on {test_set}; {BASELINE} has {gain.mean:.4f} less "
            f"(95 % interval {gain.lower:.4f} to {gain.upper:.4f})"
        )
    else:
        why = (
            f"no candidate is significantly better than {BASELINE}, which has macro-F1 {f1:.4f} "
            f"on {test_set}"
        )
    training.progress(why)
    classifier = ClassifierTrainer(unique, training).fit(serving)
    return SentimentSelection(classifier, serving, winner is not None, why, metrics, split.kind)


def _evaluate(
    names: Sequence[str], train: Reviews, test: Reviews, training: ModelTraining
) -> dict[str, EvaluatedClassifier]:
    """Every classifier, fitted on the training reviews, on the test reviews."""
    trainer = ClassifierTrainer(train, training)
    # Reviews of one product are similar, so that a bootstrap must draw whole products.
    clusters = number_distinct(test.groups)
    evaluated = {}
    for name in names:
        predicted = trainer.fit(name).probabilities(test.documents).argmax(axis=1)
        evaluated[name] = EvaluatedClassifier(test.labels, predicted, clusters, len(CLASSES))
    return evaluated


def _metric_rows(name: str, evaluated: EvaluatedClassifier, seed: int) -> list[Row]:
    """Accuracy, macro-F1 and F1 by class (`f1_negative`, …) of a candidate."""
    class_metrics = {f"f1_{k}": f"f1_{label}" for k, label in enumerate(CLASSES)}
    return [
        metric_row(name, class_metrics.get(metric, metric), interval)
        for metric, interval in evaluated.intervals(seed).items()
    ]


def _untrained(counts: Labels, min_reviews: int) -> SentimentSelection:
    """A classifier without models, whose reviews are excluded with a reason.

    Args:
        counts: distinct texts of every class.
        min_reviews: distinct texts that training needs.
    """
    by_class = ", ".join(f"{n} {label}" for n, label in zip(counts, CLASSES, strict=True))
    why = (
        f"nothing was trained: there are {counts.sum()} distinct labelled texts ({by_class}); "
        f"needed are {min_reviews} (sentiment.min_reviews) of at least two classes"
    )
    classifier = Classifier([], len(CLASSES), np.full(len(CLASSES), 1 / len(CLASSES)))
    return SentimentSelection(classifier, UNTRAINED, False, why, [], "none")
