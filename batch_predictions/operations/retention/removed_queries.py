"""Removes what predictive queries left that the settings have not declared for some days."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow.parquet as pq

from batch_predictions.core.durability import atomic_write
from batch_predictions.features.history.history_sql import History
from batch_predictions.features.history.history_tables import history_table
from batch_predictions.models.model_store import ModelStore
from batch_predictions.operations.kept_queries import (
    FILE_NAME,
    kept_queries,
    read_missed,
    stored_queries,
    undeclared_queries,
)
from batch_predictions.planning.declarations import load_declarations, queries_of
from batch_predictions.predictions.query_predictions import query_table
from batch_predictions.settings import Settings, SettingsError
from batch_predictions.settings.predictive_query import PredictiveQuery
from batch_predictions.tables import (
    EXCLUSIONS,
    MODEL_METRICS,
    PROMOTIONS_LOG,
    Table,
)
from batch_predictions.tables.discovery import load_plugins
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.digests import PartitionDigests


def remove_undeclared_queries(settings: Settings, today: dt.date) -> list[str]:
    """Removes models, predictions, features and metrics of queries that are kept no longer.

    A query that was renamed has a new name, and what the old one left is kept, then removed. Of a
    query that is about other entities, or predicts another kind of target than before, the
    predictions of the earlier form are removed at once.

    Args:
        settings: of the home; they and the plugins that they name say what is declared.
        today: the present day.

    Returns:
        Names of the queries that were removed.

    Raises:
        SettingsError: a plugin cannot be imported.
    """
    load_plugins(settings.plugins)
    kept, missed = kept_queries(settings, today), read_missed(settings.home)
    models, warehouse = ModelStore.of(settings), Warehouse.of(settings)
    declared = {query.name: query for query in queries_of(settings)}
    for name in declared.keys() & {*models.models()}:
        for query in stored_queries(models, name):
            _drop_earlier_form(warehouse, query_table(query), query_table(declared[name]))
    removed = sorted(name for name, until in kept.items() if until <= today)
    if removed:
        undeclared = undeclared_queries(settings)
        stays = [*declared.values(), *(undeclared[name] for name in kept.keys() - {*removed})]
        histories = {_history_of(query).qualified for query in stays}
        for name in removed:
            _remove_query(models, warehouse, undeclared[name], histories)
    still = {name: missed.get(name, today) for name in kept if name not in removed}
    if still != missed:
        atomic_write(settings.home / FILE_NAME, json.dumps(still, default=str, indent=1))
    return removed


@contextmanager
def kept_queries_declared(settings: Settings) -> Iterator[list[str]]:
    """Declares the queries that are kept as if the settings did, so that erasures reach them.

    Yields:
        Names of those that cannot be declared any more: what they left is removed.
    """
    undeclared, removed = undeclared_queries(settings), list[str]()
    predictions = {**settings.predictions, **undeclared}
    try:
        load_declarations(settings.model_copy(update={"predictions": predictions}))
    except SettingsError:
        load_declarations(settings)
        removed = sorted(undeclared)
        histories = {_history_of(query).qualified for query in queries_of(settings)}
        for query in undeclared.values():
            _remove_query(ModelStore.of(settings), Warehouse.of(settings), query, histories)
    try:
        yield removed
    finally:
        load_declarations(settings)


def _history_of(query: PredictiveQuery) -> Table:
    """The table of a query's features, without the columns of event types."""
    return history_table(History.of((query,), ())).table


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
    _remove_empty_table(warehouse, table)
    shutil.rmtree(Path(warehouse.home) / "inference" / query.name, ignore_errors=True)
    history = _history_of(query)
    if history.qualified not in histories:
        for day in warehouse.partitions(history):
            warehouse.drop_partition(history, day)
        _remove_empty_table(warehouse, history)
    _remove_metrics(models, warehouse, query.name)
    # While the model is there, what a killed process left is found again.
    doomed = Path(models.home) / "models" / f".removed-{uuid.uuid4().hex}"
    models.model_folder(query.name).replace(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _remove_empty_table(warehouse: Warehouse, table: Table) -> None:
    PartitionDigests(warehouse.folder, table).remove()
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
