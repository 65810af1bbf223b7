"""Forecasters are found by name, also those of plugins; parameters are typed and checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batch_predictions.models.demand import demand_registry
from batch_predictions.models.demand.demand_selection import candidate_names
from batch_predictions.models.demand.forecasters.ensembles import AverageForecaster
from batch_predictions.models.demand.forecasters.gbdt import GBDTForecaster, GBDTForecasterParams
from batch_predictions.models.demand.forecasters.sarima import Sarima, SarimaParams
from batch_predictions.settings import DemandSettings
from batch_predictions.tables import discovery
from batch_predictions_tests.worlds.demand import daily_panel
from batch_predictions_tests.worlds.plugin_packages import load_package

PLUGIN = '''
"""A forecaster of a user's package."""

from dataclasses import dataclass

import numpy as np

from batch_predictions.models.demand.base import (
    Forecaster, ForecasterParams, ForecasterVariant, clip_forecasts
)


@dataclass(frozen=True)
class RecentMeanParams(ForecasterParams):
    window: int = 7
    seed: int = 0


class RecentMean(Forecaster):
    kind = "recent_mean"
    params_class = RecentMeanParams
    params: RecentMeanParams

    def fit(self, panel):
        self.fitted_values = {"columns": panel.n_columns}
        return self

    def forecast(self, panel, horizon):
        means = np.nanmean(panel.y[:, -self.params.window :], axis=1)
        return clip_forecasts(np.repeat(means[:, None], horizon, axis=1))


last_value = ForecasterVariant("last_value", "recent_mean", RecentMeanParams(window=1))
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with a forecaster and a variant of it, loaded as a plugin."""
    load_package(tmp_path, monkeypatch, "shop_forecasters", {"recent_mean": PLUGIN})
    return "shop_forecasters"


def test_a_forecaster_of_a_plugin_is_made_by_name_and_loaded_from_its_folder(
    plugin: str, tmp_path: Path
) -> None:
    panel = daily_panel(np.arange(1.0, 15.0)[None])
    assert {"recent_mean", "last_value"} <= set(demand_registry.names())
    forecaster = demand_registry.make("recent_mean", {"recent_mean": {"window": 3}}, seed=5).fit(
        panel
    )
    np.testing.assert_array_equal(forecaster.forecast(panel, 2), [[13.0, 13.0]])
    forecaster.save(tmp_path / "model")
    loaded = demand_registry.load(tmp_path / "model")
    assert type(loaded) is type(forecaster) and loaded.params == forecaster.params
    assert loaded.params.to_mapping() == {"window": 3, "seed": 5}
    assert loaded.fitted_values == {"columns": 14}
    np.testing.assert_array_equal(loaded.forecast(panel, 2), forecaster.forecast(panel, 2))
    variant = demand_registry.make("last_value").fit(panel)
    assert variant.name == "last_value"
    np.testing.assert_array_equal(variant.forecast(panel, 1), [[14.0]])


def test_a_stored_forecaster_of_an_absent_plugin_is_named(
    plugin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demand_registry.make("recent_mean").save(tmp_path)
    monkeypatch.setattr(discovery, "_plugins", {})
    with pytest.raises(ValueError, match=r"'recent_mean' .*known: seasonal_naive.*plugins"):
        demand_registry.load(tmp_path)


def test_two_forecasters_of_one_name_are_refused(plugin: str, tmp_path: Path) -> None:
    source = PLUGIN.replace('"recent_mean"', '"theta"')
    (tmp_path / "second_theta.py").write_text(source)
    discovery.load_plugins(["second_theta"])
    with pytest.raises(ValueError, match="kind 'theta'"):
        demand_registry.names()


def test_the_platforms_forecasters_and_variants_are_found() -> None:
    names = demand_registry.names()
    assert {*candidate_names(DemandSettings()), "gru", "average"} <= set(names)
    assert {"arima", "naive2", "theta"} <= set(names) and "chosen" not in names
    assert "chosen" in demand_registry.classes()


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="choose of seasonal_naive"):
        demand_registry.make("prophet")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gru", {"step": 3}, "gru: unknown parameter step .*known: batch, every, .* steps"),
        ("lightgbm", {"trees": 3}, r"unknown parameter trees .*lgb_\*"),
        ("theta", {"alpha": 0.5}, "unknown parameter alpha .known: there are none"),
        ("gru", {"steps": "many"}, "steps: .*valid integer"),
        ("arima", {"order": [1, 1, 1]}, "order"),
    ],
)
def test_a_wrong_parameter_is_refused_with_the_known_ones(
    name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        demand_registry.make(name, {name: options})


def test_a_variant_has_its_parameters_and_options_override_them() -> None:
    arima = demand_registry.make("arima", {"arima": {"log": True}, "sarima": {"tries": 9}})
    assert isinstance(arima, Sarima) and arima.name == "arima"
    assert arima.params == SarimaParams(order=(1, 1, 1, 0, 0, 0), log=True)
    overridden = demand_registry.make("arima", {"arima": {"order": [0, 1, 1, 0, 0, 0]}})
    assert overridden.params == SarimaParams(order=(0, 1, 1, 0, 0, 0))


def test_seed_and_horizon_reach_the_forecasters_that_declare_them() -> None:
    average = demand_registry.make("average", {"gru": {"seed": 1}}, seed=3, horizon=21)
    assert isinstance(average, AverageForecaster)
    values = [member.params.to_mapping() for member in average.members]
    assert values == [{"seed": 3, "horizon": 21}, {"seed": 1, "horizon": 21}]
    assert demand_registry.make("mean28_weekday", seed=3, horizon=21).params.to_mapping() == {}


def test_parameters_of_lightgbm_have_a_prefix() -> None:
    forecaster = demand_registry.make("lightgbm", {"lightgbm": {"lgb_num_leaves": 7, "rounds": 5}})
    assert isinstance(forecaster, GBDTForecaster)
    assert forecaster.params == GBDTForecasterParams(rounds=5, seed=7, lightgbm={"num_leaves": 7})
    assert forecaster.params.to_mapping() == {"rounds": 5, "seed": 7, "lgb_num_leaves": 7}
