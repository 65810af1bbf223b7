"""Interactions on a checkerboard, for which the right recommendations are known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

AS_OF = date(2024, 3, 31)


@dataclass(frozen=True)
class Checkerboard:
    """Users and items are alternately black and white; users like items of their colour.

    Attributes:
        interactions: user_id, item_id, date, events. A user has all items of its colour but a few.
        users: ids of the users.
        items: ids of the items.
        unseen: for each user, the positions of the other items: the right recommendations.
        as_of: the day as of which items are recommended.
    """

    interactions: pa.Table
    users: list[str]
    items: list[str]
    unseen: list[list[int]]
    as_of: date

    def unseen_same_colour(self, user: int, k: int | None = None) -> list[str]:
        """Ids of the items of the user's colour that it does not have, at most k."""
        return [self.items[item] for item in self.unseen[user]][:k]

    def history(self, user: int) -> list[str]:
        """Ids of the items that the user has."""
        return [
            item
            for position, item in enumerate(self.items)
            if position % 2 == user % 2 and position not in self.unseen[user]
        ]

    def histories(self) -> tuple[pa.ListArray, pa.ListArray]:
        """Item ids and counts of all users."""
        histories = [self.history(user) for user in range(len(self.users))]
        counts = [[1.0] * len(items) for items in histories]
        return pa.array(histories, pa.list_(pa.string())), pa.array(counts, pa.list_(pa.float64()))


def checkerboard(users: int = 8, items: int = 8, seed: int = 0, unseen: int = 1) -> Checkerboard:
    """A board on which every user lacks a number of items of its colour, by a seeded draw.

    Users of one colour lack different items, so that every item has users.
    """
    random = np.random.default_rng(seed)
    orders = [random.permutation(np.arange(colour, items, 2)) for colour in (0, 1)]
    user_ids = [f"u{user:03}" for user in range(users)]
    item_ids = [f"i{item:03}" for item in range(items)]
    unseen_items, rows = [], []
    for user in range(users):
        order = orders[user % 2]
        positions = (int(order[(user // 2 + step) % len(order)]) for step in range(unseen))
        unseen_items.append(sorted(positions))
        for item in range(user % 2, items, 2):
            if item not in unseen_items[user]:
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
    return Checkerboard(table, user_ids, item_ids, unseen_items, AS_OF)
