"""Workers: they import the scorer by name, after the plugins of the manifest."""

from __future__ import annotations

import importlib

import pytest

from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.scorer import scorer_name
from batch_predictions.inference.shards import load_scorer_class
from batch_predictions.models.recommender.generators.base import generators
from batch_predictions.settings import SettingsError
from batch_predictions.tables import discovery
from batch_predictions.tables.discovery import instances
from batch_predictions_tests.worlds.engine import DoublingScorer, FixedScorer, Staging

PLUGIN = "batch_predictions_tests.worlds.plugin_generator"


class Outer:
    """A scorer may be defined within another class."""

    class Inner(DoublingScorer):
        """Imported by its qualified name."""


@pytest.mark.parametrize("scorer", [DoublingScorer, FixedScorer, Outer.Inner])
def test_a_worker_imports_a_scorer_by_name(stage: Staging, scorer: type[DoublingScorer]) -> None:
    assert load_scorer_class(stage.manifest(2, scorer=scorer)) is scorer


def test_the_plugins_of_the_manifest_are_loaded_before_the_scorer(stage: Staging) -> None:
    # The registry caches its generators by the loaded plugins.
    assert "plugin_als" not in generators()
    load_scorer_class(stage.manifest(2, plugins=(PLUGIN,)))
    assert discovery.plugins() == [PLUGIN]
    assert generators()["plugin_als"].name == "plugin_als"


def test_a_plugin_that_cannot_be_imported_is_named(stage: Staging) -> None:
    with pytest.raises(SettingsError, match="plugins names no_such_plugin"):
        load_scorer_class(stage.manifest(2, plugins=("no_such_plugin",)))


PREDICTIONS = instances(BatchPrediction, "predictions/*.py")


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda prediction: prediction.name)
def test_every_declared_prediction_keeps_the_contract(prediction: BatchPrediction) -> None:
    module, _, name = scorer_name(prediction.scorer).partition(":")
    assert getattr(importlib.import_module(module), name) is prediction.scorer
    assert isinstance(prediction.scorer.version, str) and prediction.scorer.version
    types = {column.name: column.type for column in prediction.table.columns}
    assert types["model_version"] == "VARCHAR" and prediction.table.partition in types
    assert set(prediction.key) <= set(types)
    assert len({check.name for check in prediction.all_checks}) == len(prediction.all_checks)
    assert all(check.description.endswith(".") for check in prediction.all_checks)
