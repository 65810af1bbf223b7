"""The state and partitions of the tests' homes, their assets, and materialization of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from batch_predictions.features import declared_features
from batch_predictions.features.assets import feature_asset
from batch_predictions.features.base import FeatureTable
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.dagster import assets as prediction_assets
from batch_predictions.inference.dagster.io_manager import JsonPathIOManager
from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.training import trainings
from batch_predictions.models.training_assets import training_asset
from batch_predictions.settings import Settings
from batch_predictions.sources.assets import raw_asset as make_raw_asset
from batch_predictions.tables import TABLES
from batch_predictions.tables.partitions import Partitions
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.home_state import STATE

PARTITIONS = Partitions.of_home(STATE, Settings())


def raw_asset(name: str) -> dg.AssetsDefinition:
    """The asset `raw/<name>`."""
    return make_raw_asset(TABLES[f"raw.{name}"], PARTITIONS)


def features_asset(name: str, settings: Settings | None = None) -> dg.AssetsDefinition:
    """The asset `features/<name>` of the platform."""
    [feature_table] = [
        value
        for value in vars(declared_features).values()
        if isinstance(value, FeatureTable) and value.table.name == name
    ]
    return feature_asset(feature_table, PARTITIONS, settings or Settings())


def model_asset(name: str) -> dg.AssetsDefinition:
    """The asset `models/<name>`."""
    return training_asset(trainings()[name], PARTITIONS)


def prediction_asset(
    prediction: BatchPrediction, settings: Settings | None = None
) -> dg.AssetsDefinition:
    """A prediction as an asset of the tests' home."""
    return prediction_assets.prediction_asset(prediction, PARTITIONS, settings)


def asset_resources(settings: Settings) -> dict[str, Any]:
    """The resources of the platform's assets, for one home."""
    return {
        "settings": settings,
        "warehouse": Warehouse.of(settings),
        "models": ModelStore.of(settings),
        "handles": JsonPathIOManager(home=str(settings.home)),
    }


def materialize(
    assets: Sequence[dg.AssetsDefinition],
    settings: Settings,
    *days: str,
    selection: Sequence[dg.AssetKey] | None = None,
    instance: dg.DagsterInstance | None = None,
) -> dg.ExecuteInProcessResult:
    """Materializes a day, or in one run the days from the first to the last; raises no errors."""
    tags = {
        "dagster/asset_partition_range_start": min(days),
        "dagster/asset_partition_range_end": max(days),
    }
    return dg.materialize(
        assets,
        selection=selection,
        instance=instance,
        partition_key=days[0] if len(days) == 1 else None,
        tags=tags if len(days) > 1 else None,
        resources=asset_resources(settings),
        raise_on_error=False,
    )
