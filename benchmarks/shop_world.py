"""A shop of any size, written day by day: users with tastes and habits, items, purchases.

Every user belongs to one of `TASTES` groups. A purchase is one of the user's usual items (a few
that only this user has so often), or an item that is popular in its group, or one that is popular
everywhere; popularity falls by a power law. So there is what a recommender looks for: repetition,
groups, hits. A day is drawn from its own seed and needs the memory of one day.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

TASTES = 64
USUAL_ITEMS = 12
USUAL_SHARE, TASTE_SHARE = 0.35, 0.45
"""Shares of purchases: of a usual item, of one that is popular in the user's group."""
SKEW = 0.8
"""Popularity of the item at rank r: r to the power of minus this."""
TASTE_ITEMS = 2000
"""Items that a group buys, at most."""
AGES = ("19-24", "25-34", "35-44", "45-54", "55-64", "65+")
CATEGORIES, LOCATIONS = 200, 50
PRIME = 2_654_435_761
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ShopWorld:
    """What there is, and what is bought on a day.

    Attributes:
        users: number of users.
        items: number of items.
        events_per_day: purchases of a day.
        first_day: day 0.
        seed: of everything.
    """

    users: int
    items: int
    events_per_day: int
    first_day: dt.date
    seed: int = 7

    def write_tables(self, folder: Path) -> None:
        """Writes users.parquet and items.parquet."""
        folder.mkdir(parents=True, exist_ok=True)
        number = np.arange(self.users)
        random = np.random.default_rng([self.seed, 1])
        joined = np.datetime64(self.first_day) - random.integers(1, 900, self.users)
        users = {
            "user_id": _ids("u", number),
            "signed_up_on": pa.array(joined.astype("datetime64[D]")),
            "age_bracket": pa.array(AGES).take(pa.array(random.integers(0, len(AGES), self.users))),
            "gender": pa.array(["F", "M"]).take(pa.array(random.integers(0, 2, self.users))),
            "location": _ids("L", random.integers(0, LOCATIONS, self.users)),
        }
        pq.write_table(pa.table(users), folder / "users.parquet")
        item = np.arange(self.items)
        items = {
            "item_id": _ids("i", item),
            "title": _ids("Item ", item),
            "category": _ids("category ", self._category(item)),
            "price": pa.array(np.round(1 + 20 * (item * PRIME % 997) / 997, 2)),
        }
        pq.write_table(pa.table(items), folder / "items.parquet")

    def write_day(self, folder: Path, number: int) -> None:
        """Writes interactions/<day>.parquet."""
        day = self.first_day + dt.timedelta(days=number)
        random = np.random.default_rng([self.seed, 2, number])
        users = np.searchsorted(self._cumulative_activity, random.random(self.events_per_day))
        items = self._draw_items(users, random)
        seconds = random.integers(8 * 3600, 22 * 3600, self.events_per_day)
        quantity = random.integers(1, 4, self.events_per_day)
        price = np.round(1 + 20 * (items * PRIME % 997) / 997, 2)
        table = pa.table(
            {
                "user_id": _ids("u", users),
                "item_id": _ids("i", items),
                "event_type": pa.array(["purchase"]).take(pa.array(np.zeros(len(users), int))),
                "occurred_at": pa.array(np.datetime64(day, "s") + seconds.astype("m8[s]")),
                "quantity": pa.array(quantity.astype(float)),
                "amount": pa.array(np.round(quantity * price, 2)),
            }
        )
        (folder / "interactions").mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / "interactions" / f"{day}.parquet")

    def _draw_items(self, users: Ints, random: np.random.Generator) -> Ints:
        taste = users % TASTES
        group_items = min(TASTE_ITEMS, self.items)
        in_group = self._ranks(group_items, len(users), random)
        usual = (users * PRIME + random.integers(0, USUAL_ITEMS, len(users)) * 40_503) % group_items
        rank = np.where(random.random(len(users)) < USUAL_SHARE, usual, in_group)
        # A group's items are spread over the catalogue, each group's in another order.
        item = (rank * (2 * taste + 1) * 7919 + taste * 104_729) % self.items
        everywhere = self._ranks(self.items, len(users), random)
        is_everywhere = random.random(len(users)) >= USUAL_SHARE + TASTE_SHARE
        return np.where(is_everywhere, everywhere, item)

    def _ranks(self, width: int, size: int, random: np.random.Generator) -> Ints:
        """Ranks below `width` by the power law."""
        # The inverse of the distribution function of r^-SKEW on 1 to width + 1.
        power = 1 - SKEW
        top = (width + 1) ** power
        return np.floor((1 + random.random(size) * (top - 1)) ** (1 / power) - 1).astype(np.int64)

    def _category(self, items: Ints) -> Ints:
        return items * PRIME % CATEGORIES

    @cached_property
    def _cumulative_activity(self) -> npt.NDArray[Any]:
        activity = np.random.default_rng([self.seed, 3]).lognormal(0.0, 1.0, self.users)
        return np.asarray(np.cumsum(activity) / activity.sum())


def _ids(prefix: str, numbers: npt.NDArray[Any]) -> pa.Array:
    texts = pc.utf8_lpad(pc.cast(pa.array(numbers), pa.string()), 7, padding="0")
    return pc.binary_join_element_wise(prefix, texts, "")
