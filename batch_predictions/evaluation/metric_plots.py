"""Plots of realized metrics over time."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple

from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse import plot_style as style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DAYS = 90
_TRAINED = {"replenishment": "demand"}
"""The model that is trained for the metrics of another."""


class MetricPlot(NamedTuple):
    """Declares a plot of several realized metrics of a model.

    Attributes:
        name: as the plot's key in the metadata.
        title: above the plot.
        model: of the metrics.
        metrics: their names, and what they are called in the legend.
    """

    name: str
    title: str
    model: str
    metrics: dict[str, str]


METRIC_PLOTS = (
    MetricPlot(
        "clicks_over_time",
        "Share of shown items that were clicked",
        "recommender",
        {
            "click_rate": "all",
            "click_rate:source=personal": "personal",
            "click_rate:source=demographic": "demographic",
            "click_rate:source=popular": "popular",
            "purchase_rate": "bought, all",
        },
    ),
    MetricPlot(
        "recommendations_over_time",
        "Lists against the purchases of the next day",
        "recommender",
        {
            "next_day_hit_rate@10": "hit rate@10",
            "next_day_ndcg@10": "NDCG@10",
            "next_day_ndcg@10:personal": "NDCG@10, personal",
            "next_day_ndcg@10:fallback": "NDCG@10, fallback",
        },
    ),
    MetricPlot(
        "forecasts_over_time",
        "Forecasts of items against units sold",
        "demand",
        {
            "wape:item:1d": "WAPE, 1 day ahead",
            "wape:item:7d": "WAPE, 7 days ahead",
            "coverage_80:item:1d": "coverage of 80 %, 1 day",
            "coverage_80:item:7d": "coverage of 80 %, 7 days",
        },
    ),
    MetricPlot(
        "sentiment_over_time",
        "Sentiment of the week's reviews against their ratings",
        "sentiment",
        {
            "macro_f1": "macro-F1",
            "accuracy": "accuracy",
            "macro_f1:simulated": "macro-F1, simulated",
            "accuracy:simulated": "accuracy, simulated",
        },
    ),
    MetricPlot(
        "orders_over_time",
        "Orders against units sold until the next",
        "replenishment",
        {
            "fill_rate": "units covered",
            "covered": "items covered",
            "in_stock": "items in stock",
        },
    ),
)


def plot_metrics(warehouse: Warehouse, metric_plot: MetricPlot, day: str) -> Figure | None:
    """Draws the metrics of a plot over the last 90 days, with 95 % intervals; None without any.

    Args:
        warehouse: with `evaluation.realized_metrics`.
        metric_plot: the metrics to draw.
        day: last day of the plot, ISO date.
    """
    last = as_date(day)
    rows = warehouse.query(
        """select date, metric, value, lower, upper from evaluation.realized_metrics
        where date > $first::DATE and date <= $last::DATE and model = $model
            and list_contains($metrics::VARCHAR[], metric)
        order by date""",
        {
            "first": last - dt.timedelta(days=DAYS),
            "last": last,
            "model": metric_plot.model,
            "metrics": list(metric_plot.metrics),
        },
    ).to_pylist()
    if not rows:
        return None
    figure, ax = style.new_axes(metric_plot.title, y="value, 95 % interval")
    for metric, label in metric_plot.metrics.items():
        line = [row for row in rows if row["metric"] == metric]
        if not line:
            continue
        dates = [row["date"] for row in line]
        [drawn] = ax.plot(dates, [row["value"] for row in line], "o-", label=label, ms=2, lw=1)
        bounds = [row for row in line if row["lower"] is not None]
        ax.fill_between(
            [row["date"] for row in bounds],
            [row["lower"] for row in bounds],
            [row["upper"] for row in bounds],
            color=drawn.get_color(),
            alpha=style.BAND,
            linewidth=1,
        )
    ax.set_ylim(bottom=0)
    days = [row["date"] for row in rows]
    changes = [day for day in _model_changes(warehouse, metric_plot.model, last) if day > days[0]]
    for number, change in enumerate(changes):
        between = dt.datetime.combine(change, dt.time()) - dt.timedelta(hours=12)
        name = "_" if number else "another model serves"
        ax.axvline(between, color=style.REFERENCE, linewidth=0.7, linestyle=":", label=name)
    style.date_axis(ax, days)
    style.legend_outside(ax)
    return figure


def _model_changes(warehouse: Warehouse, model: str, last: dt.date) -> list[dt.date]:
    """The days up to `last` after which another version of a model serves than before, plus one.

    The metrics of a day judge predictions of the day before or earlier.
    """
    rows = warehouse.query(
        """with decisions as (
            select trained_through as day, arg_max(model_version, decided_at) as version
            from evaluation.promotions_log
            where model = $model and trained_through < $last::DATE group by 1
        )
        select day + 1 as day from decisions
        qualify version <> lag(version) over (order by day) order by day""",
        {"model": _TRAINED.get(model, model), "last": last},
    )
    days: list[dt.date] = rows["day"].to_pylist()
    return days
