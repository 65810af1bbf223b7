"""Decides whether a model is trained in a week, by its age or the drift of its predictions.

A function of what is stored, so that a day that is planned again gives the same trainings. Drift
counts on the days of the week before its Sunday, the first day that the week's model predicts.
"""

from __future__ import annotations

import datetime as dt

from batch_predictions.evaluation.drift.compute import PSI, model_by_table
from batch_predictions.models.model_store import ModelStore
from batch_predictions.settings import Settings
from batch_predictions.tables import DRIFT
from batch_predictions.tables.partitions import trained_through
from batch_predictions.warehouse import Warehouse


def reason_to_train(
    name: str, week: dt.date, models: ModelStore, warehouse: Warehouse, settings: Settings
) -> str | None:
    """Says why a model is trained in a week; None: its last training goes on serving.

    Args:
        name: a model that was not trained through the week.
        week: the week's Monday.
        models: the model store.
        warehouse: with `evaluation.drift`.
        settings: `training.every_weeks` and `training.max_psi`.
    """
    through, every = trained_through(week), settings.training.every_weeks
    newest = models.newest_training(name, through) if every > 1 else None
    if newest is None:
        return f"not trained through {through} yet"
    weeks = (through - newest).days // 7
    if weeks >= every:
        return f"not trained since {newest}, {weeks} weeks ago (training.every_weeks: {every})"
    return _drift_of_week(name, week, newest, warehouse, settings.training.max_psi)


def _drift_of_week(
    name: str, week: dt.date, trained: dt.date, warehouse: Warehouse, limit: float | None
) -> str | None:
    """The largest PSI of a column of a model's predictions, if it is above a limit."""
    tables = [table for table, model in model_by_table().items() if model == name]
    if limit is None or not tables:
        return None
    rows = warehouse.query(
        f"""select date, table_name, column_name, value from {DRIFT.qualified}
        where date between $week::DATE and $week::DATE + 5 and statistic = $psi
            and reference = $trained::DATE and value > $limit and list_contains($tables, table_name)
        order by value desc, date, 2, 3 limit 1""",
        {"week": week, "psi": PSI, "trained": trained, "limit": limit, "tables": tables},
    ).to_pylist()
    if not rows:
        return None
    [row] = rows
    return (
        f"{row['table_name']}.{row['column_name']} of {row['date']} has drifted from that of "
        f"{trained}: PSI {row['value']:.2f} (at most {limit:g}: training.max_psi)"
    )
