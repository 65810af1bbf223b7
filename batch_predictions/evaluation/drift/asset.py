"""The daily asset `evaluation/drift`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from batch_predictions.evaluation.daily_asset import daily_evaluation_asset
from batch_predictions.evaluation.drift.columns import compute_drift, drift_tables
from batch_predictions.evaluation.drift.statistics import PSI
from batch_predictions.partitions import Partitions
from batch_predictions.reporting import legend_outside, new_axes
from batch_predictions.tables import DRIFT
from batch_predictions.warehouse import Warehouse

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DAYS, LINES = 90, 6
"""Of the plot: days before the newest, and columns that have changed most on it."""


def drift_asset(partitions: Partitions) -> dg.AssetsDefinition:
    """A daily asset `evaluation/drift` over all features and predictions."""

    return daily_evaluation_asset(
        DRIFT,
        partitions,
        drift_tables(),
        lambda warehouse, settings, day: compute_drift(warehouse, day),
        plot_drift,
    )


def plot_drift(warehouse: Warehouse, day: str) -> Figure | None:
    """The PSI of the columns that have changed most on a day, over time; None without any."""
    rows: list[dict[str, Any]] = warehouse.query(
        """with newest as (
            select table_name, column_name from evaluation.drift
            where date = $day::DATE and statistic = $psi order by value desc, 1, 2 limit $lines
        )
        select date, split_part(table_name, '.', 2) || '.' || column_name as name, value
        from evaluation.drift join newest using (table_name, column_name)
        where statistic = $psi and date <= $day::DATE and date > $day::DATE - $days::INTEGER
        order by name, date""",
        {"day": day, "psi": PSI, "lines": LINES, "days": DAYS},
    ).to_pylist()
    if not rows:
        return None
    figure, ax = new_axes(f"Population stability index against the training, up to {day}")
    for name in sorted({row["name"] for row in rows}):
        of_name = [row for row in rows if row["name"] == name]
        dates, values = ([row[key] for row in of_name] for key in ("date", "value"))
        ax.plot(dates, values, marker="o", markersize=3, linewidth=1, label=name)
    ax.axhline(0.25, color="#333333", linewidth=0.6, linestyle="--")
    legend_outside(ax)
    return figure
