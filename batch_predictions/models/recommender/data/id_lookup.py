"""Positions of ids among those of a model, looked up once and again.

`pyarrow.compute.index_in` hashes all of the model's ids again for every array that is looked up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.models.recommender.data.interactions import Codes


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
