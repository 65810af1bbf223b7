"""Loops over users and candidates: unions, scores, standardised columns, products."""

from __future__ import annotations

from typing import Any

import numpy as np

from batch_predictions.jit import njit_cached, njit_reassoc

BLOCK_ITEMS = 512
"""Items whose inner products are summed at once: their sums stay in the first-level cache."""
ROWS = 4
"""Rows of inner products that are computed at once."""
TERMS = 4
"""Terms of inner products that are added at once."""


@njit_cached
def union_candidates(lists: Any, width: int, out: Any) -> int:
    """The distinct positions of several lists per user, in the order of rank, then of list.

    Args:
        lists: (g, n, k) positions, -1 for none.
        width: number of items.
        out: (n, g k), filled up with -1.

    Returns:
        The length of the longest union.
    """
    generators, users, k = lists.shape
    last_user = np.full(width, -1, dtype=np.int64)
    longest = 0
    for user in range(users):
        n = 0
        for rank in range(k):
            for generator in range(generators):
                position = lists[generator, user, rank]
                if position >= 0 and last_user[position] != user:
                    last_user[position] = user
                    out[user, n] = position
                    n += 1
        longest = max(longest, n)
        for empty in range(n, out.shape[1]):
            out[user, empty] = -1
    return longest


@njit_cached
def scores_of_items(scores: Any, items: Any, out: Any) -> None:
    """out[u, j] = scores[u, items[u, j]]; nan where there is no item.

    Args:
        scores: (n, m).
        items: positions, -1 for none, (n, k).
        out: written, (n, k).
    """
    for user in range(items.shape[0]):
        for column in range(items.shape[1]):
            item = items[user, column]
            out[user, column] = scores[user, item] if item >= 0 else np.float32(np.nan)


@njit_cached
def shared_scores_of(rows: Any, row_of_user: Any, items: Any, out: Any) -> None:
    """out[u, j] = rows[row_of_user[u], items[u, j]]; nan where there is no row or item."""
    for user in range(items.shape[0]):
        row = row_of_user[user]
        for column in range(items.shape[1]):
            item = items[user, column]
            is_scored = row >= 0 and item >= 0
            out[user, column] = rows[row, item] if is_scored else np.float32(np.nan)


@njit_cached
def standardise_lists(x: Any, stops: Any, high_if_missing: bool, clip: float, out: Any) -> None:
    """A column of a feature table, standardised within each list and clipped.

    Values that are not finite become the list's highest value, or its lowest; 0 where it has none.

    Args:
        x: values, list by list, (rows,).
        stops: the row after the last of each list, (lists,).
        high_if_missing: whether a missing value is high.
        clip: standard deviations at most.
        out: written, (rows,).
    """
    start = 0
    for stop in stops:
        extreme, is_known = 0.0, False
        for row in range(start, stop):
            value = np.float64(x[row])
            if np.isfinite(value):
                is_beyond = value > extreme if high_if_missing else value < extreme
                if not is_known or is_beyond:
                    extreme, is_known = value, True
        total = 0.0
        for row in range(start, stop):
            value = np.float64(x[row])
            out[row] = value if np.isfinite(value) else extreme
            total += out[row]
        mean = total / max(stop - start, 1)
        squares = 0.0
        for row in range(start, stop):
            out[row] -= mean
            squares += out[row] * out[row]
        deviation = max(np.sqrt(squares / max(stop - start, 1)), 1e-6)
        for row in range(start, stop):
            out[row] = min(max(out[row] / deviation, -clip), clip)
        start = stop


@njit_reassoc
def inner_products_by_row(left: Any, blocks: Any, out: Any) -> None:
    """Inner products of the rows of `left` (n, f) with items, float32.

    Each product has the same bits whatever the other rows: every one is summed in the same order.
    BLAS does not promise that, since it computes the edges of a matrix differently from its middle.

    Args:
        left: (n, f).
        blocks: of the items' vectors: see `dense_scores.TargetBlocks`.
        out: written, (n, m).
    """
    n_terms = left.shape[1]
    factors = np.zeros((ROWS, blocks.shape[1]), dtype=np.float32)
    sums = np.empty((ROWS, BLOCK_ITEMS), dtype=np.float32)
    for block in range(blocks.shape[0]):
        columns, start = blocks[block], block * BLOCK_ITEMS
        size = min(BLOCK_ITEMS, out.shape[1] - start)
        for first_row in range(0, left.shape[0], ROWS):
            rows = min(ROWS, left.shape[0] - first_row)
            factors[:rows, :n_terms] = left[first_row : first_row + rows]
            sums[:] = 0.0
            for term in range(0, len(columns), TERMS):
                _add_products(columns, factors, term, sums)
            for row in range(rows):
                out[first_row + row, start : start + size] = sums[row, :size]


@njit_reassoc
def _add_products(columns: Any, factors: Any, term: int, sums: Any) -> None:
    """sums[r, i] += columns[t, i] x factors[r, t] for `ROWS` rows and `TERMS` terms from `term` on.

    Always whole blocks, so that every item is computed in the same way.
    """
    x, y, z, w = columns[term], columns[term + 1], columns[term + 2], columns[term + 3]
    a0, a1, a2, a3 = factors[0, term : term + TERMS]
    b0, b1, b2, b3 = factors[1, term : term + TERMS]
    c0, c1, c2, c3 = factors[2, term : term + TERMS]
    d0, d1, d2, d3 = factors[3, term : term + TERMS]
    a, b, c, d = sums[0], sums[1], sums[2], sums[3]
    for item in range(BLOCK_ITEMS):
        a[item] += a0 * x[item] + a1 * y[item] + a2 * z[item] + a3 * w[item]
        b[item] += b0 * x[item] + b1 * y[item] + b2 * z[item] + b3 * w[item]
        c[item] += c0 * x[item] + c1 * y[item] + c2 * z[item] + c3 * w[item]
        d[item] += d0 * x[item] + d1 * y[item] + d2 * z[item] + d3 * w[item]


@njit_cached
def sparse_times_blocks(indptr: Any, indices: Any, data: Any, blocks: Any, out: Any) -> None:
    """Rows in CSR times a matrix, in the order of the entries.

    Args:
        indptr, indices, data: of the rows, n x m.
        blocks: the matrix (m, columns) in blocks of columns, the last filled up, (b, m, width).
        out: written, (n, columns).
    """
    width = blocks.shape[2]
    sums = np.empty(width, dtype=np.float32)
    for block in range(blocks.shape[0]):
        start = block * width
        size = min(width, out.shape[1] - start)
        lines = blocks[block]
        for row in range(out.shape[0]):
            sums[:] = 0.0
            entry, last = indptr[row], indptr[row + 1]
            while entry + TERMS <= last:
                first, second, third, fourth = data[entry : entry + TERMS]
                x, y = lines[indices[entry]], lines[indices[entry + 1]]
                z, w = lines[indices[entry + 2]], lines[indices[entry + 3]]
                for column in range(width):
                    total = sums[column] + first * x[column]
                    total = total + second * y[column]
                    total = total + third * z[column]
                    sums[column] = total + fourth * w[column]
                entry += TERMS
            while entry < last:
                value, line = data[entry], lines[indices[entry]]
                for column in range(width):
                    sums[column] += value * line[column]
                entry += 1
            out[row, start : start + size] = sums[:size]


@njit_reassoc
def fold_in_systems(
    indptr: Any, items: Any, confidences: Any, factors: Any, ridge: Any, systems: Any, sides: Any
) -> None:
    """Left and right sides of the users' least squares problems; see `generators.als`.

    Args:
        indptr, items, confidences: histories, n users x m items (CSR).
        factors: item factors, (m, f).
        ridge: what all left sides have in common, symmetric, (f, f).
        systems: written, symmetric, (n, f, f).
        sides: written, (n, f).
    """
    n_factors = factors.shape[1]
    vectors = np.empty((TERMS, n_factors))
    weights = np.empty(TERMS)
    for user in range(len(systems)):
        system, side = systems[user], sides[user]
        system[:] = ridge
        side[:] = 0.0
        last = indptr[user + 1]
        for start in range(indptr[user], last, TERMS):
            for term in range(TERMS):
                # Beyond the last entry the weights are 0.
                entry = min(start + term, last - 1)
                confidence = np.float64(confidences[entry]) if start + term < last else 0.0
                weights[term] = confidence - 1.0 if start + term < last else 0.0
                item_factors, vector = factors[items[entry]], vectors[term]
                for column in range(n_factors):
                    vector[column] = item_factors[column]
                    side[column] += confidence * vector[column]
            x, y, z, w = vectors[0], vectors[1], vectors[2], vectors[3]
            for row in range(n_factors):
                first, second = weights[0] * x[row], weights[1] * y[row]
                third, fourth = weights[2] * z[row], weights[3] * w[row]
                line = system[row]
                for column in range(row + 1):
                    total = line[column] + first * x[column]
                    total = total + second * y[column]
                    total = total + third * z[column]
                    line[column] = total + fourth * w[column]
        for row in range(n_factors):
            for column in range(row):
                system[column, row] = system[row, column]
