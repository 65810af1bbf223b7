"""Worlds whose predictions are known: what each user does follows from a rate of their own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from batch_predictions.features.history.history_sql import History
from batch_predictions.models.queries.feature_encoder import WEEKDAY
from batch_predictions.models.queries.query_examples import QueryExamples
from batch_predictions.models.queries.query_selection import QuerySelection, select_query_model
from batch_predictions.settings import Settings
from batch_predictions.settings.predictive_query import PredictiveQuery
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


class RandomWorld:
    """Examples whose target depends on one feature, on an attribute, or on nothing.

    Args:
        seed: of the world.
        question: what is predicted of the users.
        signal: what the target depends on: nothing, `feature` or `attribute`.
        n: examples of each day.
    """

    def __init__(
        self,
        seed: int,
        question: str = "count(*) > 0 of purchase for user in 7 days",
        signal: str | None = None,
        n: int = 120,
    ) -> None:
        self.random, self.signal, self.n = np.random.default_rng(seed), signal, n
        self.query = PredictiveQuery.from_question(question)
        self.history = History.of((self.query,), ())

    def read(self, day: dt.date) -> QueryExamples:
        random, n = self.random, self.n
        columns: dict[str, Any] = {"user_id": [f"u{i:04}" for i in range(n)]}
        for name in self.history.features():
            columns[name] = random.gamma(1.0, 2.0, n)
        happened = random.random(n) < 0.4
        if self.signal == "feature":
            happened = columns["asked_mean_gap"] > 2.0
        for name in self.history.attributes:
            columns[name] = pa.nulls(n, pa.string())
        written = happened if self.signal == "attribute" else random.random(n) < 0.5
        entries = [[("lifetime_value", "9" if value else "1")] for value in written]
        columns["user_attributes"] = pa.array(entries, pa.map_(pa.string(), pa.string()))
        columns[WEEKDAY] = np.full(n, float(day.weekday()))
        return QueryExamples(pa.table(columns), self._target(happened))

    def _target(self, happened: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        task, n = self.query.target.task, self.n
        if task == "mean":
            return happened * self.random.gamma(1.0, 20.0, n)
        if task == "first":
            return np.where(happened, self.random.integers(1, self.query.days + 1, n), np.nan)
        return happened.astype(np.float64)

    def select(self) -> QuerySelection:
        return select_query_model(
            self.query, self.history, self.read, FIRST, LAST, seed=7, refit=False
        )
