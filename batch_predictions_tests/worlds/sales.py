"""Tiny worlds of demand, written into a warehouse in a line."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from batch_predictions.partitions import week_of
from batch_predictions.tables import INTERACTIONS, INVENTORY, ITEMS, PROMOTION_CALENDAR
from batch_predictions.warehouse import Warehouse

Sale = Mapping[str, Any]
"""day, item; optionally quantity (1), amount (null), location, event_type (purchase)."""


def sold(warehouse: Warehouse, sales: Sequence[Sale]) -> None:
    """Writes sales; every day with sales is replaced."""
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
        db.register("sold_rows", pa.Table.from_pylist(rows, schema))
        if days:
            warehouse.replace_partitions(INTERACTIONS, days, "select * from sold_rows", db=db)


def goods(warehouse: Warehouse, *items: Mapping[str, Any]) -> None:
    """Writes items: item_id, and category, subcategory and attributes where given."""
    names = ("item_id", "title", "category", "subcategory", "brand")
    schema = pa.schema(
        [
            *((name, pa.string()) for name in names),
            ("price", pa.float64()),
            ("available", pa.bool_()),
            ("attributes", pa.map_(pa.string(), pa.string())),
        ]
    )
    rows = [{**each, "attributes": list(each.get("attributes", {}).items())} for each in items]
    warehouse.replace_partition(ITEMS, None, pa.Table.from_pylist(rows, schema))


def promoted(warehouse: Warehouse, weeks: Sequence[dt.date], *rows: Mapping[str, Any]) -> None:
    """Writes weeks of the calendar: item, starts, ends; optionally location, display, mailer."""
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
        mine = [
            {
                "item_id": each["item"],
                "location": each.get("location", "all"),
                "starts_on": each["starts"],
                "ends_on": each["ends"],
                "display": each.get("display"),
                "mailer": each.get("mailer"),
            }
            for each in rows
            if each["starts"] <= week + dt.timedelta(days=6) and each["ends"] >= week
        ]
        table = pa.Table.from_pylist(mine, schema)
        warehouse.replace_partition(PROMOTION_CALENDAR, week.isoformat(), table)


def counted(warehouse: Warehouse, day: dt.date, *rows: Mapping[str, Any]) -> None:
    """Writes a day's stock: item, on_hand; optionally on_order, location."""
    schema = pa.schema(
        [
            ("item_id", pa.string()),
            ("location", pa.string()),
            ("on_hand", pa.float64()),
            ("on_order", pa.float64()),
        ]
    )
    listed = [
        {
            "item_id": each["item"],
            "location": each.get("location", "all"),
            "on_hand": each["on_hand"],
            "on_order": each.get("on_order"),
        }
        for each in rows
    ]
    table = pa.Table.from_pylist(listed, schema)
    warehouse.replace_partition(INVENTORY, day.isoformat(), table)
