"""Which day the rows of a table are compared with."""

from __future__ import annotations

import datetime as dt

from batch_predictions.evaluation.drift.compute import drift_tables, model_by_table, reference_days
from batch_predictions.models.model_store import ModelStore
from batch_predictions_tests.worlds.decisions import decide

SUNDAY = dt.date(2024, 3, 3)
CHURN, ACTIVITY, ORDERS = (
    "predictions.churn_scores",
    "features.user_activity",
    "predictions.replenishment_orders",
)


def test_without_a_training_it_is_the_last_sunday_before_the_day(models: ModelStore) -> None:
    # That Sunday's own rows are compared with those of the week before.
    for day, of_day in ((4, SUNDAY), (9, SUNDAY), (10, SUNDAY), (11, dt.date(2024, 3, 10))):
        days = reference_days(models, dt.date(2024, 3, day))
        assert {*days.values()} == {of_day}
        assert {*days} == {table.qualified for table in drift_tables()}


def test_it_is_the_last_day_of_the_models_newest_training(models: ModelStore) -> None:
    decide(models, "churn", SUNDAY)
    decide(models, "recommender", dt.date(2024, 3, 10))
    # A roll-back trains nothing.
    decide(models, "churn", dt.date(2024, 3, 14), "rolled_back")
    days = reference_days(models, dt.date(2024, 3, 19))
    assert days[CHURN] == SUNDAY
    # Features, and what a rule makes of them, stand for all models.
    assert days[ACTIVITY] == days[ORDERS] == dt.date(2024, 3, 10)
    # A training counts from the day after its last one.
    assert reference_days(models, SUNDAY)[CHURN] == dt.date(2024, 2, 25)
    assert reference_days(models, dt.date(2024, 3, 10))[ACTIVITY] == SUNDAY


def test_tables_know_their_model() -> None:
    made_by = model_by_table()
    assert made_by[CHURN] == "churn"
    assert made_by["features.item_scores"] == made_by["predictions.recommendations"]
    assert ORDERS not in made_by
