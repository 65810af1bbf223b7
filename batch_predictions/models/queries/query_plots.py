"""Plots of predictive queries: what was predicted beside what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batch_predictions.models.common.probability_metrics import plot_calibration
from batch_predictions.models.queries.query_selection import QuerySelection
from batch_predictions.warehouse.reporting import new_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GROUPS = 10


def plot_calibration_of_query(selection: QuerySelection) -> Figure | None:
    """Draws predicted against observed values of the newest past window, by tenths of the entities.

    Args:
        selection: of a training.

    Returns:
        None if nothing was tested.
    """
    if selection.tested is None or selection.test is None:
        return None
    query, target = selection.model.query, selection.test.target
    predicted = selection.tested.predict(selection.test.rows)
    title = f"{query.name}: {selection.candidate} on the newest past window"
    if query.target.task != "mean":
        happened = ~np.isnan(target) if query.target.task == "first" else target > 0
        return plot_calibration(predicted["probability"], happened.astype(np.float64), title)
    order = np.argsort(predicted["value"], kind="stable")
    tenths = [rows for rows in np.array_split(order, GROUPS) if len(rows)]
    means = np.array([predicted["value"][rows].mean() for rows in tenths])
    seen = np.array([target[rows].mean() for rows in tenths])
    errors = np.array([1.96 * target[rows].std() / np.sqrt(len(rows)) for rows in tenths])
    figure, ax = new_axes(f"{title}, n = {len(target):,}")
    ends = [min(0.0, means.min(), seen.min()), max(means.max(), (seen + errors).max()) * 1.05]
    ax.plot(ends, ends, color="#bab0ac", linewidth=1)
    ax.errorbar(means, seen, errors, fmt="o", color="#4c78a8", markersize=4, linewidth=1)
    ax.set_xlabel(f"predicted {query.predict}, mean of each tenth of the entities", fontsize=9)
    ax.set_ylabel("observed, with 95 % intervals", fontsize=9)
    return figure
