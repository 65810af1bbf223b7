"""Item features as of the end of a day: popularity statistics, metadata, coming promotions.

One query computes the statistics, in training over `Interactions` and in scoring over the raw
table, so that both see the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions, positions_in
from batch_predictions.models.recommender.data.item_metadata import ItemMetadata, ItemPromotions

Result = TypeVar("Result")

POPULARITY_HALF_LIVES = (3, 7, 14, 30, 90)
"""Half-lives, days, of `decayed_events_<days>`."""
RETURNING_HALF_LIVES = (14, 30)
"""Half-lives of `returning_events_<days>`: only of users who had interacted on an earlier day."""
FIRST_TIME_HALF_LIVES = (14, 30, 90)
"""Half-lives of `first_time_events_<days>`: of returning users' first interaction with the item."""

_DECAYED_STATS = {
    "decayed_events": ("events", POPULARITY_HALF_LIVES, "true"),
    "returning_events": ("events", RETURNING_HALF_LIVES, "days.date > users.first_day"),
    "first_time_events": (
        "first_events",
        FIRST_TIME_HALF_LIVES,
        "pairs.first_day > users.first_day",
    ),
    "decayed_targets": ("targets", (14,), "true"),
}
"""Column, half-lives and condition of sums, by statistic."""
ITEM_STATS = (
    *(
        f"{name}_{days}"
        for name, (_, half_lives, _) in _DECAYED_STATS.items()
        for days in half_lives
    ),
    "events",
    "users",
    "days_since_first",
    "targets",
)
"""Names of the statistics."""


def _decayed_sums(name: str) -> str:
    column, half_lives, condition = _DECAYED_STATS[name]
    return ", ".join(
        f"coalesce(fsum({column} * decay_{days}) filter ({condition}), 0) as {name}_{days}"
        for days in half_lives
    )


def _decay_columns() -> str:
    days = sorted({days for _, half_lives, _ in _DECAYED_STATS.values() for days in half_lives})
    return ", ".join(f"pow(0.5, ($date::DATE - date) / {n}.0) as decay_{n}" for n in days)


ITEM_STATS_SQL = f"""
    with days as (select user_id, item_id, date, events, targets from {{interactions}}),
    users as (select user_id, min(date) as first_day from days group by user_id),
    decays as (select date, {_decay_columns()} from (select distinct date from days)),
    pairs as (
        select item_id, user_id, min(date) as first_day, arg_min(events, date) as first_events
        from days group by item_id, user_id
    ),
    first_times as (
        select
            item_id,
            {_decayed_sums("first_time_events")},
            count(*)::DOUBLE as users,
            ($date::DATE - min(pairs.first_day))::DOUBLE as days_since_first
        from pairs
        join users on users.user_id = pairs.user_id
        join decays on decays.date = pairs.first_day
        group by item_id
    ),
    sums as (
        select
            item_id,
            {_decayed_sums("decayed_events")},
            {_decayed_sums("returning_events")},
            {_decayed_sums("decayed_targets")},
            fsum(events) as events,
            fsum(targets) as targets
        from days
        join users on users.user_id = days.user_id
        join decays on decays.date = days.date
        group by item_id
    )
    select sums.*, first_times.* exclude (item_id)
    from sums join first_times on first_times.item_id = sums.item_id order by sums.item_id
"""
"""Statistics per item of {interactions}, a relation (user_id, item_id, date, events, targets) to
`$date` with one row per user, item and day."""


@dataclass(frozen=True)
class ItemFeatures:
    """Everything known of items at the end of a day.

    Attributes:
        items: ids, (m,).
        stats: statistics by name (`ITEM_STATS`), (m,).
        metadata: tags and numbers.
        promotions: of the coming weeks; None where none are known.
    """

    items: pa.StringArray
    stats: Mapping[str, Doubles]
    metadata: ItemMetadata
    promotions: ItemPromotions | None = None

    @classmethod
    def from_interactions(
        cls,
        interactions: Interactions,
        as_of: date,
        items: pa.StringArray,
        metadata: ItemMetadata | None = None,
        promotions: pa.Table | None = None,
    ) -> ItemFeatures:
        """Computes item features from the interactions with date <= `as_of`.

        Args:
            interactions: rows, of which later ones are ignored.
            as_of: last day that is known.
            items: ids of the items to describe, (m,).
            metadata: attributes of items; None: none are known.
            promotions: rows as `ItemPromotions.from_table` reads them; None: unknown.
        """
        import duckdb

        rows = interactions.up_to(as_of)
        table = pa.table(
            {
                "user_id": rows.users,
                "item_id": rows.items,
                "date": pa.array(rows.dates.astype("datetime64[D]")),
                "events": rows.events,
                "targets": rows.events if rows.targets is None else rows.targets,
            }
        )
        with duckdb.connect() as db:
            db.register("interactions_", table)
            # A table of interactions may have several rows of a user, item and day.
            query = ITEM_STATS_SQL.format(
                interactions="""(
                    select user_id, item_id, date, fsum(events) as events, fsum(targets) as targets
                    from interactions_ group by user_id, item_id, date
                )"""
            )
            stats = db.sql(query, params={"date": as_of}).to_arrow_table()
        ids = rows.item_ids.take(stats["item_id"].combine_chunks())
        stats = stats.set_column(0, "item_id", ids)
        return cls.from_tables(stats, items, metadata, promotions)

    @classmethod
    def from_tables(
        cls,
        stats: pa.Table,
        items: pa.StringArray,
        metadata: ItemMetadata | None = None,
        promotions: pa.Table | None = None,
    ) -> ItemFeatures:
        """Builds item features from the result of `ITEM_STATS_SQL`.

        Items without interactions have zeros, and -1 for `days_since_first`.

        Args:
            stats: item_id and a column for each of `ITEM_STATS`.
            items: ids of the items to describe, (m,).
            metadata: attributes of items; None: none are known.
            promotions: rows as `ItemPromotions.from_table` reads them; None: unknown.
        """
        rows = positions_in(items, stats["item_id"].combine_chunks())
        values = {}
        for name in ITEM_STATS:
            column = pc.cast(stats[name], pa.float64()).to_numpy()
            missing = -1.0 if name == "days_since_first" else 0.0
            values[name] = np.full(len(items), missing)
            values[name][rows >= 0] = column[rows[rows >= 0]]
        return cls(
            items,
            values,
            (metadata or ItemMetadata.empty(items)).reindex(items),
            ItemPromotions.from_table(promotions, items) if promotions is not None else None,
        )

    def scale_counts(self, factor: float) -> ItemFeatures:
        """Multiplies every count by a factor: estimates those of all users from some."""
        stats = {
            name: values if name == "days_since_first" else values * factor
            for name, values in self.stats.items()
        }
        return replace(self, stats=stats)

    def share(self, name: str) -> Doubles:
        """A statistic as a share of its sum over all items, (m,)."""
        total = float(self.stats[name].sum())
        return self.stats[name] / total if total > 0 else self.stats[name]

    def log_share(self, name: str) -> Doubles:
        """Logarithm of a statistic's share of its sum over all items, plus 1e-9, (m,)."""
        return self.memoize(f"log_share {name}", lambda: np.log(1e-9 + self.share(name)))

    def tag_shares(self, kind: str) -> Doubles:
        """The share of recent events that each tag of a kind has, (tags,)."""
        tags = self.metadata.tags[kind]
        return self.memoize(
            f"tag_shares {kind}", lambda: np.asarray(tags.T @ self.share("decayed_events_90"))
        )

    def memoize(self, name: str, compute: Callable[[], Result]) -> Result:
        """Computes a value that all batches of users share, once, and keeps it by name."""
        if name not in self._memo:
            self._memo[name] = compute()
        result: Result = self._memo[name]
        return result

    @cached_property
    def _memo(self) -> dict[str, Any]:
        return {}

    def take(self, columns: npt.NDArray[np.int64]) -> ItemFeatures:
        """Statistics and promotions of the items at some positions, without their metadata.

        Kept for the next call with the same array.
        """
        kept = self._taken.get(id(columns))
        if kept is None:
            # The array is kept too, so that no other one gets its id.
            kept = self._taken[id(columns)] = columns, self._take(columns)
        return kept[1]

    @cached_property
    def _taken(self) -> dict[int, tuple[npt.NDArray[np.int64], ItemFeatures]]:
        return {}

    def _take(self, columns: npt.NDArray[np.int64]) -> ItemFeatures:
        items = self.items.take(pa.array(columns))
        stats = {name: values[columns] for name, values in self.stats.items()}
        promotions = self.promotions.take(columns) if self.promotions else None
        return ItemFeatures(items, stats, ItemMetadata.empty(items), promotions)

    def reindex(self, items: pa.StringArray) -> ItemFeatures:
        """Selects the features of some of the items, in the order of `items`."""
        rows = positions_in(items, self.items)
        assert (rows >= 0).all(), "every item must have features"
        return replace(self._take(rows), metadata=self.metadata.reindex(items))


def shop_of_user(histories: Histories, item_features: ItemFeatures) -> npt.NDArray[np.int64]:
    """Each user's location among the shops with promotions, -1 where it is not, (n,)."""
    if item_features.promotions is None or histories.traits is None:
        return np.full(histories.users, -1)
    location = histories.traits["location"]
    if isinstance(location, pa.ChunkedArray):
        location = location.combine_chunks()
    return positions_in(pc.cast(location, pa.string()), item_features.promotions.shops)
