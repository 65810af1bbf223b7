"""Customers with known hazards: steady ones visit all the time, fading ones stop."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa

from batch_predictions.tables import CAMPAIGN_EVENTS, INTERACTIONS, ITEMS, PROMOTIONS, USERS, Table
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.table_rows import arrow_rows, event_rows, write_rows

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
    events = [
        (FIRST + dt.timedelta(days=day), user, f"i{(int(user[-3:]) + day % 2) % 10}")
        for user, day in rows
    ]
    names = "date user_id item_id"
    return arrow_rows(INTERACTIONS, event_rows(names, events, quantity=1.0, amount=spend))


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
    write_rows(warehouse, table, rows, LAST)
