"""Compiled loops over scores and candidates. Imports numba: import it only inside functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from batch_predictions.jit import njit_cached, njit_reassoc


@njit_cached
def _worse(score: float, place: int, other: float, other_place: int) -> bool:
    return score < other or (score == other and place > other_place)


@njit_cached
def _sink(values: Any, places: Any, n: int, root: int) -> None:
    """Restores a heap whose root is its worst element."""
    while True:
        child = 2 * root + 1
        if child >= n:
            return
        if child + 1 < n and _worse(
            values[child + 1], places[child + 1], values[child], places[child]
        ):
            child += 1
        if not _worse(values[child], places[child], values[root], places[root]):
            return
        values[child], values[root] = values[root], values[child]
        places[child], places[root] = places[root], places[child]
        root = child


@njit_cached
def _hold(heap: Any, where: Any, n: int, k: int, score: float, place: int) -> int:
    """Takes a candidate into a heap of the k best, of which n are there; how many are now."""
    if n < k:
        at = n
        heap[at], where[at] = score, place
        while at > 0:
            parent = (at - 1) // 2
            if not _worse(heap[at], where[at], heap[parent], where[parent]):
                break
            heap[at], heap[parent] = heap[parent], heap[at]
            where[at], where[parent] = where[parent], where[at]
            at = parent
        return n + 1
    if _worse(heap[0], where[0], score, place):
        heap[0], where[0] = score, place
        _sink(heap, where, n, 0)
    return n


@njit_cached
def _sort(heap: Any, where: Any, n: int) -> None:
    """Puts a heap into order, best first."""
    for end in range(n - 1, 0, -1):
        heap[0], heap[end] = heap[end], heap[0]
        where[0], where[end] = where[end], where[0]
        _sink(heap, where, end, 0)


@njit_cached
def best(scores: Any, k: int, places: Any, values: Any) -> None:
    """The k best of each row, best first, ties to the lower position; nan and -inf are left out.

    `places` (n, k) is filled with -1 and `values` (n, k) with -inf where there are fewer.
    """
    for row in range(scores.shape[0]):
        heap, where, line = values[row], places[row], scores[row]
        n = 0
        worst = np.float32(-np.inf)
        for place in range(line.shape[0]):
            score = line[place]
            # Positions rise, so of equal scores the one that is there stays; nan is not greater.
            if not score > worst:
                continue
            n = _hold(heap, where, n, k, score, place)
            if n == k:
                worst = heap[0]
        _sort(heap, where, n)
        for rest in range(n, k):
            heap[rest], where[rest] = -np.inf, -1


@njit_cached
def best_entries(indptr: Any, columns: Any, scores: Any, k: int, places: Any) -> None:
    """`best` of the entries of csr rows: their columns into `places` (n, k)."""
    heap = np.empty(k, dtype=np.float32)
    for row in range(places.shape[0]):
        where = places[row]
        n = 0
        for at in range(indptr[row], indptr[row + 1]):
            if scores[at] > -np.inf:
                n = _hold(heap, where, n, k, scores[at], columns[at])
        _sort(heap, where, n)
        where[n:] = -1


@njit_cached
def affinities(tilt: Any, indptr: Any, tags: Any, weights: Any, items: Any, out: Any) -> None:
    """out[u, j] = the sum over the tags of item items[u, j] (csr) of weight x tilt[u, tag]."""
    for user in range(items.shape[0]):
        for place in range(items.shape[1]):
            item = items[user, place]
            total = np.float32(0.0)
            for at in range(indptr[item], indptr[item + 1]):
                total += weights[at] * tilt[user, tags[at]]
            out[user, place] = total


@njit_cached
def united(tops: Any, width: int, out: Any) -> int:
    """The distinct positions of several lists (g, n, k) per user into `out` (n, g k), in the order
    of rank; -1 fills up. The longest union's length."""
    lists, users, k = tops.shape
    mark = np.full(width, -1, dtype=np.int64)
    longest = 0
    for user in range(users):
        n = 0
        for rank in range(k):
            for each in range(lists):
                place = tops[each, user, rank]
                if place >= 0 and mark[place] != user:
                    mark[place] = user
                    out[user, n] = place
                    n += 1
        longest = max(longest, n)
        for rest in range(n, out.shape[1]):
            out[user, rest] = -1
    return longest


@njit_cached
def nearest(
    users_of: Any,
    users: Any,
    left: Any,
    items_of: Any,
    items: Any,
    right: Any,
    itself: bool,
    start: int,
    stop: int,
    near: Any,
    likeness: Any,
) -> None:
    """For every item i from start to stop - 1 the items j of the largest sum over users of
    left_ui right_uj > 0.

    `users_of`, `users`, `left` are items x users (csr), `items_of`, `items`, `right` users x items.
    Sums are in double precision, in the order of the users.
    """
    width, keep = near.shape
    sums = np.zeros(width)
    seen = np.full(width, -1, dtype=np.int64)
    touched = np.empty(width, dtype=np.int64)
    for item in range(start, stop):
        n = 0
        for at in range(users_of[item], users_of[item + 1]):
            user, weight = users[at], left[at]
            for to in range(items_of[user], items_of[user + 1]):
                other = items[to]
                if seen[other] != item:
                    seen[other] = item
                    sums[other] = 0.0
                    touched[n] = other
                    n += 1
                sums[other] += weight * right[to]
        heap, where = likeness[item], near[item]
        size = 0
        for step in range(n):
            other = touched[step]
            score = np.float32(sums[other])
            if other == item and not itself:
                continue
            size = _hold(heap, where, size, keep, score, other)
        _sort(heap, where, size)


@njit_cached
def beside(
    sequence: Any,
    first: Any,
    last: Any,
    places_of: Any,
    places: Any,
    weights: Any,
    backward: float,
    start: int,
    stop: int,
    near: Any,
    likeness: Any,
) -> None:
    """For every item i from start to stop - 1 the items j that stand nearest to it most often.

    `sequence` holds the items of all users, one user after the other, in the order of time;
    `first` and `last` (len(sequence),) bound the user of each place; `places_of`, `places` are the
    places of each item (csr). The likeness is the sum of weights[distance], times `backward`
    where j stands before i, over the root of the product of both items' numbers of places.
    """
    width, keep = near.shape
    reach = len(weights) - 1
    sums = np.zeros(width)
    seen = np.full(width, -1, dtype=np.int64)
    touched = np.empty(width, dtype=np.int64)
    for item in range(start, stop):
        n = 0
        for at in range(places_of[item], places_of[item + 1]):
            place = places[at]
            for to in range(max(first[place], place - reach), min(last[place], place + reach + 1)):
                other = sequence[to]
                if other == item:
                    continue
                if seen[other] != item:
                    seen[other] = item
                    sums[other] = 0.0
                    touched[n] = other
                    n += 1
                sums[other] += weights[to - place] if to > place else backward * weights[place - to]
        own = places_of[item + 1] - places_of[item]
        heap, where = likeness[item], near[item]
        size = 0
        for step in range(n):
            other = touched[step]
            numbers = own * (places_of[other + 1] - places_of[other])
            score = np.float32(sums[other] / np.sqrt(float(numbers)))
            size = _hold(heap, where, size, keep, score, other)
        _sort(heap, where, size)


@njit_cached
def add_neighbours(
    indptr: Any, columns: Any, weights: Any, near: Any, likeness: Any, out: Any
) -> None:
    """out[u, near[i, j]] += weight of (u, i) x likeness[i, j], for histories in csr."""
    for user in range(out.shape[0]):
        for at in range(indptr[user], indptr[user + 1]):
            item, weight = columns[at], weights[at]
            for j in range(near.shape[1]):
                place = near[item, j]
                if place < 0:
                    break
                out[user, place] += weight * likeness[item, j]


@njit_cached
def loudest(
    indptr: Any, columns: Any, weights: Any, near: Any, likeness: Any, picks: Any, out: Any
) -> None:
    """For each pick (n, k) the history item with the largest weight x likeness, -1 if none."""
    for user in range(picks.shape[0]):
        for rank in range(picks.shape[1]):
            pick = picks[user, rank]
            out[user, rank] = -1
            if pick < 0:
                continue
            most = 0.0
            for at in range(indptr[user], indptr[user + 1]):
                item = columns[at]
                for j in range(near.shape[1]):
                    place = near[item, j]
                    if place < 0:
                        break
                    if place == pick:
                        part = weights[at] * likeness[item, j]
                        if part > most:
                            most = part
                            out[user, rank] = item
                        break


@njit_cached
def ruled(
    ranked: Any,
    known: Any,
    boosted: Any,
    category: Any,
    per_category: int,
    least_new: int,
    places_up: int,
    k: int,
    out: Any,
) -> None:
    """Lists of k under rules, from ranked positions (n, m), -1 at the end; see `rules.apply`."""
    users, m = ranked.shape
    taken = np.zeros(category.max() + 2 if len(category) else 1, dtype=np.int64)
    key = np.empty(m, dtype=np.int64)
    used = np.empty(m, dtype=np.bool_)
    for user in range(users):
        n = 0
        while n < m and ranked[user, n] >= 0:
            n += 1
        for at in range(n):
            up = places_up if boosted[ranked[user, at]] else 0
            # Halves put a boosted item before the one whose place it reaches.
            key[at] = 2 * (at - up) - (1 if up > 0 else 0)
        order = np.argsort(key[:n], kind="mergesort")
        new_left = 0
        for at in range(n):
            used[at] = False
            if not known[user, at]:
                new_left += 1
        taken[:] = 0
        size = 0
        new_wanted = min(least_new, new_left)
        # The first round keeps to all rules; the second fills up with the next best.
        for strict in (True, False):
            for step in range(n):
                if size == k:
                    break
                at = order[step]
                if used[at]:
                    continue
                place = ranked[user, at]
                group = category[place] + 1
                if strict:
                    if per_category > 0 and group > 0 and taken[group] >= per_category:
                        continue
                    if known[user, at] and k - size <= new_wanted:
                        continue
                used[at] = True
                if not known[user, at]:
                    new_wanted -= 1
                taken[group] += 1
                out[user, size] = at
                size += 1
        for rest in range(size, k):
            out[user, rest] = -1


@njit_reassoc
def products(left: Any, right: Any, out: Any) -> None:
    """Inner products of the rows of `left` (n, f) with those of `right` (m, f), float32.

    A pair's product is the same bits whatever rows stand around it, which matrix products of
    BLAS, whose edges go another way than their middle, do not promise.
    """
    for row in range(left.shape[0]):
        for place in range(right.shape[0]):
            total = np.float32(0.0)
            for n in range(left.shape[1]):
                total += left[row, n] * right[place, n]
            out[row, place] = total
