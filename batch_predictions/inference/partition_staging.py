"""Stages one partition of a declared prediction with the model that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batch_predictions.core.home_bucket import bucket_of
from batch_predictions.inference import staging
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.staging import StagingSpec
from batch_predictions.models.model_store import ModelStore
from batch_predictions.settings import Settings
from batch_predictions.tables.discovery import plugins
from batch_predictions.tables.partitions import latest_ended_week
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.plugin_queries import warehouse_of_declaration

SMALL_SHARD_ROWS = 256
"""Rows of a shard of a small partition."""
RULES = "rules"
"""Prefix of the version of predictions without a model."""


@dataclass(frozen=True)
class ServingModel:
    """The model that serves a partition.

    Attributes:
        version: version that the predictions carry.
        folder: folder of the model's files; None for a rule.
        parameters: values that the model was trained with; SQL binds them as `$model_<name>`.
    """

    version: str
    folder: Path | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


def engine_folder(settings: Settings) -> Path:
    """The folder of stages and results: `<home>/inference`."""
    return settings.home / "inference"


def shares_engine(settings: Settings) -> bool:
    """Returns whether steps or instances run on machines that share a bucket and no folder."""
    executor = settings.execution.executor
    is_spread = settings.inference.engine == "ray" or executor in {"ray", "kubernetes"}
    return is_spread and bucket_of(settings.home) is not None


def sql_parameters(
    prediction: BatchPrediction, partition: str, settings: Settings
) -> dict[str, object]:
    """Returns the values that a declaration's SQL may bind: `$date` or `$week`, and its parameters.

    Args:
        prediction: the declaration.
        partition: ISO date of the day, or of the week's Monday.
        settings: of this home.
    """
    parameters = dict(prediction.parameters(settings))
    return {**parameters, str(prediction.table.partition): as_date(partition)}


def stage_partition(
    prediction: BatchPrediction,
    partition: str,
    warehouse: Warehouse,
    models: ModelStore,
    settings: Settings,
) -> Path:
    """Stages one partition with the model that serves it; returns the manifest's path.

    Args:
        prediction: the declaration.
        partition: ISO date of the day, or of the week's Monday.
        warehouse: with the tables that the prediction's SQL reads.
        models: the model store.
        settings: of this home.

    Raises:
        ModelError: no model serves the partition, or the newest is too old.
    """
    model = find_serving_model(prediction, partition, models, settings)
    spec = staging_spec(prediction, partition, model, settings)
    return staging.stage(
        warehouse_of_declaration(warehouse, prediction), engine_folder(settings), spec
    )


def find_serving_model(
    prediction: BatchPrediction, partition: str, models: ModelStore, settings: Settings
) -> ServingModel:
    """Finds the model that serves a partition, and verifies its files.

    Args:
        prediction: the declaration.
        partition: ISO date of the day, or of the week's Monday.
        models: the model store.
        settings: of this home.

    Raises:
        ModelError: no model serves the partition, the newest is too old, or its files are damaged.
    """
    if prediction.model is None:
        return ServingModel(f"{RULES}-{prediction.scorer.version}")
    day = prediction.as_of(partition)
    manifest = models.champion(
        prediction.model, day, settings.recommender.max_age_days, latest_ended_week(day)
    )
    folder = models.verified_folder(prediction.model, manifest.version)
    return ServingModel(manifest.version, folder, manifest.parameters)


def staging_spec(
    prediction: BatchPrediction, partition: str, model: ServingModel, settings: Settings
) -> StagingSpec:
    """Builds the input of `staging.stage` for one partition of a declaration.

    Args:
        prediction: the declaration.
        partition: ISO date of the day, or of the week's Monday.
        model: that serves the partition.
        settings: of this home.
    """
    shared, folder = shares_engine(settings), model.folder
    if shared and folder is not None:
        # Each machine has another home folder; a stage is four folders below it.
        folder = Path("../../../..") / folder.relative_to(settings.home.absolute())
    model_parameters = {f"model_{name}": value for name, value in model.parameters.items()}
    return StagingSpec(
        table=prediction.table,
        partition=partition,
        rows=prediction.rows,
        key=prediction.key,
        eligible=prediction.eligible,
        scorer=prediction.scorer,
        model=prediction.model,
        model_version=model.version,
        model_folder=folder,
        parameters=dict(prediction.parameters(settings)),
        lookup_tables=prediction.lookup_tables,
        child_tables=prediction.child_tables,
        sql_parameters={**sql_parameters(prediction, partition, settings), **model_parameters},
        plugins=tuple(plugins()),
        shared=shared,
        shard_rows=max(settings.inference.shard_rows, prediction.shard_rows),
        small_shard_rows=max(SMALL_SHARD_ROWS, prediction.shard_rows),
        shard_mb=settings.inference.shard_mb,
    )
