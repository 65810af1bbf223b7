"""The specification of a partition: from the declaration, the settings and the loaded plugins."""

from __future__ import annotations

import datetime as dt

import pytest

from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.partition_staging import ServingModel, staging_spec
from batch_predictions.settings import InferenceSettings, Settings
from batch_predictions.tables import discovery
from batch_predictions_tests.worlds.engine import DAY, DOUBLES, DoublingScorer

doubles = BatchPrediction(
    table=DOUBLES,
    rows="select '1' as id, 1 as n",
    key=("id",),
    scorer=DoublingScorer,
    parameters=lambda settings: {"k": settings.recommendations.k},
    shard_rows=50,
)


def test_sql_binds_the_day_the_parameters_and_the_models_training_values(
    settings: Settings,
) -> None:
    model = ServingModel("m-1", settings.home / "model", {"window": 28})
    spec = staging_spec(doubles, DAY, model, settings)
    k = settings.recommendations.k
    day = dt.date.fromisoformat(DAY)
    assert spec.sql_parameters == {"date": day, "k": k, "model_window": 28}
    assert spec.parameters == {"k": k}
    assert (spec.model_version, spec.model_folder) == ("m-1", settings.home / "model")


@pytest.mark.parametrize(("setting", "shard_rows"), [(3, 50), (80, 80)])
def test_the_larger_size_of_shards_applies(
    settings: Settings, setting: int, shard_rows: int
) -> None:
    settings.inference = InferenceSettings(shard_rows=setting)
    assert staging_spec(doubles, DAY, ServingModel("m-1"), settings).shard_rows == shard_rows


def test_workers_are_given_the_loaded_plugins(settings: Settings) -> None:
    discovery.load_plugins(["batch_predictions_tests.worlds.plugin_generator"])
    spec = staging_spec(doubles, DAY, ServingModel("m-1"), settings)
    assert spec.plugins == ("batch_predictions_tests.worlds.plugin_generator",)
    assert spec.manifest([], {}).plugins == spec.plugins
