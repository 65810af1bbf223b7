"""Plots of a demand training: error by step of the horizon, and coverage of the intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batch_predictions.models.demand.backtest import Backtest
from batch_predictions.models.demand.conformal import QUANTILE_LEVELS, ConformalCalibration
from batch_predictions.warehouse.reporting import legend_outside, new_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GREY = "#bab0ac"
INTERVALS = ((0.50, 0.25, 0.75), (0.80, 0.10, 0.90), (0.90, 0.05, 0.95))
"""Nominal coverage of each interval, and the levels of the quantiles at its ends."""


def plot_error_by_horizon(backtest: Backtest) -> Figure | None:
    """WAPE of every method for each day ahead, over all past origins; None without demand."""
    actual = backtest.actual
    is_known = np.isfinite(actual)
    total = np.where(is_known, actual, 0.0).sum(axis=(0, 1))
    if not (total > 0).any():
        return None
    figure, ax = new_axes(f"WAPE by day ahead, {len(backtest.origins)} past origins")
    steps = np.arange(1, backtest.horizon + 1)
    for number, (name, forecast) in enumerate(backtest.forecasts.items()):
        errors = np.where(is_known, np.abs(forecast - actual), 0.0).sum(axis=(0, 1))
        wape = np.divide(errors, total, out=np.full(len(total), np.nan), where=total > 0)
        ax.plot(steps, wape, color=f"C{number}", linewidth=1.4, label=name)
    ax.set_xlabel("days ahead", fontsize=9)
    ax.set_ylabel("WAPE", fontsize=9)
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
    figure, ax = new_axes(
        f"Coverage at the newest origin, calibrated on the earlier ones ({candidate})"
    )
    steps = np.arange(1, backtest.horizon + 1)
    for number, (nominal, *ends) in enumerate(INTERVALS):
        lower, upper = (quantiles[:, :, QUANTILE_LEVELS.index(level)] for level in ends)
        is_covered = is_known & (actual >= lower) & (actual <= upper)
        share = is_covered.sum(axis=0) / np.maximum(is_known.sum(axis=0), 1)
        ax.axhline(nominal, color=GREY, linewidth=1, linestyle="--")
        ax.plot(steps, share, color=f"C{number}", marker="o", markersize=3, label=f"{nominal:.0%}")
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("days ahead", fontsize=9)
    ax.set_ylabel("share of actuals inside", fontsize=9)
    ax.legend(fontsize=8, frameon=False, loc="lower right")
    return figure
