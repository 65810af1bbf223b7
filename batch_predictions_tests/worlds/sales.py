"""Writes small tables of sales, items, promotions and stock into a warehouse."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from batch_predictions.tables import INVENTORY, ITEMS, PROMOTION_CALENDAR
from batch_predictions.tables.partitions import week_of
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.table_rows import write_events, write_rows

Sale = Mapping[str, Any]
"""day and item; optionally quantity (1), amount (null), location (null), event_type (purchase)."""


def write_sales(warehouse: Warehouse, sales: Sequence[Sale]) -> None:
    """Writes raw.interactions; every day with sales is replaced."""
    default = {"quantity": 1.0, "amount": None, "location": None, "event_type": "purchase"}
    rows = [[{**default, **sale}[name] for name in ("day", "item", *default)] for sale in sales]
    write_events(warehouse, f"date item_id {' '.join(default)}", rows, user_id="u")


def write_items(warehouse: Warehouse, *items: Mapping[str, Any]) -> None:
    """Writes raw.items: item_id; optionally category, subcategory and attributes."""
    write_rows(warehouse, ITEMS, items)


def write_promotions(
    warehouse: Warehouse, weeks: Sequence[dt.date], *promotions: Mapping[str, Any]
) -> None:
    """Writes weeks of raw.promotion_calendar.

    A promotion has item, starts and ends; optionally location (all), display and mailer.
    """
    for week in weeks:
        assert week == week_of(week)
        rows = [
            {
                "week": week,
                "item_id": promotion["item"],
                "location": promotion.get("location", "all"),
                "starts_on": promotion["starts"],
                "ends_on": promotion["ends"],
                "display": promotion.get("display"),
                "mailer": promotion.get("mailer"),
            }
            for promotion in promotions
            if promotion["starts"] <= week + dt.timedelta(days=6) and promotion["ends"] >= week
        ]
        write_rows(warehouse, PROMOTION_CALENDAR, rows, week)


def write_stock_counts(warehouse: Warehouse, day: dt.date, *counts: Mapping[str, Any]) -> None:
    """Writes a day of raw.inventory: item and on_hand; optionally on_order, location (all)."""
    rows = [
        {
            "date": day,
            "simulated": False,
            "item_id": count["item"],
            "location": count.get("location", "all"),
            "on_hand": count["on_hand"],
            "on_order": count.get("on_order"),
        }
        for count in counts
    ]
    write_rows(warehouse, INVENTORY, rows, day)
