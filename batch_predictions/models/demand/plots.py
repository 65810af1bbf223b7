"""Pictures of a demand training: error by step of the horizon, and what intervals cover."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batch_predictions.models.demand.backtest import Backtest
from batch_predictions.models.demand.conformal import LEVELS, ConformalCalibration
from batch_predictions.reporting import legend_outside, new_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GREY, BLUE = "#bab0ac", "#4c78a8"
NOMINAL = ((0.50, 0.25, 0.75), (0.80, 0.10, 0.90), (0.90, 0.05, 0.95))
"""Intervals: what they should cover, and the quantiles at their ends."""


def by_horizon(backtest: Backtest) -> Figure | None:
    """WAPE of every method for each day ahead, over all past origins."""
    actual = backtest.actual
    there = np.isfinite(actual)
    total = np.where(there, actual, 0.0).sum(axis=(0, 1))
    if not (total > 0).any():
        return None
    figure, ax = new_axes(f"WAPE by day ahead, {len(backtest.origins)} past origins")
    steps = np.arange(1, backtest.horizon + 1)
    for place, (name, forecast) in enumerate(backtest.forecasts.items()):
        errors = np.where(there, np.abs(forecast - actual), 0.0).sum(axis=(0, 1))
        wape = np.divide(errors, total, out=np.full(len(total), np.nan), where=total > 0)
        ax.plot(steps, wape, color=f"C{place}", linewidth=1.4, label=name)
    ax.set_xlabel("days ahead", fontsize=9)
    ax.set_ylabel("WAPE", fontsize=9)
    legend_outside(ax)
    return figure


def coverage(backtest: Backtest, candidate: str) -> Figure | None:
    """What the intervals of the newest origin cover, calibrated on the origins before it alone."""
    forecasts = backtest.forecasts.get(candidate)
    if forecasts is None or len(backtest.origins) < 2:
        return None
    calibration = ConformalCalibration.of(forecasts[:-1], backtest.actual[:-1])
    quantiles = calibration.quantiles(forecasts[-1], LEVELS)
    actual = backtest.actual[-1]
    there = np.isfinite(actual)
    if not there.any():
        return None
    figure, ax = new_axes(
        f"Coverage at the newest origin, calibrated on those before ({candidate})"
    )
    steps = np.arange(1, backtest.horizon + 1)
    for place, (nominal, low, high) in enumerate(NOMINAL):
        lower, upper = (quantiles[:, :, LEVELS.index(each)] for each in (low, high))
        inside = there & (actual >= lower) & (actual <= upper)
        share = inside.sum(axis=0) / np.maximum(there.sum(axis=0), 1)
        ax.axhline(nominal, color=GREY, linewidth=1, linestyle="--")
        ax.plot(steps, share, color=f"C{place}", marker="o", markersize=3, label=f"{nominal:.0%}")
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("days ahead", fontsize=9)
    ax.set_ylabel("share of actuals inside", fontsize=9)
    ax.legend(fontsize=8, frameon=False, loc="lower right")
    return figure
