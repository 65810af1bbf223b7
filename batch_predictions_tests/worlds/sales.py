"""Writes small tables of sales, items, promotions and stock into a warehouse."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from batch_predictions.tables import INTERACTIONS, INVENTORY, ITEMS, PROMOTION_CALENDAR
from batch_predictions.tables.partitions import week_of
from batch_predictions.warehouse import Warehouse

Sale = Mapping[str, Any]
"""day and item; optionally quantity (1), amount (null), location (null), event_type (purchase)."""


def write_sales(warehouse: Warehouse, sales: Sequence[Sale]) -> None:
    """Writes raw.interactions; every day with sales is replaced."""
    rows = [
        {
            "date": sale["day"],
            "event_id": f"e{number:06}",
            "user_id": "u",
            "item_id": sale["item"],
            "event_type": sale.get("event_type", "purchase"),
            "quantity": sale.get("quantity", 1.0),
            "amount": sale.get("amount"),
            "location": sale.get("location"),
            "occurred_at": None,
        }
        for number, sale in enumerate(sales)
    ]
    schema = pa.schema(
        [
            ("date", pa.date32()),
            *((name, pa.string()) for name in ("event_id", "user_id", "item_id", "event_type")),
            ("quantity", pa.float64()),
            ("amount", pa.float64()),
            ("location", pa.string()),
            ("occurred_at", pa.timestamp("us")),
        ]
    )
    days = sorted({sale["day"].isoformat() for sale in sales})
    with warehouse.connect() as db:
        db.register("sales_rows", pa.Table.from_pylist(rows, schema))
        if days:
            warehouse.replace_partitions(INTERACTIONS, days, "select * from sales_rows", db=db)


def write_items(warehouse: Warehouse, *items: Mapping[str, Any]) -> None:
    """Writes raw.items: item_id; optionally category, subcategory and attributes."""
    names = ("item_id", "title", "category", "subcategory", "brand")
    schema = pa.schema(
        [
            *((name, pa.string()) for name in names),
            ("price", pa.float64()),
            ("available", pa.bool_()),
            ("attributes", pa.map_(pa.string(), pa.string())),
        ]
    )
    rows = [{**item, "attributes": list(item.get("attributes", {}).items())} for item in items]
    warehouse.replace_partition(ITEMS, None, pa.Table.from_pylist(rows, schema))


def write_promotions(
    warehouse: Warehouse, weeks: Sequence[dt.date], *promotions: Mapping[str, Any]
) -> None:
    """Writes weeks of raw.promotion_calendar.

    A promotion has item, starts and ends; optionally location (all), display and mailer.
    """
    schema = pa.schema(
        [
            ("item_id", pa.string()),
            ("location", pa.string()),
            ("starts_on", pa.date32()),
            ("ends_on", pa.date32()),
            ("display", pa.string()),
            ("mailer", pa.string()),
        ]
    )
    for week in weeks:
        assert week == week_of(week)
        rows = [
            {
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
        table = pa.Table.from_pylist(rows, schema)
        warehouse.replace_partition(PROMOTION_CALENDAR, week.isoformat(), table)


def write_stock_counts(warehouse: Warehouse, day: dt.date, *counts: Mapping[str, Any]) -> None:
    """Writes a day of raw.inventory: item and on_hand; optionally on_order, location (all)."""
    schema = pa.schema(
        [
            ("item_id", pa.string()),
            ("location", pa.string()),
            ("on_hand", pa.float64()),
            ("on_order", pa.float64()),
            ("simulated", pa.bool_()),
        ]
    )
    rows = [
        {
            "simulated": False,
            "item_id": count["item"],
            "location": count.get("location", "all"),
            "on_hand": count["on_hand"],
            "on_order": count.get("on_order"),
        }
        for count in counts
    ]
    table = pa.Table.from_pylist(rows, schema)
    warehouse.replace_partition(INVENTORY, day.isoformat(), table)
