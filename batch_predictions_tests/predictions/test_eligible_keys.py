"""Who and what the platform's predictions leave out has a reason of the declaration."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from batch_predictions.inference import staging
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.partition_staging import (
    ServingModel,
    engine_folder,
    staging_spec,
)
from batch_predictions.inference.results import UNSTAGED_KEYS, StagingManifest
from batch_predictions.predictions.aspects import aspects
from batch_predictions.predictions.churn import churn_scores
from batch_predictions.predictions.replenishment import NO_SERIES, replenishment_orders
from batch_predictions.settings import Settings
from batch_predictions.tables import (
    CHURN_HISTORY,
    DEMAND,
    INVENTORY,
    REVIEW_SENTIMENTS,
    REVIEWS,
    USER_SEGMENTS,
)
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions_tests.worlds.engine import read_rows
from batch_predictions_tests.worlds.table_rows import write_rows

MONDAY = "2024-05-20"
DATE = as_date(MONDAY)


def staged(
    prediction: BatchPrediction, warehouse: Warehouse, settings: Settings
) -> tuple[int, dict[tuple[Any, ...], str]]:
    """The number of rows to score of a day, and the reasons of the other eligible keys."""
    spec = staging_spec(prediction, MONDAY, ServingModel("m"), settings)
    path = staging.stage(warehouse, engine_folder(settings), spec)
    rows = read_rows(path.with_name(UNSTAGED_KEYS))
    reasons = {tuple(row[name] for name in prediction.key): row["excluded"] for row in rows}
    return StagingManifest.read(path).rows, reasons


def test_users_without_a_recent_purchase_have_no_churn_score(
    warehouse: Warehouse, settings: Settings
) -> None:
    users = [{"date": DATE, "user_id": name} for name in ("ann", "bob", "cy")]
    write_rows(warehouse, USER_SEGMENTS, users)
    write_rows(warehouse, CHURN_HISTORY, users[1:2])
    settings.churn.active_days = 60
    reason = "no purchase in the last 60 days (churn.active_days)"
    assert staged(churn_scores, warehouse, settings) == (1, {("ann",): reason, ("cy",): reason})


@pytest.mark.parametrize(("level", "location"), [("item", "all"), ("item_location", "north")])
def test_items_with_stock_and_without_a_series_have_no_order(
    warehouse: Warehouse,
    settings: Settings,
    level: Literal["item", "item_location"],
    location: str,
) -> None:
    settings.demand.levels = [level]
    series = {"date": DATE, "item_id": "a", "location": location, "level": level}
    write_rows(warehouse, DEMAND, [series])
    stock = [
        {"date": DATE, "item_id": item, "location": "north", "on_hand": on_hand}
        for item, on_hand in (("a", 1.0), ("b", 2.0), ("c", None))
    ]
    write_rows(warehouse, INVENTORY, stock)
    expected = (1, {("b", location): NO_SERIES})
    assert staged(replenishment_orders, warehouse, settings) == expected


def test_items_with_few_reviews_have_no_aspects(warehouse: Warehouse, settings: Settings) -> None:
    settings.sentiment.aspect_reviews = 2
    reviews = [
        {"date": DATE, "review_id": f"r{n}", "item_id": item, "text": "good"}
        for n, item in enumerate("aab")
    ]
    write_rows(warehouse, REVIEWS, reviews)
    scored = [
        {"week": DATE, "p_positive": 1.0, "p_negative": 0.0}
        | {name: review[name] for name in ("review_id", "item_id")}
        for review in reviews
    ]
    write_rows(warehouse, REVIEW_SENTIMENTS, scored)
    reason = "fewer than 2 scored reviews (sentiment.aspect_reviews)"
    assert staged(aspects, warehouse, settings) == (1, {("b",): reason})
