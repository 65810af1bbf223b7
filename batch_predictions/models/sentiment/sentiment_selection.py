"""Selects the classifier that serves; all candidates are compared on the same reviews.

With few texts (`sentiment.small_reviews`) the reviews are those of cross-validation folds, whose
classifiers were fitted and tuned on the other folds; the candidate with the highest macro-F1
serves if it is at least MIN_GAIN above the TF-IDF baseline, because so few reviews rarely show a
significant difference. Else the newest reviews are held out, and a candidate passes where its
macro-F1 is significantly higher than that of the baseline: the 95 % interval of the paired
difference is above 0. The best that passes serves, else the baseline. What serves is fitted on all
reviews.

The models that are compared depend on the number of labelled texts. The setting
`sentiment.candidates` replaces them; docs/figures/sentiment.md has the figures behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from batch_predictions.models.common.intervals import Interval, Row, metric_row
from batch_predictions.models.common.promotion_gate import best_significant
from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.models.base import ModelTraining, validate_names
from batch_predictions.models.sentiment.sentiment_metrics import (
    MACRO_F1,
    EvaluatedClassifier,
    macro_f1_difference,
)
from batch_predictions.models.sentiment.sentiment_training import BASELINE, ClassifierTrainer
from batch_predictions.models.sentiment.text.labelled_reviews import (
    CLASSES,
    Labels,
    Reviews,
    deduplicate,
    number_distinct,
    split_holdout,
    stratified_folds,
)
from batch_predictions.models.sentiment.text.polarity_lexicon import has_lexicon
from batch_predictions.settings import SentimentSettings

LINEAR_CANDIDATES = ("tfidf_lr", "average_char_lr")
"""The parts of the average, nb_lr and char_lr, are no candidates: among more candidates the choice
on few texts is less stable."""
LEXICON_CANDIDATES = ("tfidf_lr", "average_lexicon_lr")
"""Instead of the linear candidates where there is a lexicon of the texts' language."""
NET_CANDIDATES = ("tfidf_lr", "nb_lr", "cnn", "lstm", "average_cnn")
ENCODER_AVERAGE = "average_encoder"
"""Also compared on few texts where there is an encoder."""
NET_DEFAULT = "average_cnn"
"""The default that `benchmark sentiment` reports, except where there are few texts."""


def candidates_by_size(
    is_small: bool, has_encoder: bool, has_lexicon: bool = False
) -> tuple[str, ...]:
    """Names of the models that are compared.

    Args:
        is_small: whether there are fewer texts than `sentiment.small_reviews`.
        has_encoder: whether `sentiment.encoder` is set.
        has_lexicon: whether there is a polarity lexicon of the texts' language.
    """
    if not is_small:
        return NET_CANDIDATES
    linear = LEXICON_CANDIDATES if has_lexicon else LINEAR_CANDIDATES
    return (*linear, ENCODER_AVERAGE) if has_encoder else linear


def default_candidates(reviews: Reviews, is_small: bool, has_encoder: bool) -> tuple[str, ...]:
    """Names of the models that are compared where the settings name none.

    Args:
        reviews: whose most frequent language decides whether a lexicon is used.
        is_small: whether there are fewer texts than `sentiment.small_reviews`.
        has_encoder: whether `sentiment.encoder` is set.
    """
    is_covered = is_small and has_lexicon(reviews.documents.token_ids)
    return candidates_by_size(is_small, has_encoder, is_covered)


UNTRAINED = "untrained"
GAIN = f"{MACRO_F1}_gain"
MIN_REVIEWS_PER_CLASS = 5
"""A class with fewer texts does not count as one of the two that training needs."""
FOLDS = MIN_REVIEWS_PER_CLASS
"""Cross-validation folds of few texts; each can have a text of each class."""
MIN_GAIN = 0.01
"""Smaller gains in macro-F1 on few texts are taken for noise: the baseline serves."""


@dataclass(frozen=True)
class SentimentSelection:
    """The result of the selection of a sentiment classifier.

    Attributes:
        classifier: the classifier that serves.
        candidate: its name; `untrained` if there were too few reviews.
        beats_baseline: whether a candidate serves, not the baseline.
        why: the decision in a sentence.
        metrics: rows of `evaluation.model_metrics`, of all candidates.
        split: how the reviews were split: `ReviewSplit.kind`, or `5 folds of <kind>`.
    """

    classifier: Classifier
    candidate: str
    beats_baseline: bool
    why: str
    metrics: list[Row]
    split: str


class ClassifierComparison(NamedTuple):
    """All classifiers on the same test reviews.

    Attributes:
        evaluated: predicted classes by classifier.
        gains: paired differences of macro-F1 between every candidate and the baseline.
        test_set: the test reviews in words.
        split: see `SentimentSelection.split`.
    """

    evaluated: dict[str, EvaluatedClassifier]
    gains: dict[str, Interval]
    test_set: str
    split: str


def select_sentiment(
    reviews: Reviews, training: ModelTraining, config: SentimentSettings
) -> SentimentSelection:
    """Compares the candidates with the baseline and fits the winner on all reviews.

    Args:
        reviews: labelled reviews; texts are deduplicated, and the newest are used.
        training: seed, options and files.
        config: candidates and the numbers of reviews that are needed; the baseline is always
            compared.

    Raises:
        SettingsError: a candidate or an option is unknown.
    """
    unique = deduplicate(reviews)
    if len(unique) > config.max_reviews:
        newest = np.argsort(-unique.days, kind="stable")[: config.max_reviews]
        unique = unique.take(np.sort(newest))
    is_small = len(unique) < config.small_reviews
    candidates = config.candidates or default_candidates(
        unique, is_small, training.encoder is not None
    )
    names = list(dict.fromkeys([BASELINE, *candidates]))
    validate_names(names)
    counts = np.bincount(unique.labels, minlength=len(CLASSES))
    if len(unique) < config.min_reviews or (counts >= MIN_REVIEWS_PER_CLASS).sum() < 2:
        return _untrained(counts, config.min_reviews)
    folds = stratified_folds(unique, FOLDS, training.seed) if is_small else ()
    trainer = ClassifierTrainer(unique, training, folds)
    if is_small:
        comparison = compare_on_folds(names, trainer)
        serving, why = choose_best(comparison)
    else:
        comparison = _compare_on_holdout(names, unique, config.holdout_share, training)
        serving, why = choose_significant(comparison)
    metrics = [
        row
        for name in names
        for row in _metric_rows(name, comparison.evaluated[name], training.seed)
    ] + [metric_row(name, GAIN, gain) for name, gain in comparison.gains.items()]
    training.progress(why)
    classifier = trainer.fit(serving)
    return SentimentSelection(
        classifier, serving, serving != BASELINE, why, metrics, comparison.split
    )


def _compare_on_holdout(
    names: Sequence[str], reviews: Reviews, share: float, training: ModelTraining
) -> ClassifierComparison:
    """Classifiers fitted on the other reviews, on the newest `share` of the reviews."""
    split = split_holdout(reviews, share, training.seed)
    train, test = reviews.take(split.train), reviews.take(split.test)
    trainer = ClassifierTrainer(train, training)
    predicted = {
        name: trainer.fit(name).probabilities(test.documents).argmax(axis=1) for name in names
    }
    evaluated, gains = _evaluate(predicted, test, training.seed)
    test_set = f"{len(test):,} held-out reviews ({split.kind})"
    return ClassifierComparison(evaluated, gains, test_set, split.kind)


def compare_on_folds(names: Sequence[str], trainer: ClassifierTrainer) -> ClassifierComparison:
    """Classifiers on all reviews of a trainer with folds, each review by those of the other folds.

    Args:
        names: of classifiers, the baseline among them.
        trainer: of the reviews.
    """
    predicted = {name: trainer.cross_validate(name).argmax(axis=1) for name in names}
    evaluated, gains = _evaluate(predicted, trainer.reviews, trainer.training.seed)
    split = f"{len(trainer.folds)} folds of {trainer.folds[0].kind}"
    return ClassifierComparison(
        evaluated, gains, f"{len(trainer.reviews):,} reviews ({split})", split
    )


def _evaluate(
    predicted: dict[str, Labels], test: Reviews, seed: int
) -> tuple[dict[str, EvaluatedClassifier], dict[str, Interval]]:
    """Adds the true classes to the predicted ones, and computes the gains over the baseline."""
    # Reviews of one product are similar, so that a bootstrap must draw whole products.
    clusters = number_distinct(test.groups)
    evaluated = {
        name: EvaluatedClassifier(test.labels, classes, clusters, len(CLASSES))
        for name, classes in predicted.items()
    }
    gains = {
        name: macro_f1_difference(evaluated[name], evaluated[BASELINE], seed)
        for name in predicted
        if name != BASELINE
    }
    return evaluated, gains


def choose_significant(comparison: ClassifierComparison) -> tuple[str, str]:
    """The best candidate that is significantly better, else the baseline; and why."""
    winner = best_significant(comparison.gains)
    if winner is None:
        f1 = comparison.evaluated[BASELINE].f1().mean()
        return BASELINE, (
            f"no candidate is significantly better than {BASELINE}, which has macro-F1 {f1:.4f} "
            f"on {comparison.test_set}"
        )
    return winner, _explain_gain(winner, comparison)


def choose_best(comparison: ClassifierComparison, min_gain: float = MIN_GAIN) -> tuple[str, str]:
    """The candidate with the highest macro-F1 if it gains enough, else the baseline; and why.

    Args:
        comparison: of all candidates.
        min_gain: smallest difference of macro-F1 to the baseline.
    """
    gains = comparison.gains
    winner = max(gains, key=lambda name: gains[name].mean, default=BASELINE)
    if winner == BASELINE or gains[winner].mean < min_gain:
        f1 = comparison.evaluated[BASELINE].f1().mean()
        return BASELINE, (
            f"no candidate has a macro-F1 at least {min_gain} above that of {BASELINE}, {f1:.4f} "
            f"on {comparison.test_set}"
        )
    why = _explain_gain(winner, comparison)
    return winner, why if gains[winner].lower > 0 else f"{why}: it serves, but is not significant"


def _explain_gain(winner: str, comparison: ClassifierComparison) -> str:
    """The winner's macro-F1 and its gain over the baseline in words."""
    f1, gain = comparison.evaluated[winner].f1().mean(), comparison.gains[winner]
    return (
        f"{winner} has macro-F1 {f1:.4f} on {comparison.test_set}; {BASELINE} has "
        f"{gain.mean:.4f} less (95 % interval {gain.lower:.4f} to {gain.upper:.4f})"
    )


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
