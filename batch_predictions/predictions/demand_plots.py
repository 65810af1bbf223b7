"""Plots of a day's demand forecasts and replenishment orders."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse import plot_style as style
from batch_predictions.warehouse.reporting import item_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HISTORY_DAYS = 42
"""Days of history that are drawn before a forecast."""
INTERVALS = (("q05", "q95", 0.18), ("q10", "q90", 0.22), ("q25", "q75", 0.3))
"""Columns at the ends of an interval, and its opacity."""


def plot_forecasts(warehouse: Warehouse, day: str) -> Figure | None:
    """Draws the four series with the most units: history, mean, intervals and units since."""
    series = warehouse.query(
        """select s.item_id, s.location, s.units,
            (select any_value(title) from features.item_state where date = $date
                and item_id = s.item_id) as title
        from features.demand s where s.date = $date and s.level <> 'category'
            and exists (select 1 from predictions.demand_forecasts f where f.date = $date
                and f.item_id = s.item_id and f.location = s.location)
        order by s.units_84d desc, s.item_id, s.location limit 4""",
        {"date": as_date(day)},
    ).to_pylist()
    if not series:
        return None
    title = f"Units a day, forecasts as of {day} with intervals of 50, 80 and 90 %"
    figure, panes = style.new_panes(title, rows=2, columns=2, height=4.6)
    labels = item_labels([(row["title"], row["item_id"]) for row in series], width=40)
    for pane, row, label in zip(panes, series, labels, strict=False):
        _plot_series(warehouse, day, row, pane, label)
    for pane in panes[len(series) :]:
        pane.remove()
    style.legend_outside(panes[len(series) - 1])
    return figure


def _plot_series(
    warehouse: Warehouse, day: str, series: dict[str, Any], ax: Any, label: str
) -> None:
    """Draws one series of `features.demand` with its forecast."""
    forecasts = warehouse.query(
        """select f.target_date, f.mean, f.q05, f.q10, f.q25, f.q75, f.q90, f.q95, f.method
        from predictions.demand_forecasts f
        where f.date = $date and f.item_id = $item and f.location = $location
        order by f.target_date""",
        {"date": as_date(day), "item": series["item_id"], "location": series["location"]},
    ).to_pylist()
    history = series["units"][-HISTORY_DAYS:]
    past = [as_date(day) - dt.timedelta(days=n) for n in reversed(range(len(history)))]
    ax.plot(past, history, color=style.REFERENCE, linewidth=1, label="sold")
    targets = [row["target_date"] for row in forecasts]
    for low, high, opacity in INTERVALS:
        lower, upper = [row[low] for row in forecasts], [row[high] for row in forecasts]
        ax.fill_between(targets, lower, upper, color=style.SERVED, alpha=opacity, linewidth=0)
    ax.plot(targets, [row["mean"] for row in forecasts], color=style.SERVED, label="forecast")
    observed = _observed_units(warehouse, day, series, len(forecasts))
    if observed:
        ax.plot(
            targets[: len(observed)],
            observed,
            color=style.OBSERVED,
            linewidth=1,
            label="sold since",
        )
    ax.set_ylim(bottom=0)
    style.date_axis(ax, [*past, *targets])
    style.label_axes(ax, "", "units", f"{label} ({forecasts[0]['method']})")


def _observed_units(
    warehouse: Warehouse, day: str, series: dict[str, object], max_days: int
) -> list[float]:
    """Observed units of the days after `day`, at most `max_days` days."""
    newest = warehouse.query(
        """select units, date from features.demand
        where item_id = $item and location = $location and date > $date
        order by date desc limit 1""",
        {"date": as_date(day), "item": series["item_id"], "location": series["location"]},
    ).to_pylist()
    if not newest:
        return []
    units, days_since = newest[0]["units"], (newest[0]["date"] - as_date(day)).days
    return list(units[len(units) - days_since :][: min(days_since, max_days)])


def plot_orders(warehouse: Warehouse, day: str) -> Figure | None:
    """Draws the 15 largest order-up-to levels: expected demand, safety stock, stock on hand."""
    rows = warehouse.query(
        """select o.item_id, o.location, o.order_up_to, o.safety_stock, o.reorder_point, o.on_hand,
            (select any_value(title) from features.item_state where date = $date
                and item_id = o.item_id) as title
        from predictions.replenishment_orders o where o.date = $date
        order by o.order_up_to desc, o.item_id, o.location limit 15""",
        {"date": as_date(day)},
    ).to_pylist()
    if not rows:
        return None
    labels = item_labels([(row["title"], row["item_id"]) for row in rows], width=22)
    figure, ax = style.new_axes(f"Largest order-up-to levels as of {day}", "units", rows=labels)
    expected = [row["order_up_to"] - row["safety_stock"] for row in rows]
    safety_stock = [row["safety_stock"] for row in rows]
    bars = range(len(rows))
    ax.barh(
        bars, expected, color=style.EXPECTED, height=0.6, label="expected until the next receipt"
    )
    ax.barh(
        bars, safety_stock, left=expected, color=style.BASELINE, height=0.6, label="safety stock"
    )
    reorder_points = [row["reorder_point"] for row in rows]
    ax.scatter(reorder_points, bars, color=style.REFERENCE, marker="|", s=80, label="reorder point")
    bars_with_stock = [bar for bar in bars if rows[bar]["on_hand"] is not None]
    if bars_with_stock:
        on_hand = [rows[bar]["on_hand"] for bar in bars_with_stock]
        ax.scatter(on_hand, bars_with_stock, color=style.OBSERVED, s=18, label="on hand", zorder=3)
    style.legend_outside(ax)
    return figure
