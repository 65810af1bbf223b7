"""What users did, as arrays: the one input of every recommender.

Rows are put into one order (user, item, date) when they come in, so that sums, and with them
models, do not depend on the order in which a database returned the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Codes: TypeAlias = npt.NDArray[np.int32]
Dates: TypeAlias = npt.NDArray[np.datetime64]
Doubles: TypeAlias = npt.NDArray[np.float64]

Scalar = TypeVar("Scalar", bound=np.generic)

COLUMNS = ("user_id", "item_id", "date", "events")


@dataclass(frozen=True)
class Interactions:
    """Rows (user, item, date, events): a user's dealings with an item on one day.

    `users`, `items`, `dates` (datetime64[D]) and `events` (a positive count) have one entry per
    row; `users` and `items` are positions in the sorted `user_ids` and `item_ids`. Every listed id
    has at least one row. `moments` order the rows of a day, where the time of day is known.
    `ratings` are what the user gave the item, higher is better, nan where nothing; None where
    nobody rated.
    """

    user_ids: pa.StringArray
    item_ids: pa.StringArray
    users: Codes
    items: Codes
    dates: Dates
    events: Doubles
    moments: npt.NDArray[np.int64] | None = None
    ratings: Doubles | None = None

    @classmethod
    def from_table(cls, table: pa.Table) -> Interactions:
        """From columns user_id (string), item_id (string), date (date32), events (number > 0), and
        perhaps moment (integer, ascending with time) and rating (number or null).

        Other columns are ignored; several rows of one user, item and date are kept as they are.
        """
        missing = [name for name in COLUMNS if name not in table.column_names]
        if missing:
            raise ValueError(f"interactions lack {missing}; needed are {list(COLUMNS)}")
        for name in COLUMNS:
            if table[name].null_count:
                raise ValueError(f"interactions: {table[name].null_count} nulls in {name!r}")
        user_ids, users = encode(table["user_id"])
        item_ids, items = encode(table["item_id"])
        days = pc.cast(table["date"], pa.date32())
        dates = pc.cast(days, pa.int32()).to_numpy().astype("datetime64[D]")
        events = pc.cast(table["events"], pa.float64()).to_numpy()
        if events.size and not (np.isfinite(events).all() and events.min() > 0):
            raise ValueError("interactions: `events` must be positive counts")
        order = np.lexsort((events, dates, items, users))
        moments = None
        if "moment" in table.column_names:
            moments = pc.cast(table["moment"], pa.int64()).to_numpy()[order]
        ratings = None
        if "rating" in table.column_names and table["rating"].null_count < len(table):
            ratings = pc.cast(table["rating"], pa.float64()).to_numpy()[order]
        return cls(
            user_ids,
            item_ids,
            users[order],
            items[order],
            dates[order],
            events[order],
            moments,
            ratings,
        )

    def __len__(self) -> int:
        return len(self.users)

    @property
    def single_date(self) -> bool:
        """All rows carry one date, as those of a source without times do."""
        return len(self) > 0 and bool((self.dates == self.dates[0]).all())

    @property
    def clock(self) -> npt.NDArray[np.int64]:
        """The moments, which order the rows of a day; zeros where there are no times of day."""
        if self.moments is None:
            return np.zeros(len(self), dtype=np.int64)
        return self.moments

    @property
    def are_rated(self) -> bool:
        """Some row carries a rating."""
        return self.ratings is not None and not bool(np.isnan(self.ratings).all())

    def where(self, keep: npt.NDArray[np.bool_]) -> Interactions:
        """The rows that `keep` marks, with only the ids that they still name."""
        user_ids, users = _compact(self.user_ids, self.users[keep])
        item_ids, items = _compact(self.item_ids, self.items[keep])
        return Interactions(
            user_ids,
            item_ids,
            users,
            items,
            self.dates[keep],
            self.events[keep],
            at_rows(self.moments, keep),
            at_rows(self.ratings, keep),
        )

    def up_to(self, day: date) -> Interactions:
        """The rows with date <= `day`: what was known at its end."""
        return self.where(self.dates <= np.datetime64(day, "D"))

    def after(self, day: date) -> Interactions:
        """The rows with date > `day`."""
        return self.where(self.dates > np.datetime64(day, "D"))

    def recency_weights(self, half_life_days: float, as_of: date) -> Doubles:
        """One weight per row, halved for every `half_life_days` of age at `as_of`."""
        age = (np.datetime64(as_of, "D") - self.dates).astype(np.float64)
        return np.asarray(0.5 ** (np.maximum(age, 0.0) / half_life_days), dtype=np.float64)

    def decayed(self, half_life_days: float | None, as_of: date) -> Interactions:
        """The same rows with events weighted by recency; None leaves them as they are."""
        if half_life_days is None:
            return self
        return replace(self, events=self.events * self.recency_weights(half_life_days, as_of))

    def matrix(self) -> csr_matrix:
        """Users x items, summed events, float32, columns sorted in each row."""
        return self._matrix

    @cached_property
    def _matrix(self) -> csr_matrix:
        return summed(self.users, self.items, self.events, (len(self.user_ids), len(self.item_ids)))


def at_rows(values: npt.NDArray[Scalar] | None, rows: Any) -> npt.NDArray[Scalar] | None:
    """The values of some rows; None, where nothing is known, stays."""
    return None if values is None else values[rows]


def encode(ids: pa.ChunkedArray) -> tuple[pa.StringArray, Codes]:
    """The sorted distinct ids, and each row's position among them."""
    encoded = pc.cast(ids, pa.string()).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    distinct = encoded.dictionary
    order = pc.sort_indices(distinct).to_numpy()
    position = np.empty(len(distinct), dtype=np.int32)
    position[order] = np.arange(len(distinct), dtype=np.int32)
    return distinct.take(pa.array(order)), position[encoded.indices.to_numpy()]


def _compact(ids: pa.StringArray, codes: Codes) -> tuple[pa.StringArray, Codes]:
    used = np.zeros(len(ids), dtype=bool)
    used[codes] = True
    position = np.cumsum(used, dtype=np.int32) - np.int32(1)
    return ids.filter(pa.array(used)), position[codes]


def summed(
    rows: npt.NDArray[Any], columns: npt.NDArray[Any], values: Doubles, shape: tuple[int, int]
) -> csr_matrix:
    """Values summed per (row, column) in double precision and given order, float32, csr."""
    from scipy.sparse import csr_matrix

    matrix = csr_matrix((values, (rows, columns)), shape=shape, dtype=np.float64)
    matrix.sum_duplicates()
    return matrix.astype(np.float32)


def flatten(lists: pa.ListArray | pa.ChunkedArray) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """All values of the lists in one array, and for each the row that owns it."""
    if isinstance(lists, pa.ChunkedArray):
        lists = lists.combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return lists.flatten(), np.repeat(np.arange(len(lists), dtype=np.int64), lengths)
