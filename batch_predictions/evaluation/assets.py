"""The daily assets of `evaluation`: realized metrics, histograms and drift."""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa

from batch_predictions.evaluation.drift.compute import compute_drift, drift_tables
from batch_predictions.evaluation.drift.drift_plots import plot_drift, plot_histograms
from batch_predictions.evaluation.drift.histograms import compute_histograms
from batch_predictions.evaluation.metric_plots import METRIC_PLOTS, plot_metrics
from batch_predictions.evaluation.realized_metric import RealizedMetric
from batch_predictions.models.model_store import ModelStore
from batch_predictions.settings import Settings
from batch_predictions.tables import DRIFT, HISTOGRAMS, REALIZED_METRICS, Table
from batch_predictions.tables.partitions import Partitions
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.arrow_rows import arrow_rows
from batch_predictions.warehouse.plot_style import BASELINE, REFERENCE, SERVED, new_axes
from batch_predictions.warehouse.plugin_queries import warehouse_of_declaration
from batch_predictions.warehouse.reporting import (
    OWNERS,
    figure_metadata,
    record_materializations,
    table_metadata,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def daily_evaluation_asset(
    table: Table,
    partitions: Partitions,
    reads: Iterable[Table],
    compute: Callable[[Warehouse, Settings, dt.date], pa.Table],
    plot: Callable[[Warehouse, str], "Figure | None"],
    metadata: Callable[[Warehouse, str], Mapping[str, object]] = lambda warehouse, day: {},
) -> dg.AssetsDefinition:
    """Builds the daily asset `evaluation/<table>`, which needs none of its inputs.

    Args:
        table: that it writes, by day.
        partitions: of the home.
        reads: tables that it reads where they have a day, for lineage.
        compute: the rows of a day, without its date.
        plot: of the newest day of a run.
        metadata: of the newest day of a run, if its rows have changed.
    """

    @dg.asset(
        name=table.name,
        key_prefix=table.schema,
        description=table.description,
        group_name="evaluation",
        kinds={"duckdb", "parquet"},
        owners=OWNERS,
        partitions_def=partitions.daily,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[dg.AssetKey([read.schema, read.name]) for read in dict.fromkeys(reads)],
        metadata=table_metadata(table),
    )
    def evaluation(
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        settings: dg.ResourceParam[Settings],
    ) -> None:
        results = {
            day: warehouse.replace_partition(table, day, compute(warehouse, settings, as_date(day)))
            for day in context.partition_keys
        }
        newest = max(results)
        record_materializations(
            context,
            warehouse,
            results,
            extra={newest: metadata(warehouse, newest)} if results[newest].changed else None,
            plot=lambda: plot(warehouse, newest),
        )

    return evaluation


def compute_metrics(
    metrics: Sequence[RealizedMetric], warehouse: Warehouse, settings: Settings, day: dt.date
) -> pa.Table:
    """Computes the rows of all metrics as of the end of a day, without those that have no value.

    Args:
        metrics: declarations.
        warehouse: predictions, and what happened since.
        settings: of this home.
        day: the last day that is known.
    """
    rows = [
        row
        for metric in metrics
        for row in metric.compute(warehouse_of_declaration(warehouse, metric), settings, day)
    ]
    return arrow_rows(REALIZED_METRICS, (row for row in rows if row["value"] is not None))


def plot_intervals(warehouse: Warehouse, day: str) -> "Figure | None":
    """Draws a day's metrics with an interval and a value between -1 and 1; None without any."""
    rows = warehouse.query(
        """from (
            select model || ' ' || metric as name, value, lower, upper
            from evaluation.realized_metrics where date = $date and value between -1 and 1
            and lower is not null
            -- Models with many metrics leave room for the others.
            order by row_number() over (partition by model order by metric), model limit 36
        ) order by name""",
        {"date": as_date(day)},
    ).to_pylist()
    if not rows:
        return None
    names = [row["name"] for row in rows]
    figure, ax = new_axes(f"Realized metrics as of {day}", "value, with 95 % interval", rows=names)
    for y, row in enumerate(rows):
        ax.plot([row["lower"], row["upper"]], [y, y], color=BASELINE, linewidth=2)
        ax.plot(row["value"], y, "o", color=SERVED, markersize=4)
    ax.axvline(0, color=REFERENCE, linewidth=0.6)
    return figure


def plots_over_time(warehouse: Warehouse, day: str) -> dict[str, dg.MetadataValue[Any]]:
    """Plots of the last 90 days up to a day, by name, of those metrics that there are."""
    figures = {
        metric_plot.name: plot_metrics(warehouse, metric_plot, day) for metric_plot in METRIC_PLOTS
    }
    return {name: figure_metadata(figure) for name, figure in figures.items() if figure}


def realized_metrics_asset(
    metrics: Sequence[RealizedMetric], partitions: Partitions
) -> dg.AssetsDefinition:
    """A daily asset `evaluation/realized_metrics` with the rows of all metrics."""
    return daily_evaluation_asset(
        REALIZED_METRICS,
        partitions,
        (table for metric in metrics for table in metric.tables),
        lambda warehouse, settings, day: compute_metrics(metrics, warehouse, settings, day),
        plot_intervals,
        plots_over_time,
    )


def histograms_asset(partitions: Partitions) -> dg.AssetsDefinition:
    """A daily asset `evaluation/histograms` over all features and predictions."""
    return daily_evaluation_asset(
        HISTOGRAMS,
        partitions,
        drift_tables(),
        lambda warehouse, settings, day: compute_histograms(
            warehouse, ModelStore.of(settings), day
        ),
        plot_histograms,
    )


def drift_asset(partitions: Partitions) -> dg.AssetsDefinition:
    """A daily asset `evaluation/drift`, which reads the histograms of its day only."""
    return daily_evaluation_asset(
        DRIFT,
        partitions,
        [HISTOGRAMS],
        lambda warehouse, settings, day: compute_drift(warehouse, day),
        plot_drift,
    )
