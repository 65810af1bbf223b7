"""Each user's interactions before a day, as every model and feature reads them.

Training cuts histories out of `Interactions`, scoring reads them from the lists of a staged shard
(`staged_histories`).
Both build the same `Histories`, so that a model sees the same values when serving and in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.recommender.data.interactions import (
    Codes,
    Interactions,
    positions_in,
    take_optional,
)
from batch_predictions.models.recommender.data.user_states import UserStates
from batch_predictions.tables import TRAITS

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Ints: TypeAlias = npt.NDArray[np.int64]


class ActiveDays(NamedTuple):
    """Numbers of days on which users took anything.

    Attributes:
        per_user: all days, (users,).
        since_first: days of the user from each entry's first one on, (e,).
        since_last: days of the user after each entry's last one, (e,).
    """

    per_user: Ints
    since_first: Ints
    since_last: Ints


@dataclass(frozen=True)
class Histories:
    """Rows (user, item, age, events), sorted by user, item and age.

    An entry is all rows of one user and item; e entries have n rows.

    Attributes:
        users: number of users.
        width: number of items of the model.
        user_index: user of each row, 0 to users - 1, (n,).
        items: item of each row, a position among the model's items, (n,).
        ages: days between the row and the day of scoring, 0 for that day itself, (n,).
        events: positive counts, weighted by the type of the events, (n,).
        traits: age_bracket, gender and location, a row per user; None where unknown for all.
        timestamps: integers that order the rows of one day; None where no time of day is known.
        ratings: the user's rating, nan without one; None where no row has one.
        targets: numbers of events of a target type, (n,); None where all events are.
        seen: whether the row bars its item where seen items are excluded, (n,); None where every
            row does.
        states: of a recurrent network; None where none are known.
    """

    users: int
    width: int
    user_index: Codes
    items: Codes
    ages: Codes
    events: Doubles
    traits: pa.Table | None = None
    timestamps: Ints | None = None
    ratings: Doubles | None = None
    targets: Doubles | None = None
    seen: npt.NDArray[np.bool_] | None = None
    states: UserStates | None = None

    @classmethod
    def from_interactions(
        cls,
        interactions: Interactions,
        users: npt.NDArray[np.integer[Any]],
        items: pa.StringArray,
        as_of: date,
        traits: pa.Table | None = None,
    ) -> Histories:
        """Histories of some users; rows after `as_of` and of unknown items are left out.

        Args:
            interactions: the rows.
            users: positions in `interactions.user_ids`.
            items: ids of the model's items.
            as_of: the day of scoring.
            traits: user_id and the traits; users that are not in it have nulls.
        """
        place = np.full(len(interactions.user_ids), -1, dtype=np.int64)
        place[users] = np.arange(len(users))
        columns = positions_in(interactions.item_ids, items)
        ages = (np.datetime64(as_of, "D") - interactions.dates).astype(np.int32)
        keep = (place[interactions.users] >= 0) & (columns[interactions.items] >= 0) & (ages >= 0)
        user_traits = None
        if traits is not None:
            ids = interactions.user_ids.take(pa.array(users))
            rows = pc.index_in(ids, value_set=traits["user_id"])
            user_traits = traits.select(TRAITS).take(rows)
        return cls(
            len(users),
            len(items),
            place[interactions.users[keep]].astype(np.int32),
            columns[interactions.items[keep]].astype(np.int32),
            ages[keep],
            interactions.events[keep],
            user_traits,
            take_optional(interactions.timestamps, keep),
            take_optional(interactions.ratings, keep),
            take_optional(interactions.targets, keep),
            take_optional(interactions.seen, keep),
        ).sorted()

    def sorted(self) -> Histories:
        """Returns the histories with their rows sorted by user, item and age."""
        users, items, ages = (np.diff(a) for a in (self.user_index, self.items, self.ages))
        # Staged rows are in order.
        if ((users > 0) | (users == 0) & ((items > 0) | (items == 0) & (ages > 0))).all():
            return self
        return self._take(np.lexsort((self.events, self.ages, self.items, self.user_index)))

    def _take(self, rows: Any) -> Histories:
        """Selects some of the rows; users and items keep their numbers."""
        return replace(
            self,
            user_index=self.user_index[rows],
            items=self.items[rows],
            ages=self.ages[rows],
            events=self.events[rows],
            timestamps=take_optional(self.timestamps, rows),
            ratings=take_optional(self.ratings, rows),
            targets=take_optional(self.targets, rows),
            seen=take_optional(self.seen, rows),
        )

    def slice_users(self, start: int, stop: int) -> Histories:
        """The users from start to stop - 1, renumbered from 0."""
        if start == 0 and stop >= self.users:
            return self
        rows = self._take(slice(*np.searchsorted(self.user_index, [start, stop])))
        users = min(stop, self.users) - start
        return replace(
            rows,
            users=users,
            user_index=rows.user_index - np.int32(start),
            traits=self.traits.slice(start, users) if self.traits is not None else None,
            states=self.states.slice(start, stop) if self.states is not None else None,
        )

    def reindex(self, columns: Codes, width: int) -> Histories:
        """Renumbers the items: item j becomes columns[j], ascending; -1 leaves its rows out.

        Kept for the next call with the same array.
        """
        kept = self._reindexed.get(id(columns))
        if kept is None:
            items = columns[self.items].astype(np.int32)
            histories = replace(self, items=items, width=width)._take(np.flatnonzero(items >= 0))
            # The array is kept too, so that no other one gets its id.
            kept = self._reindexed[id(columns)] = columns, histories
        return kept[1]

    @cached_property
    def _reindexed(self) -> dict[int, tuple[Codes, Histories]]:
        return {}

    def last_active_days(self, days: int) -> Histories:
        """Selects the rows of the `days` days that end with each user's newest row."""
        youngest = self.reduce_per_user(self.ages, np.minimum, np.inf)
        return self._take(np.flatnonzero(self.ages < youngest[self.user_index] + days))

    def rated_above(self, rating: float) -> Histories:
        """Selects the rows whose rating is above a threshold."""
        return self._take(slice(0) if self.ratings is None else self.ratings > rating)

    # --- entries --------------------------------------------------------------------------------

    @cached_property
    def entry_starts(self) -> Ints:
        """First row of every entry, (e,)."""
        if not len(self.user_index):
            return np.empty(0, dtype=np.int64)
        is_new = (np.diff(self.user_index) != 0) | (np.diff(self.items) != 0)
        return np.concatenate([[0], np.flatnonzero(is_new) + 1])

    @cached_property
    def indptr(self) -> Ints:
        """First entry of each user, as in CSR, (users + 1,)."""
        return np.searchsorted(self.user_index[self.entry_starts], np.arange(self.users + 1))

    @cached_property
    def row_indptr(self) -> Ints:
        """First row of each user, (users + 1,)."""
        return np.searchsorted(self.user_index, np.arange(self.users + 1))

    @cached_property
    def active_days(self) -> ActiveDays:
        """Numbers of days on which users took anything."""
        from batch_predictions.models.recommender.kernels.history_kernels import count_active_days

        entries = len(self.entry_starts)
        counts = ActiveDays(
            np.empty(self.users, np.int64), np.empty(entries, np.int64), np.empty(entries, np.int64)
        )
        count_active_days(
            self.row_indptr,
            self.ages,
            self.indptr,
            self.days_since_first,
            self.days_since_last,
            *counts,
        )
        return counts

    @cached_property
    def entry_items(self) -> Codes:
        """Item of every entry, (e,), ascending within a user."""
        return self.items[self.entry_starts]

    @cached_property
    def entry_users(self) -> Codes:
        """User of every entry, (e,)."""
        return self.user_index[self.entry_starts]

    @cached_property
    def entry_is_seen(self) -> npt.NDArray[np.bool_]:
        """Whether the item of every entry is barred where seen items are excluded, (e,)."""
        if self.seen is None or not len(self.entry_starts):
            return np.ones(len(self.entry_starts), dtype=bool)
        return np.logical_or.reduceat(self.seen, self.entry_starts)

    @cached_property
    def entry_is_target(self) -> npt.NDArray[np.bool_]:
        """Whether each entry has an event of a target type, (e,)."""
        if self.targets is None or not len(self.entry_starts):
            return np.ones(len(self.entry_starts), dtype=bool)
        return self.sum_per_entry(self.targets) > 0

    @cached_property
    def entry_strength(self) -> npt.NDArray[np.float32]:
        """Events of every entry, at most 1: less than 1 for what was only viewed, (e,)."""
        return np.minimum(self.sum_per_entry(self.events), 1.0).astype(np.float32)

    def find_entries(self, items: Ints) -> Ints:
        """Entry of each user and item (users, m), -1 where the user has none, (users, m)."""
        starts = np.arange(len(items) + 1) * items.shape[1]
        return self.find_entries_of_rows(starts, items.ravel()).reshape(items.shape)

    def find_entries_of_rows(self, starts: Ints, items: Ints) -> Ints:
        """Entry of rows with an item each, user by user, -1 where the user has none, (rows,).

        Args:
            starts: first row of each user, (users + 1,).
            items: positions, -1 for none, (rows,).
        """
        from batch_predictions.models.recommender.kernels.history_kernels import find_entries

        entries = np.empty(len(items), dtype=np.int64)
        find_entries(self.indptr, self.entry_items, self.width, starts, items, entries)
        return entries

    def is_masked(
        self, items: Ints, exclude_seen: bool, blocked: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.bool_]:
        """Marks items that their user's list must not have, (users, k); a position of -1 is marked.

        Args:
            items: positions, -1 for none, (users, k).
            exclude_seen: whether items that a user has seen are left out.
            blocked: marks items that no user gets, (m,).
        """
        is_masked = items < 0
        if exclude_seen and len(self.entry_is_seen):
            entries = self.find_entries(items)
            is_masked |= (entries >= 0) & self.entry_is_seen[np.maximum(entries, 0)]
        if blocked is not None:
            is_masked |= blocked[np.maximum(items, 0)]
        return is_masked

    @cached_property
    def recency_rank(self) -> Ints:
        """Rank of every entry among its user's by time, 0 for the newest, (e,)."""
        times = self.timestamps
        newest = times[self.entry_starts] if times is not None else self.entry_items * 0
        order = np.lexsort((self.entry_items, -newest, self.days_since_last, self.entry_users))
        ranks = np.empty(len(order), dtype=np.int64)
        ranks[order] = np.arange(len(order)) - self.indptr[self.entry_users[order]]
        return ranks

    @cached_property
    def days_since_last(self) -> Codes:
        """Age of the newest row of every entry, days, (e,)."""
        return self.ages[self.entry_starts]

    @cached_property
    def days_since_first(self) -> Codes:
        """Age of the oldest row of every entry, days, (e,)."""
        return self.ages[self.oldest_rows]

    @cached_property
    def oldest_rows(self) -> Ints:
        """The oldest row of every entry, (e,)."""
        if not len(self.ages):
            return np.empty(0, dtype=np.int64)
        return np.append(self.entry_starts[1:], len(self.ages)) - 1

    @cached_property
    def first_times(self) -> Ints:
        """Timestamp of the oldest row of every entry; zeros where none are known, (e,)."""
        if self.timestamps is None:
            return np.zeros(len(self.entry_starts), dtype=np.int64)
        return self.timestamps[self.oldest_rows]

    @cached_property
    def days_per_entry(self) -> Ints:
        """Rows, which are distinct days, of every entry, (e,)."""
        return np.diff(np.append(self.entry_starts, len(self.ages)))

    def sum_per_entry(self, values: Doubles) -> Doubles:
        """Values per row summed per entry, (e,)."""
        return np.add.reduceat(values, self.entry_starts) if len(self.entry_starts) else np.empty(0)

    def _sum_decayed(self, values: Doubles, half_life_days: float) -> Doubles:
        """Values per row, halved for every half-life of age, summed per entry, (e,)."""
        from batch_predictions.models.recommender.kernels.history_kernels import sum_decayed

        # Powers are slow, and many rows have the same age.
        by_age = 0.5 ** (np.arange(int(self.ages.max(initial=0)) + 1) / half_life_days)
        sums = np.empty(len(self.entry_starts))
        sum_decayed(self.entry_starts, values, self.ages, by_age, sums)
        return sums

    def decayed_events_per_entry(self, half_life_days: float | None) -> Doubles:
        """Events of every entry, halved for every half-life of age; None: as they are, (e,).

        Read-only.
        """
        if half_life_days not in self._decayed:
            sums = (
                self.sum_per_entry(self.events)
                if half_life_days is None
                else self._sum_decayed(self.events, half_life_days)
            )
            sums.flags.writeable = False
            self._decayed[half_life_days] = sums
        return self._decayed[half_life_days]

    @cached_property
    def _decayed(self) -> dict[float | None, Doubles]:
        return {}

    def entry_events(self, half_life_days: float | None) -> npt.NDArray[np.float32]:
        """Decayed events of every entry in single precision, as `matrix` has them, (e,)."""
        return self.decayed_events_per_entry(half_life_days).astype(np.float32)

    def decayed_targets_per_entry(self, half_life_days: float) -> Doubles:
        """Events of a target type of every entry, halved for every half-life of age, (e,)."""
        targets = self.events if self.targets is None else self.targets
        return self._sum_decayed(targets, half_life_days)

    @cached_property
    def days_since_target(self) -> Doubles:
        """Age of the newest row of every entry with a target event, days; nan without one, (e,)."""
        if self.targets is None or not len(self.entry_starts):
            return self.days_since_last.astype(np.float64)
        ages = np.where(self.targets > 0, self.ages.astype(np.float64), np.inf)
        newest = np.minimum.reduceat(ages, self.entry_starts)
        return np.where(np.isfinite(newest), newest, np.nan)

    def reduce_per_user(
        self, values: npt.NDArray[np.generic], ufunc: np.ufunc, empty: float
    ) -> Doubles:
        """Reduces values per row to one per user, (users,).

        Args:
            values: one per row.
            ufunc: numpy function that combines two values, such as `np.add`.
            empty: result for users without rows.
        """
        result = np.full(self.users, empty)
        bounds = self.row_indptr
        active = np.flatnonzero(np.diff(bounds) > 0)
        if len(active):
            result[active] = ufunc.reduceat(values.astype(np.float64), bounds[active])
        return result

    # --- matrices -------------------------------------------------------------------------------

    def matrix(self, half_life_days: float | None = None) -> csr_matrix:
        """Users x items, summed decayed events, float32."""
        return self.to_csr(self.entry_events(half_life_days))

    def seen_matrix(self) -> csr_matrix:
        """Users x items, positive for items that are barred where seen items are excluded."""
        matrix = self.to_csr(self.entry_is_seen.astype(np.float32))
        matrix.eliminate_zeros()
        return matrix

    def to_csr(self, values: npt.NDArray[np.generic]) -> csr_matrix:
        """A value per entry as users x items; a copy that may be changed in place."""
        from scipy.sparse import csr_matrix

        shape = (self.users, self.width)
        # scipy keeps the arrays that it is given, and `eliminate_zeros` moves their contents.
        return csr_matrix((values, self.entry_items, self.indptr), shape=shape, copy=True)


def spans(users: int, size: int) -> Sequence[tuple[int, int]]:
    """Consecutive ranges (start, stop) of at most `size` users."""
    return [(start, min(start + size, users)) for start in range(0, users, size)]
