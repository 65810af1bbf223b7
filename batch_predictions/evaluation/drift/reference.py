"""Selects the day to compare a table with: the last one of its model's newest training."""

from __future__ import annotations

import datetime as dt

from batch_predictions.evaluation.drift.columns import drift_tables
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.training import trainings
from batch_predictions.tables.discovery import instances
from batch_predictions.tables.partitions import latest_ended_week, trained_through


def model_by_table() -> dict[str, str]:
    """The model that makes each table of predictions, by the table's qualified name.

    Tables that a rule makes are left out.
    """
    return {
        table.qualified: prediction.model
        for prediction in instances(BatchPrediction, "predictions/*.py")
        if prediction.model
        for table in (prediction.table, *prediction.child_tables.values())
    }


def reference_days(models: ModelStore, day: dt.date) -> dict[str, dt.date]:
    """Returns, by table, the last day of the newest training that had ended before a day.

    Of predictions that of their model; of features, and of what a rule makes, that of any model. Of
    a home without one, the last day of the newest week that had ended.
    """
    newest = {
        name: trained
        for name in trainings()
        if (trained := models.newest_training(name, day)) is not None
    }
    week = trained_through(latest_ended_week(day - dt.timedelta(days=1)))
    of_any = max(newest.values(), default=week)
    made_by = model_by_table()
    names = [table.qualified for table in drift_tables()]
    return {name: newest.get(made_by.get(name, ""), of_any) for name in names}
