"""Removes what predictive queries left that the settings no longer declare."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq

from batch_predictions.features.history.history_sql import History
from batch_predictions.features.history.history_tables import history_table
from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.queries.query_training import QUERY
from batch_predictions.planning.declarations import queries_of
from batch_predictions.predictions.query_predictions import query_table
from batch_predictions.settings import Settings
from batch_predictions.settings.predictive_query import PredictiveQuery
from batch_predictions.tables import (
    EXCLUSIONS,
    MODEL_METRICS,
    PROMOTIONS_LOG,
    Table,
)
from batch_predictions.tables.discovery import load_plugins
from batch_predictions.warehouse import Warehouse


def remove_undeclared_queries(
    settings: Settings, models: ModelStore, warehouse: Warehouse
) -> list[str]:
    """Removes models, predictions, features and metrics of queries that are no longer declared.

    A query that was renamed has a new name, and what the old one left is removed. Of a query that
    is about other entities, or predicts another kind of target than before, the predictions of the
    earlier form are removed.

    Args:
        settings: of the home; they and the plugins that they name say what is declared.
        models: of the home.
        warehouse: of the home.

    Returns:
        Names of the queries that are no longer declared.

    Raises:
        SettingsError: a plugin cannot be imported.
    """
    load_plugins(settings.plugins)
    declared = {query.name: query for query in queries_of(settings)}
    histories = {_history_of(query).qualified for query in declared.values()}
    removed = []
    for name in models.models():
        queries = _stored_queries(models, name)
        if name in declared:
            for query in queries:
                _drop_earlier_form(warehouse, query_table(query), query_table(declared[name]))
        elif queries:
            _remove_query(models, warehouse, queries[-1], histories)
            removed.append(name)
    return removed


def _history_of(query: PredictiveQuery) -> Table:
    """The table of a query's features, without the columns of event types."""
    return history_table(History.of((query,), ())).table


def _stored_queries(models: ModelStore, name: str) -> list[PredictiveQuery]:
    """The queries that the versions of a model were trained for; empty for other models."""
    parameters = (models.manifest(name, v).parameters.get(QUERY) for v in models.versions(name))
    return [PredictiveQuery(**values) for values in parameters if values]


def _drop_earlier_form(warehouse: Warehouse, earlier: Table, declared: Table) -> None:
    """Drops the partitions that have the columns of an earlier form of a table."""
    names, other = ({column.name for column in table.columns} for table in (earlier, declared))
    if names == other:
        return
    for day in warehouse.partitions(earlier):
        stored = {*pq.read_schema(warehouse.file(earlier, day)).names, *earlier.folders}
        if stored == names:
            _drop_day(warehouse, earlier, day)


def _drop_day(warehouse: Warehouse, table: Table, day: str) -> None:
    """Drops a partition of predictions with its exclusions."""
    warehouse.drop_partition(table, day)
    path = warehouse.path(EXCLUSIONS, day, {"table_name": table.name})
    warehouse.remove_files(EXCLUSIONS, [path] if path.exists() else [])


def _remove_query(
    models: ModelStore, warehouse: Warehouse, query: PredictiveQuery, histories: Collection[str]
) -> None:
    """Removes all that a query left, its model last; tables of features that others read stay."""
    table = query_table(query)
    for day in warehouse.partitions(table):
        _drop_day(warehouse, table, day)
    _remove_empty_folder(warehouse, table)
    shutil.rmtree(Path(warehouse.home) / "inference" / query.name, ignore_errors=True)
    history = _history_of(query)
    if history.qualified not in histories:
        for day in warehouse.partitions(history):
            warehouse.drop_partition(history, day)
        _remove_empty_folder(warehouse, history)
    _remove_metrics(models, warehouse, query.name)
    # While the model is there, what a killed process left is found again.
    doomed = Path(models.home) / "models" / f".removed-{uuid.uuid4().hex}"
    models.model_folder(query.name).replace(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _remove_empty_folder(warehouse: Warehouse, table: Table) -> None:
    with suppress(OSError):
        (warehouse.folder / table.schema / table.name).rmdir()


def _remove_metrics(models: ModelStore, warehouse: Warehouse, name: str) -> None:
    for decision in models.decisions(name):
        part: Mapping[str, str] = {
            "model": name,
            "trained_through": decision.effective_from.isoformat(),
        }
        path = warehouse.path(MODEL_METRICS, None, part)
        warehouse.remove_files(MODEL_METRICS, [path] if path.exists() else [])
        logged = [
            warehouse.path(PROMOTIONS_LOG, None, {**part, "decision": verdict})
            for verdict in ("promoted", "baseline", "kept")
        ]
        warehouse.remove_files(PROMOTIONS_LOG, [path for path in logged if path.exists()])
