"""Customers with known hazards: steady ones visit all the time, fading ones stop."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa

from batch_predictions.tables import CAMPAIGN_EVENTS, INTERACTIONS, ITEMS, PROMOTIONS, USERS, Table
from batch_predictions.warehouse import Warehouse

FIRST = dt.date(2024, 1, 1)
LAST = dt.date(2024, 6, 30)
STEADY, FADING = "steady", "fading"


def visits(customers: int = 300, seed: int = 1, days: int = 182) -> list[tuple[str, int]]:
    """(user_id, day number) of every visit.

    A third of the customers fade: after a random day each gap is 2.5 times the one before it. Their
    names begin with FADING; nothing but the growing gaps distinguishes them otherwise.
    """
    random = np.random.default_rng(seed)
    rows = []
    for n in range(customers):
        is_fading = n % 3 == 0
        user = f"{FADING if is_fading else STEADY}-{n:03d}"
        gap = random.uniform(2, 6)
        fades_after = random.integers(30, days) if is_fading else days
        day = random.uniform(0, gap)
        while day < days:
            rows.append((user, int(day)))
            day += random.exponential(gap) + 0.5
            if is_fading and day > fades_after:
                gap *= 2.5
    return sorted(set(rows))


def interactions(rows: list[tuple[str, int]], spend: float = 10.0) -> pa.Table:
    """Rows of raw.interactions: each visit buys one of two items of the user."""
    return pa.Table.from_pylist(
        [
            {
                "date": FIRST + dt.timedelta(days=day),
                "event_id": f"{user}-{day}",
                "user_id": user,
                "item_id": f"i{(int(user[-3:]) + day % 2) % 10}",
                "event_type": "purchase",
                "quantity": 1.0,
                "amount": spend,
                "location": None,
                "occurred_at": None,
            }
            for user, day in rows
        ],
        arrow_schema(INTERACTIONS),
    )


def write_visits(warehouse: Warehouse, rows: list[tuple[str, int]]) -> None:
    """Writes the visits and ten items; users and campaigns are empty."""
    write_raw_rows(warehouse, INTERACTIONS, interactions(rows))
    items = [{"item_id": f"i{n}", "title": f"Item {n}", "category": f"c{n % 3}"} for n in range(10)]
    write_raw_rows(warehouse, ITEMS, items)
    write_raw_rows(warehouse, USERS, [])
    write_raw_rows(warehouse, PROMOTIONS, [])
    write_raw_rows(warehouse, CAMPAIGN_EVENTS, [])


def write_raw_rows(
    warehouse: Warehouse, table: Table, rows: pa.Table | list[dict[str, Any]]
) -> None:
    """Replaces rows of a raw table; of a daily table the days with rows, and LAST."""
    if isinstance(rows, list):
        rows = pa.Table.from_pylist(rows, arrow_schema(table))
    if not table.partition:
        warehouse.replace_partition(table, None, rows)
        return
    days = sorted({str(day) for day in rows["date"].to_pylist()} | {str(LAST)})
    with warehouse.connect() as db:
        db.register("arrow_rows", rows)
        db.execute("create temp table new_rows as select * from arrow_rows")
        warehouse.replace_partitions(table, days, "select * from temp.new_rows", db=db)


def arrow_schema(table: Table) -> pa.Schema:
    """Arrow types of a declared table."""
    types = {
        "VARCHAR": pa.string(),
        "DOUBLE": pa.float64(),
        "BIGINT": pa.int64(),
        "BOOLEAN": pa.bool_(),
        "DATE": pa.date32(),
        "TIMESTAMP": pa.timestamp("us"),
        "VARCHAR[]": pa.list_(pa.string()),
        "MAP(VARCHAR, VARCHAR)": pa.map_(pa.string(), pa.string()),
    }
    return pa.schema([(column.name, types[column.type]) for column in table.columns])
