"""Whether customers of whom 30 % were said to go did go: the calibration plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batch_predictions.models.churn.features import Doubles
from batch_predictions.reporting import new_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, GREY = "#4c78a8", "#bab0ac"


def calibration(probabilities: Doubles, churned: Doubles, what: str) -> Figure | None:
    """Tenths of the customers by probability: what was said and what came, with intervals.

    Right: the gain curve, the share of all churned that the first customers hold.
    """
    n = len(churned)
    if n < 20 or not churned.any():
        return None
    figure, ax = new_axes(f"{what}, n = {n:,}", width=9)
    ax.set_position((0.08, 0.15, 0.4, 0.72))
    order = np.argsort(-probabilities, kind="stable")
    tenths = np.array_split(order, 10)
    said = np.array([probabilities[each].mean() for each in tenths])
    came = np.array([churned[each].mean() for each in tenths])
    sizes = np.array([len(each) for each in tenths])
    half = 1.96 * np.sqrt(np.maximum(came * (1 - came), 0.25 / sizes) / sizes)
    top = float(max(said.max(), (came + half).max())) * 1.05
    ax.plot([0, top], [0, top], color=GREY, linewidth=1)
    ax.errorbar(said, came, half, fmt="o", color=BLUE, markersize=4, linewidth=1)
    ax.set_xlabel("churn said, by tenths of customers", fontsize=9)
    ax.set_ylabel("churn seen", fontsize=9)
    right = figure.add_axes((0.58, 0.15, 0.38, 0.72))
    share = np.arange(1, n + 1) / n
    right.plot(share, np.cumsum(churned[order]) / churned.sum(), color=BLUE)
    right.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    right.set_xlabel("share of customers, likeliest first", fontsize=9)
    right.set_ylabel("share of all churned", fontsize=9)
    right.tick_params(labelsize=8)
    right.spines[["top", "right"]].set_visible(False)
    return figure
