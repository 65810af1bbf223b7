"""Realized metrics of sentiment: a week's rated reviews, by the model that had read none of them.

`predictions.review_sentiments` has no such scores: the model of a week is fitted on its reviews.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Doubles
from batch_predictions.evaluation.realized_metric import RealizedMetric, realized_row
from batch_predictions.inference.scorer import EXCLUDED
from batch_predictions.models.common.intervals import (
    Interval,
    Row,
    bootstrap_interval,
    clustered_interval,
)
from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.sentiment.item_aggregates import MIN_REVIEWS_PER_SIDE
from batch_predictions.models.sentiment.language_classifiers import LanguageClassifiers
from batch_predictions.models.sentiment.sentiment_metrics import EvaluatedClassifier
from batch_predictions.models.sentiment.text.labelled_reviews import (
    CLASSES,
    Labels,
    class_index,
    number_distinct,
)
from batch_predictions.models.sentiment.text.token_ids import Ints
from batch_predictions.predictions.review_sentiments import ReviewScorer
from batch_predictions.settings import Settings
from batch_predictions.tables import REVIEW_SENTIMENTS, REVIEWS, week_of
from batch_predictions.warehouse import Warehouse

SEED = 7
MIN_PROBABILITY = 1e-15
_REVIEWS = """
    select review_id, item_id, text, language, rating, label,
        coalesce(simulated, false) as simulated
    from (
        select * from raw.reviews where date > $after::DATE and date <= $date::DATE
        qualify row_number() over (partition by review_id order by date desc) = 1
    ) where rating is not null or label is not null
    -- Where there are more than are read, those are of all days.
    order by md5(review_id), review_id limit $limit
"""


def measure_sentiment(warehouse: Warehouse, settings: Settings, day: dt.date) -> list[Row]:
    """Compares the reviews of the week that ends on a day with their ratings; none on other days.

    They are scored by the model that scored the week before. Simulated reviews have metrics of
    their own. There are no rows without such a model, or without rated reviews.
    """
    after = week_of(day) - dt.timedelta(days=1)
    if (day - after).days < 7:
        return []
    version = warehouse.value(
        "select max(model_version) from predictions.review_sentiments where week = $week::DATE",
        {"week": week_of(after)},
    )
    models, limit = ModelStore.of(settings), settings.sentiment.max_reviews
    reviews = warehouse.query(_REVIEWS, {"after": after, "date": day, "limit": limit})
    if not reviews.num_rows or version not in models.versions("sentiment"):
        return []
    classifiers = LanguageClassifiers.load(models.verified_folder("sentiment", version))
    [batch] = reviews.combine_chunks().to_batches()
    scored = ReviewScorer(classifiers.to_device("cpu")).score(batch)
    rows: list[Row] = []
    for simulated, suffix in ((False, ""), (True, ":simulated")):
        of_kind = np.array([value is simulated for value in batch["simulated"].to_pylist()])
        kept = pa.array(np.flatnonzero(of_kind & scored[EXCLUDED].is_null().to_numpy(False)))
        if len(kept):
            metrics = _metrics(classifiers, settings, batch.take(kept), scored.take(kept))
            rows += [realized_row("sentiment", f"{name}{suffix}", value) for name, value in metrics]
    return rows


def _metrics(
    classifiers: LanguageClassifiers,
    settings: Settings,
    reviews: pa.RecordBatch,
    scored: pa.RecordBatch,
) -> Iterator[tuple[str, Interval]]:
    """Metrics of rated and scored reviews; intervals resample items, as those of the hold-out."""
    config = settings.sentiment
    ratings = zip(reviews["rating"].to_pylist(), reviews["label"].to_pylist(), strict=True)
    bounds = config.negative_up_to, config.positive_from
    truth = np.array([class_index(*rating, *bounds) for rating in ratings], np.int64)
    predicted = np.array([CLASSES.index(name) for name in scored["sentiment"].to_pylist()])
    items = number_distinct([str(item) for item in reviews["item_id"].to_pylist()])
    evaluated = EvaluatedClassifier(truth, predicted, items, len(CLASSES)).intervals(SEED)
    class_metrics = {f"f1_{k}": f"f1_{name}" for k, name in enumerate(CLASSES)}
    for metric, interval in evaluated.items():
        yield class_metrics.get(metric, metric), interval
    adjusted = np.column_stack([scored[f"p_{name}"].to_numpy() for name in CLASSES])
    # The adjustment for rare classes, which the sentiment has, would count as an error.
    probabilities = classifiers.undo_prior_shift(adjusted, scored["language"].to_pylist())
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    of_truth = np.maximum(probabilities[np.arange(len(truth)), truth], MIN_PROBABILITY)
    yield "log_loss", clustered_interval(-np.log(of_truth), items, SEED)
    for k, name in enumerate(CLASSES):
        is_class = (truth == k).astype(np.float64)
        yield f"rated_{name}", clustered_interval(is_class, items, SEED)
        yield f"bias_{name}", clustered_interval(probabilities[:, k] - is_class, items, SEED)
    errors = _errors_of_items(probabilities, truth, items)
    yield "item_net_mae", bootstrap_interval(errors, SEED)


def _errors_of_items(probabilities: Doubles, truth: Labels, items: Ints) -> Doubles:
    """Absolute differences of net sentiment, predicted and rated, of items with three reviews."""
    counts = np.bincount(items)
    differences = probabilities[:, 2] - probabilities[:, 0] - (truth - 1)
    return np.abs(np.bincount(items, differences) / counts)[counts >= MIN_REVIEWS_PER_SIDE]


sentiment_metrics = RealizedMetric(measure_sentiment, (REVIEWS, REVIEW_SENTIMENTS))
