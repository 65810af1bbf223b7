"""Backtests, metrics, conformal quantiles and the selection of forecasters."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.demand import demand_metrics
from batch_predictions.models.demand.assets import panel_spec
from batch_predictions.models.demand.backtest import (
    backtest_origins,
    evaluate_candidates,
    run_backtest,
)
from batch_predictions.models.demand.base import Forecaster
from batch_predictions.models.demand.conformal import QUANTILE_LEVELS, ConformalCalibration
from batch_predictions.models.demand.data.demand_features import steps_to_next
from batch_predictions.models.demand.data.panel import Panel
from batch_predictions.models.demand.data.panel_builder import country_holidays, holiday_flags
from batch_predictions.models.demand.demand_metrics import difference, stock
from batch_predictions.models.demand.demand_model import forecast_by_champions
from batch_predictions.models.demand.demand_selection import BASELINES, decide, select
from batch_predictions.models.demand.forecasters.baselines import Mean, Mean28, SeasonalNaive
from batch_predictions.settings import Settings
from batch_predictions.settings.demand_settings import DemandSettings
from batch_predictions.sources.adapters.complete_journey import CompleteJourneySource
from batch_predictions_tests.worlds.demand import daily_panel, promotion_panel


class ColumnCounter(Forecaster):
    """Forecasts the number of columns of the panel and records when it was fitted."""

    kind = "column_counter"
    fits: tuple[int, ...] = ()

    def fit(self, panel: Panel) -> Self:
        """Records the number of columns."""
        ColumnCounter.fits += (panel.n_columns,)
        return self

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """The number of columns."""
        return np.full((len(panel), horizon), float(panel.n_columns))


@pytest.mark.parametrize(("n_fits", "expected"), [(1, (44,)), (2, (44, 72)), (4, (44, 58, 72, 86))])
def test_a_forecaster_gets_only_values_before_the_origin(
    n_fits: int, expected: tuple[int, ...]
) -> None:
    ColumnCounter.fits = ()
    origins = backtest_origins(100, 14, 4, 14)
    assert origins == (44, 58, 72, 86)
    panel = daily_panel(np.ones((2, 100)))
    backtest = run_backtest(panel, {"counter": ColumnCounter}, origins, 14, n_fits=n_fits)
    assert ColumnCounter.fits == expected
    np.testing.assert_array_equal(backtest.forecasts["counter"][:, 0, 0], origins)
    np.testing.assert_array_equal(backtest.actual[3], np.ones((2, 14)))


def test_metrics_have_their_known_values() -> None:
    actual = np.array([[[4.0, 0.0], [2.0, np.nan]]])
    forecast = np.array([[[2.0, 1.0], [3.0, 9.0]]])
    assert demand_metrics.wape(forecast, actual).value == pytest.approx(4 / 6)
    assert demand_metrics.wape_sum(forecast, actual).value == pytest.approx((1 + 1) / 6)
    assert demand_metrics.mse_sum(forecast, actual).value == pytest.approx((1 + 1) / (16 + 4))
    assert demand_metrics.bias(forecast, actual).value == pytest.approx((-2 + 1 + 1) / 6)
    assert demand_metrics.mase(forecast, actual, np.array([0.5, 2.0])).value == pytest.approx(
        (3 + 0.5) / 2
    )
    expected = (np.sqrt(2.5 / 4) + np.sqrt(1 / 1)) / 2
    assert demand_metrics.rmsse(forecast, actual, np.array([4.0, 1.0])).value == pytest.approx(
        expected
    )
    coverage = demand_metrics.coverage(forecast - 1.5, forecast + 1.5, actual)
    assert coverage.value == pytest.approx(2 / 3)
    loss = demand_metrics.pinball(forecast[..., None], actual, [0.9])
    assert loss.value == pytest.approx((0.9 * 2 + 0.1 * 1 + 0.1 * 1) / 6)


def test_the_interval_of_a_paired_difference_is_narrower_than_that_of_a_metric() -> None:
    random = np.random.default_rng(0)
    actual = random.gamma(0.5, 20, (3, 80, 14))
    worse = actual + random.normal(0, 5, actual.shape)
    better = actual + 0.8 * (worse - actual)
    better_wape, worse_wape = (
        demand_metrics.wape(better, actual),
        demand_metrics.wape(worse, actual),
    )
    difference = demand_metrics.difference(better_wape, worse_wape, 7)
    assert difference.lower < difference.mean < difference.upper < 0
    unpaired = better_wape.interval(7)
    assert difference.upper - difference.lower < unpaired.upper - unpaired.lower


def test_quantiles_of_days_and_of_sums_have_their_nominal_coverage() -> None:
    random = np.random.default_rng(1)
    size = np.exp(random.normal(1, 1, (1, 400, 1)))
    mean = np.broadcast_to(size, (8, 400, 14)) * random.uniform(0.7, 1.3, (8, 400, 14))
    # The days of an origin share a shock, so sums vary more than those of independent days.
    shock = random.gamma(4, 1 / 4, (8, 400, 1))
    actual = random.poisson(mean * shock).astype(float)
    calibration = ConformalCalibration.fit(mean[:5], actual[:5])
    quantiles = np.stack([calibration.quantiles(mean[origin]) for origin in range(5, 8)])
    assert (np.diff(quantiles, axis=-1) >= 0).all() and (quantiles >= 0).all()
    for low, high, nominal in ((0, 6, 0.9), (1, 5, 0.8)):
        coverage = demand_metrics.coverage(
            quantiles[..., low], quantiles[..., high], actual[5:]
        ).value
        assert coverage == pytest.approx(nominal, abs=0.02)
    sums = np.stack([calibration.sum_quantiles(mean[origin], 10, [0.9]) for origin in range(5, 8)])
    share_below = (actual[5:, :, :10].sum(axis=2) <= sums[..., 0]).mean()
    assert share_below == pytest.approx(0.9, abs=0.02)
    lengths = np.tile([3, 10], 200)
    mixed = calibration.sum_quantiles(mean[5], lengths, [0.9])
    np.testing.assert_array_equal(mixed[1::2], sums[0, 1::2])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 20))
def test_quantiles_are_ordered_and_not_negative_for_any_past_errors(
    seed: int, n: int, horizon: int
) -> None:
    random = np.random.default_rng(seed)
    mean = random.gamma(0.3, 5, (2, n, horizon))
    actual = np.where(random.random(mean.shape) < 0.2, np.nan, random.poisson(mean))
    calibration = ConformalCalibration.fit(mean, actual)
    quantiles = calibration.quantiles(random.gamma(0.3, 50, (n, horizon + 3)), QUANTILE_LEVELS)
    assert np.isfinite(quantiles).all() and (quantiles >= 0).all()
    assert (np.diff(quantiles, axis=-1) >= 0).all()


def test_the_champion_of_an_origin_is_chosen_by_earlier_origins_only() -> None:
    actual = np.ones((4, 2, 7))
    good, bad = actual + 0.01, actual + 1.0
    # Method a is right for series 0, method b for series 1; at the last origin they swap.
    a, b = np.stack([good[:, 0], bad[:, 1]], 1), np.stack([bad[:, 0], good[:, 1]], 1)
    a[3], b[3] = b[3].copy(), a[3].copy()
    forecasts, champions = forecast_by_champions({"a": a, "b": b}, actual)
    np.testing.assert_array_equal(forecasts[0], a[0])
    np.testing.assert_array_equal(forecasts[1:3], np.stack([good[1:3, 0], good[1:3, 1]], 1))
    np.testing.assert_array_equal(forecasts[3], np.stack([bad[3, 0], bad[3, 1]]))
    assert champions.tolist() == [0, 1]


def test_few_lucky_origins_do_not_make_a_champion() -> None:
    random = np.random.default_rng(2)
    actual = random.poisson(3, (3, 300, 14)).astype(float)
    correct = np.full_like(actual, 3.0)
    wrong = correct * random.choice([0.4, 1.8], (3, 300, 14))
    _, champions = forecast_by_champions({"correct": correct, "wrong": wrong}, actual)
    assert (champions == 0).mean() > 0.97


def test_the_gate_is_on_the_error_of_the_sum_and_on_the_bias() -> None:
    random = np.random.default_rng(3)
    days = 200
    y = random.poisson(5 * (1 + (np.arange(days) % 7 == 5)), (60, days)).astype(float)
    makers = {"mean28_weekday": Mean28, "seasonal_naive": SeasonalNaive}
    backtest = run_backtest(daily_panel(y), makers, [150, 170], 14)
    forecasts = dict(backtest.forecasts)
    # Biased as a model of logarithms is: the right shape at too low a level.
    forecasts["low"] = backtest.actual * 0.9
    forecasts["unbiased"] = backtest.actual * 0.5 + forecasts["mean28_weekday"] * 0.5
    backtest = replace(backtest, forecasts=forecasts)
    candidate_metrics = evaluate_candidates(backtest, ["mean28_weekday", "seasonal_naive"], 7)
    winner, passed, why = decide(candidate_metrics, DemandSettings(max_bias=0.05))
    assert (winner, passed) == ("unbiased", True) and "over mean28_weekday" in why
    biased_only = {name: candidate_metrics[name] for name in ("mean28_weekday", "low")}
    winner, passed, why = decide(biased_only, DemandSettings(max_bias=0.05))
    assert (winner, passed) == ("low", False) and "bias" in why
    weak_only = {name: candidate_metrics[name] for name in ("mean28_weekday", "seasonal_naive")}
    winner, passed, why = decide(weak_only, DemandSettings())
    assert (winner, passed) == ("mean28_weekday", False)
    assert why == "mean28_weekday serves: there are only baselines"


def test_a_median_does_not_pass_for_a_mean() -> None:
    """Of what sells rarely, the absolute error prefers 0; the squared error prefers the mean."""
    random = np.random.default_rng(2)
    y = np.where(random.random((200, 184)) < 0.02, 10.0, 0.0)
    makers = {"mean28_weekday": Mean28, "seasonal_naive": SeasonalNaive, "mean": Mean}
    backtest = run_backtest(daily_panel(y), makers, [142, 156, 170], 14)
    zeros = {"zero": np.zeros_like(backtest.actual)}
    backtest = replace(backtest, forecasts={**backtest.forecasts, **zeros})
    metrics = evaluate_candidates(backtest, BASELINES, 7)
    assert min(metrics, key=lambda name: metrics[name]["wape_sum"].mean) == "zero"
    assert min(metrics, key=lambda name: metrics[name]["mse_sum"].mean) == "mean"
    assert metrics["zero"]["mse_sum"].mean == 1 and metrics["zero"]["mse_sum_gain"].upper < 0
    winner, passed, why = decide(metrics, DemandSettings(max_bias=1.0))
    assert (winner, passed) == ("zero", False) and why.startswith("mean serves: zero, the best, is")


def test_stock_is_the_least_that_covers_the_fill_rate() -> None:
    """Of two series one sells: a perfect forecast needs .95 of the demand, a blind one 1.9."""
    actual = np.zeros((1, 2, 10))
    actual[0, 1, :4] = 5.0
    actual[0, :, 4:] = 100.0  # after the cycle
    perfect = stock(actual, actual, 4, 0.95)
    assert perfect.value == pytest.approx(0.95, abs=0.03)
    blind = stock(np.full_like(actual, 2.5), actual, 4, 0.95)
    assert blind.value == pytest.approx(1.9, abs=0.06)
    assert difference(blind, perfect, 7).mean == pytest.approx(0.95, abs=0.06)
    # No multiple of a forecast of nothing covers anything.
    assert np.isnan(stock(np.zeros_like(actual), actual, 4, 0.95).value)


def test_a_selection_has_a_fitted_model_and_the_metrics_of_all_candidates() -> None:
    panel = promotion_panel(n=50, days=200)
    candidates = ["linear_promotions", "lightgbm"]
    options = {"lightgbm": {"rounds": 60, "lgb_min_data_in_leaf": 30}}
    config = DemandSettings(
        candidates=candidates, horizon=7, origins=4, origin_days=7, options=options
    )
    selected = select(panel, config)
    assert selected.model is not None, selected.why
    assert selected.winner in ("linear_promotions", "lightgbm", "chosen")
    assert list(selected.metrics) == [*BASELINES, *candidates, "chosen"]
    assert set(selected.metrics["lightgbm"]) == {
        *("wape", "wape_sum", "mse_sum", "bias", "rmsse", "mase", "pinball"),
        *("coverage_80", "coverage_90", "mse_sum_gain", "wape_sum_gain", "stock", "stock_gain"),
    }
    assert all(
        interval.lower <= interval.mean <= interval.upper
        for candidate_metrics in selected.metrics.values()
        for interval in candidate_metrics.values()
    )
    prediction = selected.model.predict(panel, 7)
    assert prediction.quantiles.shape == (50, 7, 7)
    assert selected.fallback.predict(panel, 7).methods == [selected.baseline] * 50


def test_a_panel_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="80 columns are too few for 6 origins"):
        select(daily_panel(np.ones((2, 80))), DemandSettings(candidates=["seasonal_naive"]))


def test_a_wrong_option_is_refused_before_anything_is_fitted() -> None:
    lines: list[str] = []
    config = DemandSettings(
        candidates=["seasonal_naive", "lightgbm"],
        horizon=7,
        origins=3,
        origin_days=7,
        options={"lightgbm": {"trees": 10}},
    )
    with pytest.raises(ValueError, match="lightgbm: unknown parameter trees"):
        select(promotion_panel(n=4), config, lines.append)
    assert lines == []


def test_the_calendar_of_the_default_source_is_the_seven_days_that_shops_keep() -> None:
    days = {
        2017: ("01-01", "04-16", "05-29", "07-04", "09-04", "11-23", "12-25"),
        2024: ("01-01", "03-31", "05-27", "07-04", "09-02", "11-28", "12-25"),
        2027: ("01-01", "03-28", "05-31", "07-04", "09-06", "11-25", "12-25"),
    }
    expected = {dt.date.fromisoformat(f"{year}-{day}") for year in days for day in days[year]}
    assert country_holidays(CompleteJourneySource.holiday_country, days) == expected


def test_a_country_of_the_settings_takes_the_place_of_that_of_the_source(tmp_path: Path) -> None:
    def flagged(*holidays: str) -> list[str]:
        demand = DemandSettings.model_validate({"holidays": list(holidays)})
        spec = panel_spec(Settings(home=tmp_path, demand=demand))
        rows = pa.table(
            {
                name: pa.array([value], kind)
                for name, value, kind in (
                    ("item_id", "a", pa.string()),
                    ("location", "all", pa.string()),
                    ("category", "c", pa.string()),
                    ("first_date", dt.date(2017, 4, 3), pa.date32()),
                    ("units", [1.0] * 365, pa.list_(pa.float64())),
                )
            }
        )
        panel = spec.build_panel(rows, dt.date(2018, 4, 2))
        dates = panel.original_dates(spec.horizon)
        return [str(date) for date in dates[panel.holiday_flags(spec.horizon) > 0]]

    assert flagged()[:3] == ["2017-04-16", "2017-05-29", "2017-07-04"]
    bavaria = flagged("de-by", "2017-04-15")
    assert bavaria[:4] == ["2017-04-14", "2017-04-15", "2017-04-17", "2017-05-01"]
    assert {"2017-06-15", "2017-10-03", "2017-10-31"} <= set(bavaria)
    assert "2017-05-29" not in bavaria


def test_distances_to_holidays_end_at_the_limit() -> None:
    holidays = country_holidays("US", [2017])
    dates = np.arange(np.datetime64("2017-12-23"), np.datetime64("2017-12-28"))
    flags = holiday_flags(dates, holidays)
    assert flags.tolist() == [0, 0, 1, 0, 0]
    assert steps_to_next(flags, 3).tolist() == [2, 1, 0, 3, 3]
