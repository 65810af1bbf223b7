"""A hash table of ids, as Arrow holds strings.

Imports numba, so this module is imported only inside functions.
"""

from __future__ import annotations

import numpy as np

from batch_predictions.core.arrays import Int32s, Int64s, UInt8s
from batch_predictions.core.jit import njit_cached


@njit_cached
def _first_slot(text: UInt8s, slots: int) -> np.int64:
    """The slot at which the search for an id begins: its FNV-1a hash (Fowler, Noll, Vo 1991).

    Args:
        text: the id's bytes.
        slots: number of slots, a power of two.
    """
    value = np.uint64(0xCBF29CE484222325)
    for byte in text:
        value = (value ^ np.uint64(byte)) * np.uint64(0x100000001B3)
    # The low bits of the product are of the last bytes alone.
    return np.int64((value ^ (value >> np.uint64(32))) & np.uint64(slots - 1))


@njit_cached
def _is_equal(left: UInt8s, right: UInt8s) -> bool:
    if len(left) != len(right):
        return False
    different = 0
    for place in range(len(left)):
        different |= left[place] ^ right[place]
    return different == 0


@njit_cached
def fill_slots(offsets: Int32s, data: UInt8s, slots: Int32s) -> None:
    """Enters ids into a table, of equal ones the first.

    Args:
        offsets: of the ids in `data`, (n + 1,).
        data: bytes of all ids.
        slots: filled with -1; written, the position of the id in each slot, a power of two of them
            and more than n.
    """
    for position in range(len(offsets) - 1):
        text = data[offsets[position] : offsets[position + 1]]
        slot = _first_slot(text, len(slots))
        while slots[slot] >= 0:
            other = slots[slot]
            if _is_equal(text, data[offsets[other] : offsets[other + 1]]):
                break
            slot = (slot + 1) & (len(slots) - 1)
        if slots[slot] < 0:
            slots[slot] = position


@njit_cached
def find_ids(
    table_offsets: Int32s,
    table_data: UInt8s,
    slots: Int32s,
    offsets: Int32s,
    data: UInt8s,
    out: Int64s,
) -> None:
    """The position of each id in a table, -1 where it is not there.

    Args:
        table_offsets, table_data, slots: of the table; see `fill_slots`.
        offsets, data: of the ids that are looked for, as those of the table.
        out: written, (n,).
    """
    for row in range(len(out)):
        text = data[offsets[row] : offsets[row + 1]]
        slot = _first_slot(text, len(slots))
        while slots[slot] >= 0:
            position = slots[slot]
            found = table_data[table_offsets[position] : table_offsets[position + 1]]
            if _is_equal(text, found):
                break
            slot = (slot + 1) & (len(slots) - 1)
        out[row] = slots[slot]
