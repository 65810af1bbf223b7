"""The contract of all forecasters, and known forecasts of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batch_predictions.models.demand import demand_registry
from batch_predictions.models.demand.conformal import ConformalCalibration
from batch_predictions.models.demand.data.demand_features import build_features
from batch_predictions.models.demand.demand_model import DemandModel
from batch_predictions.models.demand.forecasters.baselines import (
    Mean28,
    Mean28Params,
    SeasonalAdjustment,
    SeasonalNaive,
    is_seasonal,
)
from batch_predictions.models.demand.forecasters.ensembles import PerSeriesSelector, SelectorParams
from batch_predictions.models.demand.forecasters.linear_regression import (
    LinearPromotions,
    LinearRegression,
)
from batch_predictions_tests.worlds.demand import daily_panel, promotion_panel

FAST_OPTIONS = {
    "lightgbm": {"rounds": 30, "horizon": 14, "lgb_min_data_in_leaf": 30},
    "gru": {"steps": 8, "hidden": 12, "horizon": 14},
}


@pytest.mark.parametrize("name", demand_registry.names())
def test_every_forecaster_keeps_the_contract(name: str, tmp_path: Path) -> None:
    panel = promotion_panel()
    model = demand_registry.make(name, FAST_OPTIONS).fit(panel)
    forecasts = model.forecast(panel, 14)
    assert forecasts.shape == (40, 14)
    assert np.isfinite(forecasts).all() and (forecasts >= 0).all()
    # The same panel gives the same model, and a stored model the same forecasts.
    refitted = demand_registry.make(name, FAST_OPTIONS).fit(panel)
    np.testing.assert_array_equal(refitted.forecast(panel, 14), forecasts)
    model.save(tmp_path)
    loaded = demand_registry.load(tmp_path)
    np.testing.assert_allclose(loaded.forecast(panel, 14), forecasts, rtol=1e-12)
    assert (loaded.name, loaded.methods(panel)) == (name, model.methods(panel))
    assert loaded.params == model.params
    suffixes = {path.suffix for path in tmp_path.rglob("*")}
    assert not suffixes & {".pkl", ".pt", ".pickle"}
    # A forecast does not depend on the other series of the panel, nor on their order.
    rows = np.array([17, 3])
    np.testing.assert_allclose(model.forecast(panel.take(rows), 14), forecasts[rows], rtol=1e-5)
    # Series that were not fitted and have no values.
    empty = daily_panel(
        np.full((2, 60), np.nan),
        future_covariates={"promotion": np.zeros((2, 74))},
        static_features={"category": np.array([-1, 9])},
        holidays=np.zeros(74),
    )
    unseen = replace(empty, ids=["x", "y"])
    assert np.isfinite(model.forecast(unseen, 14)).all()


def test_seasonal_naive_repeats_the_last_week() -> None:
    forecasts = SeasonalNaive().forecast(daily_panel(np.arange(21.0)[None]), 9)
    assert forecasts[0].tolist() == [14, 15, 16, 17, 18, 19, 20, 14, 15]


def test_mean28_is_the_level_of_four_weeks_times_the_weekday() -> None:
    week = np.array([1.0, 1, 1, 1, 1, 3, 6])
    y = np.r_[np.tile(week, 40), np.tile(2 * week, 4)][None]
    forecasts = Mean28(Mean28Params(flat_seasons=0.0)).forecast(daily_panel(y), 7)
    np.testing.assert_allclose(forecasts[0], 2 * week)


def test_linear_regression_continues_a_line_with_weekdays() -> None:
    times = np.arange(100)
    y = (5 + 0.1 * times + 2 * (times % 7 == 2))[None]
    model = LinearRegression().fit(daily_panel(y))
    forecasts = model.forecast(daily_panel(y), 10)
    future = np.arange(100, 110)
    np.testing.assert_allclose(forecasts[0], 5 + 0.1 * future + 2 * (future % 7 == 2), rtol=1e-3)
    # A panel that begins later has the same forecasts.
    start = daily_panel(y).original_dates()[50].item()
    later = replace(daily_panel(y[:, 50:]), start=start)
    np.testing.assert_allclose(model.forecast(later, 10), forecasts, rtol=1e-9)


def test_linear_promotions_learns_the_lift_of_a_promotion() -> None:
    promotion = np.zeros((1, 114))
    promotion[0, ::5] = 1
    y = 3 + 4 * promotion[:, :100]
    panel = daily_panel(y, future_covariates={"promotion": promotion})
    forecasts = LinearPromotions().fit(panel).forecast(panel, 14)
    np.testing.assert_allclose(forecasts, 3 + 4 * promotion[:, 100:], rtol=1e-2)


@pytest.mark.parametrize("name", ["naive2", "theta"])
def test_naive2_and_theta_restore_a_multiplicative_season(name: str) -> None:
    week = np.array([0.5, 1, 1, 1, 1, 1.5, 1])
    y = (10 * np.tile(week, 20))[None]
    forecasts = demand_registry.make(name).forecast(daily_panel(y), 10)
    np.testing.assert_allclose(forecasts[0], 10 * np.tile(week, 2)[:10], rtol=1e-6)


def test_theta_continues_half_of_the_trend() -> None:
    y = 10 + 2 * np.arange(50, dtype=np.float64)
    # A line has no curvature, so that smoothing with alpha near 1 ends at its last value and stays
    # there: the mean of both has half the slope.
    forecasts = demand_registry.make("theta").forecast(daily_panel(y[None]), 3)[0]
    np.testing.assert_allclose(forecasts, 108 + 0.5 * 2 * np.arange(1, 4), atol=0.05)


def test_the_test_of_a_season_rejects_noise_and_finds_a_weekly_pattern() -> None:
    random = np.random.default_rng(0)
    noise = random.normal(10, 1, (200, 70))
    share = np.mean([is_seasonal(series, 7) for series in noise])
    assert 0.03 < share < 0.2
    assert is_seasonal(noise[0] + 5 * (np.arange(70) % 7 == 0), 7)
    # The autocorrelations at shorter lags widen the limit, and do not hide the season.
    assert is_seasonal(np.sin(2 * np.pi * np.arange(70) / 7), 7)
    assert not is_seasonal(np.tile([1.0, 2.0, 3.0], 6)[:17], 7)


def test_seasons_of_series_that_are_not_positive_are_additive() -> None:
    week = np.array([-3.0, 0, 0, 0, 0, 3.0, 0])
    adjustment = SeasonalAdjustment(np.tile(week, 20), 7)
    assert not adjustment.is_multiplicative
    np.testing.assert_allclose(adjustment.indices, week, atol=1e-9)


def test_features_of_an_origin_do_not_depend_on_later_values() -> None:
    panel = promotion_panel()
    before = build_features(panel, [100, 150], 14)
    changed = panel.y.copy()
    changed[:, 100:] = 77.0
    after = build_features(replace(panel, y=changed), [100, 150], 14)
    np.testing.assert_array_equal(before.features[:, 0], after.features[:, 0])
    assert not np.array_equal(before.features[:, 1], after.features[:, 1])
    # A panel that ends at the origin has the same features.
    truncated = build_features(panel.truncate(100), [100], 14)
    np.testing.assert_allclose(truncated.features[:, 0], before.features[:, 0], rtol=1e-6)


def test_the_mean_of_the_same_phase_is_that_of_the_targets_weekday() -> None:
    weekly = np.tile(np.arange(7.0), 20)[None]
    matrix = build_features(daily_panel(weekly), [133], 14)
    column = matrix.names.index("phase_4")
    expected = np.log((np.tile(np.arange(7.0), 2) + 0.1) / matrix.level[0, 0])
    np.testing.assert_allclose(matrix.features[0, 0, :, column], expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lightgbm", "gru"])
def test_a_global_model_learns_the_lift_of_a_promotion(name: str) -> None:
    panel = promotion_panel(n=60, days=300)
    options = {
        "lightgbm": FAST_OPTIONS["lightgbm"] | {"rounds": 80},
        "gru": {"steps": 80, "hidden": 16},
    }
    past = panel.truncate(286)
    actual = panel.y[:, 286:]
    forecasts = demand_registry.make(name, options).fit(past).forecast(past, 14)
    baseline = Mean28().forecast(past, 14)
    assert np.abs(forecasts - actual).sum() < 0.85 * np.abs(baseline - actual).sum()
    assert abs(forecasts.sum() / actual.sum() - 1) < 0.1


def test_each_series_is_forecast_by_its_champion_and_others_by_the_default(tmp_path: Path) -> None:
    panel = promotion_panel(n=3)
    model = PerSeriesSelector(
        SelectorParams(default="mean28_weekday"),
        members=[SeasonalNaive(), Mean28()],
        champions={"s0": "seasonal_naive"},
    )
    forecasts = model.fit(panel).forecast(panel, 7)
    np.testing.assert_array_equal(forecasts[0], SeasonalNaive().forecast(panel, 7)[0])
    np.testing.assert_array_equal(forecasts[1:], Mean28().forecast(panel, 7)[1:])
    assert model.methods(panel) == ["seasonal_naive", "mean28_weekday", "mean28_weekday"]
    calibration = ConformalCalibration.fit(forecasts[None], forecasts[None])
    DemandModel(model, calibration).save(tmp_path)
    prediction = DemandModel.load(tmp_path).predict(panel, 7)
    np.testing.assert_array_equal(prediction.mean, forecasts)
    np.testing.assert_allclose(prediction.sum_means(np.array([1, 2, 7]))[2], forecasts[2].sum())
