"""The weekly training of sentiment as a Dagster asset."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batch_predictions.models.sentiment.models.base import ModelTraining
from batch_predictions.models.sentiment.sentiment_metrics import MACRO_F1
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.labelled_reviews import (
    CLASSES,
    Reviews,
    build_reviews,
    class_index,
)
from batch_predictions.models.sentiment.text.languages import (
    base_language,
    detect_languages,
    most_common_language,
)
from batch_predictions.models.training import Trained, Training
from batch_predictions.settings import SentimentSettings, Settings
from batch_predictions.tables import REVIEWS
from batch_predictions.warehouse import Warehouse

_REVIEWS_SQL = """
    select text, rating, label, item_id, date, language, simulated from raw.reviews
    where date <= $date and date > $date - $history_days::INTEGER
    -- The newest come first: reviews beyond the limit are not read.
    order by date desc, review_id limit $limit
"""


@dataclass(frozen=True)
class LabelledReviews:
    """The labelled reviews that a training reads.

    Attributes:
        by_language: reviews by language; those of unknown language are with the main one.
        language: the main language, that of most reviews; None if unknown.
        all: the reviews of all languages.
        simulated: whether any of them is simulated.
    """

    by_language: Mapping[str | None, Reviews]
    language: str | None
    all: Reviews
    simulated: bool


def labelled_reviews(warehouse: Warehouse, settings: Settings, through: dt.date) -> LabelledReviews:
    """Reads the labelled reviews up to a day.

    Reviews of a source without dates all have one date.

    Args:
        warehouse: raw reviews.
        settings: of this home; those under `sentiment` say how many reviews are read.
        through: last day whose reviews are read.
    """
    config = settings.sentiment
    rows = warehouse.query(
        _REVIEWS_SQL,
        {
            "date": through,
            "history_days": config.history_days,
            # Some are duplicates or unlabelled.
            "limit": 3 * config.max_reviews,
        },
    ).to_pylist()
    rows.reverse()
    detected = detect_languages(Documents(row["text"] for row in rows).token_ids)
    languages = [
        base_language(row["language"]) or language
        for row, language in zip(rows, detected, strict=True)
    ]
    main_language = most_common_language(languages)
    by_language: dict[str | None, list[dict[str, object]]] = {main_language: []}
    for row, language in zip(rows, languages, strict=True):
        by_language.setdefault(language or main_language, []).append(row)
    return LabelledReviews(
        {language: _to_reviews(rows, config) for language, rows in by_language.items()},
        main_language,
        _to_reviews(rows, config),
        any(row["simulated"] for row in rows),
    )


def _to_reviews(rows: Sequence[Mapping[str, Any]], config: SentimentSettings) -> Reviews:
    return build_reviews(
        [row["text"] for row in rows],
        [
            class_index(row["rating"], row["label"], config.negative_up_to, config.positive_from)
            for row in rows
        ],
        [row["item_id"] for row in rows],
        [row["date"] for row in rows],
    )


def train_sentiment(
    warehouse: Warehouse, settings: Settings, through: dt.date, progress: Callable[[str], None]
) -> Trained:
    """Compares the candidates and fits the one that serves, by language.

    Args:
        warehouse: raw reviews up to `through`.
        settings: of this home; those under `sentiment` configure the training.
        through: last day whose reviews are known to the training.
        progress: receives lines for the log.
    """
    from batch_predictions.models.sentiment.language_classifiers import select_by_language

    config = settings.sentiment
    reviews = labelled_reviews(warehouse, settings, through)
    training = ModelTraining(
        classes=len(CLASSES),
        seed=config.seed,
        vectors=config.vectors,
        encoder=config.encoder,
        options=dict(config.options),
        progress=progress,
    )
    selection = select_by_language(
        reviews.by_language,
        reviews.language,
        reviews.all,
        training,
        config,
    )
    warning = ""
    if reviews.simulated:
        warning = " The reviews are simulated: the figures do not apply to real reviews."
    return Trained(
        write=selection.classifiers.save,
        candidate=selection.main.candidate,
        beats_baseline=selection.main.beats_baseline,
        parameters={
            "language": reviews.language,
            "languages": selection.classifiers.languages,
            "split": selection.main.split,
            "simulated": reviews.simulated,
        },
        why=f"{selection.why}.{warning}",
        metrics=[dict(row) for row in selection.metrics],
        plotted=MACRO_F1,
    )


sentiment = Training(
    "sentiment",
    "Sentiment of reviews: the best of nets, linear models and their averages by macro-F1 on "
    "held-out reviews, if it is significantly better than TF-IDF with logistic regression; with "
    "few texts the best of linear models by cross-validation.",
    train_sentiment,
    tables=(REVIEWS,),
    extra_tables=(),
    kinds=frozenset({"python", "torch", "scikitlearn"}),
)
