"""Business rules over ranked lists; `rules.Rules.apply` says what each does."""

from __future__ import annotations

import numpy as np

from batch_predictions.core.arrays import Flags, Int64s
from batch_predictions.core.jit import njit_cached


@njit_cached
def apply_rules(
    ranked: Int64s,
    in_history: Flags,
    boosted: Flags,
    category: Int64s,
    per_category: int,
    min_new: int,
    boost_places: int,
    k: int,
    out: Int64s,
) -> None:
    """Builds lists of k items under rules.

    Args:
        ranked: item positions of each user, best first, -1 at the end, (n, m).
        in_history: whether the item in each place is in the user's history, (n, m).
        boosted: whether each item is boosted, (items,).
        category: number of each item's category, -1 if unknown, (items,).
        per_category: items of one category at most.
        min_new: items that are not in the history, at least.
        boost_places: ranks by which boosted items move up.
        k: length of the lists.
        out: receives columns of `ranked`, (n, k).
    """
    users, m = ranked.shape
    category_counts = np.zeros(category.max() + 2 if len(category) else 1, dtype=np.int64)
    key = np.empty(m, dtype=np.int64)
    is_used = np.empty(m, dtype=np.bool_)
    for user in range(users):
        n = 0
        while n < m and ranked[user, n] >= 0:
            n += 1
        for column in range(n):
            boost = boost_places if boosted[ranked[user, column]] else 0
            # Doubled, so that a boosted item sorts before the one whose place it reaches.
            key[column] = 2 * (column - boost) - (1 if boost > 0 else 0)
        order = np.argsort(key[:n], kind="mergesort")
        new_items = 0
        for column in range(n):
            is_used[column] = False
            if not in_history[user, column]:
                new_items += 1
        category_counts[:] = 0
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
                item_category = category[ranked[user, column]] + 1
                if is_strict:
                    is_capped = (
                        per_category > 0
                        and item_category > 0
                        and category_counts[item_category] >= per_category
                    )
                    if is_capped:
                        continue
                    if in_history[user, column] and k - size <= new_needed:
                        continue
                is_used[column] = True
                if not in_history[user, column]:
                    new_needed -= 1
                category_counts[item_category] += 1
                out[user, size] = column
                size += 1
        for rank in range(size, k):
            out[user, rank] = -1
