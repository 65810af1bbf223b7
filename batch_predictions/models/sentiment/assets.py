"""The weekly training of sentiment as a Dagster asset."""

import datetime as dt
from collections.abc import Callable

from batch_predictions.models.sentiment.data import CLASSES, Reviews, label_of, of_rows
from batch_predictions.models.sentiment.metrics import MACRO_F1
from batch_predictions.models.sentiment.models.base import ModelTraining
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.languages import base, detect, majority
from batch_predictions.models.training import Trained, Training
from batch_predictions.settings import Settings
from batch_predictions.tables import REVIEWS
from batch_predictions.warehouse import Warehouse

_REVIEWS = """
    select text, rating, label, item_id, date, language, simulated from raw.reviews
    where date <= $date and date > $date - $history_days::INTEGER
    -- The newest first: more than twice as many as are taken are not even read.
    order by date desc, review_id limit $most
"""


def labelled_reviews(
    warehouse: Warehouse, settings: Settings, through: dt.date
) -> tuple[Reviews, str | None, bool]:
    """Labelled reviews through a day in their main language, that language, and whether simulated.

    A source without dates has them all on one day: products are held out then.
    """
    chosen = settings.sentiment
    rows = warehouse.query(
        _REVIEWS,
        {"date": through, "history_days": chosen.history_days, "most": 3 * chosen.max_reviews},
    ).to_pylist()
    rows.reverse()
    told = detect(Documents(row["text"] for row in rows).coded)
    languages = [base(row["language"]) or own for row, own in zip(rows, told, strict=True)]
    main = majority(languages)
    kept = [row for row, own in zip(rows, languages, strict=True) if own is None or own == main]
    labels = [
        label_of(row["rating"], row["label"], chosen.negative_up_to, chosen.positive_from)
        for row in kept
    ]
    reviews = of_rows(
        [row["text"] for row in kept],
        labels,
        [row["item_id"] for row in kept],
        [row["date"] for row in kept],
    )
    return reviews, main, any(row["simulated"] for row in kept)


def train_sentiment(
    warehouse: Warehouse, settings: Settings, through: dt.date, progress: Callable[[str], None]
) -> Trained:
    """Nets and averages against linear models on reviews held out."""
    from batch_predictions.models.sentiment.selection import select_sentiment

    chosen = settings.sentiment
    reviews, language, simulated = labelled_reviews(warehouse, settings, through)
    training = ModelTraining(
        classes=len(CLASSES),
        seed=chosen.seed,
        vectors=chosen.vectors,
        encoder=chosen.encoder,
        options=dict(chosen.options),
        progress=progress,
    )
    selection = select_sentiment(
        reviews,
        chosen.candidates,
        training,
        holdout_share=chosen.holdout_share,
        min_reviews=chosen.min_reviews,
        max_reviews=chosen.max_reviews,
    )
    what = " Its reviews are simulated: the figures say nothing of real ones." if simulated else ""
    return Trained(
        write=selection.classifier.save,
        candidate=selection.chosen,
        beats_baseline=selection.beats_baseline,
        parameters={"language": language, "split": selection.split, "simulated": simulated},
        why=f"{selection.why}.{what}",
        metrics=[dict(row) for row in selection.metrics],
        plotted=MACRO_F1,
    )


sentiment = Training(
    "sentiment",
    "Sentiment of reviews: the best of nets, linear models and their averages by macro-F1 on "
    "reviews held out, where it is surely better than TF-IDF with logistic regression.",
    train_sentiment,
    tables=(REVIEWS,),
    extra_tables=(),
    kinds=frozenset({"python", "torch", "scikitlearn"}),
)
