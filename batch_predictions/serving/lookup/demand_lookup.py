"""Lookups of demand forecasts and replenishment orders in the current release."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.lookup.rows import read_sorted_rows
from batch_predictions.serving.store.snapshot import ServedRelease

FORECASTS, LEAD_TIME_DEMAND, ORDERS = "demand_forecasts", "lead_time_demand", "replenishment_orders"


def forecast(lookup: Lookup, item_id: str, location: str | None = None) -> dict[str, Any]:
    """The forecasts of an item with quantiles, and its demand over lead time and order cycle.

    Args:
        lookup: the open release.
        item_id: an item, or `category:<name>` for the total of a category.
        location: a shop; None: all locations that are forecast.

    Returns:
        item_id, release_id, as_of, forecasts (by location and day) and lead_time_demand; both lists
        are empty where the item is not forecast.

    Raises:
        NoReleaseError: nothing has been released yet.
        NotPublishedError: the release has no forecasts.
    """
    key: dict[str, object] = {"item_id": item_id}
    if location:
        key["location"] = location
    return lookup.in_one_snapshot(lambda one_release: _forecast(one_release, item_id, key))


def _forecast(lookup: Lookup, item_id: str, key: dict[str, Any]) -> dict[str, Any]:
    answer = lookup.answer(FORECASTS, **key)
    return {
        "item_id": item_id,
        "release_id": answer["release_id"],
        "as_of": answer["as_of"],
        "forecasts": answer["rows"],
        "lead_time_demand": lookup.rows(LEAD_TIME_DEMAND, **key) if answer["rows"] else [],
    }


def orders(
    lookup: Lookup, item_id: str | None = None, limit: int | None = None, offset: int = 0
) -> dict[str, Any]:
    """Stock levels and order quantities of one item or of all, largest orders first.

    Args:
        lookup: the open release.
        item_id: an item; None: all.
        limit: number of orders at most; None: all.
        offset: number of orders to leave out at the beginning.

    Returns:
        release_id, as_of and orders.

    Raises:
        NoReleaseError: nothing has been released yet.
        NotPublishedError: the release has no orders.
    """
    key = {"item_id": lookup.normalise("item_id", item_id)} if item_id else {}

    def read(db: sa.Connection, served: ServedRelease) -> dict[str, Any]:
        rows = read_sorted_rows(db, served, ORDERS, key, _largest_first, limit, offset)
        return {
            "release_id": served.release_id,
            "as_of": served.day_of(ORDERS).isoformat(),
            "orders": rows,
        }

    return lookup.read(read)


def _largest_first(table: sa.Table) -> list[sa.ColumnElement[Any]]:
    quantity = sa.func.coalesce(table.c.order_quantity, 0)
    return [quantity.desc(), table.c.order_up_to.desc(), table.c.item_id, table.c.location]


def forecast_lines(answer: dict[str, Any]) -> Iterator[str]:
    """An answer of `forecast` as lines of text."""
    item_id, as_of = answer["item_id"], answer["as_of"]
    if not answer["forecasts"]:
        yield f"{item_id}: no forecast as of {as_of}"
        return
    for location in dict.fromkeys(row["location"] for row in answer["forecasts"]):
        rows = [row for row in answer["forecasts"] if row["location"] == location]
        total = sum(row["mean"] for row in rows)
        yield (
            f"{item_id}{_at(location)}, as of {as_of}: {total:.0f} units in {len(rows)} days "
            f"({rows[0]['method']})"
        )
        for row in rows:
            yield (
                f"  {row['target_date']:%a %d %b}  {row['mean']:8.1f}   "
                f"80 %: {row['q10']:.0f} to {row['q90']:.0f}"
            )
        for row in answer["lead_time_demand"]:
            if row["location"] == location:
                yield (
                    f"  {row['days']} days: {row['mean']:.0f} expected, at most "
                    f"{row['q_level']:.0f} with a probability of {row['level']:.0%}"
                )


def order_lines(answer: dict[str, Any]) -> Iterator[str]:
    """An answer of `orders` as lines of text."""
    if not answer["orders"]:
        yield f"no orders as of {answer['as_of']}"
        return
    for row in answer["orders"]:
        item = f"{row['item_id']}{_at(row['location'])}"
        levels = (
            f"order up to {row['order_up_to']:.0f}, reorder point {row['reorder_point']:.0f}, "
            f"safety stock {row['safety_stock']:.0f}, service level {row['service_level']:.0%}"
        )
        if row["order_quantity"] is None:
            yield f"{item}: {levels}; stock on hand is not known"
        else:
            note = ", simulated stock" if row.get("simulated") else ""
            yield (
                f"{item}: order {row['order_quantity']:.0f} ({row['on_hand']:.0f} on hand, "
                f"{row['on_order']:.0f} on order{note}); {levels}"
            )


def _at(location: str) -> str:
    return "" if location == "all" else f" at {location}"
