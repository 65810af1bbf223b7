"""Realized metrics of predictive queries: what was predicted, compared with the window since."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Doubles
from batch_predictions.evaluation.realized_metric import RealizedMetric, realized_row
from batch_predictions.features.history.history_sql import history_keys
from batch_predictions.features.history.query_labels import TARGET, labels_sql, target_sql
from batch_predictions.models.common.intervals import Interval, Row, bootstrap_interval
from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.queries.query_examples import outcomes
from batch_predictions.models.queries.query_metrics import log_losses
from batch_predictions.models.queries.query_training import QUERY, event_tables
from batch_predictions.settings import Settings
from batch_predictions.settings.predictive_query import PredictiveQuery
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse

SEED = 7


def query_metric(query: PredictiveQuery, table: Table) -> RealizedMetric:
    """The declaration of a query's realized metrics.

    Args:
        query: what is predicted.
        table: of its predictions.
    """

    def measure(warehouse: Warehouse, settings: Settings, day: dt.date) -> list[Row]:
        predicted_on = day - dt.timedelta(days=query.starts_in + query.days)
        rows = warehouse.query(_compared_sql(query), {"date": predicted_on})
        if not _is_of_query(ModelStore.of(settings), query, rows):
            return []
        return [
            realized_row(query.name, name, interval) for name, interval in _metrics(query, rows)
        ]

    return RealizedMetric(measure, (table, *event_tables(query)))


def _is_of_query(models: ModelStore, query: PredictiveQuery, rows: pa.Table) -> bool:
    """Returns whether there are predictions, by models of the query as it is now."""
    versions = rows["model_version"].unique().to_pylist()
    stored = (models.manifest(query.name, version).parameters[QUERY] for version in versions)
    return bool(versions) and all(PredictiveQuery(**values) == query for values in stored)


def _compared_sql(query: PredictiveQuery) -> str:
    """Predictions as of `$date` with what happened in their window."""
    on = " and ".join(f"labels.{key} = predicted.{key}" for key in history_keys(query))
    day = "week + 6" if query.cadence == "weekly" else "date"
    predicted = f"select * from predictions.{query.name} where {day} = $date::DATE"
    return (
        f"select predicted.*, {target_sql(query)} as {TARGET} from ({predicted}) as predicted "
        f"left join ({labels_sql(query)}) as labels on {on}"
    )


def _metrics(query: PredictiveQuery, rows: pa.Table) -> Iterator[tuple[str, Interval]]:
    task, target = query.target.task, _numbers(rows, TARGET)
    if task == "mean":
        is_known = ~np.isnan(target)
        value, seen = _numbers(rows, "value")[is_known], target[is_known]
        yield "mae", bootstrap_interval(np.abs(value - seen), SEED)
        yield "mse", bootstrap_interval(np.square(value - seen), SEED)
        yield "bias", bootstrap_interval(value - seen, SEED)
        lower, upper = (_numbers(rows, end)[is_known] for end in ("lower", "upper"))
        inside = (seen >= lower) & (seen <= upper)
        yield "coverage_80", bootstrap_interval(inside.astype(np.float64), SEED)
        return
    probability = _numbers(rows, "probability")
    happened = outcomes(query, target)
    yield "log_loss", bootstrap_interval(log_losses(probability, happened), SEED)
    yield "bias", bootstrap_interval(probability - happened, SEED)
    if task == "top":
        yield "precision", bootstrap_interval(happened, SEED)


def _numbers(rows: pa.Table, column: str) -> Doubles:
    values = rows[column].combine_chunks().to_numpy(zero_copy_only=False)
    return np.asarray(values, np.float64)
