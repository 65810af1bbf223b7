"""The k best of a row; ties go to the lower position.

Imports numba, so this module is imported only inside functions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from batch_predictions.core.arrays import Flags, Floats, Int32s, Int64s
from batch_predictions.core.jit import njit_cached
from batch_predictions.models.common.heaps import heap_push, heap_sort
from batch_predictions.models.common.vector_ir import (
    Builder,
    Context,
    Intrinsic,
    OpenArray,
    Signature,
    Type,
    Typing,
    Value,
    Values,
    broadcast,
    open_arrays,
    vector_pointer,
)

BLOCK = 32
"""Scores that are compared at once."""
MIN_SCORES_PER_LANE = 4
"""Of shorter rows a lower bound costs more than it saves."""


@intrinsic
def _raise_maxima(typing: Typing, scores: Type, start: Type, maxima: Type, lane: Type) -> Intrinsic:
    """Raises the `BLOCK` maxima from `lane` on to the scores from `start` on; nan raises none."""
    signature = types.void(scores, types.intp, maxima, types.intp)

    def generate(context: Context, builder: Builder, signature: Signature, values: Values) -> Value:
        arrays = open_arrays(context, builder, signature, values, (0, 2))
        target = _block_pointer(builder, arrays[2], values[3])
        highest = builder.load(target, align=4)
        block = builder.load(_block_pointer(builder, arrays[0], values[1]), align=4)
        is_higher = builder.fcmp_ordered(">", block, highest)
        builder.store(builder.select(is_higher, block, highest), target, align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _find_above(typing: Typing, scores: Type, start: Type, bound: Type) -> Intrinsic:
    """A bit for each of the `BLOCK` scores from `start` on, set where it is above a bound."""
    signature = types.uint32(scores, types.intp, types.float32)

    def generate(context: Context, builder: Builder, signature: Signature, values: Values) -> Value:
        arrays = open_arrays(context, builder, signature, values, (0,))
        block = builder.load(_block_pointer(builder, arrays[0], values[1]), align=4)
        is_above = builder.fcmp_ordered(">", block, broadcast(builder, values[2], BLOCK))
        return builder.bitcast(is_above, ir.IntType(BLOCK))

    return signature, generate


@intrinsic
def _lowest_bit(typing: Typing, bits: Type) -> Intrinsic:
    """The place of the lowest bit that is set, of at least one."""
    signature = types.intp(types.uint32)

    def generate(context: Context, builder: Builder, signature: Signature, values: Values) -> Value:
        place = builder.cttz(values[0], ir.IntType(1)(1))
        return builder.zext(place, context.get_value_type(types.intp))

    return signature, generate


def _block_pointer(builder: Builder, scores: OpenArray, start: Value) -> Value:
    """The address of the `BLOCK` scores from `start` on, as that of a vector."""
    return vector_pointer(builder, scores, start, ir.VectorType(ir.FloatType(), BLOCK))


@njit_cached
def _lower_bound(scores: Floats, k: int, maxima: Floats) -> float:
    """A score that at least k of a row reach, or -inf: the k-th largest of the lanes' maxima.

    A lane is every len(maxima)-th score.
    """
    lanes = len(maxima)
    maxima[:] = -np.inf
    for start in range(0, len(scores) - lanes + 1, lanes):
        for lane in range(0, lanes, BLOCK):
            _raise_maxima(scores, start + lane, maxima, lane)
    return np.partition(maxima, lanes - k)[lanes - k]


@njit_cached
def collect_above(scores: Floats, bound: float, k: int, keys: npt.NDArray[np.uint64]) -> int:
    """Writes the keys of the scores above a bound, and of the first k that are equal to it.

    Args:
        scores: of one row, float32, (m,).
        bound: at least k scores reach it; -inf: all but -inf and nan are written.
        k: number of best scores that are wanted.
        keys: written, see `order_keys`, (m,).

    Returns:
        The number of keys.
    """
    n, ties = 0, 0
    limit = np.nextafter(bound, np.float32(-np.inf))
    bits = scores.view(np.uint32)
    for start in range(0, len(scores), BLOCK):
        if start + BLOCK <= len(scores):
            above = _find_above(scores, start, limit)
        else:
            above = np.uint32(0)
            for offset in range(len(scores) - start):
                is_above = np.uint32(scores[start + offset] > limit)
                above |= is_above << np.uint32(offset)
        while above:
            column = start + _lowest_bit(above)
            above &= above - np.uint32(1)
            if scores[column] == bound:
                if ties == k:
                    limit = bound
                    continue
                ties += 1
            keys[n] = _order_key(bits[column], column)
            n += 1
    return n


@njit_cached
def topk_rows(scores: Floats, k: int, positions: Int64s, values: Floats) -> None:
    """Finds the k best of each row of `scores` (n, m), best first; nan and -inf are left out.

    `positions` (n, k) is filled with -1 and `values` (n, k) with -inf where there are fewer.
    The rows must be contiguous.

    Raises:
        ValueError: the rows are not contiguous.
    """
    if scores.strides[1] != scores.itemsize:
        raise ValueError("the rows of scores are not contiguous")
    width = scores.shape[1]
    # Twice as many lanes as places: then few scores beyond the k best reach the bound.
    lanes = 2 * k // BLOCK * BLOCK + BLOCK
    maxima = np.empty(lanes, dtype=np.float32)
    keys = np.empty(width, dtype=np.uint64)
    for row in range(scores.shape[0]):
        row_values, row_positions, row_scores = values[row], positions[row], scores[row]
        bound = np.float32(-np.inf)
        if width >= MIN_SCORES_PER_LANE * lanes:
            bound = np.float32(_lower_bound(row_scores, k, maxima))
        found = collect_above(row_scores, bound, k, keys)
        keys[:found].sort()
        best = min(found, k)
        for rank in range(best):
            column = np.int64(np.uint32(keys[rank]))
            row_values[rank], row_positions[rank] = row_scores[column], column
        row_values[best:], row_positions[best:] = -np.inf, -1


@njit_cached
def _order_key(bits: np.uint32, column: int) -> np.uint64:
    """A key that rises where scores fall, with the column in the lower half; nan is as -inf.

    Args:
        bits: of a float32 score, uint32.
        column: of the score.
    """
    sign, infinity = np.uint32(0x80000000), np.uint32(0x7F800000)
    value = bits
    if (value & ~sign) > infinity:
        value = sign | infinity
    elif value == sign:
        # -0 is equal to 0.
        value = np.uint32(0)
    # As integers, the bits of negative numbers rise as the numbers fall.
    falling = value if value & sign else ~(value | sign)
    return np.uint64(falling) << np.uint64(32) | np.uint64(column)


@njit_cached
def order_keys(bits: npt.NDArray[np.uint32], keys: npt.NDArray[np.uint64]) -> None:
    """Keys that rise where scores fall, with the column in the lower half; nan is as -inf.

    Args:
        bits: of float32 scores, uint32, (n, m).
        keys: written, uint64, (n, m).
    """
    for row in range(bits.shape[0]):
        for column in range(bits.shape[1]):
            keys[row, column] = _order_key(bits[row, column], column)


@njit_cached
def logs_of_ranks(keys: npt.NDArray[np.uint64], scores: Floats, logs: Floats, out: Floats) -> None:
    """The entry of `logs` for the rank of each score; nan for nan.

    Args:
        keys: sorted, of `order_keys`, (n, m).
        scores: (n, m).
        logs: by rank, (m,).
        out: written, (n, m).
    """
    for row in range(keys.shape[0]):
        for rank in range(keys.shape[1]):
            column = np.uint32(keys[row, rank])
            is_scored = not np.isnan(scores[row, column])
            out[row, column] = logs[rank] if is_scored else np.float32(np.nan)


@njit_cached
def topk_entries(
    indptr: Int32s, columns: Int32s, scores: Floats, k: int, positions: Int64s
) -> None:
    """Finds the k best entries of each CSR row.

    Their columns go into `positions` (n, k), with -1 at the end of short lists.
    """
    heap = np.empty(k, dtype=np.float32)
    for row in range(positions.shape[0]):
        row_positions = positions[row]
        n = 0
        for entry in range(indptr[row], indptr[row + 1]):
            if scores[entry] > -np.inf:
                n = heap_push(heap, row_positions, n, k, scores[entry], columns[entry])
        heap_sort(heap, row_positions, n)
        row_positions[n:] = -1


@njit_cached
def first_allowed(
    order: Int64s,
    row_of_user: Int64s,
    indptr: Int64s,
    entry_items: Int32s,
    is_barred: Flags,
    positions: Int64s,
) -> None:
    """The first items of each user's order that are not barred.

    Args:
        order: positions, best first, -1 at the end, (rows, depth).
        row_of_user: the order of each user, -1 for none, (n,).
        indptr: first entry of each user's history, (n + 1,).
        entry_items: item of each entry, ascending within a user.
        is_barred: whether an entry's item is left out.
        positions: written, -1 at the end, (n, k).
    """
    for user in range(positions.shape[0]):
        n = 0
        row = row_of_user[user]
        first, last = indptr[user], indptr[user + 1]
        if row >= 0:
            items, barred = entry_items[first:last], is_barred[first:last]
            for position in order[row]:
                if position < 0 or n == positions.shape[1]:
                    break
                entry = np.searchsorted(items, position)
                if entry < len(items) and items[entry] == position and barred[entry]:
                    continue
                positions[user, n] = position
                n += 1
        positions[user, n:] = -1
