"""Backtests: forecasts of several methods at past origins, with the values observed since.

Here are also the metrics of candidates over the origins, and the plots of a training: error by step
of the horizon, and coverage of the intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.common.intervals import Interval
from batch_predictions.models.demand import demand_metrics
from batch_predictions.models.demand.base import Forecaster
from batch_predictions.models.demand.conformal import QUANTILE_LEVELS, ConformalCalibration
from batch_predictions.models.demand.data.panel import Panel
from batch_predictions.warehouse.plot_style import BASELINE, SERIES, legend_outside, new_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Backtest:
    """Forecasts at past origins and what was observed.

    Attributes:
        origins: numbers of columns that were known at the origins, ascending.
        actual: observed values, (origins, n, horizon); nan where nothing was observed.
        forecasts: forecasts of the same shape by method.
        naive_mse: mean squared error of the seasonal naive forecast on the columns before the first
            origin, (n,): the denominator of RMSSE.
        naive_mae: its mean absolute error, (n,): the denominator of MASE.
    """

    origins: tuple[int, ...]
    actual: Doubles
    forecasts: Mapping[str, Doubles]
    naive_mse: Doubles
    naive_mae: Doubles

    @property
    def horizon(self) -> int:
        """Columns that were forecast at each origin."""
        return self.actual.shape[2]


def backtest_origins(
    n_columns: int, horizon: int, n_origins: int, step_size: int
) -> tuple[int, ...]:
    """Returns the last origins whose whole horizon has been observed, ascending, `step_size` apart.

    Args:
        n_columns: columns of the panel.
        horizon: columns that are forecast at each origin.
        n_origins: number of origins; the first ones are negative if the panel is too short.
        step_size: columns between origins.
    """
    newest = n_columns - horizon
    return tuple(newest - step_size * back for back in range(n_origins - 1, -1, -1))


def run_backtest(
    panel: Panel,
    makers: Mapping[str, Callable[[], Forecaster]],
    origins: Sequence[int],
    horizon: int,
    *,
    n_fits: int = 1,
    progress: Callable[[str], None] = lambda text: None,
) -> Backtest:
    """Forecasts with every method at every origin, from what was known at the origin.

    A method is fitted at `n_fits` of the origins, evenly spread from the first one on. Between fits
    its parameters stay as they are and it forecasts from the newest values, as in production.

    Args:
        panel: all columns.
        makers: functions that make an unfitted forecaster, by method.
        origins: numbers of known columns, ascending.
        horizon: columns to forecast.
        n_fits: number of fits, from 1 to the number of origins.
        progress: called with a line of text after each method.
    """
    n_origins = len(origins)
    fit_positions = {round(fit * n_origins / n_fits) for fit in range(min(n_fits, n_origins))}
    forecasts: dict[str, list[Doubles]] = {name: [] for name in makers}
    for name, make in makers.items():
        fitted: Forecaster | None = None
        for position, origin in enumerate(origins):
            past = panel.truncate(origin)
            if fitted is None or position in fit_positions:
                fitted = make().fit(past)
            forecasts[name].append(fitted.forecast(past, horizon))
        progress(f"{name}: {n_origins} origins")
    actual = np.stack([panel.y[:, origin : origin + horizon] for origin in origins])
    before = panel.y[:, : origins[0]]
    naive_errors = before[:, panel.period :] - before[:, : -panel.period]
    with np.errstate(invalid="ignore"):
        counts = np.maximum(np.isfinite(naive_errors).sum(axis=1), 1)
        naive_mse = np.nansum(naive_errors**2, axis=1) / counts
        naive_mae = np.nansum(np.abs(naive_errors), axis=1) / counts
    stacked = {name: np.stack(by_origin) for name, by_origin in forecasts.items()}
    return Backtest(tuple(origins), actual, stacked, naive_mse, naive_mae)


CandidateMetrics: TypeAlias = Mapping[str, Mapping[str, Interval]]
"""Value and interval by candidate and metric, both in their order in the tables."""

MSE_SUM_GAIN, WAPE_SUM_GAIN = "mse_sum_gain", "wape_sum_gain"
"""Error of the best baseline's sum minus that of the candidate's; positive values are better."""
STOCK_GAIN = "stock_gain"
"""Stock that the best baseline needs minus the candidate's, per unit of demand."""

MIN_CALIBRATION_ORIGINS = 2
"""Past origins that are needed to calibrate the quantiles of an origin."""


def evaluate_candidates(
    backtest: Backtest,
    baselines: Sequence[str],
    seed: int,
    cycle_days: int = 7,
    fill_rate: float = 0.95,
) -> CandidateMetrics:
    """Computes every candidate's metrics with 95 % bootstrap intervals over series.

    Args:
        backtest: forecasts of all candidates, and observed values.
        baselines: gains are over the one of these with the smallest squared error of the sum.
        seed: of the bootstrap samples.
        cycle_days: days for which a stock must last, for `stock`; at most the horizon counts.
        fill_rate: share of all units that it covers.
    """
    actual = backtest.actual
    mse_sums = {
        name: demand_metrics.mse_sum(forecast, actual)
        for name, forecast in backtest.forecasts.items()
    }
    baseline = min(baselines, key=lambda name: mse_sums[name].value)
    baseline_wape = demand_metrics.wape_sum(backtest.forecasts[baseline], actual)
    stocks = {
        name: demand_metrics.stock(forecast, actual, cycle_days, fill_rate)
        for name, forecast in backtest.forecasts.items()
    }
    metrics_of_candidate: dict[str, dict[str, Interval]] = {}
    for name, forecast in backtest.forecasts.items():
        wape_sum = demand_metrics.wape_sum(forecast, actual)
        ratios = {
            demand_metrics.WAPE: demand_metrics.wape(forecast, actual),
            demand_metrics.WAPE_SUM: wape_sum,
            demand_metrics.MSE_SUM: mse_sums[name],
            demand_metrics.BIAS: demand_metrics.bias(forecast, actual),
            demand_metrics.RMSSE: demand_metrics.rmsse(forecast, actual, backtest.naive_mse),
            demand_metrics.MASE: demand_metrics.mase(forecast, actual, backtest.naive_mae),
            **evaluate_quantiles(forecast, actual),
        }
        metrics_of_candidate[name] = {
            **{metric: ratio.interval(seed) for metric, ratio in ratios.items()},
            MSE_SUM_GAIN: demand_metrics.difference(mse_sums[baseline], mse_sums[name], seed),
            WAPE_SUM_GAIN: demand_metrics.difference(baseline_wape, wape_sum, seed),
        }
        needed = stocks[name].interval(seed)
        if np.isfinite(needed.mean):
            gain = demand_metrics.difference(stocks[baseline], stocks[name], seed)
            metrics_of_candidate[name] |= {demand_metrics.STOCK: needed, STOCK_GAIN: gain}
    return metrics_of_candidate


def evaluate_quantiles(forecast: Doubles, actual: Doubles) -> dict[str, demand_metrics.RatioMetric]:
    """Pinball loss and coverage, with the quantiles of an origin calibrated on earlier origins.

    Empty where there are fewer than three origins.
    """
    n_origins = actual.shape[0]
    if n_origins <= MIN_CALIBRATION_ORIGINS:
        return {}
    quantiles = np.stack(
        [
            ConformalCalibration.fit(forecast[:origin], actual[:origin]).quantiles(forecast[origin])
            for origin in range(MIN_CALIBRATION_ORIGINS, n_origins)
        ]
    )
    observed = actual[MIN_CALIBRATION_ORIGINS:]

    def quantile(level: float) -> Doubles:
        return quantiles[..., QUANTILE_LEVELS.index(level)]

    return {
        demand_metrics.PINBALL: demand_metrics.pinball(quantiles, observed, QUANTILE_LEVELS),
        demand_metrics.COVERAGE_80: demand_metrics.coverage(quantile(0.1), quantile(0.9), observed),
        demand_metrics.COVERAGE_90: demand_metrics.coverage(
            quantile(0.05), quantile(0.95), observed
        ),
    }


INTERVALS = ((0.50, 0.25, 0.75), (0.80, 0.10, 0.90), (0.90, 0.05, 0.95))
"""Nominal coverage of each interval, and the levels of the quantiles at its ends."""


def plot_error_by_horizon(backtest: Backtest) -> Figure | None:
    """WAPE of every method for each day ahead, over all past origins; None without demand."""
    actual = backtest.actual
    is_known = np.isfinite(actual)
    total = np.where(is_known, actual, 0.0).sum(axis=(0, 1))
    if not (total > 0).any():
        return None
    title = f"Error by day ahead, {len(backtest.origins)} past origins"
    figure, ax = new_axes(title, "days ahead", "WAPE")
    steps = np.arange(1, backtest.horizon + 1)
    errors = {
        name: np.where(is_known, np.abs(forecast - actual), 0.0).sum(axis=(0, 1))
        for name, forecast in backtest.forecasts.items()
    }
    # The best are drawn as solid lines.
    for number, name in enumerate(sorted(errors, key=lambda name: errors[name].sum())):
        wape = np.divide(errors[name], total, out=np.full(len(total), np.nan), where=total > 0)
        ax.plot(steps, wape, "-" if number < len(SERIES) else "--", linewidth=1.4, label=name)
    legend_outside(ax)
    return figure


def plot_coverage(backtest: Backtest, candidate: str) -> Figure | None:
    """Coverage of a candidate's intervals at the newest origin, calibrated on the earlier ones.

    None where there is no earlier origin, or nothing was observed since the newest one.
    """
    forecasts = backtest.forecasts.get(candidate)
    if forecasts is None or len(backtest.origins) < 2:
        return None
    calibration = ConformalCalibration.fit(forecasts[:-1], backtest.actual[:-1])
    quantiles = calibration.quantiles(forecasts[-1], QUANTILE_LEVELS)
    actual = backtest.actual[-1]
    is_known = np.isfinite(actual)
    if not is_known.any():
        return None
    title = f"Coverage at the newest origin, calibrated on the earlier ones ({candidate})"
    figure, ax = new_axes(title, "days ahead", "share of actuals inside")
    steps = np.arange(1, backtest.horizon + 1)
    for nominal, *ends in INTERVALS:
        lower, upper = (quantiles[:, :, QUANTILE_LEVELS.index(level)] for level in ends)
        is_covered = is_known & (actual >= lower) & (actual <= upper)
        share = is_covered.sum(axis=0) / np.maximum(is_known.sum(axis=0), 1)
        ax.axhline(nominal, color=BASELINE, linewidth=1, linestyle="--")
        ax.plot(steps, share, marker="o", markersize=3, label=f"{nominal:.0%} intervals")
    ax.set_ylim(0, 1.02)
    legend_outside(ax)
    return figure
