"""Tiny worlds whose right answers are known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

AS_OF = date(2024, 3, 31)


@dataclass(frozen=True)
class Checkerboard:
    """Users and items are black or white by turns; users like squares of their own colour.

    `interactions` has user_id, item_id, date, events. Each user has seen all squares of its colour
    but a few; those are the right recommendations.
    """

    interactions: pa.Table
    users: list[str]
    items: list[str]
    unseen: list[list[int]]
    as_of: date

    def unseen_same_colour(self, user: int, k: int | None = None) -> list[str]:
        """The squares of the user's colour that it has not seen, by id, at most k."""
        return [self.items[item] for item in self.unseen[user]][:k]

    def history(self, user: int) -> list[str]:
        """The squares that the user has seen, by id."""
        return [
            item
            for place, item in enumerate(self.items)
            if place % 2 == user % 2 and place not in self.unseen[user]
        ]

    def histories(self) -> tuple[pa.ListArray, pa.ListArray]:
        """Item ids and counts of every user, as a model is given them."""
        seen = [self.history(user) for user in range(len(self.users))]
        counts = [[1.0] * len(items) for items in seen]
        return pa.array(seen, pa.list_(pa.string())), pa.array(counts, pa.list_(pa.float64()))


def checkerboard(users: int = 8, items: int = 8, seed: int = 0, unseen: int = 1) -> Checkerboard:
    """A board with `unseen` squares of its own colour hidden from each user, by a seeded draw.

    Users of one colour hide squares in turn, so that every square is seen by someone.
    """
    random = np.random.default_rng(seed)
    orders = [random.permutation(np.arange(colour, items, 2)) for colour in (0, 1)]
    user_ids = [f"u{user:03}" for user in range(users)]
    item_ids = [f"i{item:03}" for item in range(items)]
    hidden, rows = [], []
    for user in range(users):
        order = orders[user % 2]
        hidden.append(sorted(int(order[(user // 2 + step) % len(order)]) for step in range(unseen)))
        for item in range(user % 2, items, 2):
            if item not in hidden[user]:
                day = AS_OF - timedelta(days=int(random.integers(0, 60)))
                rows.append((user_ids[user], item_ids[item], day, 1))
    columns = list(zip(*rows, strict=True))
    table = pa.table(
        {
            "user_id": pa.array(columns[0], pa.string()),
            "item_id": pa.array(columns[1], pa.string()),
            "date": pa.array(columns[2], pa.date32()),
            "events": pa.array(columns[3], pa.int64()),
        }
    )
    return Checkerboard(table, user_ids, item_ids, hidden, AS_OF)
