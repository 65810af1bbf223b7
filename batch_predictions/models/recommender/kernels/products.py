"""Loops over users: inner products with items, products of sparse rows, least squares problems.

Imports numba, so this module is imported only inside functions.
"""

from __future__ import annotations

import numpy as np

from batch_predictions.core.arrays import Doubles, Floats, Int32s
from batch_predictions.core.jit import njit_cached, njit_reassoc
from batch_predictions.models.recommender.kernels.vector_products import (
    LINE_COLUMNS,
    TILE_COLUMNS,
    TILE_ROWS,
    add_products_to_tile,
    sum_lines,
)

BLOCK_ITEMS = 512
"""Items whose inner products are summed one after another: their vectors stay in the cache."""
BLOCK_COLUMNS = LINE_COLUMNS
"""Columns of a block of `sparse_times_blocks`."""
BLOCK_TERMS = 16
"""Entries of a history that are added to its user's system at once."""
BLOCK_PIVOTS = 8
"""Pivots that are eliminated at once, a multiple of `TILE_ROWS`."""


@njit_cached
def inner_products_by_row(left: Floats, blocks: Floats, out: Floats) -> None:
    """Inner products of the rows of `left` (n, f) with items, float32.

    Each product has the same bits whatever the other rows: every one is summed in the same order.
    BLAS does not promise that, since it computes the edges of a matrix differently from its middle.

    Args:
        left: (n, f).
        blocks: of the items' vectors: see `dense_scores.TargetBlocks`.
        out: written, (n, m).
    """
    n, n_terms = left.shape
    groups = (n + TILE_ROWS - 1) // TILE_ROWS
    factors = np.zeros((groups, n_terms, TILE_ROWS), dtype=np.float32)
    for row in range(n):
        for term in range(n_terms):
            factors[row // TILE_ROWS, term, row % TILE_ROWS] = left[row, term]
    sums = np.empty((TILE_ROWS, BLOCK_ITEMS), dtype=np.float32)
    for block in range(len(blocks)):
        start = block * BLOCK_ITEMS
        size = min(BLOCK_ITEMS, out.shape[1] - start)
        for group in range(groups):
            first_row = group * TILE_ROWS
            sums[:] = 0.0
            for column in range(0, size, TILE_COLUMNS):
                add_products_to_tile(factors[group], blocks[block], 0, column, n_terms, sums)
            for row in range(min(TILE_ROWS, n - first_row)):
                out[first_row + row, start : start + size] = sums[row, :size]


@njit_cached
def sparse_times_blocks(
    indptr: Int32s, indices: Int32s, data: Floats, blocks: Floats, out: Floats
) -> None:
    """Rows in CSR times a matrix, in the order of the entries.

    Args:
        indptr, indices, data: of the rows, n x m, float32.
        blocks: the matrix (m, columns) in blocks of columns, the last filled up,
            (b, m, BLOCK_COLUMNS).
        out: written, (n, columns).
    """
    sums = np.empty(BLOCK_COLUMNS, dtype=np.float32)
    for block in range(len(blocks)):
        start = block * BLOCK_COLUMNS
        size = min(BLOCK_COLUMNS, out.shape[1] - start)
        for row in range(len(out)):
            sum_lines(data, indices, indptr[row], indptr[row + 1], blocks[block], sums)
            out[row, start : start + size] = sums[:size]


@njit_cached
def _make_room(size: int) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Allocates `vectors`, `weighted`, `system` and `side` for `_add_history`, as zeros.

    Args:
        size: length f of the factors.
    """
    columns = (size + TILE_COLUMNS - 1) // TILE_COLUMNS * TILE_COLUMNS
    vectors, weighted = np.zeros((BLOCK_TERMS, columns)), np.zeros((BLOCK_TERMS, columns))
    return vectors, weighted, np.zeros((columns, columns)), np.zeros(size)


@njit_reassoc
def _add_history(
    items: Int32s,
    confidences: Floats,
    factors: Floats,
    vectors: Doubles,
    weighted: Doubles,
    system: Doubles,
    side: Doubles,
) -> None:
    """Adds a history to its user's least squares problem; see `fold_in_systems`.

    Args:
        items, confidences: of the history, (h,).
        factors: item factors, (m, f).
        vectors, weighted: room for the vectors of some entries, (BLOCK_TERMS, columns).
        system: changed in its upper triangle, (columns, columns): f, filled up to whole tiles.
        side: changed, (f,).
    """
    for start in range(0, len(items), BLOCK_TERMS):
        terms = min(BLOCK_TERMS, len(items) - start)
        for term in range(terms):
            confidence = np.float64(confidences[start + term])
            weight = confidence - 1.0
            item_factors = factors[items[start + term]]
            vector, weighted_vector = vectors[term], weighted[term]
            for factor in range(len(item_factors)):
                value = np.float64(item_factors[factor])
                vector[factor] = value
                weighted_vector[factor] = weight * value
                side[factor] += confidence * value
        for row in range(0, len(side), TILE_ROWS):
            for column in range(row // TILE_COLUMNS * TILE_COLUMNS, len(system), TILE_COLUMNS):
                add_products_to_tile(vectors, weighted, row, column, terms, system)


@njit_reassoc
def _eliminate(system: Doubles, size: int, scaled: Doubles) -> None:
    """Gaussian elimination of a symmetric, positive definite matrix, which needs no pivoting.

    Args:
        system: changed, its upper triangle becomes that of the elimination, (columns, columns).
        size: rows that are used.
        scaled: room, (BLOCK_PIVOTS, columns).
    """
    for first in range(0, size, BLOCK_PIVOTS):
        stop = min(first + BLOCK_PIVOTS, size)
        # Whole tiles, from the one of the first pivot on.
        begin = first // TILE_COLUMNS * TILE_COLUMNS
        for pivot in range(first, stop):
            line, scaled_line = system[pivot, begin:], scaled[pivot - first]
            factor = -1.0 / system[pivot, pivot]
            from_begin = scaled_line[begin:]
            for column in range(len(line)):
                from_begin[column] = factor * line[column]
            for row in range(pivot + 1, stop):
                factor = scaled_line[row]
                below = system[row, begin:]
                for column in range(len(line)):
                    below[column] += factor * line[column]
        for row in range(stop, size, TILE_ROWS):
            for column in range(row // TILE_COLUMNS * TILE_COLUMNS, len(system), TILE_COLUMNS):
                add_products_to_tile(scaled, system[first:stop], row, column, stop - first, system)


@njit_reassoc
def _substitute(system: Doubles, side: Doubles, solution: Doubles) -> None:
    """Solves what `_eliminate` left.

    Args:
        system: eliminated, (columns, columns).
        side: the right side before the elimination, changed, (f,).
        solution: written, (f,).
    """
    size = len(side)
    for pivot in range(size):
        line, below = system[pivot, pivot + 1 : size], side[pivot + 1 :]
        factor = side[pivot] / system[pivot, pivot]
        for column in range(len(line)):
            below[column] -= factor * line[column]
    for offset in range(size):
        pivot = size - 1 - offset
        line, known = system[pivot, pivot + 1 : size], solution[pivot + 1 :]
        total = 0.0
        for column in range(len(line)):
            total += line[column] * known[column]
        solution[pivot] = (side[pivot] - total) / system[pivot, pivot]


@njit_reassoc
def fold_in_systems(
    indptr: Int32s,
    items: Int32s,
    confidences: Floats,
    factors: Floats,
    ridge: Doubles,
    systems: Doubles,
) -> None:
    """Left sides of the users' least squares problems; see `generators.als`.

    Args:
        indptr, items, confidences: histories, n users x m items (CSR).
        factors: item factors, (m, f).
        ridge: what all left sides have in common, symmetric, (f, f).
        systems: written, symmetric, (n, f, f).
    """
    size = factors.shape[1]
    vectors, weighted, system, side = _make_room(size)
    for user in range(len(systems)):
        system[:size, :size] = ridge
        history = slice(indptr[user], indptr[user + 1])
        _add_history(items[history], confidences[history], factors, vectors, weighted, system, side)
        for row in range(size):
            systems[user, row, row:] = system[row, row:size]
            systems[user, row:, row] = system[row, row:size]


@njit_reassoc
def fold_in(
    indptr: Int32s,
    items: Int32s,
    confidences: Floats,
    factors: Floats,
    ridge: Doubles,
    solutions: Floats,
) -> None:
    """Solutions of the users' least squares problems; see `fold_in_systems` for the arguments.

    Args:
        solutions: written, float32, (n, f).
    """
    size = factors.shape[1]
    vectors, weighted, system, side = _make_room(size)
    scaled, solution = np.empty((BLOCK_PIVOTS, len(system))), np.empty(size)
    for user in range(len(solutions)):
        system[:size, :size] = ridge
        side[:] = 0.0
        history = slice(indptr[user], indptr[user + 1])
        _add_history(items[history], confidences[history], factors, vectors, weighted, system, side)
        _eliminate(system, size, scaled)
        _substitute(system, side, solution)
        solutions[user] = solution
