"""Customers with known hazards: steady ones who come every week, and fading ones who stop."""

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
    """(user_id, day) of every visit. A tenth fades: at a random time its gaps double each time.

    Who fades is said by the name, and by nothing else but the growing gaps.
    """
    random = np.random.default_rng(seed)
    found = []
    for n in range(customers):
        fades = n % 3 == 0
        user = f"{FADING if fades else STEADY}-{n:03d}"
        gap = random.uniform(2, 6)
        stop = random.integers(30, days) if fades else days
        day = random.uniform(0, gap)
        while day < days:
            found.append((user, int(day)))
            day += random.exponential(gap) + 0.5
            if fades and day > stop:
                gap *= 2.5
    return sorted(set(found))


def interactions(rows: list[tuple[str, int]], spend: float = 10.0) -> pa.Table:
    """Rows of raw.interactions: one item a visit, of a user's own two."""
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


def write_shop(warehouse: Warehouse, rows: list[tuple[str, int]]) -> None:
    """The visits, ten items, no users, no campaigns."""
    put(warehouse, INTERACTIONS, interactions(rows))
    goods = [{"item_id": f"i{n}", "title": f"Item {n}", "category": f"c{n % 3}"} for n in range(10)]
    put(warehouse, ITEMS, goods)
    put(warehouse, USERS, [])
    put(warehouse, PROMOTIONS, [])
    put(warehouse, CAMPAIGN_EVENTS, [])


def put(warehouse: Warehouse, table: Table, rows: pa.Table | list[dict[str, Any]]) -> None:
    """Writes rows of a raw table; of a daily one the days with rows, and LAST."""
    if isinstance(rows, list):
        rows = pa.Table.from_pylist(rows, arrow_schema(table))
    if not table.partition:
        warehouse.replace_partition(table, None, rows)
        return
    days = sorted({str(day) for day in rows["date"].to_pylist()} | {str(LAST)})
    with warehouse.connect() as db:
        db.register("given", rows)
        db.execute("create temp table here as select * from given")
        warehouse.replace_partitions(table, days, "select * from temp.here", db=db)


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
    return pa.schema([(each.name, types[each.type]) for each in table.columns])
