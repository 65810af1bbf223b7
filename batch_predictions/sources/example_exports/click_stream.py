"""A click stream with views, carts and purchases, and a planted purchase intent.

Every user has a taste, which purchases follow, and a curiosity of its own, which most views follow:
clicking on something says little about buying it. A view by taste leads to a cart, and a cart to a
purchase some hours to days later. Nobody buys an item twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch_predictions.sources.example_exports.example_files import FIRST_DAY

TASTES = 8
STRENGTH = 2.2
"""Standard deviation over items of a user's log odds, of taste and of curiosity."""
SKEW = 0.5
VIEWS = 5.0
"""Mean views of a visit."""
VISIT_SHARE = 0.25
"""Share of the days on which a user visits the shop."""
TASTE_SHARE = 0.35
"""Share of the views that follow the taste."""
CART_SHARE = 0.35
"""Share of the views by taste that lead to a cart; of those by curiosity a twentieth of it."""
PURCHASE_SHARE = 0.6
MAX_DELAY_DAYS = 6.0
"""A purchase follows its cart by up to this many days."""
DAY_NS = 86_400 * 10**9


def draw_events(users: int, items: int, days: int, seed: int) -> pa.Table:
    """Events by time: user, product, event_name, price, ts (nanoseconds, UTC)."""
    random = np.random.default_rng(seed)
    popularity = -SKEW * np.log(random.permutation(items) + 1.0)
    taste, curiosity = (_log_odds(users, items, popularity, random) for _ in range(2))
    prices = np.round(np.exp(random.normal(3.0, 0.8, items)), 2)
    rows: list[tuple[int, int, str, int]] = []
    for user in range(users):
        rows += _events_of_user(user, taste[user], curiosity[user], days, random)
    rows.sort(key=lambda row: (row[3], row[0], row[1], row[2]))
    return pa.table(
        {
            "user": [f"U{row[0]:05d}" for row in rows],
            "product": [None if row[1] < 0 else f"p-{row[1]:04d}" for row in rows],
            "event_name": [row[2] for row in rows],
            "price": [None if row[1] < 0 else float(prices[row[1]]) for row in rows],
            "ts": pa.array([row[3] for row in rows], pa.timestamp("ns")),
        }
    )


def _log_odds(
    users: int, items: int, popularity: npt.NDArray[Any], random: np.random.Generator
) -> npt.NDArray[Any]:
    """Log odds of every user and item, users x items."""
    left = random.standard_normal((users, TASTES)) * STRENGTH / np.sqrt(TASTES)
    return left @ random.standard_normal((items, TASTES)).T + popularity


def _events_of_user(
    user: int,
    taste: npt.NDArray[Any],
    curiosity: npt.NDArray[Any],
    days: int,
    random: np.random.Generator,
) -> list[tuple[int, int, str, int]]:
    """User, item, type and time of one user's events; -1 is no item."""
    start = int(np.datetime64(FIRST_DAY, "ns").astype(np.int64))
    by_taste, by_curiosity = (np.exp(odds - odds.max()) for odds in (taste, curiosity))
    by_taste, by_curiosity = by_taste / by_taste.sum(), by_curiosity / by_curiosity.sum()
    bought: set[int] = set()
    rows = []
    for day in np.flatnonzero(random.random(days) < VISIT_SHARE):
        time = start + int(day) * DAY_NS + int(random.integers(7 * 3600, 22 * 3600)) * 10**9
        if random.random() < 0.3:
            rows.append((user, -1, "search", time))
        for _ in range(1 + random.poisson(VIEWS - 1)):
            time += int(random.integers(5, 120)) * 10**9 + int(random.integers(10**9))
            is_taste = random.random() < TASTE_SHARE
            item = int(random.choice(len(taste), p=by_taste if is_taste else by_curiosity))
            rows.append((user, item, "page_view", time))
            if random.random() >= CART_SHARE * (1.0 if is_taste else 0.05) or item in bought:
                continue
            rows.append((user, item, "add_to_cart", time + 20 * 10**9))
            delay = int(random.random() ** 2 * MAX_DELAY_DAYS * DAY_NS) + 60 * 10**9
            if random.random() < PURCHASE_SHARE and time + delay < start + days * DAY_NS:
                bought.add(item)
                rows.append((user, item, "purchase", time + delay))
    return rows


def write_click_stream(
    folder: Path, users: int = 200, items: int = 80, days: int = 70, seed: int = 7
) -> pa.Table:
    """Writes Parquet files as trackers do, events/dt=YYYY-MM-DD/part-0.parquet; the events."""
    events = draw_events(users, items, days, seed)
    days = pc.cast(events["ts"], pa.date32())
    for day in pc.unique(days).sort().to_pylist():
        path = folder / "events" / f"dt={day}" / "part-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = events.filter(pc.equal(days, pa.scalar(day)))
        pq.write_table(rows, path)
    return events
