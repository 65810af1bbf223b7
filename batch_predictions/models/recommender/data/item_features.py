"""What is known of items at the end of a day: how wanted they are, what they are, what is planned.

One query counts what is wanted, in training over `Interactions` and in scoring over the raw table,
so that both see the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.models.recommender.data.histories import positions
from batch_predictions.models.recommender.data.interactions import Doubles, Interactions, encode

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats = npt.NDArray[np.float32]

HALF_LIVES = (3, 7, 14, 30, 90)
"""Days after which a want counts half in `recent_<days>`."""
RETURNING = (14, 30)
"""The same, of users who had come before that day: what people who come back want."""
FRESH = (14, 30, 90)
"""The same, of users who had never taken the item before that day."""
TAG_SEPARATOR = "|"
SHOWN = ("display", "mailer")
"""How an item is promoted."""

_KINDS = {
    "recent": (HALF_LIVES, "true"),
    "returning": (RETURNING, "date > came_first"),
    "fresh": (FRESH, "date = taken_first and date > came_first"),
}
WANTED = f"""
    with dated as (
        select
            *,
            min(date) over (partition by user_id) as came_first,
            min(date) over (partition by user_id, item_id) as taken_first
        from {{events}}
    )
    select
        item_id,
        {
    ", ".join(
        f"coalesce(fsum(events * pow(0.5, ($date::DATE - date) / {days}.0)) "
        f"filter ({which}), 0) as {kind}_{days}"
        for kind, (half_lives, which) in _KINDS.items()
        for days in half_lives
    )
},
        fsum(events) as events,
        count(distinct user_id)::DOUBLE as users,
        ($date::DATE - min(date))::DOUBLE as first_age
    from dated group by item_id order by item_id
"""
"""Counts per item of {events}, a relation (user_id, item_id, date, events) up to `$date`."""
COUNTS = (
    *(f"{kind}_{days}" for kind, (half_lives, _) in _KINDS.items() for days in half_lives),
    "events",
    "users",
    "first_age",
)


@dataclass(frozen=True)
class ItemTraits:
    """What items are, whatever the day: tags by kind (category, brand, genres) and numbers by name.

    `tags[kind]` is items x tags, rows summing to 1 or empty; `numbers[name]` has nan where unknown.
    """

    items: pa.StringArray
    tags: Mapping[str, csr_matrix]
    numbers: Mapping[str, Doubles]

    @classmethod
    def nothing(cls, items: pa.StringArray) -> ItemTraits:
        """Items of which only the ids are known."""
        return cls(items, {}, {})

    @classmethod
    def from_table(cls, table: pa.Table, items: pa.StringArray) -> ItemTraits:
        """From item_id and one column per trait: numbers as they are, texts as tags, several
        separated by `|`; a text column of which all values are numbers is read as numbers."""
        rows = pc.index_in(items, value_set=table["item_id"].combine_chunks())
        tags: dict[str, csr_matrix] = {}
        numbers: dict[str, Doubles] = {}
        for name in table.column_names:
            if name == "item_id":
                continue
            column = table[name].take(rows).combine_chunks()
            parsed = _numbers(column)
            if parsed is not None:
                numbers[name] = parsed
            elif column.null_count < len(column):
                tags[name] = _tags(column)
        return cls(items, tags, numbers)

    def onto(self, items: pa.StringArray) -> ItemTraits:
        """The same of other items; nothing is known of those that are not here."""
        rows = positions(items, self.items)
        known = rows >= 0
        return ItemTraits(
            items,
            {kind: _rows(matrix, rows) for kind, matrix in self.tags.items()},
            {
                name: np.where(known, values[rows], np.nan)
                if len(values)
                else np.full(len(items), np.nan)
                for name, values in self.numbers.items()
            },
        )


@dataclass(frozen=True)
class Promoted:
    """Items promoted in the coming weeks, known ahead: shares of shops, 0 to 1, by item.

    A kind is `display` or `mailer`, of the coming week, or `display_2`, `mailer_3`, …, of the
    second, the third, …. `tomorrow` marks the items that any shop promotes on the next day. `shops`
    are the locations that have promotions; `by_shop[kind]` is shops x items, ones where the item is
    promoted so in the shop.
    """

    share: Mapping[str, Doubles]
    tomorrow: npt.NDArray[np.bool_]
    shops: pa.StringArray
    by_shop: Mapping[str, csr_matrix]

    @classmethod
    def from_table(cls, table: pa.Table, items: pa.StringArray) -> Promoted | None:
        """From weeks_ahead, item_id, location and boolean display, mailer, tomorrow; None where
        nothing is promoted. A week without a row is unknown: it has no kinds, but the first."""
        from scipy.sparse import csr_matrix

        if not table.num_rows:
            return None
        columns = positions(table["item_id"].combine_chunks(), items)
        shops, rows = encode(table["location"])
        ahead = table["weeks_ahead"].to_numpy()
        share, by_shop = {}, {}
        for week in np.union1d(ahead, [1]).tolist():
            for placed in SHOWN:
                kind = placed if week == 1 else f"{placed}_{week}"
                keep = table[placed].to_numpy() & (columns >= 0) & (ahead == week)
                ones = np.ones(int(keep.sum()), dtype=np.float32)
                shape = (len(shops), len(items))
                matrix = csr_matrix((ones, (rows[keep], columns[keep])), shape=shape)
                by_shop[kind] = matrix
                share[kind] = np.asarray(matrix.sum(axis=0), dtype=np.float64).ravel() / len(shops)
        tomorrow = np.zeros(len(items), dtype=bool)
        tomorrow[columns[table["tomorrow"].to_numpy() & (columns >= 0)]] = True
        return cls(share, tomorrow, shops, by_shop)

    def at(self, columns: npt.NDArray[np.int64]) -> Promoted:
        """The same of the items at some positions."""
        return Promoted(
            {kind: values[columns] for kind, values in self.share.items()},
            self.tomorrow[columns],
            self.shops,
            {kind: matrix[:, columns] for kind, matrix in self.by_shop.items()},
        )

    @property
    def weeks(self) -> list[tuple[str, ...]]:
        """The kinds of each known week, the coming one first: `share` has them in that order."""
        kinds = list(self.share)
        return [tuple(kinds[at : at + len(SHOWN)]) for at in range(0, len(kinds), len(SHOWN))]

    @cached_property
    def strength(self) -> Doubles:
        """The larger of each week's shares, summed over weeks, (items,)."""
        larger = [np.maximum.reduce([self.share[kind] for kind in week]) for week in self.weeks]
        return np.asarray(np.sum(larger, axis=0), dtype=np.float64)

    @cached_property
    def weeks_by_shop(self) -> csr_matrix:
        """In how many of the weeks each shop promotes each item, shops x items."""
        return sum(sum(self.by_shop[kind] for kind in week).sign() for week in self.weeks)


@dataclass(frozen=True)
class ItemFacts:
    """Everything of `items` at the end of a day. `counts` by name (COUNTS), each (items,)."""

    items: pa.StringArray
    counts: Mapping[str, Doubles]
    traits: ItemTraits
    promoted: Promoted | None = None

    @classmethod
    def of(
        cls,
        interactions: Interactions,
        as_of: date,
        items: pa.StringArray,
        traits: ItemTraits | None = None,
        promoted: pa.Table | None = None,
    ) -> ItemFacts:
        """Counted over the rows with date <= as_of."""
        import duckdb

        rows = interactions.up_to(as_of)
        events = pa.table(
            {
                "user_id": rows.users,
                "item_id": rows.items,
                "date": pa.array(rows.dates.astype("datetime64[D]")),
                "events": rows.events,
            }
        )
        with duckdb.connect() as db:
            db.register("events_", events)
            query = WANTED.format(events="events_")
            counted = db.sql(query, params={"date": as_of}).to_arrow_table()
        ids = rows.item_ids.take(counted["item_id"].combine_chunks())
        counted = counted.set_column(0, "item_id", ids)
        return cls.from_tables(counted, items, traits, promoted)

    @classmethod
    def from_tables(
        cls,
        counted: pa.Table,
        items: pa.StringArray,
        traits: ItemTraits | None = None,
        promoted: pa.Table | None = None,
    ) -> ItemFacts:
        """From the answer of WANTED; items that nobody wanted have zeros and first_age -1."""
        rows = positions(items, counted["item_id"].combine_chunks())
        counts = {}
        for name in COUNTS:
            column = pc.cast(counted[name], pa.float64()).to_numpy()
            missing = -1.0 if name == "first_age" else 0.0
            counts[name] = np.full(len(items), missing)
            counts[name][rows >= 0] = column[rows[rows >= 0]]
        return cls(
            items,
            counts,
            (traits or ItemTraits.nothing(items)).onto(items),
            Promoted.from_table(promoted, items) if promoted is not None else None,
        )

    def share(self, name: str) -> Doubles:
        """A count as a share of its sum over all items."""
        total = float(self.counts[name].sum())
        return self.counts[name] / total if total > 0 else self.counts[name]

    def at(self, columns: npt.NDArray[np.int64]) -> ItemFacts:
        """What is counted and planned of the items at some positions; not what they are."""
        items = self.items.take(pa.array(columns))
        counts = {name: values[columns] for name, values in self.counts.items()}
        promoted = self.promoted.at(columns) if self.promoted else None
        return ItemFacts(items, counts, ItemTraits.nothing(items), promoted)

    def onto(self, items: pa.StringArray) -> ItemFacts:
        """The same of some of the items, in another order."""
        rows = positions(items, self.items)
        assert (rows >= 0).all(), "facts are of these items"
        counts = {name: values[rows] for name, values in self.counts.items()}
        promoted = self.promoted.at(rows) if self.promoted else None
        return ItemFacts(items, counts, self.traits.onto(items), promoted)


def _numbers(column: pa.Array) -> Doubles | None:
    """The column as doubles with nan, or None where it is text."""
    if column.null_count == len(column):
        return None
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        try:
            column = pc.cast(column, pa.float64())
        except pa.ArrowInvalid:
            return None
    values = pc.fill_null(pc.cast(column, pa.float64()), float("nan"))
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def _tags(column: pa.Array) -> csr_matrix:
    from scipy.sparse import csr_matrix

    parts = pc.split_pattern(pc.fill_null(pc.cast(column, pa.string()), ""), TAG_SEPARATOR)
    lengths = pc.list_value_length(parts).to_numpy(zero_copy_only=False)
    owners = np.repeat(np.arange(len(column)), lengths)
    words = parts.flatten()
    named = pc.not_equal(words, "").to_numpy(zero_copy_only=False)
    tags, codes = encode(pa.chunked_array([words.filter(pa.array(named))]))
    owners = owners[named]
    number = np.bincount(owners, minlength=len(column))
    weights = 1.0 / number[owners]
    shape = (len(column), len(tags))
    return csr_matrix((weights.astype(np.float32), (owners, codes)), shape=shape)


def _rows(matrix: csr_matrix, rows: npt.NDArray[np.int64]) -> csr_matrix:
    """The rows at some positions; -1 gives an empty one."""
    from scipy.sparse import csr_matrix

    known = np.flatnonzero(rows >= 0)
    chosen = matrix[rows[known]].tocoo()
    return csr_matrix(
        (chosen.data, (known[chosen.row], chosen.col)), shape=(len(rows), matrix.shape[1])
    )
