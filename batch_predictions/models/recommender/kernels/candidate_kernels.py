"""Compiled loops over lists of candidates: their union, their scores, and business rules."""

from __future__ import annotations

import numpy as np

from batch_predictions.core.arrays import Doubles, Flags, Floats, Int32s, Int64s
from batch_predictions.core.jit import njit_cached, njit_reassoc


@njit_cached
def union_candidates(lists: Int64s, width: int, out: Int64s) -> int:
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
def scores_of_items(scores: Floats, items: Int32s, out: Floats) -> None:
    """Takes scores of items: out[u, j] = scores[u, items[u, j]]; nan where there is no item.

    Args:
        scores: (n, m).
        items: positions, -1 for none, (n, k).
        out: written, (n, k).
    """
    for user in range(items.shape[0]):
        for column in range(items.shape[1]):
            item = items[user, column]
            out[user, column] = scores[user, item] if item >= 0 else np.float32(np.nan)


@njit_reassoc
def products_of_items(queries: Floats, targets: Floats, items: Int64s, out: Floats) -> None:
    """Inner products with items: out[u, j] = queries[u] . targets[items[u, j]], in float64.

    Args:
        queries: (n, f).
        targets: (m, f).
        items: positions, -1 for none, (n, k).
        out: written where there is an item, (n, k).
    """
    for user in range(items.shape[0]):
        query = queries[user]
        for column in range(items.shape[1]):
            if items[user, column] < 0:
                continue
            target = targets[items[user, column]]
            total = 0.0
            for term in range(len(query)):
                total += np.float64(query[term]) * np.float64(target[term])
            out[user, column] = total


@njit_cached
def shared_scores_of(rows: Floats, row_of_user: Int64s, items: Int32s, out: Floats) -> None:
    """Takes scores of shared rows: out[u, j] = rows[row_of_user[u], items[u, j]].

    Args:
        rows: scores that several users share, (r, m).
        row_of_user: row of each user, -1 for none, (n,).
        items: positions, -1 for none, (n, k).
        out: written, nan where there is no row or item, (n, k).
    """
    for user in range(items.shape[0]):
        row = row_of_user[user]
        for column in range(items.shape[1]):
            item = items[user, column]
            is_scored = row >= 0 and item >= 0
            out[user, column] = rows[row, item] if is_scored else np.float32(np.nan)


@njit_reassoc
def standardise_lists(
    x: Floats, stops: Int64s, high_if_missing: bool, clip: float, out: Doubles
) -> None:
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
        rows, values, total, missing = stop - start, out[start:stop], 0.0, 0
        for row in range(rows):
            value = np.float64(x[start + row])
            is_missing = not abs(value) < np.inf
            missing += is_missing
            values[row] = 0.0 if is_missing else value
            total += values[row]
        if missing:
            extreme, is_known = 0.0, False
            for row in range(rows):
                value = np.float64(x[start + row])
                if np.isfinite(value):
                    is_beyond = value > extreme if high_if_missing else value < extreme
                    if not is_known or is_beyond:
                        extreme, is_known = value, True
            for row in range(rows):
                if not np.isfinite(x[start + row]):
                    values[row] = extreme
            total += missing * extreme
        mean = total / max(rows, 1)
        squares = 0.0
        for row in range(rows):
            values[row] -= mean
            squares += values[row] * values[row]
        factor = 1.0 / max(np.sqrt(squares / max(rows, 1)), 1e-6)
        for row in range(rows):
            values[row] = min(max(values[row] * factor, -clip), clip)
        start = stop


@njit_cached
def apply_rules(
    ranked: Int64s,
    in_history: Flags,
    boost: Int64s,
    groups: Int64s,
    limits: Int64s,
    min_new: int,
    k: int,
    out: Int64s,
) -> None:
    """Builds lists of k items under rules.

    Args:
        ranked: item positions of each user, best first, -1 at the end, (n, m).
        in_history: whether the item in each place is in the user's history, (n, m).
        boost: ranks by which each item moves up, down if negative, (items,).
        groups: number of each item's group under each limit, -1 if it has none, (items, limits).
        limits: items of a group at most, (limits,).
        min_new: items that are not in the history, at least.
        k: length of the lists.
        out: receives columns of `ranked`, (n, k).
    """
    users, m = ranked.shape
    group_counts = np.zeros((len(limits), groups.max() + 2 if groups.size else 1), dtype=np.int64)
    key = np.empty(m, dtype=np.int64)
    is_used = np.empty(m, dtype=np.bool_)
    for user in range(users):
        n = 0
        while n < m and ranked[user, n] >= 0:
            n += 1
        for column in range(n):
            places = boost[ranked[user, column]]
            # Doubled, so that an item sorts before the one whose place it reaches from below.
            key[column] = 2 * (column - places) - np.sign(places)
        order = np.argsort(key[:n], kind="mergesort")
        new_items = 0
        for column in range(n):
            is_used[column] = False
            if not in_history[user, column]:
                new_items += 1
        size = 0
        new_needed = min(min_new, new_items)
        # The first pass keeps to all rules; the second fills up with the next best.
        for is_strict in (True, False):
            for index in range(n):
                if size == k:
                    break
                column = order[index]
                if is_used[column]:
                    continue
                item = ranked[user, column]
                if is_strict:
                    if in_history[user, column] and k - size <= new_needed:
                        continue
                    is_full = False
                    for rule in range(len(limits)):
                        group = groups[item, rule]
                        if group >= 0 and group_counts[rule, group] >= limits[rule]:
                            is_full = True
                    if is_full:
                        continue
                is_used[column] = True
                if not in_history[user, column]:
                    new_needed -= 1
                for rule in range(len(limits)):
                    group_counts[rule, groups[item, rule]] += 1
                out[user, size] = column
                size += 1
        for rank in range(size):
            for rule in range(len(limits)):
                group_counts[rule, groups[ranked[user, out[user, rank]], rule]] = 0
        for rank in range(size, k):
            out[user, rank] = -1
