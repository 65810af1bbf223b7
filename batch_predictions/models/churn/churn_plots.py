"""Reliability diagram and gain curve of churn probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batch_predictions.models.common.bootstrap import Doubles
from batch_predictions.warehouse.reporting import new_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, GREY = "#4c78a8", "#bab0ac"
MIN_CUSTOMERS = 20


def plot_calibration(probabilities: Doubles, churned: Doubles, title: str) -> Figure | None:
    """Draws predicted against observed churn, and the gain curve.

    Left: reliability diagram, customers in ten groups by probability, with 95 % intervals of the
    observed rate. Right: share of all churned customers among those with the highest probabilities.

    Args:
        probabilities: predicted, (n,).
        churned: observed, 0 or 1, (n,).
        title: of the figure.

    Returns:
        None with fewer than MIN_CUSTOMERS customers, or if none churned.
    """
    n = len(churned)
    if n < MIN_CUSTOMERS or not churned.any():
        return None
    figure, ax = new_axes(f"{title}, n = {n:,}", width=9)
    ax.set_position((0.08, 0.15, 0.4, 0.72))
    order = np.argsort(-probabilities, kind="stable")
    deciles = np.array_split(order, 10)
    predicted = np.array([probabilities[rows].mean() for rows in deciles])
    observed = np.array([churned[rows].mean() for rows in deciles])
    sizes = np.array([len(rows) for rows in deciles])
    half_width = 1.96 * np.sqrt(np.maximum(observed * (1 - observed), 0.25 / sizes) / sizes)
    top = float(max(predicted.max(), (observed + half_width).max())) * 1.05
    ax.plot([0, top], [0, top], color=GREY, linewidth=1)
    ax.errorbar(predicted, observed, half_width, fmt="o", color=BLUE, markersize=4, linewidth=1)
    ax.set_xlabel("predicted churn, mean of each tenth of the customers", fontsize=9)
    ax.set_ylabel("observed churn", fontsize=9)
    gain_ax = figure.add_axes((0.58, 0.15, 0.38, 0.72))
    share = np.arange(1, n + 1) / n
    gain_ax.plot(share, np.cumsum(churned[order]) / churned.sum(), color=BLUE)
    gain_ax.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    gain_ax.set_xlabel("share of customers, highest probability first", fontsize=9)
    gain_ax.set_ylabel("share of all churned customers", fontsize=9)
    gain_ax.tick_params(labelsize=8)
    gain_ax.spines[["top", "right"]].set_visible(False)
    return figure
