"""States of a recurrent network after users' items, kept from one day to the next.

A state is kept with a digest of the network and of the items that it has read, so that it is used
only where both are still the same: `generators.sequence` makes all others anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.core.arrays import Flags, Floats, Int64s

DIGEST, STATE = "state_digest", "state"
"""Columns of staged rows and of tiles.sequence_states."""


@dataclass(frozen=True)
class UserStates:
    """A state for each of n users.

    Attributes:
        age: days between the day through which items were read and the day of scoring.
        digests: of the network and the items that it has read, (n,).
        vectors: the states, (n, d).
        is_known: whether the user has one, (n,).
    """

    age: int
    digests: Int64s
    vectors: Floats
    is_known: Flags

    @classmethod
    def from_rows(cls, rows: pa.RecordBatch) -> Self | None:
        """States of the day before, of staged rows; None where no user has one.

        Raises:
            ValueError: states differ in length.
        """
        if STATE not in rows.schema.names or rows[STATE].null_count == len(rows):
            return None
        is_known = rows[STATE].is_valid().to_numpy(zero_copy_only=False)
        widths = pc.unique(pc.list_value_length(rows[STATE]).drop_null()).to_pylist()
        if len(widths) > 1:
            raise ValueError("states of users differ in length")
        vectors = np.zeros((len(rows), widths[0]), dtype=np.float32)
        vectors[is_known] = rows[STATE].flatten().to_numpy().reshape(-1, widths[0])
        digests = rows[DIGEST].fill_null(0).to_numpy()
        return cls(1, digests, vectors, is_known)

    def slice(self, start: int, stop: int) -> UserStates:
        """The states of the users from start to stop - 1."""
        users = slice(start, stop)
        return UserStates(self.age, self.digests[users], self.vectors[users], self.is_known[users])

    def to_lists(self, rows: Int64s, total: int) -> pa.ListArray:
        """A list with one struct, the digest and the state, on a row of each user; else null.

        Args:
            rows: ascending row of each user, (n,).
            total: number of rows.
        """
        width = self.vectors.shape[1]
        vectors = pa.ListArray.from_arrays(
            np.arange(len(rows) + 1, dtype=np.int32) * np.int32(width), self.vectors.ravel()
        )
        entries = pa.StructArray.from_arrays([pa.array(self.digests), vectors], [DIGEST, STATE])
        is_null = np.ones(total, dtype=bool)
        is_null[rows] = False
        offsets = np.append(0, np.cumsum(~is_null)).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), entries, mask=pa.array(is_null))
