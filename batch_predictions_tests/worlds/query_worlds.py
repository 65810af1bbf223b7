"""Worlds whose predictions are known: what each user does follows from a rate of their own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from batch_predictions.settings import Settings
from batch_predictions.tables import CAMPAIGN_EVENTS, INTERACTIONS, ITEMS, REVIEWS, USERS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.table_rows import event_rows, write_rows

FIRST, LAST = dt.date(2024, 1, 1), dt.date(2024, 6, 30)
DAYS = (LAST - FIRST).days + 1
CATEGORIES = ("TEA", "COFFEE", "BREAD", "MILK")


def query_warehouse(
    home: Path,
    events: Iterable[tuple[dt.date, str, str, float]],
    users: Iterable[dict[str, Any]] = (),
) -> Warehouse:
    """A home with purchases (day, user, item, amount); items i0 to i7 have four categories."""
    warehouse = Warehouse.of(Settings(home=home))
    rows = event_rows("date user_id item_id amount", events, quantity=1.0)
    write_rows(warehouse, INTERACTIONS, rows, FIRST, LAST)
    items = [
        {"item_id": f"i{n}", "category": CATEGORIES[n % 4], "price": 1.0 + n, "title": f"Item {n}"}
        for n in range(8)
    ]
    write_rows(warehouse, ITEMS, items)
    write_rows(warehouse, USERS, users)
    for table in (REVIEWS, CAMPAIGN_EVENTS):
        write_rows(warehouse, table, [], LAST)
    return warehouse


def purchases(
    rates: np.ndarray[Any, np.dtype[np.float64]],
    seed: int = 0,
    favourites: np.ndarray[Any, np.dtype[np.int64]] | None = None,
) -> list[tuple[dt.date, str, str, float]]:
    """Purchases at independent times.

    Args:
        rates: purchases a day of each user, (users,).
        seed: of the times.
        favourites: number of each user's category, which four of five purchases are of; None:
            all categories alike, (users,).
    """
    random = np.random.default_rng(seed)
    events = []
    for user, rate in enumerate(rates):
        for day in np.flatnonzero(random.random(DAYS) < rate):
            item = int(random.integers(8))
            if favourites is not None and random.random() < 0.8:
                item = int(favourites[user]) + 4 * int(random.integers(2))
            amount = float(random.gamma(2.0, 5.0))
            events.append((FIRST + dt.timedelta(days=int(day)), f"u{user:04}", f"i{item}", amount))
    return events
