"""What will be wanted, and what to order, looked up in the release that is served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from batch_predictions.serving.lookup import Lookup

FORECASTS, SUMS, ORDERS = "demand_forecasts", "lead_time_demand", "replenishment_orders"


def forecast(lookup: Lookup, item_id: str, location: str | None = None) -> dict[str, Any]:
    """An item's next days with quantiles, and its demand over lead time and cycle.

    `category:<name>` names the total of a category.

    Returns:
        item_id, release_id, as_of, forecasts (by location and day) and lead_time_demand; both are
        empty where nothing is forecast of it.

    Raises:
        NoReleaseError: nothing has been released yet.
        NotPublishedError: the release has no forecasts.
    """
    key: dict[str, Any] = {"item_id": item_id}
    key |= {"location": location} if location else {}
    found = lookup.answer(FORECASTS, **key)
    return {
        "item_id": item_id,
        "release_id": found["release_id"],
        "as_of": found["as_of"],
        "forecasts": found["rows"],
        "lead_time_demand": lookup.rows(SUMS, **key) if found["rows"] else [],
    }


def orders(lookup: Lookup, item_id: str | None = None, limit: int | None = None) -> dict[str, Any]:
    """Levels of stock and quantities to order, of an item or of all, largest orders first.

    Raises:
        NoReleaseError: nothing has been released yet.
        NotPublishedError: the release has no orders.
    """
    key: dict[str, Any] = {"item_id": item_id} if item_id else {}
    found = lookup.answer(ORDERS, **key)
    rows = found["rows"]
    rows.sort(
        key=lambda row: (
            -(row["order_quantity"] or 0),
            -row["order_up_to"],
            row["item_id"],
            row["location"],
        )
    )
    return {
        "release_id": found["release_id"],
        "as_of": found["as_of"],
        "orders": rows[:limit] if limit else rows,
    }


def forecast_lines(answer: dict[str, Any]) -> Iterator[str]:
    """A forecast for people."""
    if not answer["forecasts"]:
        yield f"{answer['item_id']}: no forecast as of {answer['as_of']}"
        return
    places = dict.fromkeys(row["location"] for row in answer["forecasts"])
    for place in places:
        rows = [row for row in answer["forecasts"] if row["location"] == place]
        where = "" if place == "all" else f" at {place}"
        total = sum(row["mean"] for row in rows)
        yield (
            f"{answer['item_id']}{where}, as of {answer['as_of']}: {total:.0f} units in "
            f"{len(rows)} days ({rows[0]['method']})"
        )
        for row in rows:
            yield (
                f"  {row['target_date']:%a %d %b}  {row['mean']:8.1f}   "
                f"80 %: {row['q10']:.0f} to {row['q90']:.0f}"
            )
        for row in answer["lead_time_demand"]:
            if row["location"] == place:
                yield (
                    f"  {row['days']} days: {row['mean']:.0f} expected, at most "
                    f"{row['q_level']:.0f} with a chance of {row['level']:.0%}"
                )


def order_lines(answer: dict[str, Any]) -> Iterator[str]:
    """Orders for people."""
    if not answer["orders"]:
        yield f"no orders as of {answer['as_of']}"
        return
    for row in answer["orders"]:
        where = "" if row["location"] == "all" else f" at {row['location']}"
        levels = (
            f"order up to {row['order_up_to']:.0f}, reorder point {row['reorder_point']:.0f}, "
            f"safety stock {row['safety_stock']:.0f}, service level {row['service_level']:.0%}"
        )
        if row["order_quantity"] is None:
            yield f"{row['item_id']}{where}: {levels}; stock on hand is not known"
        else:
            yield (
                f"{row['item_id']}{where}: order {row['order_quantity']:.0f} "
                f"({row['on_hand']:.0f} on hand, {row['on_order']:.0f} on order); {levels}"
            )
