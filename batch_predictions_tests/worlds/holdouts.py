"""A hold-out of three users, small enough to check by hand."""

from __future__ import annotations

from datetime import date

import pyarrow as pa

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.data.splits import Holdout
from batch_predictions.models.recommender.generators.popularity import Popularity
from batch_predictions.models.recommender.training.ranking_evaluation import Evaluation, evaluate

CUT_DAY = date(2024, 1, 10)
DAY_BEFORE = date(2024, 1, 9)
DAY_AFTER = date(2024, 1, 12)


def event_table(*rows: tuple[str, str, date, int]) -> pa.Table:
    """A table of (user_id, item_id, date, events)."""
    columns = zip(*rows, strict=True)
    return pa.table(dict(zip(("user_id", "item_id", "date", "events"), columns, strict=True)))


INTERACTIONS = Interactions.from_table(
    event_table(
        ("ann", "a", DAY_BEFORE, 5),
        ("ann", "b", DAY_BEFORE, 3),
        ("bob", "b", DAY_BEFORE, 1),
        ("cat", "c", DAY_BEFORE, 1),
        ("ann", "b", DAY_AFTER, 1),
        ("ann", "c", DAY_AFTER, 2),
        ("bob", "new", DAY_AFTER, 1),
        ("cat", "c", DAY_AFTER, 1),
        ("dan", "a", DAY_AFTER, 1),
    )
)


def evaluate_popularity(holdout: Holdout) -> Evaluation:
    """The evaluation of the most popular items on a hold-out."""
    model = Popularity.fit(holdout.train, holdout.as_of)
    return evaluate(
        model, holdout, ItemFeatures.from_interactions(holdout.train, holdout.as_of, model.items)
    )
