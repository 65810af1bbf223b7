"""User-item interactions as arrays: what every recommender learns from.

Rows are sorted by (user, item, date) when they are read, so that sums, and with them models, do not
depend on the order in which a database returned the rows.

`item_sequences` has users' items in the order of time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.core.arrays import Doubles

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Codes: TypeAlias = npt.NDArray[np.int32]
Dates: TypeAlias = npt.NDArray[np.datetime64]

Scalar = TypeVar("Scalar", bound=np.generic)

REQUIRED_COLUMNS = ("user_id", "item_id", "date", "events")


@dataclass(frozen=True)
class Interactions:
    """Rows (user, item, date, events): how often a user interacted with an item on one day.

    Attributes:
        user_ids: sorted distinct ids; every one has at least one row.
        item_ids: the same of items.
        users: position in `user_ids` of each row, (n,).
        items: position in `item_ids` of each row, (n,).
        dates: datetime64[D], (n,).
        events: positive counts, weighted by the type of the events, (n,).
        timestamps: integers that order the rows of one day; None where no time of day is known.
        ratings: the user's rating of the item, higher is better, nan without one; None
            where no row has one.
        targets: numbers of events of a target type, which models should predict, (n,); None
            where all events are.
        seen: whether the row bars its item from the user's lists where seen items are excluded,
            (n,); None where every row does.
    """

    user_ids: pa.StringArray
    item_ids: pa.StringArray
    users: Codes
    items: Codes
    dates: Dates
    events: Doubles
    timestamps: npt.NDArray[np.int64] | None = None
    ratings: Doubles | None = None
    targets: Doubles | None = None
    seen: npt.NDArray[np.bool_] | None = None

    @classmethod
    def from_table(cls, table: pa.Table) -> Interactions:
        """Reads a table of interactions; other columns are ignored, equal rows are kept.

        Args:
            table: user_id (string), item_id (string), date (date32), events (number > 0), and
                optionally event_time (integer), rating (number or null), targets (number) and
                is_seen (boolean).

        Raises:
            ValueError: a required column is missing or has nulls, or a count is not positive.
        """
        missing = [name for name in REQUIRED_COLUMNS if name not in table.column_names]
        if missing:
            raise ValueError(f"interactions lack {missing}; required are {list(REQUIRED_COLUMNS)}")
        for name in REQUIRED_COLUMNS:
            if table[name].null_count:
                raise ValueError(f"interactions: {table[name].null_count} nulls in {name!r}")
        user_ids, users = encode_ids(table["user_id"])
        item_ids, items = encode_ids(table["item_id"])
        days = pc.cast(table["date"], pa.date32())
        dates = pc.cast(days, pa.int32()).to_numpy().astype("datetime64[D]")
        events = pc.cast(table["events"], pa.float64()).to_numpy()
        if events.size and not (np.isfinite(events).all() and events.min() > 0):
            raise ValueError("interactions: `events` must be positive counts")
        order = np.lexsort((events, dates, items, users))
        timestamps = None
        if "event_time" in table.column_names:
            timestamps = pc.cast(table["event_time"], pa.int64()).to_numpy()[order]
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
            timestamps,
            ratings,
            _targets_of(table, events, order),
            _seen_of(table, order),
        )

    def __len__(self) -> int:
        return len(self.users)

    @property
    def has_single_date(self) -> bool:
        """Whether all rows carry one date, as those of a source without times do."""
        return len(self) > 0 and bool((self.dates == self.dates[0]).all())

    @property
    def has_ratings(self) -> bool:
        """Whether any row carries a rating."""
        return self.ratings is not None and not bool(np.isnan(self.ratings).all())

    @property
    def is_target(self) -> npt.NDArray[np.bool_]:
        """Whether each row has an event of a target type, (n,)."""
        return np.ones(len(self), dtype=bool) if self.targets is None else self.targets > 0

    @property
    def has_unseen(self) -> bool:
        """Whether any row leaves its item open to recommendation where seen items are excluded."""
        return self.seen is not None and not bool(self.seen.all())

    @property
    def time_order(self) -> npt.NDArray[np.int64]:
        """The timestamps, which order the rows of a day; zeros where none are known, (n,)."""
        if self.timestamps is None:
            return np.zeros(len(self), dtype=np.int64)
        return self.timestamps

    def filter(self, mask: npt.NDArray[np.bool_]) -> Interactions:
        """The rows that `mask` (n,) marks, with only the ids that they still name."""
        user_ids, users = _compact(self.user_ids, self.users[mask])
        item_ids, items = _compact(self.item_ids, self.items[mask])
        return Interactions(
            user_ids,
            item_ids,
            users,
            items,
            self.dates[mask],
            self.events[mask],
            take_optional(self.timestamps, mask),
            take_optional(self.ratings, mask),
            take_optional(self.targets, mask),
            take_optional(self.seen, mask),
        )

    def up_to(self, day: date, days: int | None = None) -> Interactions:
        """The rows with date <= `day`: what was known at its end.

        Args:
            day: last day.
            days: length of the period that ends with `day`; None: all rows.
        """
        mask = self.dates <= np.datetime64(day, "D")
        if days is not None:
            mask &= self.dates > np.datetime64(day - timedelta(days=days), "D")
        return self.filter(mask)

    def after(self, day: date) -> Interactions:
        """The rows with date > `day`."""
        return self.filter(self.dates > np.datetime64(day, "D"))

    def with_ratings(self) -> Interactions:
        """The rows that carry a rating; where none does, all rows with a rating of 1."""
        if self.ratings is None or not self.has_ratings:
            return replace(self, ratings=np.ones(len(self)))
        return self.filter(~np.isnan(self.ratings))

    def recency_weights(self, half_life_days: float, as_of: date) -> Doubles:
        """One weight per row, halved for every `half_life_days` of age at `as_of`, (n,)."""
        age = (np.datetime64(as_of, "D") - self.dates).astype(np.float64)
        return np.asarray(0.5 ** (np.maximum(age, 0.0) / half_life_days), dtype=np.float64)

    def with_decayed_events(self, half_life_days: float | None, as_of: date) -> Interactions:
        """Weights the events by recency; a half-life of None leaves them as they are."""
        if half_life_days is None:
            return self
        return replace(self, events=self.events * self.recency_weights(half_life_days, as_of))

    def most_frequent_items(self, max_items: int) -> npt.NDArray[np.int64]:
        """Positions of the items with most events, ties by position, in ascending order."""
        sums = np.bincount(self.items, self.events, minlength=len(self.item_ids))
        return np.sort(np.argsort(-sums, kind="stable")[:max_items])

    def matrix(self) -> csr_matrix:
        """Users x items, summed events, float32, columns sorted in each row."""
        return self._matrix

    def seen_matrix(self) -> csr_matrix:
        """Users x items, positive for items that are barred where seen items are excluded."""
        if self.seen is None:
            return self.matrix()
        shape = (len(self.user_ids), len(self.item_ids))
        rows = self.seen
        return sum_to_csr(self.users[rows], self.items[rows], np.ones(int(rows.sum())), shape)

    @cached_property
    def _matrix(self) -> csr_matrix:
        shape = (len(self.user_ids), len(self.item_ids))
        return sum_to_csr(self.users, self.items, self.events, shape)


def _targets_of(table: pa.Table, events: Doubles, order: npt.NDArray[np.int64]) -> Doubles | None:
    """The column `targets`, sorted; None where all events are of a target type."""
    if "targets" not in table.column_names:
        return None
    targets = pc.cast(table["targets"], pa.float64()).to_numpy()
    return None if np.array_equal(targets, events) else targets[order]


def _seen_of(table: pa.Table, order: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
    """The column `is_seen`, sorted; None where all are true."""
    if "is_seen" not in table.column_names or pc.all(table["is_seen"]).as_py():
        return None
    seen: npt.NDArray[np.bool_] = table["is_seen"].to_numpy()[order]
    return seen


def take_optional(values: npt.NDArray[Scalar] | None, rows: Any) -> npt.NDArray[Scalar] | None:
    """Selects the values of some rows; None stays None."""
    return None if values is None else values[rows]


def encode_ids(ids: pa.ChunkedArray) -> tuple[pa.StringArray, Codes]:
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


def sum_to_csr(
    rows: npt.NDArray[np.generic],
    columns: npt.NDArray[np.generic],
    values: Doubles,
    shape: tuple[int, int],
) -> csr_matrix:
    """Sums values per (row, column) in double precision and given order, as float32 CSR.

    Args:
        rows: row of each value, (n,).
        columns: column of each value, (n,).
        values: (n,).
        shape: of the matrix.
    """
    from scipy.sparse import csr_matrix

    matrix = csr_matrix((values, (rows, columns)), shape=shape, dtype=np.float64)
    matrix.sum_duplicates()
    return matrix.astype(np.float32)


def flatten_lists(lists: pa.ListArray | pa.ChunkedArray) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """All values of a list column in one array, and the row that each belongs to."""
    if isinstance(lists, pa.ChunkedArray):
        lists = lists.combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return lists.flatten(), np.repeat(np.arange(len(lists), dtype=np.int64), lengths)


def positions_in(ids: pa.StringArray, among: pa.StringArray) -> npt.NDArray[np.int64]:
    """Position of each id in `among`, -1 where it is not there, (len(ids),)."""
    positions = pc.index_in(ids, value_set=among)
    return np.asarray(pc.fill_null(positions, -1).to_numpy(zero_copy_only=False), dtype=np.int64)


def item_sequences(interactions: Interactions) -> tuple[Codes, Codes]:
    """Items of all users, one user after the other, each once, by time of first interaction.

    Returns:
        Items (positions in `item_ids`) and their users, both (n,).
    """
    rows = first_interactions(interactions)
    return interactions.items[rows], interactions.users[rows]


def first_interactions(interactions: Interactions) -> npt.NDArray[np.int64]:
    """Rows of users' first interactions with each item, by user and time, (n,)."""
    times = interactions.time_order
    by_pair = np.lexsort((times, interactions.dates, interactions.items, interactions.users))
    users, items = interactions.users[by_pair], interactions.items[by_pair]
    is_first = (np.diff(users, prepend=-1) != 0) | (np.diff(items, prepend=-1) != 0)
    firsts = by_pair[is_first]
    return firsts[
        np.lexsort(
            (
                interactions.items[firsts],
                times[firsts],
                interactions.dates[firsts],
                interactions.users[firsts],
            )
        )
    ]
