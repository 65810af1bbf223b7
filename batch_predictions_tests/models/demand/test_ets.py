"""Exponential smoothing compared with statsmodels called directly, and known forecasts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.tsa.exponential_smoothing.ets import ETSModel
from statsmodels.tsa.seasonal import seasonal_decompose

from batch_predictions.models.demand.forecasters.baselines import Mean28
from batch_predictions.models.demand.forecasters.ets import Ets, EtsParams, fit_series, smooth
from batch_predictions_tests.worlds.demand import daily_panel, random_walks


def trending_walk(length: int) -> np.ndarray:
    """A random walk of a trend, with a season of 7 and noise."""
    random = np.random.default_rng(4)
    walk = 200 + np.cumsum(np.cumsum(random.normal(0, 0.3, length)))
    return walk + 8 * np.sin(2 * np.pi * np.arange(length) / 7) + random.normal(0, 1, length)


def test_forecasts_equal_those_of_statsmodels() -> None:
    y = trending_walk(200)
    season = seasonal_decompose(y[:190], period=7).seasonal
    arguments = {
        "trend": "add",
        "damped_trend": True,
        "seasonal": "add",
        "seasonal_periods": 7,
        "initialization_method": "known",
        "initial_level": (y[:190] - season)[:28].mean(),
        "initial_trend": 0.0,
        "initial_seasonal": season[:7],
    }
    fitted = ETSModel(y[:190], **arguments).fit(disp=False, factr=1e10, pgtol=1e-4)
    panel = daily_panel(y[None])
    model = Ets().fit(panel.truncate(190))
    alpha, beta, gamma, phi = model.series_table["parameters"][0]
    assert beta > 0 and gamma > 0
    np.testing.assert_allclose([alpha, beta, gamma, phi], fitted.params, rtol=1e-6)
    forecasts = model.forecast(panel.truncate(190), 14)[0]
    np.testing.assert_allclose(forecasts, fitted.forecast(14), rtol=1e-9)
    # Later values update the states; the parameters remain.
    updated = ETSModel(y, **arguments).smooth(fitted.params)
    np.testing.assert_allclose(model.forecast(panel, 14)[0], updated.forecast(14), rtol=1e-6)
    # So they do where the panel begins between the fit and them, or after the fit.
    start = panel.original_dates()
    for first in (100, 190):
        later = replace(panel, start=start[first].item(), y=panel.y[:, first:])
        np.testing.assert_array_equal(model.forecast(later, 14), model.forecast(panel, 14))
    gap = replace(panel, y=np.where(np.arange(200) == 190, np.nan, panel.y))
    later = replace(panel, start=start[191].item(), y=panel.y[:, 191:])
    np.testing.assert_array_equal(model.forecast(later, 14), model.forecast(gap, 14))


@pytest.mark.parametrize("trend", [True, False])
def test_a_level_with_weekdays_is_forecast_with_them(trend: bool) -> None:
    week = np.array([1.0, 1, 1, 1, 1, 3, 6])
    noise = np.random.default_rng(0).normal(0, 0.01, 140)
    panel = daily_panel((10 + np.tile(week, 20) + noise)[None])
    forecasts = Ets(EtsParams(trend=trend)).fit(panel).forecast(panel, 10)
    np.testing.assert_allclose(forecasts[0], 10 + np.tile(week, 2)[:10], atol=0.05)


def test_a_trend_is_continued_and_damped() -> None:
    line = 10 + 2 * np.arange(100) + np.random.default_rng(0).normal(0, 0.1, 100)
    panel = daily_panel(line[None], period=1)
    model = Ets().fit(panel)
    phi = model.series_table["parameters"][0, 3]
    steps = np.cumsum(np.diff(model.forecast(panel, 5)[0], prepend=line[-1]))
    np.testing.assert_allclose(steps, 2 * np.cumsum(phi ** np.arange(1, 6)), rtol=0.1)
    flat = Ets(EtsParams(trend=False)).fit(panel).forecast(panel, 5)
    np.testing.assert_allclose(flat, line[-1], atol=0.1)


def test_noise_has_neither_trend_nor_season() -> None:
    y = np.random.default_rng(2).normal(50, 1, 210)
    parameters, states = fit_series(y, 7)
    assert parameters[0] > 0 and not parameters[1:].any() and not states[1:].any()
    assert states[0] == pytest.approx(50, abs=0.5)


def test_series_without_a_model_fall_back_and_are_counted() -> None:
    y = random_walks(6, 200, 7)
    y[1, :195], y[2], y[3, 90] = np.nan, 4.0, np.nan
    y[4, :150], y[5, 170:] = np.nan, np.nan  # a late beginning and an early end are no gaps
    panel = daily_panel(y)
    model = Ets().fit(panel)
    assert model.failures == {"too short": 1, "flat": 1, "failed": 1}
    fallback = Mean28.kind
    assert model.methods(panel) == ["ets", fallback, fallback, fallback, "ets", "ets"]
    forecasts = model.forecast(panel, 14)
    np.testing.assert_array_equal(forecasts[1:4], Mean28().forecast(panel, 14)[1:4])
    # The series that ended 30 columns ago is forecast from there.
    ended = panel.truncate(170)
    np.testing.assert_allclose(Ets().fit(ended).forecast(ended, 44)[5, 30:], forecasts[5])
    # The states know more than a panel that ends before the fit.
    assert set(model.methods(ended)) == {fallback}


def test_a_short_series_has_no_season() -> None:
    y = random_walks(1, 13, 7)[0]
    parameters, states = fit_series(y, 7)
    assert np.isfinite(parameters).all() and not states[2:].any()
    means, after = smooth(parameters[None], states[None], np.full((1, 3), np.nan))
    assert means.shape == (1, 3) and after.shape == (1, 9)
