"""SARIMA compared with statsmodels and with the density of the multivariate normal distribution."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.demand import demand_registry
from batch_predictions.models.demand.demand_selection import candidate_names, make_candidate
from batch_predictions.models.demand.forecasters.baselines import Mean28
from batch_predictions.models.demand.forecasters.sarima import Sarima, SarimaParams
from batch_predictions.settings.demand_settings import DemandSettings
from batch_predictions_tests.worlds.demand import daily_panel, random_walks

Order = tuple[int, int, int, int, int, int]
AIRLINE: Order = (0, 1, 1, 0, 1, 1)
ORDERS: list[tuple[Order, int]] = [
    (AIRLINE, 7),
    ((1, 0, 1, 0, 1, 1), 7),
    ((1, 0, 1, 1, 0, 1), 7),
    ((2, 1, 2, 0, 1, 1), 7),
    ((1, 2, 1, 0, 0, 0), 7),
    (AIRLINE, 24),
    ((1, 0, 0, 1, 1, 0), 24),
    (AIRLINE, 52),
    ((1, 1, 1, 1, 0, 0), 52),
]


def sarima(order: Order = AIRLINE, **params: Any) -> Sarima:
    """An unfitted forecaster of an order."""
    return Sarima(SarimaParams(order=order, **params))


def sarimax(y: Doubles, order: Order, period: int) -> Any:
    """Statsmodels' model of one series."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    return SARIMAX(
        y,
        order=order[:3],
        seasonal_order=(*order[3:], period if any(order[3:]) else 0),
        concentrate_scale=True,
        simple_differencing=True,
    )


def integrate(y: Doubles, differences: Doubles, order: Order, period: int) -> Doubles:
    """Forecasts of the values y from forecasts of their differences."""
    delta = np.array([1.0])
    for _ in range(order[1]):
        delta = np.convolve(delta, [1, -1])
    for _ in range(order[4]):
        delta = np.convolve(delta, np.r_[1, np.zeros(period - 1), -1])
    values = list(y)
    for difference in differences:
        values.append(difference - sum(delta[j] * values[-j] for j in range(1, len(delta))))
    return np.array(values[len(y) :])


def log_likelihood(y: Doubles, order: Order, period: int, parameters: Doubles) -> float:
    """Log-likelihood of the compiled filter at given parameters."""
    from batch_predictions.models.demand.kernels.sarima_kernels import likelihood_rows

    statistics = np.empty((1, 3))
    likelihood_rows(
        y[None],
        np.zeros(1, np.int64),
        np.full(1, len(y)),
        np.array([*order, period], np.int64),
        np.asarray(parameters, float)[None],
        statistics,
    )
    return float(statistics[0, 0])


@pytest.mark.parametrize(("order", "period"), ORDERS, ids=str)
def test_likelihood_and_forecasts_equal_those_of_statsmodels_at_equal_parameters(
    order: Order, period: int
) -> None:
    y = random_walks(2, 5 * period + 60, period)
    panel = daily_panel(y, period)
    model = sarima(order).fit(panel)
    assert model.failures == {}
    forecasts = model.forecast(panel, 14)
    table = model.series_table
    for row, parameters in enumerate(table["parameters"]):
        reference = sarimax(y[row], order, period).filter(parameters)
        assert table["log_likelihood"][row] == pytest.approx(reference.llf, abs=1e-6)
        assert table["scale"][row] == pytest.approx(reference.scale, rel=1e-6)
        expected = integrate(y[row], reference.forecast(14), order, period)
        np.testing.assert_allclose(forecasts[row], expected, rtol=1e-6)


@pytest.mark.parametrize("theta", [0.0, 0.5, -0.97, 0.999, -0.9999])
@pytest.mark.parametrize("seasonal", [0.3, -0.95, -0.9995])
def test_the_likelihood_equals_the_normal_density_up_to_unit_roots(
    theta: float, seasonal: float
) -> None:
    from scipy.linalg import toeplitz
    from scipy.stats import multivariate_normal

    y = random_walks(1, 90, 7)[0]
    w = y[8:] - y[7:-1] - y[1:-7] + y[:-8]
    polynomial = np.convolve([1, theta], np.r_[1, np.zeros(6), seasonal])
    lags = [polynomial[k:] @ polynomial[: len(polynomial) - k] for k in range(len(polynomial))]
    covariance = toeplitz(np.r_[lags, np.zeros(len(w) - len(lags))])
    scale = w @ np.linalg.solve(covariance, w) / len(w)
    expected = multivariate_normal(np.zeros(len(w)), scale * covariance).logpdf(w)
    assert log_likelihood(y, AIRLINE, 7, np.array([theta, seasonal])) == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize("ar", [0.2, 0.95, 0.9999, -0.99])
def test_the_likelihood_of_an_autoregression_equals_that_of_statsmodels_up_to_unit_roots(
    ar: float,
) -> None:
    y, order = random_walks(1, 120, 7)[0], (1, 0, 1, 1, 0, 1)
    parameters = np.array([ar, 0.3, 0.97, -0.5])
    expected = sarimax(y, order, 7).loglike(parameters)
    assert log_likelihood(y, order, 7, parameters) == pytest.approx(expected, rel=1e-8)


def test_the_filter_is_steady_only_when_the_whole_covariance_is() -> None:
    """With a seasonal term alone, the head of the state does not change between two seasons."""
    y, order = random_walks(1, 400, 24)[0], (0, 0, 0, 0, 1, 1)
    expected = sarimax(y, order, 24).loglike(np.array([-0.6]))
    assert log_likelihood(y, order, 24, np.array([-0.6])) == pytest.approx(expected, abs=1e-6)


def test_the_maximum_of_the_likelihood_is_not_below_that_of_statsmodels() -> None:
    warnings.simplefilter("ignore")
    random = np.random.default_rng(5)
    counts = random.poisson(4, (6, 200)) * (1.0 + (np.arange(200) % 7 == 5))
    y = np.vstack([random_walks(14, 200, 7), counts])
    model = sarima().fit(daily_panel(y))
    expected = np.array(
        [sarimax(row, AIRLINE, 7).fit(disp=0, maxiter=300, cov_type="none").llf for row in y]
    )
    assert (model.series_table["log_likelihood"] >= expected - 0.1).mean() >= 0.95


def test_several_starts_find_the_higher_of_two_maxima() -> None:
    panel, order = daily_panel(random_walks(6, 250, 7, seed=9)), (1, 0, 1, 1, 0, 1)

    def likelihoods(tries: int | None) -> Doubles:
        return np.asarray(sarima(order, tries=tries).fit(panel).series_table["log_likelihood"])

    all_starts = likelihoods(16)
    assert (all_starts >= likelihoods(1) - 1e-3).all()
    assert (likelihoods(None) >= all_starts - 0.1).mean() >= 0.8


def test_series_that_cannot_be_fitted_fall_back_to_the_baseline_and_are_counted() -> None:
    y = random_walks(5, 120, 7)
    y[1] = 3.0
    y[2, :110] = np.nan
    y[3, 60] = np.nan
    panel = daily_panel(y)
    model = Sarima().fit(panel)
    assert model.failures == {"too short": 1, "flat": 1, "failed": 1}
    failed = [1, 2, 3]
    baseline = Mean28().forecast(panel, 7)
    np.testing.assert_array_equal(model.forecast(panel, 7)[failed], baseline[failed])
    assert model.methods(panel) == ["sarima", *[Mean28.kind] * 3, "sarima"]
    unseen = daily_panel(random_walks(6, 120, 7)).take(np.array([5]))
    assert model.methods(unseen) == [Mean28.kind]


def test_new_days_are_filtered_with_stored_parameters(tmp_path: Path) -> None:
    y = random_walks(3, 150, 7)
    sarima().fit(daily_panel(y[:, :143])).save(tmp_path)
    stored = pq.read_table(tmp_path / "series.parquet")
    assert stored["id"].to_pylist() == ["s0", "s1", "s2"]
    forecasts = demand_registry.load(tmp_path).forecast(daily_panel(y), 7)
    for row, parameters in enumerate(stored["parameters"].to_pylist()):
        differences = sarimax(y[row], AIRLINE, 7).filter(parameters).forecast(7)
        expected = integrate(y[row], differences, AIRLINE, 7)
        np.testing.assert_allclose(forecasts[row], expected, rtol=1e-6)


def test_a_series_that_ended_early_is_forecast_from_its_last_observation() -> None:
    y = random_walks(2, 150, 7)
    model = sarima().fit(daily_panel(y[:, :140]))
    from_end = model.forecast(daily_panel(y[:, :140]), 14)
    y[0, 140:] = np.nan
    ten_days_later = model.forecast(daily_panel(y), 4)
    np.testing.assert_allclose(ten_days_later[0], from_end[0, 10:], rtol=1e-12)


def test_only_positive_series_are_modelled_as_logarithms() -> None:
    y = np.exp(random_walks(2, 150, 7) / 20)
    y[1, 30] = 0.0
    panel = daily_panel(y)
    with_log = sarima(log=True).fit(panel).forecast(panel, 7)
    without_log = sarima().fit(panel).forecast(panel, 7)
    np.testing.assert_array_equal(with_log[1], without_log[1])
    assert not np.allclose(with_log[0], without_log[0], rtol=1e-4)


def test_with_a_regression_sarima_models_its_residuals() -> None:
    promotion = np.zeros((3, 164))
    promotion[:, ::9] = 1.0
    y = random_walks(3, 150, 7)
    promoted_y = y + 25 * promotion[:, :150]
    panel = daily_panel(promoted_y, future_covariates={"promotion": promotion})
    forecasts = sarima(regression=True).fit(panel).forecast(panel, 14)
    without_promotions = sarima().fit(daily_panel(y)).forecast(daily_panel(y), 14)
    expected = without_promotions + 25 * promotion[:, 150:]
    np.testing.assert_allclose(forecasts, expected, atol=2.5)
    # A model that was fitted earlier knows the promotions of the new days from the panel.
    older = sarima(regression=True).fit(panel.truncate(140))
    np.testing.assert_allclose(older.forecast(panel, 14), forecasts, atol=2.5)


def test_both_backends_forecast_the_same_to_a_ten_thousandth_of_the_mean(tmp_path: Path) -> None:
    y = random_walks(5, 200, 7)
    y[0, :90], y[1], y[2, :188] = np.nan, 3.0, np.nan
    panel, means = daily_panel(y), np.nanmean(y, axis=1)[:, None]
    batched = sarima().fit(panel)
    reference = sarima(sarima_backend="statsmodels").fit(panel)
    assert reference.failures == batched.failures == {"too short": 1, "flat": 1}
    difference = (reference.forecast(panel, 14) - batched.forecast(panel, 14)) / means
    assert np.abs(difference).max() < 1e-4
    reference.save(tmp_path)
    loaded = demand_registry.load(tmp_path)
    np.testing.assert_array_equal(loaded.forecast(panel, 14), reference.forecast(panel, 14))


def test_the_setting_reaches_every_sarima_and_no_other_forecaster() -> None:
    config = DemandSettings(sarima_backend="statsmodels")
    for name in candidate_names(config):
        backend = getattr(make_candidate(name, config).params, "sarima_backend", None)
        assert backend == ("statsmodels" if name.startswith("sarima") else None)
