"""Sums of `evaluation.costs`, and a plot of them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

from batch_predictions.tables import COSTS
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.plot_style import date_axis, legend_outside, new_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MILLION = 1_000_000
OF_BUCKETS = ("requests", "mib_sent", "mib_received")
"""Sums that are 0 for a local home."""
_SUMS = f"""
    select
        {{by}} as {{by}},
        count(distinct run_id) as runs,
        sum(rows)::BIGINT as rows,
        sum(seconds) as seconds,
        sum(cpu_seconds) as cpu_seconds,
        max(peak_mib) as peak_mib,
        sum(bytes_read) / 1048576.0 as mib_read,
        sum(bytes_written) / 1048576.0 as mib_written,
        sum(cost) as cost,
        coalesce(sum(requests), 0)::BIGINT as requests,
        coalesce(sum(bytes_sent), 0) / 1048576.0 as mib_sent,
        coalesce(sum(bytes_received), 0) / 1048576.0 as mib_received
    from {COSTS.qualified}
    where date >= $first::DATE and date <= $last::DATE
    group by 1
"""


def sum_costs(
    warehouse: Warehouse, first: dt.date, last: dt.date, by: str = "asset"
) -> list[dict[str, object]]:
    """Sums the costs of the dates from first to last by asset, date or run.

    Args:
        warehouse: of the home.
        first: first date.
        last: last date.
        by: asset, date or run_id; assets are sorted by CPU seconds, the most first.
    """
    if by not in ("asset", "date", "run_id"):
        raise ValueError(f"costs are summed by asset, date or run_id, not by {by}")
    order = "cpu_seconds desc, asset" if by == "asset" else "1"
    query = f"{_SUMS.format(by=by)} order by {order}"
    return warehouse.query(query, {"first": first, "last": last}).to_pylist()


def cost_per_million(warehouse: Warehouse, first: dt.date, last: dt.date) -> dict[str, float]:
    """Cost, CPU seconds and rows for a million rows of predictions; empty if there are none.

    Everything counts that was made for these dates: ingest, features and training too.

    Args:
        warehouse: of the home.
        first: first date.
        last: last date, included.
    """
    row = warehouse.query(
        f"""select
            (sum(rows) filter (asset like 'predictions.%'))::DOUBLE as predictions,
            sum(cost) as cost, sum(cpu_seconds) as cpu_seconds
        from {COSTS.qualified} where date >= $first::DATE and date <= $last::DATE""",
        {"first": first, "last": last},
    ).to_pylist()[0]
    if not row["predictions"]:
        return {}
    millions = row["predictions"] / MILLION
    return {
        "predictions": row["predictions"],
        "cost_per_million": row["cost"] / millions,
        "cpu_seconds_per_million": row["cpu_seconds"] / millions,
    }


def plot_costs(warehouse: Warehouse, first: dt.date, last: dt.date, target: Path) -> bool:
    """Writes the plot of CPU seconds to a file; returns whether there was anything to plot.

    Args:
        warehouse: of the home.
        first: first date.
        last: last date, included.
        target: the file to write.
    """
    figure = draw_costs(warehouse, first, last)
    if figure is not None:
        figure.savefig(target, bbox_inches="tight", dpi=120)
    return figure is not None


def draw_costs(warehouse: Warehouse, first: dt.date, last: dt.date) -> Figure | None:
    """Draws CPU seconds by the date that was made, a colour for each schema; None without any.

    Args:
        warehouse: of the home.
        first: first date.
        last: last date, included.
    """
    rows = warehouse.query(
        f"""select date, split_part(asset, '.', 1) as schema, sum(cpu_seconds) as cpu_seconds
        from {COSTS.qualified} where date >= $first::DATE and date <= $last::DATE
        group by all order by date, schema""",
        {"first": first, "last": last},
    ).to_pylist()
    if not rows:
        return None
    dates = sorted({row["date"] for row in rows})
    figure, ax = new_axes("CPU seconds by the date that was made", y="CPU seconds")
    below = [0.0] * len(dates)
    for schema in sorted({row["schema"] for row in rows}):
        of_schema = {row["date"]: row["cpu_seconds"] for row in rows if row["schema"] == schema}
        heights = [of_schema.get(date, 0.0) for date in dates]
        ax.bar(dates, heights, bottom=below, label=schema)
        below = [base + height for base, height in zip(below, heights, strict=True)]
    date_axis(ax, dates)
    legend_outside(ax)
    return figure
