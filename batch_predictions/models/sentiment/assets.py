"""The weekly training of sentiment as a Dagster asset."""

import datetime as dt
from collections.abc import Callable

from batch_predictions.models.sentiment.data import CLASSES, Reviews, build_reviews, class_index
from batch_predictions.models.sentiment.metrics import MACRO_F1
from batch_predictions.models.sentiment.models.base import ModelTraining
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.languages import (
    base_language,
    detect_languages,
    most_common_language,
)
from batch_predictions.models.training import Trained, Training
from batch_predictions.settings import Settings
from batch_predictions.tables import REVIEWS
from batch_predictions.warehouse import Warehouse

_REVIEWS_SQL = """
    select text, rating, label, item_id, date, language, simulated from raw.reviews
    where date <= $date and date > $date - $history_days::INTEGER
    -- The newest come first: reviews beyond the limit are not read.
    order by date desc, review_id limit $limit
"""


def labelled_reviews(
    warehouse: Warehouse, settings: Settings, through: dt.date
) -> tuple[Reviews, str | None, bool]:
    """Reads the labelled reviews up to a day that are in their most common language.

    Reviews of a source without dates all have one date.

    Returns:
        The reviews, their language (None if unknown), and whether any of them is simulated.
    """
    config = settings.sentiment
    rows = warehouse.query(
        _REVIEWS_SQL,
        {
            "date": through,
            "history_days": config.history_days,
            # Some are duplicates, unlabelled or in another language.
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
    rows = [
        row
        for row, language in zip(rows, languages, strict=True)
        if language is None or language == main_language
    ]
    reviews = build_reviews(
        [row["text"] for row in rows],
        [
            class_index(row["rating"], row["label"], config.negative_up_to, config.positive_from)
            for row in rows
        ],
        [row["item_id"] for row in rows],
        [row["date"] for row in rows],
    )
    return reviews, main_language, any(row["simulated"] for row in rows)


def train_sentiment(
    warehouse: Warehouse, settings: Settings, through: dt.date, progress: Callable[[str], None]
) -> Trained:
    """Compares the candidates on held-out reviews and fits the one that serves."""
    from batch_predictions.models.sentiment.selection import select_sentiment

    config = settings.sentiment
    reviews, language, simulated = labelled_reviews(warehouse, settings, through)
    training = ModelTraining(
        classes=len(CLASSES),
        seed=config.seed,
        vectors=config.vectors,
        encoder=config.encoder,
        options=dict(config.options),
        progress=progress,
    )
    selection = select_sentiment(
        reviews,
        config.candidates,
        training,
        holdout_share=config.holdout_share,
        min_reviews=config.min_reviews,
        max_reviews=config.max_reviews,
    )
    warning = (
        " The reviews are simulated: the figures do not apply to real reviews." if simulated else ""
    )
    return Trained(
        write=selection.classifier.save,
        candidate=selection.candidate,
        beats_baseline=selection.beats_baseline,
        parameters={"language": language, "split": selection.split, "simulated": simulated},
        why=f"{selection.why}.{warning}",
        metrics=[dict(row) for row in selection.metrics],
        plotted=MACRO_F1,
    )


sentiment = Training(
    "sentiment",
    "Sentiment of reviews: the best of nets, linear models and their averages by macro-F1 on "
    "held-out reviews, if it is significantly better than TF-IDF with logistic regression.",
    train_sentiment,
    tables=(REVIEWS,),
    extra_tables=(),
    kinds=frozenset({"python", "torch", "scikitlearn"}),
)
