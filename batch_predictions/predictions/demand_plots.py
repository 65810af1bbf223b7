"""Plots of a day's forecasts and orders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_predictions.reporting import new_axes
from batch_predictions.warehouse import Warehouse, as_date

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GREY, BLUE, ORANGE = "#bab0ac", "#4c78a8", "#f58518"
BACK = 42
"""Days of history beside a forecast."""


def fan(warehouse: Warehouse, day: str) -> Figure | None:
    """The forecasts of the items of most units: history, quantiles, and what came, if known."""
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
    figure, ax = new_axes(
        f"Forecasts as of {day}: intervals of 50, 80 and 90 %", width=10, height=5.6
    )
    figure.suptitle(ax.get_title(loc="left"), fontsize=11, x=0.02, ha="left")
    ax.remove()
    places = figure.subplots(2, 2)
    for place, each in zip(places.ravel(), series, strict=False):
        _one(warehouse, day, each, place)
    for place in places.ravel()[len(series) :]:
        place.remove()
    figure.tight_layout()
    return figure


def _one(warehouse: Warehouse, day: str, series: dict[str, Any], ax: Any) -> None:
    rows = warehouse.query(
        """select f.target_date, f.mean, f.q05, f.q10, f.q25, f.q75, f.q90, f.q95, f.method
        from predictions.demand_forecasts f
        where f.date = $date and f.item_id = $item and f.location = $location
        order by f.target_date""",
        {"date": as_date(day), "item": series["item_id"], "location": series["location"]},
    ).to_pylist()
    later = warehouse.query(
        """select units, date from features.demand
        where item_id = $item and location = $location and date > $date
        order by date desc limit 1""",
        {"date": as_date(day), "item": series["item_id"], "location": series["location"]},
    ).to_pylist()
    units = series["units"][-BACK:]
    ax.plot(range(1 - len(units), 1), units, color="#333333", linewidth=1)
    ahead = [(row["target_date"] - as_date(day)).days for row in rows]
    for low, high, alpha in (("q05", "q95", 0.18), ("q10", "q90", 0.22), ("q25", "q75", 0.3)):
        ax.fill_between(
            ahead,
            [row[low] for row in rows],
            [row[high] for row in rows],
            color=BLUE,
            alpha=alpha,
            linewidth=0,
        )
    ax.plot(ahead, [row["mean"] for row in rows], color=BLUE, linewidth=1.6)
    if later:
        known = min((later[0]["date"] - as_date(day)).days, len(rows))
        newest = later[0]["units"]
        after = (later[0]["date"] - as_date(day)).days
        came = newest[len(newest) - after :][:known]
        ax.plot(range(1, len(came) + 1), came, color=ORANGE, marker="o", markersize=3, linewidth=1)
    ax.axvline(0.5, color=GREY, linewidth=1)
    name = str(series["title"] or series["item_id"])
    ax.set_title(f"{name} · {series['item_id']} ({rows[0]['method']})", loc="left", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("days from the day of the forecast", fontsize=8)
    ax.set_ylabel("units", fontsize=8)


def orders(warehouse: Warehouse, day: str) -> Figure | None:
    """Levels of the items of largest order-up-to: expected demand, safety stock, stock on hand."""
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
    rows.reverse()
    figure, ax = new_axes(f"Order-up-to levels as of {day}, largest first", width=8, height=4.6)
    names = [f"{str(row['title'] or '')[:22]} · {row['item_id']}" for row in rows]
    expected = [row["order_up_to"] - row["safety_stock"] for row in rows]
    places = range(len(rows))
    ax.barh(places, expected, color=BLUE, height=0.6, label="expected until the next receipt")
    ax.barh(
        places,
        [row["safety_stock"] for row in rows],
        left=expected,
        color=GREY,
        height=0.6,
        label="safety stock",
    )
    ax.scatter(
        [row["reorder_point"] for row in rows],
        places,
        color="#333333",
        marker="|",
        s=80,
        label="reorder point",
    )
    counted = [place for place in places if rows[place]["on_hand"] is not None]
    if counted:
        on_hand = [rows[place]["on_hand"] for place in counted]
        ax.scatter(on_hand, counted, color=ORANGE, s=18, label="on hand", zorder=3)
    ax.set_yticks(places, names)
    ax.set_xlabel("units", fontsize=9)
    ax.legend(fontsize=8, frameon=False, loc="lower right")
    return figure
