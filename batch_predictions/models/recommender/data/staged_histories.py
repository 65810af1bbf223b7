"""Histories of a staged shard's users: a row per user with lists of items, ages and events.

The query of `predictions.recommendations` makes the rows. Beside `item_ids`, `ages` and `events`,
lists of equal lengths, a row may have lists `targets`, `is_seen`, `timestamps` and `ratings`. A
null list says that all is as usual: all events are of a target type, all items are seen, no time of
day and no rating is known. `state` and `state_digest` are those of the day before (`UserStates`).

`IdLookup` finds positions of ids among those of a model, again and again:
`pyarrow.compute.index_in` hashes all of the model's ids again for every array that is looked up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Codes, flatten_lists
from batch_predictions.models.recommender.data.user_states import UserStates
from batch_predictions.tables import TRAITS


@dataclass(frozen=True)
class IdLookup:
    """A hash table of ids.

    Attributes:
        ids: the ids, (m,).
        offsets, data: of the ids, as Arrow holds strings.
        slots: the position of the id in each slot, -1 for none.
    """

    ids: pa.StringArray
    offsets: Codes
    data: npt.NDArray[np.uint8]
    slots: Codes

    @classmethod
    def of(cls, ids: pa.StringArray) -> Self:
        """A table of ids; of equal ones the first counts."""
        from batch_predictions.models.recommender.kernels.id_kernels import fill_slots

        ids = ids.cast(pa.string())
        offsets, data = _buffers(ids)
        # At most half of the slots are taken.
        slots = np.full(1 << (2 * len(ids)).bit_length(), -1, dtype=np.int32)
        fill_slots(offsets, data, slots)
        return cls(ids, offsets, data, slots)

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, ids: pa.StringArray | pa.DictionaryArray) -> npt.NDArray[np.int64]:
        """The position of each id, -1 for unknown ids and null, (len(ids),)."""
        from batch_predictions.models.recommender.kernels.id_kernels import find_ids

        if pa.types.is_dictionary(ids.type):
            places = pc.fill_null(ids.indices, -1).to_numpy()
            # A further position at the end, which the place -1 takes.
            return np.append(self.find(ids.dictionary), -1)[places]
        ids = ids.cast(pa.string())
        positions = np.empty(len(ids), dtype=np.int64)
        find_ids(self.offsets, self.data, self.slots, *_buffers(ids), positions)
        if ids.null_count:
            positions[ids.is_null().to_numpy(zero_copy_only=False)] = -1
        return positions


def _buffers(ids: pa.StringArray) -> tuple[Codes, npt.NDArray[np.uint8]]:
    """Offsets (n + 1,) of ids and the bytes that they point into."""
    _, offsets, data = ids.buffers()
    if offsets is None or not len(ids):
        return np.zeros(len(ids) + 1, dtype=np.int32), np.empty(0, dtype=np.uint8)
    all_offsets = np.frombuffer(offsets, dtype=np.int32)
    bytes_ = np.empty(0, dtype=np.uint8) if data is None else np.frombuffer(data, dtype=np.uint8)
    return all_offsets[ids.offset : ids.offset + len(ids) + 1], bytes_


_OPTIONAL_LISTS: tuple[tuple[str, pa.DataType, Any], ...] = (
    ("timestamps", pa.int64(), 0),
    ("ratings", pa.float64(), np.nan),
    ("targets", pa.float64(), 0.0),
    ("is_seen", pa.bool_(), False),
)
"""Lists that staged rows may have: name, type, and the value for null in a list."""


def read_histories(rows: pa.RecordBatch, items: IdLookup) -> Histories:
    """Histories of a staged shard's users.

    Args:
        rows: a row per user with the traits and the lists, null or empty for users without
            history. Items that the model does not know, and null or zero events, are left out. Ids
            may be dictionary-encoded.
        items: the model's items.

    Raises:
        ValueError: the lists of a user differ in length, an age is negative, or states differ in
            length.
    """
    ids, user_index = flatten_lists(rows["item_ids"])
    ages, age_users = flatten_lists(rows["ages"])
    events, event_users = flatten_lists(rows["events"])
    if not (np.array_equal(user_index, age_users) and np.array_equal(user_index, event_users)):
        raise ValueError("histories: lists of item_ids, ages and events differ in length")
    days = pc.cast(ages, pa.int32()).to_numpy()
    if (days < 0).any():
        raise ValueError("histories: an age is negative: a row is of after the day of scoring")
    columns = items.find(ids)
    counts = pc.fill_null(pc.cast(events, pa.float64()), 0.0).to_numpy()
    keep = (columns >= 0) & (counts > 0)
    as_usual = {"targets": counts, "is_seen": True, "timestamps": 0, "ratings": np.nan}
    optional = {}
    for name, type_, fill in _OPTIONAL_LISTS:
        # As `Interactions` has them: nothing where all events are of a target type, or are seen.
        if name in rows.schema.names and rows[name].null_count < len(rows):
            values = _values_per_row(rows, name, type_, fill, user_index, as_usual[name])
            optional[name] = values[keep]
    if np.array_equal(optional.get("targets", ()), counts[keep]):
        del optional["targets"]
    if "is_seen" in optional and optional["is_seen"].all():
        del optional["is_seen"]
    return Histories(
        rows.num_rows,
        len(items),
        user_index[keep].astype(np.int32),
        columns[keep].astype(np.int32),
        days[keep],
        counts[keep],
        pa.table({name: rows[name] for name in TRAITS}),
        optional.get("timestamps"),
        optional.get("ratings"),
        optional.get("targets"),
        optional.get("is_seen"),
        UserStates.from_rows(rows),
    ).sorted()


def _values_per_row(
    rows: pa.RecordBatch,
    name: str,
    type_: pa.DataType,
    fill: object,
    user_index: npt.NDArray[np.int64],
    as_usual: object,
) -> npt.NDArray[np.generic]:
    """Values of an optional list column, (n,).

    Args:
        rows: a row per user.
        name: of the column.
        type_: of the values.
        fill: the value for null in a list.
        user_index: user of each value, (n,).
        as_usual: the value, or that of each row, of users whose list is null.

    Raises:
        ValueError: a list that is not null has another length than the user's others.
    """
    values, value_users = flatten_lists(rows[name])
    is_given = rows[name].is_valid().to_numpy(zero_copy_only=False)[user_index]
    if not np.array_equal(user_index[is_given], value_users):
        raise ValueError(f"histories: lists of item_ids and {name} differ in length")
    filled = pc.fill_null(pc.cast(values, type_), fill).to_numpy(zero_copy_only=False)
    if is_given.all():
        return np.asarray(filled)
    result = np.empty(len(user_index), dtype=filled.dtype)
    result[:] = as_usual
    result[is_given] = filled
    return result


class StagedItems:
    """All items of the users of staged rows, those that the model does not know too.

    Args:
        rows: as `read_histories` takes them.
    """

    def __init__(self, rows: pa.RecordBatch) -> None:
        self._rows = rows

    def taken(self, row: int) -> set[str]:
        """Items with an event of a target type."""
        return self._items_where("targets", row)

    def seen(self, row: int) -> set[str]:
        """Items that are barred where seen items are excluded."""
        return self._items_where("is_seen", row)

    def _items_where(self, name: str, row: int) -> set[str]:
        items = self._rows["item_ids"][row].as_py() or ()
        flags = self._rows[name][row].as_py() if name in self._rows.schema.names else None
        if flags is None:
            return set(items)
        return {item for item, flag in zip(items, flags, strict=True) if flag}
