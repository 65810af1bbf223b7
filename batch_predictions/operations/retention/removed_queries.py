"""Removes what predictive queries left that the settings no longer declare."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from batch_predictions.features.history.history_sql import History
from batch_predictions.features.history.history_tables import history_table
from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.queries.query_model import MODEL_FILE
from batch_predictions.models.training import trainings
from batch_predictions.predictions.query_predictions import query_table
from batch_predictions.settings.predictive_query import PredictiveQuery
from batch_predictions.tables import (
    EXCLUSIONS,
    MODEL_METRICS,
    PROMOTIONS_LOG,
    TABLES,
    Table,
)
from batch_predictions.warehouse import Warehouse


def remove_undeclared_queries(models: ModelStore, warehouse: Warehouse) -> list[str]:
    """Removes models, predictions, features and metrics of queries that are no longer declared.

    A query that was renamed has a new name, and what the old one left is removed.

    Args:
        models: of the home.
        warehouse: of the home, after its declarations were loaded.

    Returns:
        Names of the queries.
    """
    removed = []
    for name in sorted({*models.models()} - {*trainings()}):
        query = _stored_query(models, name)
        if query is None:
            continue
        table = query_table(query)
        days = _drop_partitions(warehouse, table)
        parts = [warehouse.path(EXCLUSIONS, day, {"table_name": name}) for day in days]
        warehouse.remove_files(EXCLUSIONS, [path for path in parts if path.exists()])
        shutil.rmtree(Path(warehouse.home) / "inference" / name, ignore_errors=True)
        history = history_table(History.of((query,), ())).table
        if history.qualified not in TABLES:
            _drop_partitions(warehouse, history)
        _remove_metrics(models, warehouse, name)
        # Last: while the model is there, what a killed process left is found again.
        doomed = Path(models.home) / "models" / f".removed-{uuid.uuid4().hex}"
        models.model_folder(name).replace(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
        removed.append(name)
    return removed


def _stored_query(models: ModelStore, name: str) -> PredictiveQuery | None:
    """The query that a model was trained for; None for other models."""
    for version in models.versions(name):
        path = models.folder(name, version) / MODEL_FILE
        if path.exists():
            return PredictiveQuery(**json.loads(path.read_text("utf-8"))["query"])
    return None


def _drop_partitions(warehouse: Warehouse, table: Table) -> list[str]:
    days = warehouse.partitions(table)
    for day in days:
        warehouse.drop_partition(table, day)
    with suppress(OSError):
        (warehouse.folder / table.schema / table.name).rmdir()
    return days


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
