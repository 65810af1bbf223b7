"""Selects a classifier for each language of the reviews."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batch_predictions.models.common.bootstrap import Row
from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.language_classifiers import (
    MULTILINGUAL,
    LanguageClassifiers,
)
from batch_predictions.models.sentiment.models.base import ModelTraining
from batch_predictions.models.sentiment.sentiment_selection import (
    UNTRAINED,
    SentimentSelection,
    select_sentiment,
)
from batch_predictions.models.sentiment.text.labelled_reviews import Reviews
from batch_predictions.settings import SentimentSettings

ENCODER = "encoder"


@dataclass(frozen=True)
class LanguageSelection:
    """The result of the selections of all languages.

    Attributes:
        classifiers: that serve.
        main: the selection of the main language.
        why: the decisions in words.
        metrics: rows of `evaluation.model_metrics`; candidates of other languages end with their
            language, such as `average_cnn:de`.
    """

    classifiers: LanguageClassifiers
    main: SentimentSelection
    why: str
    metrics: list[Row]


def select_by_language(
    by_language: Mapping[str | None, Reviews],
    language: str | None,
    all_reviews: Reviews,
    training: ModelTraining,
    config: SentimentSettings,
) -> LanguageSelection:
    """Selects the classifier of the main language, and of others with enough labelled reviews.

    Args:
        by_language: labelled reviews by language.
        language: the main language.
        all_reviews: the reviews of all languages.
        training: seed, options and files.
        config: candidates and the numbers of reviews that are needed.

    Raises:
        SettingsError: a candidate or an option is unknown.
    """
    main = _select(by_language[language], training, config, config.min_reviews)
    why, metrics = main.why, list(main.metrics)
    classifiers: dict[str, Classifier] = {}
    left_out = []
    for other, reviews in sorted(by_language.items(), key=lambda entry: str(entry[0])):
        if other is None or other == language:
            continue
        training.progress(f"reviews in {other}: {len(reviews)} labelled texts")
        selection = _select(reviews, training, config, config.min_language_reviews)
        if selection.candidate == UNTRAINED:
            left_out.append(f"{other} ({len(reviews)})")
            continue
        classifiers[other] = selection.classifier
        why += f". In {other}: {selection.why}"
        metrics += _renamed(selection.metrics, other)
    multilingual = None
    if config.multilingual and config.encoder is not None:
        selection = _select(all_reviews, training, config, config.min_reviews, (ENCODER,))
        metrics += _renamed(selection.metrics, MULTILINGUAL)
        why += f". In further languages: {selection.why}"
        if selection.candidate == ENCODER:
            multilingual = selection.classifier
    if left_out and multilingual is None:
        why += (
            f". Not scored, because there are fewer than {config.min_language_reviews} labelled "
            f"texts (sentiment.min_language_reviews): {', '.join(left_out)}"
        )
    return LanguageSelection(
        LanguageClassifiers(main.classifier, language, classifiers, multilingual),
        main,
        why,
        metrics,
    )


def _select(
    reviews: Reviews,
    training: ModelTraining,
    config: SentimentSettings,
    min_reviews: int,
    candidates: tuple[str, ...] | None = None,
) -> SentimentSelection:
    return select_sentiment(
        reviews,
        config.candidates if candidates is None else candidates,
        training,
        holdout_share=config.holdout_share,
        min_reviews=min_reviews,
        max_reviews=config.max_reviews,
        small_reviews=config.small_reviews,
    )


def _renamed(metrics: list[Row], suffix: str) -> list[Row]:
    return [{**row, "candidate": f"{row['candidate']}:{suffix}"} for row in metrics]
