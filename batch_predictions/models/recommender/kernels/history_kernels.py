"""Loops over histories: entries of candidates, active days, sums by tag and by shop."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from batch_predictions.core.arrays import Doubles, Floats, Int32s, Int64s
from batch_predictions.core.jit import njit_cached

Tags: TypeAlias = tuple[Int32s, Int32s, Floats]
"""Pointers, numbers and weights of the items' tags, as of a CSR matrix."""


@njit_cached
def sum_decayed(
    entry_starts: Int64s, values: Doubles, ages: Int32s, by_age: Doubles, out: Doubles
) -> None:
    """Values of every entry's rows times the factor of their age, summed in the order of the rows.

    Args:
        entry_starts: first row of each entry, (e,).
        values: (n,).
        ages: days, (n,).
        by_age: the factor of every age, (days,).
        out: written, (e,).
    """
    for entry in range(len(entry_starts)):
        start = entry_starts[entry]
        stop = entry_starts[entry + 1] if entry + 1 < len(entry_starts) else len(values)
        total = 0.0
        for row in range(start, stop):
            total += values[row] * by_age[ages[row]]
        out[entry] = total


@njit_cached
def find_entries(
    indptr: Int64s,
    entry_items: Int32s,
    width: int,
    starts: Int64s,
    items: Int32s | Int64s,
    out: Int64s,
) -> None:
    """The entry of each row's user and item, -1 where the user has none.

    Args:
        indptr: first entry of each user, (n + 1,).
        entry_items: item of each entry, (e,).
        width: number of items.
        starts: first row of each user, (n + 1,).
        items: positions, -1 for none, (rows,).
        out: written, (rows,).
    """
    entry_of_item = np.full(width, -1, dtype=np.int32)
    for user in range(len(starts) - 1):
        for entry in range(indptr[user], indptr[user + 1]):
            entry_of_item[entry_items[entry]] = entry
        for row in range(starts[user], starts[user + 1]):
            item = items[row]
            out[row] = entry_of_item[item] if item >= 0 else -1
        for entry in range(indptr[user], indptr[user + 1]):
            entry_of_item[entry_items[entry]] = -1


@njit_cached
def count_active_days(
    row_indptr: Int64s,
    ages: Int32s,
    indptr: Int64s,
    days_since_first: Int32s,
    days_since_last: Int32s,
    days: Int64s,
    since_first: Int64s,
    since_last: Int64s,
) -> None:
    """Distinct ages of each user: all, up to each entry's first row, and after its last.

    Args:
        row_indptr: first row of each user, (n + 1,).
        ages: of each row, at least 0.
        indptr: first entry of each user, (n + 1,).
        days_since_first, days_since_last: of each entry, (e,).
        days: written, (n,).
        since_first: days that are not before the entry's first one, written, (e,).
        since_last: days after the entry's last one, written, (e,).
    """
    longest = 0
    for age in ages:
        longest = max(longest, age)
    younger = np.zeros(longest + 2, dtype=np.int64)
    for user in range(len(days)):
        oldest = -1
        for row in range(row_indptr[user], row_indptr[user + 1]):
            oldest = max(oldest, ages[row])
        younger[: oldest + 2] = 0
        for row in range(row_indptr[user], row_indptr[user + 1]):
            younger[ages[row] + 1] = 1
        for age in range(1, oldest + 2):
            younger[age] += younger[age - 1]
        days[user] = younger[oldest + 1]
        for entry in range(indptr[user], indptr[user + 1]):
            since_first[entry] = younger[days_since_first[entry] + 1]
            since_last[entry] = younger[days_since_last[entry]]


@njit_cached
def values_of_shops(
    indptr: Int64s,
    columns: Int32s,
    values: Floats,
    shop_of_user: Int64s,
    users: Int64s,
    width: int,
    starts: Int64s,
    items: Int32s | Int64s,
    out: Floats,
) -> None:
    """The value of each row's item in the user's shop; nan for users without a shop.

    Args:
        indptr, columns, values: shops x items (CSR).
        shop_of_user: -1 for none, (n,).
        users: sorted by shop, (n,).
        width: number of items.
        starts: first row of each user, (n + 1,).
        items: (rows,).
        out: written, float32, (rows,).
    """
    line = np.zeros(width, dtype=np.float32)
    filled = -1
    for user in users:
        shop = shop_of_user[user]
        first, last = starts[user], starts[user + 1]
        if shop < 0:
            out[first:last] = np.nan
            continue
        if shop != filled:
            if filled >= 0:
                for entry in range(indptr[filled], indptr[filled + 1]):
                    line[columns[entry]] = 0.0
            for entry in range(indptr[shop], indptr[shop + 1]):
                line[columns[entry]] = values[entry]
            filled = shop
        for row in range(first, last):
            out[row] = line[items[row]]


@njit_cached
def sum_by_tag(
    user: int,
    indptr: Int64s,
    entry_items: Int32s,
    entry_values: Floats,
    tags: Tags,
    sums: Floats,
) -> None:
    """Sums values by tag: sums[t] += value x weight over a user's entries and their items' tags.

    Args:
        user: whose entries.
        indptr, entry_items: entries of all users.
        entry_values: (e,).
        tags: indptr, indices and weights of items x tags (CSR).
        sums: written, (tags,).
    """
    tag_indptr, tag_indices, weights = tags
    for entry in range(indptr[user], indptr[user + 1]):
        item = entry_items[entry]
        for place in range(tag_indptr[item], tag_indptr[item + 1]):
            sums[tag_indices[place]] += entry_values[entry] * weights[place]


@njit_cached
def _mean_of_tags(values: Floats, tags: Tags, items: Int64s, out: Floats) -> None:
    """out[j] = sum over the tags of item items[j] of weight x value."""
    tag_indptr, tag_indices, weights = tags
    for column in range(len(items)):
        item = items[column]
        total = np.float32(0.0)
        for place in range(tag_indptr[item], tag_indptr[item + 1]):
            total += weights[place] * values[tag_indices[place]]
        out[column] = total


@njit_cached
def tag_affinity(
    indptr: Int64s,
    entry_items: Int32s,
    events: Floats,
    tags: Tags,
    overall: Doubles,
    starts: Int64s,
    items: Int64s,
    out: Floats,
) -> None:
    """Log lift of the user's share of events on the candidates' tags over all users' share.

    Args:
        indptr, entry_items: entries of n users.
        events: of each entry, float32, (e,).
        tags: indptr, indices and weights of items x tags (CSR).
        overall: share of each tag among all users, (tags,).
        starts: first row of each user, (n + 1,).
        items: candidate of each row, (rows,).
        out: written, (rows,).
    """
    sums = np.empty(len(overall), dtype=np.float32)
    values = np.empty(len(overall), dtype=np.float32)
    last_user = np.full(len(overall), -1, dtype=np.int64)
    for user in range(len(starts) - 1):
        sums[:] = 0.0
        sum_by_tag(user, indptr, entry_items, events, tags, sums)
        total = 0.0
        for tag in range(len(sums)):
            total += sums[tag]
        scale = 1.0 / max(total, 1e-12)
        first, last = starts[user], starts[user + 1]
        _log_lifts(user, sums, scale, overall, tags, items[first:last], last_user, values)
        _mean_of_tags(values, tags, items[first:last], out[first:last])


@njit_cached
def _log_lifts(
    user: int,
    sums: Floats,
    scale: float,
    overall: Doubles,
    tags: Tags,
    items: Int64s,
    last_user: Int64s,
    values: Floats,
) -> None:
    """Writes the log lift of the tags of some items; those of other tags are left as they are.

    Args:
        user: whose sums.
        sums: of each tag, (tags,).
        scale: of the sums, which makes shares of them.
        overall: share of each tag among all users, (tags,).
        tags: indptr, indices and weights of items x tags (CSR).
        items: whose tags.
        last_user: the user of whom each tag's value is, updated, (tags,).
        values: written, (tags,).
    """
    tag_indptr, tag_indices, _ = tags
    for item in items:
        for place in range(tag_indptr[item], tag_indptr[item + 1]):
            tag = tag_indices[place]
            if last_user[tag] == user:
                continue
            last_user[tag] = user
            share = sums[tag] * scale
            lift = (share + 0.01 * overall[tag] + 1e-9) / (overall[tag] + 1e-9)
            values[tag] = np.float32(np.log(lift))


@njit_cached
def tag_events(
    indptr: Int64s,
    entry_items: Int32s,
    events: Floats,
    tags: Tags,
    n_tags: int,
    starts: Int64s,
    items: Int64s,
    out: Floats,
) -> None:
    """Computes log(1 + the user's events) on the candidates' tags; see `tag_affinity`."""
    sums = np.empty(n_tags, dtype=np.float32)
    for user in range(len(starts) - 1):
        sums[:] = 0.0
        sum_by_tag(user, indptr, entry_items, events, tags, sums)
        for tag in range(n_tags):
            if sums[tag] != 0.0:
                sums[tag] = np.log1p(sums[tag])
        first, last = starts[user], starts[user + 1]
        _mean_of_tags(sums, tags, items[first:last], out[first:last])


@njit_cached
def tag_days_since_last(
    indptr: Int64s,
    entry_items: Int32s,
    days_since_last: Int32s,
    tags: Tags,
    n_tags: int,
    never: float,
    starts: Int64s,
    items: Int64s,
    out: Floats,
) -> None:
    """Computes days since the user took any item of the candidates' tags; see `tag_affinity`."""
    tag_indptr, tag_indices, _ = tags
    newest = np.empty(n_tags, dtype=np.float32)
    for user in range(len(starts) - 1):
        newest[:] = never
        for entry in range(indptr[user], indptr[user + 1]):
            item = entry_items[entry]
            days = np.float32(days_since_last[entry])
            for place in range(tag_indptr[item], tag_indptr[item + 1]):
                tag = tag_indices[place]
                newest[tag] = min(newest[tag], days)
        first, last = starts[user], starts[user + 1]
        _mean_of_tags(newest, tags, items[first:last], out[first:last])
