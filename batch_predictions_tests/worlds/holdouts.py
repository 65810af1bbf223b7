"""A hold-out of three users, small enough to check by hand."""

from __future__ import annotations

from datetime import date

import pyarrow as pa

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.data.splits import (
    Holdout,
)
from batch_predictions.models.recommender.evaluation import Evaluation, evaluate
from batch_predictions.models.recommender.generators.popularity import Popularity

CUT = date(2024, 1, 10)


BEFORE = date(2024, 1, 9)


AFTER = date(2024, 1, 12)


def table(*rows: tuple[str, str, date, int]) -> pa.Table:
    return pa.table(
        {
            name: [row[place] for row in rows]
            for place, name in enumerate(("user_id", "item_id", "date", "events"))
        }
    )


ROWS = Interactions.from_table(
    table(
        ("ann", "a", BEFORE, 5),
        ("ann", "b", BEFORE, 3),
        ("bob", "b", BEFORE, 1),
        ("cat", "c", BEFORE, 1),
        ("ann", "b", AFTER, 1),
        ("ann", "c", AFTER, 2),
        ("bob", "new", AFTER, 1),
        ("cat", "c", AFTER, 1),
        ("dan", "a", AFTER, 1),
    )
)


def evaluate_popularity(holdout: Holdout) -> Evaluation:
    model = Popularity.fit(holdout.train, holdout.as_of)
    return evaluate(
        model, holdout, ItemFeatures.from_interactions(holdout.train, holdout.as_of, model.items)
    )
