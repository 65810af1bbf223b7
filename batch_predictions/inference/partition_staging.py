"""What one partition of a declaration is staged with: its parameters, and the model that is due."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from batch_predictions.inference import staging
from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.scorer import name_of
from batch_predictions.model_store import ModelStore
from batch_predictions.partitions import latest_ended_week
from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse, as_date

RULES = "rules"
"""Begins the version of predictions that have no model."""


def engine_folder(settings: Settings) -> Path:
    """Where stages and results are kept: `<home>/inference`."""
    return settings.home / "inference"


def sql_parameters(declared: BatchPrediction, partition: str, settings: Settings) -> dict[str, Any]:
    """What a declaration's SQL may name: `$date` or `$week`, and its parameters."""
    parameters = dict(declared.parameters(settings))
    return {**parameters, str(declared.table.partition): as_date(partition)}


def stage_partition(
    declared: BatchPrediction,
    partition: str,
    warehouse: Warehouse,
    models: ModelStore,
    settings: Settings,
) -> Path:
    """Stages one partition with the model that is due; the manifest's path.

    Raises:
        ModelError: no model is due, or it is too old.
    """
    model, version, place, learned = _model_due(declared, partition, models, settings)
    return staging.stage(
        warehouse,
        engine_folder(settings),
        table=declared.table,
        partition=partition,
        rows=declared.rows,
        side=declared.lookup_tables,
        key=declared.key,
        sql_parameters={**sql_parameters(declared, partition, settings), **learned},
        scorer=name_of(declared.scorer),
        scorer_version=declared.scorer.version,
        parameters=dict(declared.parameters(settings)),
        model=model,
        model_version=version,
        model_folder=place,
        shard_rows=max(settings.inference.shard_rows, declared.shard_rows),
        shard_mb=settings.inference.shard_mb,
        companions=declared.child_tables,
    )


def _model_due(
    declared: BatchPrediction, partition: str, models: ModelStore, settings: Settings
) -> tuple[str | None, str, Path | None, dict[str, Any]]:
    """Model, version and folder of what serves a partition, and what SQL may bind of it."""
    if declared.model is None:
        return None, f"{RULES}-{declared.scorer.version}", None, {}
    day = declared.as_of(partition)
    manifest = models.champion(
        declared.model, day, settings.recommender.max_age_days, latest_ended_week(day)
    )
    folder = models.verified_folder(declared.model, manifest.version)
    learned = {f"model_{name}": value for name, value in manifest.parameters.items()}
    return declared.model, manifest.version, folder, learned
