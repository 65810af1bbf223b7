"""The newest items of every user, from raw interactions, in memory that does not grow with them."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.sources.validation.event_types import RETURN
from batch_predictions.tables import INTERACTIONS
from batch_predictions.tables.release_tables import USER_HISTORY
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.arrow_rows import arrow_schema
from batch_predictions.warehouse.delta_tables import count_rows

RANGE_ROWS = 2_000_000
"""Events of a range of users, of which one query sorts the items: about 300 MiB of memory."""

VERSION = 1
"""Counts up when equal events give other rows than before."""

SCHEMA = arrow_schema(USER_HISTORY, without=USER_HISTORY.folders)

_ITEMS_OF_USERS = """
    select user_id, item_id, max(date) as last_on, count(*) as events,
        -- Bits cost less than a list of types of every item.
        bit_or(1::HUGEINT << (list_position(
            $event_types::VARCHAR[],
            case when quantity < 0 then $return_type else event_type end
        ) - 1)) as types
    from raw.interactions
    where date between $first::DATE and $day::DATE
        and list_contains($event_types::VARCHAR[], event_type)
        and ($from_user::VARCHAR is null or user_id >= $from_user::VARCHAR)
        and ($before_user::VARCHAR is null or user_id < $before_user::VARCHAR)
    group by user_id, item_id
    order by user_id, last_on desc, max(occurred_at) desc nulls last, events desc, item_id
"""
_EVERY_SO_MANY_USERS = """
    select user_id from (
        select user_id, row_number() over () as n from raw.interactions where date = $day::DATE
    ) where n % $step = 0 order by user_id
"""


@dataclass(frozen=True)
class HistoryQuery:
    """A query for the newest items of each user, by types of events and days.

    Attributes:
        items: of a user.
        first: day from which on events are read.
        day: last day.
        event_types: sorted, with returns.
    """

    items: int
    first: dt.date
    day: dt.date
    event_types: tuple[str, ...]

    def days(self, warehouse: Warehouse) -> list[str]:
        """Partitions of raw.interactions that are read."""
        keys = warehouse.partitions(INTERACTIONS)
        return [key for key in keys if self.first.isoformat() <= key <= self.day.isoformat()]

    def batches(self, warehouse: Warehouse) -> Iterator[pa.RecordBatch]:
        """The rows of `SCHEMA`, by user and position.

        Events are read by ranges of users: a query over all of them would hold every item of every
        user until it has sorted them. Files are in the order of users, so that a range reads a part
        of each.
        """
        bounds = [None, *self._user_bounds(warehouse), None]
        parameters = {
            "first": self.first.isoformat(),
            "day": self.day.isoformat(),
            "event_types": list(self.event_types),
            "return_type": RETURN,
        }
        for from_user, before_user in itertools.pairwise(bounds):
            users = {"from_user": from_user, "before_user": before_user}
            with warehouse.stream(_ITEMS_OF_USERS, {**parameters, **users}) as items:
                yield from self._newest(items)

    def _newest(self, items: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        """The first items of every user, with their positions."""
        user, seen = None, 0
        for batch in items:
            if not batch.num_rows:
                continue
            positions = _positions(batch.column("user_id"), user, seen)
            user, seen = batch.column("user_id")[-1].as_py(), int(positions[-1])
            is_kept = positions <= self.items
            kept = batch.filter(pa.array(is_kept))
            columns = {
                **dict(zip(kept.schema.names, kept.columns, strict=True)),
                "position": pa.array(positions[is_kept]),
                "event_types": self._names(kept.column("types")),
            }
            yield pa.RecordBatch.from_arrays([columns[n] for n in SCHEMA.names], schema=SCHEMA)

    def _names(self, types: pa.Array) -> pa.Array:
        """Lists of the types whose bits are set; few of all possible sets occur."""
        encoded = types.dictionary_encode()
        names = [
            [name for bit, name in enumerate(self.event_types) if int(bits) >> bit & 1]
            for bits in encoded.dictionary.to_pylist()
        ]
        return pa.array(names, SCHEMA.field("event_types").type).take(encoded.indices)

    def _user_bounds(self, warehouse: Warehouse) -> list[str]:
        """Users at which ranges of about RANGE_ROWS events begin; the first range is before them.

        They are those of the day with the most events: rows do not depend on them.
        """
        rows = {key: count_rows(warehouse.path(INTERACTIONS, key)) for key in self.days(warehouse)}
        ranges = -(-sum(rows.values()) // RANGE_ROWS)
        if ranges <= 1:
            return []
        largest = max(rows, key=lambda key: rows[key])
        bound = {"day": largest, "step": max(rows[largest] // ranges, 1)}
        users = warehouse.query(_EVERY_SO_MANY_USERS, bound).column(0).to_pylist()
        return sorted(set(users))


def _positions(users: pa.Array, user: str | None, seen: int) -> np.ndarray:
    """Number of each row among those of its user, from 1.

    Args:
        users: in groups of equal ones.
        user: of the row before.
        seen: that row's number.
    """
    index = np.arange(len(users))
    starts = np.ones(len(users), dtype=bool)
    starts[1:] = pc.not_equal(users[1:], users[:-1]).to_numpy(zero_copy_only=False)
    first_of_user = np.maximum.accumulate(np.where(starts, index, 0))
    positions = index - first_of_user + 1
    if users[0].as_py() == user:
        positions[first_of_user == 0] += seen
    return positions
