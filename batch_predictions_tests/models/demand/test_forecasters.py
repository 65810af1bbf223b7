"""What every forecaster promises, and known answers of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batch_predictions.models.demand.base import Forecaster
from batch_predictions.models.demand.conformal import ConformalCalibration
from batch_predictions.models.demand.features import build_features
from batch_predictions.models.demand.forecasters.baselines import Mean28, SeasonalNaive
from batch_predictions.models.demand.forecasters.ensembles import PerSeriesSelector
from batch_predictions.models.demand.forecasters.linear import LinearPromotions, LinearRegression
from batch_predictions.models.demand.forecasters.smoothing import SeasonalAdjustment, is_seasonal
from batch_predictions.models.demand.model import DemandModel
from batch_predictions.models.demand.registry import make, names
from batch_predictions_tests.worlds.demand import panel, shop

QUICK = {
    "lightgbm": {"rounds": 30, "horizon": 14, "lgb_min_data_in_leaf": 30},
    "gru": {"steps": 8, "hidden": 12, "horizon": 14},
}


@pytest.mark.parametrize("name", names())
def test_every_forecaster_keeps_the_contract(name: str, tmp_path: Path) -> None:
    world = shop()
    model = make(name, QUICK).fit(world)
    found = model.forecast(world, 14)
    assert found.shape == (40, 14)
    assert np.isfinite(found).all() and (found >= 0).all()
    # The same panel gives the same model; a stored model gives the same forecasts.
    np.testing.assert_array_equal(make(name, QUICK).fit(world).forecast(world, 14), found)
    model.save(tmp_path)
    loaded = Forecaster.load(tmp_path)
    np.testing.assert_allclose(loaded.forecast(world, 14), found, rtol=1e-12)
    assert (loaded.name, loaded.methods(world)) == (name, model.methods(world))
    assert not [each for each in tmp_path.rglob("*") if each.suffix in (".pkl", ".pt", ".pickle")]
    # Whatever stands beside a series, and in whatever order.
    some = np.array([17, 3])
    np.testing.assert_allclose(model.forecast(world.take(some), 14), found[some], rtol=1e-5)
    # A series that nobody has seen, and one without a value.
    ahead = {"promotion": np.zeros((2, 74))}
    nothing = panel(np.full((2, 60), np.nan), future_covariates=ahead, holidays=np.zeros(74))
    strangers = replace(nothing, ids=["x", "y"], static={"category": np.array([-1, 9])})
    assert np.isfinite(model.forecast(strangers, 14)).all()


def test_seasonal_naive_repeats_the_last_week() -> None:
    found = SeasonalNaive().forecast(panel(np.arange(21.0)[None]), 9)
    assert found[0].tolist() == [14, 15, 16, 17, 18, 19, 20, 14, 15]


def test_mean28_is_the_level_of_four_weeks_times_the_weekday() -> None:
    week = np.array([1.0, 1, 1, 1, 1, 3, 6])
    y = np.r_[np.tile(week, 40), np.tile(2 * week, 4)][None]
    found = Mean28(flat_seasons=0.0).forecast(panel(y), 7)
    np.testing.assert_allclose(found[0], 2 * week)


def test_linear_regression_continues_a_line_with_weekdays() -> None:
    times = np.arange(100)
    y = (5 + 0.1 * times + 2 * (times % 7 == 2))[None]
    found = LinearRegression().fit(panel(y)).forecast(panel(y), 10)
    ahead = np.arange(100, 110)
    np.testing.assert_allclose(found[0], 5 + 0.1 * ahead + 2 * (ahead % 7 == 2), rtol=1e-3)
    # Trained on Sunday, asked on Wednesday with a shorter window: the same line.
    model = LinearRegression().fit(panel(y))
    later = replace(panel(y[:, 50:]), start=panel(y).days()[50].item())
    np.testing.assert_allclose(model.forecast(later, 10), found, rtol=1e-9)


def test_linear_promotions_knows_the_lift() -> None:
    promotion = np.zeros((1, 114))
    promotion[0, ::5] = 1
    y = 3 + 4 * promotion[:, :100]
    world = panel(y, future_covariates={"promotion": promotion})
    found = LinearPromotions().fit(world).forecast(world, 14)
    np.testing.assert_allclose(found, 3 + 4 * promotion[:, 100:], rtol=1e-2)


@pytest.mark.parametrize("name", ["naive2", "theta"])
def test_classical_methods_put_a_multiplied_season_back(name: str) -> None:
    week = np.array([0.5, 1, 1, 1, 1, 1.5, 1])
    y = (10 * np.tile(week, 20))[None]
    found = make(name).forecast(panel(y), 10)
    np.testing.assert_allclose(found[0], 10 * np.tile(week, 2)[:10], rtol=1e-6)


def test_theta_has_half_of_the_trend() -> None:
    y = 10 + 2.0 * np.arange(50)
    # The line of twice the curvature is the line itself; smoothing it with alpha near 1 ends at
    # the last value: half the drift goes on.
    found = make("theta").forecast(panel(y[None]), 3)[0]
    np.testing.assert_allclose(found, 108 + 0.5 * 2 * np.arange(1, 4), atol=0.05)


def test_noise_has_no_season_and_a_weekly_pattern_has_one() -> None:
    random = np.random.default_rng(0)
    noise = random.normal(10, 1, (200, 70))
    share = np.mean([is_seasonal(each, 7) for each in noise])
    assert 0.03 < share < 0.2
    assert is_seasonal(noise[0] + 5 * (np.arange(70) % 7 == 0), 7)
    assert not is_seasonal(np.tile([1.0, 2.0, 3.0], 6)[:17], 7)


def test_additive_seasons_are_for_values_that_are_not_positive() -> None:
    week = np.array([-3.0, 0, 0, 0, 0, 3.0, 0])
    season = SeasonalAdjustment(np.tile(week, 20), 7)
    assert not season.multiplied
    np.testing.assert_allclose(season.indices, week, atol=1e-9)


def test_the_design_of_an_origin_sees_nothing_that_came_after_it() -> None:
    world = shop()
    before = build_features(world, [100, 150], 14)
    changed = world.y.copy()
    changed[:, 100:] = 77.0
    after = build_features(replace(world, y=changed), [100, 150], 14)
    np.testing.assert_array_equal(before.features[:, 0], after.features[:, 0])
    assert not np.array_equal(before.features[:, 1], after.features[:, 1])
    # And as of an origin it is what a panel that ends there gives.
    cut = build_features(world.until(100), [100], 14)
    np.testing.assert_allclose(cut.features[:, 0], before.features[:, 0], rtol=1e-6)


def test_the_same_weekday_of_the_design_is_that_of_the_target() -> None:
    weekly = np.tile(np.arange(7.0), 20)[None]
    made = build_features(panel(weekly), [133], 14)
    at = made.names.index("phase_4")
    expected = np.log((np.tile(np.arange(7.0), 2) + 0.1) / made.level[0, 0])
    np.testing.assert_allclose(made.features[0, 0, :, at], expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["lightgbm", "gru"])
def test_a_global_model_learns_what_a_promotion_does(name: str) -> None:
    world = shop(n=60, days=300)
    options = {"lightgbm": QUICK["lightgbm"] | {"rounds": 80}, "gru": {"steps": 80, "hidden": 16}}
    known = world.until(286)
    actual = world.y[:, 286:]
    found = make(name, options).fit(known).forecast(known, 14)
    baseline = Mean28().forecast(known, 14)
    assert np.abs(found - actual).sum() < 0.85 * np.abs(baseline - actual).sum()
    assert abs(found.sum() / actual.sum() - 1) < 0.1


def test_each_series_has_its_champion_and_strangers_the_default(tmp_path: Path) -> None:
    world = shop(n=3)
    members = [SeasonalNaive(), Mean28()]
    model = PerSeriesSelector("chosen", members, {"s0": "seasonal_naive"}, default="mean28_weekday")
    found = model.fit(world).forecast(world, 7)
    np.testing.assert_array_equal(found[0], SeasonalNaive().forecast(world, 7)[0])
    np.testing.assert_array_equal(found[1:], Mean28().forecast(world, 7)[1:])
    assert model.methods(world) == ["seasonal_naive", "mean28_weekday", "mean28_weekday"]
    calibration = ConformalCalibration.of(found[None], found[None])
    DemandModel(model, calibration).save(tmp_path)
    prediction = DemandModel.load(tmp_path).predict(world, 7)
    np.testing.assert_array_equal(prediction.mean, found)
    np.testing.assert_allclose(prediction.sums(np.array([1, 2, 7]))[2], found[2].sum())


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="choose of seasonal_naive"):
        make("prophet")
