"""What each of some users did before a day, as every model and feature reads it.

Training cuts it out of `Interactions`, scoring out of the lists of a staged shard; both go through
the same code, so a model meets when serving what it met when learning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.models.recommender.data.interactions import (
    Codes,
    Doubles,
    Interactions,
    at_rows,
    flatten,
)
from batch_predictions.tables import TRAITS

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Histories:
    """Rows (user, item, age, events) of `users` users over `width` items.

    Rows are ordered by user, item and age; `owners` are 0 to users - 1, `items` positions in a
    model's items, `ages` whole days before the day (0: on the day), `events` positive counts. An
    entry is a user's rows of one item. `traits` has one row per user: age_bracket, gender,
    location; None where nobody's is known. `moments` order the rows of a day, ascending with time;
    None where no time of day is known. `ratings` are what the user gave the item, nan where
    nothing; None where nobody rated.
    """

    users: int
    width: int
    owners: Codes
    items: Codes
    ages: Codes
    events: Doubles
    traits: pa.Table | None = None
    moments: Ints | None = None
    ratings: Doubles | None = None

    @classmethod
    def of(
        cls,
        interactions: Interactions,
        users: npt.NDArray[np.integer[Any]],
        items: pa.StringArray,
        as_of: date,
        traits: pa.Table | None = None,
    ) -> Histories:
        """Of the users at some positions; rows after `as_of` and of other items are left out.

        `traits` has user_id and the traits; users without a row there are unknown.
        """
        place = np.full(len(interactions.user_ids), -1, dtype=np.int64)
        place[users] = np.arange(len(users))
        columns = positions(interactions.item_ids, items)
        ages = (np.datetime64(as_of, "D") - interactions.dates).astype(np.int32)
        keep = (place[interactions.users] >= 0) & (columns[interactions.items] >= 0) & (ages >= 0)
        known = None
        if traits is not None:
            ids = interactions.user_ids.take(pa.array(users))
            known = traits.select(TRAITS).take(pc.index_in(ids, value_set=traits["user_id"]))
        return cls(
            len(users),
            len(items),
            place[interactions.users[keep]].astype(np.int32),
            columns[interactions.items[keep]].astype(np.int32),
            ages[keep],
            interactions.events[keep],
            known,
            at_rows(interactions.moments, keep),
            at_rows(interactions.ratings, keep),
        )._ordered()

    @classmethod
    def from_rows(cls, rows: pa.RecordBatch, items: pa.StringArray) -> Histories:
        """From staged rows: lists `item_ids`, `ages` and `events` of equal lengths per user, null
        or empty where nothing is known, the traits, and perhaps lists `moments` and `ratings`.
        Items that the model does not know, and null or zero events, are left out.

        Raises:
            ValueError: the lists of a user differ in length.
        """
        ids, owners = flatten(rows["item_ids"])
        ages, age_owners = flatten(rows["ages"])
        events, event_owners = flatten(rows["events"])
        if not (np.array_equal(owners, age_owners) and np.array_equal(owners, event_owners)):
            raise ValueError("histories: item_ids, ages and events differ in the length of lists")
        columns = pc.fill_null(pc.index_in(ids, value_set=items), -1).to_numpy()
        counts = pc.fill_null(pc.cast(events, pa.float64()), 0.0).to_numpy()
        keep = (columns >= 0) & (counts > 0)
        there = {}
        for name, kind, nothing in (("moments", pa.int64(), 0), ("ratings", pa.float64(), np.nan)):
            if name not in rows.schema.names:
                continue
            listed, listed_owners = flatten(rows[name])
            if not np.array_equal(owners, listed_owners):
                raise ValueError(f"histories: item_ids and {name} differ in the length of lists")
            there[name] = pc.fill_null(pc.cast(listed, kind), nothing).to_numpy()[keep]
        return cls(
            rows.num_rows,
            len(items),
            owners[keep].astype(np.int32),
            columns[keep].astype(np.int32),
            pc.cast(ages, pa.int32()).to_numpy()[keep],
            counts[keep],
            pa.table({name: rows[name] for name in TRAITS}),
            there.get("moments"),
            there.get("ratings"),
        )._ordered()

    def _ordered(self) -> Histories:
        return self._at(np.lexsort((self.events, self.ages, self.items, self.owners)))

    def _at(self, rows: Any) -> Histories:
        """Some of the rows, of the same users and items."""
        return replace(
            self,
            owners=self.owners[rows],
            items=self.items[rows],
            ages=self.ages[rows],
            events=self.events[rows],
            moments=at_rows(self.moments, rows),
            ratings=at_rows(self.ratings, rows),
        )

    def part(self, start: int, stop: int) -> Histories:
        """The users from start to stop - 1, as users 0 on."""
        chosen = self._at(slice(*np.searchsorted(self.owners, [start, stop])))
        users = min(stop, self.users) - start
        return replace(
            chosen,
            users=users,
            owners=chosen.owners - np.int32(start),
            traits=self.traits.slice(start, users) if self.traits is not None else None,
        )

    def onto(self, columns: Codes, width: int) -> Histories:
        """With item j moved to columns[j] of other items, ascending; -1 leaves it out."""
        moved = columns[self.items].astype(np.int32)
        return replace(self, items=moved, width=width)._at(moved >= 0)

    def newest(self, days: int) -> Histories:
        """Of each user only the rows of the last `days` days before the user's newest one."""
        youngest = np.full(self.users, np.iinfo(np.int32).max, dtype=np.int32)
        np.minimum.at(youngest, self.owners, self.ages)
        return self._at(self.ages < youngest[self.owners].astype(np.int64) + days)

    def rated_above(self, rating: float) -> Histories:
        """Only the rows in which the user rated the item higher."""
        return self._at(slice(0) if self.ratings is None else self.ratings > rating)

    @cached_property
    def starts(self) -> Ints:
        """The first row of every entry, (e,)."""
        if not len(self.owners):
            return np.empty(0, dtype=np.int64)
        new = (np.diff(self.owners) != 0) | (np.diff(self.items) != 0)
        return np.concatenate([[0], np.flatnonzero(new) + 1])

    @cached_property
    def indptr(self) -> Ints:
        """Where each user's entries begin, (users + 1,)."""
        return np.searchsorted(self.owners[self.starts], np.arange(self.users + 1))

    @cached_property
    def entries(self) -> Codes:
        """The item of every entry, (e,), ascending within a user."""
        return self.items[self.starts]

    @cached_property
    def entry_owners(self) -> Codes:
        """The user of every entry, (e,)."""
        return self.owners[self.starts]

    def entry_of(self, items: Ints) -> Ints:
        """The entry of each user's items (users, m), -1 where the user never took one."""
        if not len(self.starts):
            return np.full(items.shape, -1)
        keys = self.entry_owners.astype(np.int64) * self.width + self.entries
        asked = np.arange(self.users)[:, np.newaxis] * self.width + np.maximum(items, 0)
        found = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        return np.where((keys[found] == asked) & (items >= 0), found, -1)

    @cached_property
    def places(self) -> Ints:
        """Place of every entry among the user's, the one taken last 0, (e,)."""
        moments = self.moments[self.starts] if self.moments is not None else self.entries * 0
        order = np.lexsort((self.entries, -moments, self.youngest, self.entry_owners))
        places = np.empty(len(order), dtype=np.int64)
        places[order] = np.arange(len(order)) - self.indptr[self.entry_owners[order]]
        return places

    def summed(self, values: Doubles) -> Doubles:
        """Values per row, summed per entry, (e,)."""
        return np.add.reduceat(values, self.starts) if len(self.starts) else np.empty(0)

    def decayed(self, half_life_days: float | None) -> Doubles:
        """Events of every row, halved for every half-life of age; None: as they are."""
        if half_life_days is None:
            return self.events
        return np.asarray(self.events * 0.5 ** (self.ages / half_life_days))

    @cached_property
    def youngest(self) -> Codes:
        """Days since the newest row of every entry, (e,)."""
        return self.ages[self.starts]

    @cached_property
    def oldest(self) -> Codes:
        """Days since the oldest row of every entry, (e,)."""
        return (
            self.ages[np.append(self.starts[1:], len(self.ages)) - 1]
            if len(self.ages)
            else (np.empty(0, dtype=np.int32))
        )

    @cached_property
    def days(self) -> Ints:
        """Rows, that is different days, of every entry, (e,)."""
        return np.diff(np.append(self.starts, len(self.ages)))

    def matrix(self, half_life_days: float | None = None) -> csr_matrix:
        """Users x items, summed decayed events, float32."""
        return self.csr(self.summed(self.decayed(half_life_days)).astype(np.float32))

    def csr(self, values: npt.NDArray[Any]) -> csr_matrix:
        """A value per entry as users x items: a matrix of its own, that may be changed in place."""
        from scipy.sparse import csr_matrix

        shape = (self.users, self.width)
        # scipy keeps the arrays that it is given, and `eliminate_zeros` moves what is in them.
        return csr_matrix((values, self.entries, self.indptr), shape=shape, copy=True)

    def per_user(self, values: npt.NDArray[Any], ufunc: np.ufunc, empty: float) -> Doubles:
        """A value per row, reduced per user, (users,); `empty` for users without rows."""
        result = np.full(self.users, empty)
        bounds = np.searchsorted(self.owners, np.arange(self.users + 1))
        some = np.flatnonzero(np.diff(bounds) > 0)
        if len(some):
            result[some] = ufunc.reduceat(values.astype(np.float64), bounds[some])
        return result


def positions(ids: pa.StringArray, among: pa.StringArray) -> Ints:
    """Position of each id among others, -1 where it is not there."""
    found = pc.index_in(ids, value_set=among)
    return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), dtype=np.int64)


def batches(users: int, size: int) -> Sequence[tuple[int, int]]:
    """Spans of at most `size` users."""
    return [(start, min(start + size, users)) for start in range(0, users, size)]
