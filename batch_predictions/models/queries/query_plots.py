"""Plots of predictive queries: what was predicted beside what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batch_predictions.models.common.probability_metrics import plot_calibration
from batch_predictions.models.queries.query_metrics import predicted_and_seen, tenths
from batch_predictions.models.queries.query_selection import QuerySelection
from batch_predictions.warehouse.plot_style import BASELINE, new_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_calibration_of_query(selection: QuerySelection) -> Figure | None:
    """Draws predicted against observed values of the newest past window, by tenths of the entities.

    Args:
        selection: of a training.

    Returns:
        None if nothing was tested.
    """
    if selection.tested is None or selection.test is None:
        return None
    query = selection.model.query
    predicted, seen = predicted_and_seen(selection.tested, selection.test)
    title = f"{query.name}: {selection.candidate} on the newest past window"
    if query.target.task != "mean":
        return plot_calibration(predicted, seen, title)
    groups = tenths(predicted)
    means = np.array([predicted[rows].mean() for rows in groups])
    observed = np.array([seen[rows].mean() for rows in groups])
    errors = np.array([1.96 * seen[rows].std() / np.sqrt(len(rows)) for rows in groups])
    figure, ax = new_axes(
        f"{title}, n = {len(seen):,}",
        f"predicted {query.predict}, mean of each tenth of the entities",
        "observed, with 95 % intervals",
    )
    highest = max(means.max(), (observed + errors).max())
    ends = [min(0.0, means.min(), observed.min()), highest * 1.05]
    ax.errorbar(means, observed, errors, fmt="o", markersize=4, linewidth=1)
    ax.plot(ends, ends, color=BASELINE, linewidth=1)
    return figure
