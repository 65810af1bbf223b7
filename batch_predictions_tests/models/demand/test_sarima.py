"""SARIMA beside statsmodels, and beside the density of a multivariate normal distribution."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from batch_predictions.models.demand.base import Forecaster
from batch_predictions.models.demand.forecasters.baselines import Mean28
from batch_predictions.models.demand.forecasters.sarima import Sarima
from batch_predictions.models.demand.panel import Doubles
from batch_predictions_tests.worlds.demand import panel, wandering

AIRLINE = (0, 1, 1, 0, 1, 1)
ORDERS = [
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


def reference(y: Doubles, order: tuple[int, ...], period: int) -> Any:
    """statsmodels' model of one series."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    return SARIMAX(
        y,
        order=order[:3],
        seasonal_order=(*order[3:], period if any(order[3:]) else 0),
        concentrate_scale=True,
        simple_differencing=True,
    )


def integrated(y: Doubles, differences: Doubles, order: tuple[int, ...], period: int) -> Doubles:
    """Forecasts of values from forecasts of their differences."""
    delta = np.array([1.0])
    for _ in range(order[1]):
        delta = np.convolve(delta, [1, -1])
    for _ in range(order[4]):
        delta = np.convolve(delta, np.r_[1, np.zeros(period - 1), -1])
    values = list(y)
    for each in differences:
        values.append(each - sum(delta[j] * values[-j] for j in range(1, len(delta))))
    return np.array(values[len(y) :])


def likelihood(y: Doubles, order: tuple[int, ...], period: int, parameters: Doubles) -> float:
    """Ours, at given parameters."""
    from batch_predictions.models.demand.forecasters.sarima_kernels import likelihood_rows

    facts = np.empty((1, 3))
    likelihood_rows(
        y[None],
        np.zeros(1, np.int64),
        np.full(1, len(y)),
        np.array([*order, period], np.int64),
        np.asarray(parameters, float)[None],
        facts,
    )
    return float(facts[0, 0])


@pytest.mark.parametrize(("order", "period"), ORDERS, ids=str)
def test_at_equal_parameters_likelihood_and_forecasts_are_those_of_statsmodels(
    order: tuple[int, ...], period: int
) -> None:
    y = wandering(2, 5 * period + 60, period)
    here = panel(y, period)
    model = Sarima(order=list(order)).fit(here)
    assert model.failures == {}
    found = model.forecast(here, 14)
    for row, parameters in enumerate(model.learned["parameters"]):
        theirs = reference(y[row], order, period).filter(parameters)
        assert model.learned["log_likelihood"][row] == pytest.approx(theirs.llf, abs=1e-6)
        assert model.learned["scale"][row] == pytest.approx(theirs.scale, rel=1e-6)
        expected = integrated(y[row], theirs.forecast(14), order, period)
        np.testing.assert_allclose(found[row], expected, rtol=1e-6)


@pytest.mark.parametrize("theta", [0.0, 0.5, -0.97, 0.999, -0.9999])
@pytest.mark.parametrize("seasonal", [0.3, -0.95, -0.9995])
def test_the_likelihood_is_that_of_the_normal_distribution_up_to_unit_roots(
    theta: float, seasonal: float
) -> None:
    from scipy.linalg import toeplitz
    from scipy.stats import multivariate_normal

    y = wandering(1, 90, 7)[0]
    w = y[8:] - y[7:-1] - y[1:-7] + y[:-8]
    polynomial = np.convolve([1, theta], np.r_[1, np.zeros(6), seasonal])
    lags = [polynomial[k:] @ polynomial[: len(polynomial) - k] for k in range(len(polynomial))]
    covariance = toeplitz(np.r_[lags, np.zeros(len(w) - len(lags))])
    scale = w @ np.linalg.solve(covariance, w) / len(w)
    expected = multivariate_normal(np.zeros(len(w)), scale * covariance).logpdf(w)
    assert likelihood(y, AIRLINE, 7, np.array([theta, seasonal])) == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize("ar", [0.2, 0.95, 0.9999, -0.99])
def test_the_likelihood_of_an_autoregression_is_that_of_statsmodels_up_to_unit_roots(
    ar: float,
) -> None:
    y, order = wandering(1, 120, 7)[0], (1, 0, 1, 1, 0, 1)
    parameters = np.array([ar, 0.3, 0.97, -0.5])
    theirs = reference(y, order, 7).loglike(parameters)
    assert likelihood(y, order, 7, parameters) == pytest.approx(theirs, rel=1e-8)


def test_the_filter_is_steady_only_when_all_of_the_covariance_stands_still() -> None:
    """A seasonal term alone: between two seasons nothing changes at the head of the state."""
    y, order = wandering(1, 400, 24)[0], (0, 0, 0, 0, 1, 1)
    theirs = reference(y, order, 24).loglike(np.array([-0.6]))
    assert likelihood(y, order, 24, np.array([-0.6])) == pytest.approx(theirs, abs=1e-6)


def test_its_own_optimum_is_not_below_that_of_statsmodels() -> None:
    warnings.simplefilter("ignore")
    random = np.random.default_rng(5)
    counts = random.poisson(4, (6, 200)) * (1.0 + (np.arange(200) % 7 == 5))
    y = np.vstack([wandering(14, 200, 7), counts])
    model = Sarima(order=list(AIRLINE)).fit(panel(y))
    theirs = [reference(row, AIRLINE, 7).fit(disp=0, maxiter=300, cov_type="none").llf for row in y]
    assert (model.learned["log_likelihood"] >= np.array(theirs) - 0.1).mean() >= 0.95


def test_several_starts_find_the_higher_of_two_optima() -> None:
    y, order = wandering(6, 250, 7, seed=9), [1, 0, 1, 1, 0, 1]
    one = Sarima(order=order, tries=1).fit(panel(y)).learned["log_likelihood"]
    many = Sarima(order=order, tries=16).fit(panel(y)).learned["log_likelihood"]
    usual = Sarima(order=order).fit(panel(y)).learned["log_likelihood"]
    assert (many >= one - 1e-3).all()
    assert (usual >= many - 0.1).mean() >= 0.8


def test_what_cannot_be_fitted_falls_back_to_the_baseline_and_is_counted() -> None:
    y = wandering(5, 120, 7)
    y[1] = 3.0
    y[2, :110] = np.nan
    y[3, 60] = np.nan
    here = panel(y)
    model = Sarima().fit(here)
    assert model.failures == {"too short": 1, "flat": 1, "failed": 1}
    lost = [1, 2, 3]
    baseline = Mean28().forecast(here, 7)
    np.testing.assert_array_equal(model.forecast(here, 7)[lost], baseline[lost])
    expected = ["sarima", *[Mean28.kind] * 3, "sarima"]
    assert model.methods(here) == expected
    stranger = panel(wandering(6, 120, 7)).take(np.array([5]))
    assert model.methods(stranger) == [Mean28.kind]


def test_new_days_are_filtered_with_stored_parameters(tmp_path: Path) -> None:
    y = wandering(3, 150, 7)
    older, newer = panel(y[:, :143]), panel(y)
    Sarima(order=list(AIRLINE)).fit(older).save(tmp_path)
    stored = pq.read_table(tmp_path / "series.parquet")
    assert stored["id"].to_pylist() == ["s0", "s1", "s2"]
    model = Forecaster.load(tmp_path)
    for row, parameters in enumerate(stored["parameters"].to_pylist()):
        theirs = reference(y[row], AIRLINE, 7).filter(parameters).forecast(7)
        expected = integrated(y[row], theirs, AIRLINE, 7)
        np.testing.assert_allclose(model.forecast(newer, 7)[row], expected, rtol=1e-6)


def test_a_series_that_ended_early_is_forecast_from_its_own_end() -> None:
    y = wandering(2, 150, 7)
    model = Sarima(order=list(AIRLINE)).fit(panel(y[:, :140]))
    straight = model.forecast(panel(y[:, :140]), 14)
    y[0, 140:] = np.nan
    late = model.forecast(panel(y), 4)
    np.testing.assert_allclose(late[0], straight[0, 10:], rtol=1e-12)


def test_logarithms_are_of_positive_series_alone() -> None:
    y = np.exp(wandering(2, 150, 7) / 20)
    y[1, 30] = 0.0
    here = panel(y)
    logs = Sarima(order=list(AIRLINE), log=True).fit(here).forecast(here, 7)
    plain = Sarima(order=list(AIRLINE)).fit(here).forecast(here, 7)
    np.testing.assert_array_equal(logs[1], plain[1])
    assert not np.allclose(logs[0], plain[0], rtol=1e-4)


def test_with_a_regression_it_is_sarima_of_what_promotions_leave() -> None:
    promotion = np.zeros((3, 164))
    promotion[:, ::9] = 1.0
    y = wandering(3, 150, 7)
    lifted = y + 25 * promotion[:, :150]
    model = Sarima(order=list(AIRLINE), regression=True)
    here = panel(lifted, future_covariates={"promotion": promotion})
    found = model.fit(here).forecast(here, 14)
    plain = Sarima(order=list(AIRLINE)).fit(panel(y)).forecast(panel(y), 14)
    np.testing.assert_allclose(found, plain + 25 * promotion[:, 150:], atol=2.5)
    # New days come with their promotions; a stranger has no coefficients.
    older = Sarima(order=list(AIRLINE), regression=True).fit(here.until(140))
    np.testing.assert_allclose(older.forecast(here, 14), found, atol=2.5)
