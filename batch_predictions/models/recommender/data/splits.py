"""Hold-outs: which interactions a model learns from, which users are evaluated, and on what.

The default is one global cut in time: models learn from the days up to it and are evaluated on the
days after it. Only events of a target type are relevant: models learn from views, and are evaluated
on purchases. Every user who was known before the cut and active after it counts, with 0 for models
without a list for the user. Items that first appear after the cut count as missed by every model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.core.arrays import Positions
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions, positions_in

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Split: TypeAlias = Literal["time", "leave_out", "leave_newest"]

HIDDEN_SHARE = 0.2
"""Share of a user's items that `leave_out` hides."""
MAX_USERS = 50_000
"""Above this, a seeded sample of the users is evaluated: intervals are narrow by then."""


@dataclass(frozen=True)
class Holdout:
    """Training rows, evaluated users and their relevant items.

    Attributes:
        train: rows that models may learn from.
        as_of: the last day that is known.
        users: evaluated users, positions in `train.user_ids`, (n,).
        item_ids: sorted ids of the items of train and test, (m,).
        relevant: n x m boolean CSR of what each user took in the test rows.
        masks_seen: whether seen items of the history are neither offered nor relevant.
        split: how the rows were split.
        users_without_new: active users who are left out because all they took was masked.
    """

    train: Interactions
    as_of: date
    users: npt.NDArray[np.int64]
    item_ids: pa.StringArray
    relevant: csr_matrix
    masks_seen: bool
    split: Split
    users_without_new: int

    def histories(self, items: pa.StringArray, traits: pa.Table | None = None) -> Histories:
        """Histories of the evaluated users as of the cut, over a model's items."""
        return Histories.from_interactions(self.train, self.users, items, self.as_of, traits)

    def take(self, rows: Positions) -> Holdout:
        """Restricts the hold-out to some of its users, given as positions in `users`."""
        return replace(self, users=self.users[rows], relevant=self.relevant[rows])

    def blocks(self, size: int, seed: int) -> Iterator[Holdout]:
        """Yields the hold-out with at most `size` of its users at a time, drawn at random."""
        if len(self.users) <= size:
            yield self
            return
        order = np.random.default_rng(seed).permutation(len(self.users))
        for start in range(0, len(order), size):
            yield self.take(np.sort(order[start : start + size]))

    def hits(self, start: int, lists: Positions) -> npt.NDArray[np.bool_]:
        """Marks the items of lists that are relevant.

        Args:
            start: the user of the first list; the next lists are those of the next users.
            lists: positions in `item_ids`, -1 for none, (l, k).
        """
        entries = self.relevant[start : start + len(lists)].tocoo()
        width = len(self.item_ids)
        keys = np.sort(entries.row.astype(np.int64) * width + entries.col)
        list_keys = np.arange(len(lists))[:, np.newaxis] * width + lists
        if not len(keys):
            return np.zeros(lists.shape, dtype=bool)
        nearest = keys[np.minimum(np.searchsorted(keys, list_keys), len(keys) - 1)]
        return (nearest == list_keys) & (lists >= 0)


def hold_out(
    interactions: Interactions,
    *,
    through: date,
    holdout_days: int,
    exclude_seen: bool,
    seed: int,
    history_days: int | None = None,
    max_users: int = MAX_USERS,
) -> Holdout:
    """Holds out the last `holdout_days` up to `through`.

    Where all rows share one date, a share of each user's items is held out instead.

    Args:
        interactions: all rows; those after `through` are ignored.
        through: last day of the hold-out.
        holdout_days: length of the hold-out, days.
        exclude_seen: whether items of the history are masked.
        seed: of the sample of users.
        history_days: training rows are at most this old at the cut; None: all.
        max_users: users evaluated at most.
    """
    rows = interactions.up_to(through)
    if rows.has_single_date:
        return leave_out(rows, as_of=through, seed=seed, max_users=max_users)
    return split_by_time(
        rows,
        cut=through - timedelta(days=holdout_days),
        exclude_seen=exclude_seen,
        seed=seed,
        history_days=history_days,
        max_users=max_users,
    )


def split_by_time(
    interactions: Interactions,
    *,
    cut: date,
    exclude_seen: bool,
    seed: int = 0,
    history_days: int | None = None,
    max_users: int = MAX_USERS,
) -> Holdout:
    """Learns from the days up to `cut`, evaluates on all days after it.

    Args:
        interactions: all rows.
        cut: last training day.
        exclude_seen: whether items of the history are masked.
        seed: of the sample of users.
        history_days: training rows are at most this old at the cut; None: all.
        max_users: users evaluated at most.
    """
    train, test = interactions.up_to(cut, history_days), interactions.after(cut)
    return _make_holdout(train, test, cut, exclude_seen, "time", seed, max_users)


def split_newest(
    interactions: Interactions, share: float, *, exclude_seen: bool, seed: int = 0
) -> Holdout:
    """Evaluates on the newest `share` of all rows, at one cut in time for all users.

    The cut may fall within a day, whose earlier rows are training rows. Rows of one timestamp, or
    of one day where there are no times of day, stay together.

    Args:
        interactions: all rows.
        share: of the rows, between 0 and 1.
        exclude_seen: whether items of the history are masked.
        seed: of the sample of users.
    """
    times = interactions.time_order
    order = np.lexsort((times, interactions.dates))
    first = order[min(int(len(order) * (1 - share)), len(order) - 1)]
    day, time = interactions.dates[first], times[first]
    is_train = (interactions.dates < day) | ((interactions.dates == day) & (times < time))
    train, test = interactions.filter(is_train), interactions.filter(~is_train)
    as_of = (train.dates.max() if len(train) else day).item()
    return _make_holdout(train, test, as_of, exclude_seen, "time", seed)


def leave_out(
    interactions: Interactions,
    *,
    as_of: date,
    seed: int,
    share: float = HIDDEN_SHARE,
    max_users: int = MAX_USERS,
) -> Holdout:
    """Hides a random `share` of each user's items, at least one of two.

    A relevant item is by construction not in the history, so the history is always masked.

    Args:
        interactions: all rows.
        as_of: day as of which users are evaluated.
        seed: of hidden items and of the sample of users.
        share: of each user's items that is hidden, between 0 and 1.
        max_users: users evaluated at most.
    """
    pairs = interactions.users.astype(np.int64) * len(interactions.item_ids) + interactions.items
    distinct = np.unique(pairs[interactions.is_target])
    user = distinct // max(len(interactions.item_ids), 1)
    random = np.random.default_rng(seed)
    order = np.lexsort((random.random(len(distinct)), user))
    counts = np.bincount(user, minlength=len(interactions.user_ids))
    first = np.cumsum(counts) - counts
    rank = np.empty(len(distinct), dtype=np.int64)
    rank[order] = np.arange(len(distinct)) - first[user[order]]
    hidden_items = np.where(counts >= 2, np.maximum(1, np.floor(counts * share)), 0)
    is_hidden = np.isin(pairs, distinct[rank < hidden_items[user]])
    train, test = interactions.filter(~is_hidden), interactions.filter(is_hidden)
    return _make_holdout(train, test, as_of, True, "leave_out", seed, max_users)


def leave_last_out(
    interactions: Interactions, as_of: date, *, share: float = 0.1, least: int = 0
) -> Holdout:
    """Hides the newest `share` of each user's items, by the time of their first interaction.

    Not a cut in time: models learn from what other users did later, so the result says how well
    tastes are modelled, not how well the future is predicted. Users of fewer than 1 / share items
    keep all, unless `least` items are hidden.

    Args:
        interactions: all rows.
        as_of: day as of which users are evaluated.
        share: of each user's items that is hidden, between 0 and 1.
        least: items of each user that are hidden at least, where one is left.
    """
    times = interactions.time_order
    width = max(len(interactions.item_ids), 1)
    pairs = interactions.users.astype(np.int64) * width + interactions.items
    targets = np.flatnonzero(interactions.is_target)
    order = targets[np.lexsort((times[targets], interactions.dates[targets], pairs[targets]))]
    firsts = order[np.diff(pairs[order], prepend=-1) != 0]
    # Newest first within each user; of equal ones the higher item.
    newest_first = firsts[
        np.lexsort(
            (
                -interactions.items[firsts].astype(np.int64),
                -times[firsts],
                -interactions.dates[firsts].astype(np.int64),
                interactions.users[firsts],
            )
        )
    ]
    users = interactions.users[newest_first]
    counts = np.bincount(users, minlength=len(interactions.user_ids))
    rank = np.arange(len(newest_first)) - (np.cumsum(counts) - counts)[users]
    number = np.maximum(np.floor(counts * share), np.minimum(least, counts - 1))
    hidden = newest_first[rank < number[users]]
    is_hidden = np.isin(pairs, pairs[hidden])
    train, test = interactions.filter(~is_hidden), interactions.filter(is_hidden)
    return _make_holdout(train, test, as_of, True, "leave_newest", 0)


def _make_holdout(
    train: Interactions,
    test: Interactions,
    as_of: date,
    masks_seen: bool,
    split: Split,
    seed: int,
    max_users: int = MAX_USERS,
) -> Holdout:
    if test.targets is not None:
        test = test.filter(test.is_target)
    item_ids = pc.unique(pa.concat_arrays([train.item_ids, test.item_ids])).sort()
    train_rows = positions_in(test.user_ids, train.user_ids)
    active = np.flatnonzero(train_rows >= 0)
    columns = positions_in(test.item_ids, item_ids)
    relevant = _binary_reindexed(test.matrix()[active], columns, len(item_ids))
    users = train_rows[active]
    if masks_seen:
        columns = positions_in(train.item_ids, item_ids)
        history = _binary_reindexed(train.seen_matrix()[users], columns, len(item_ids))
        relevant = relevant - relevant.multiply(history)
        relevant.eliminate_zeros()
    evaluated = np.flatnonzero(np.diff(relevant.indptr) > 0)
    without_new = len(users) - len(evaluated)
    if len(evaluated) > max_users:
        random = np.random.default_rng(seed)
        evaluated = np.sort(random.choice(evaluated, max_users, replace=False))
    return Holdout(
        train,
        as_of,
        users[evaluated],
        item_ids,
        relevant[evaluated],
        masks_seen,
        split,
        without_new,
    )


def _binary_reindexed(matrix: csr_matrix, columns: Positions, width: int) -> csr_matrix:
    """Ones for the matrix's entries, with column j as columns[j]; -1 leaves it out."""
    from scipy.sparse import csr_matrix

    entries = matrix.tocoo()
    moved = columns[entries.col]
    keep = moved >= 0
    ones = np.ones(int(keep.sum()), dtype=np.float32)
    result = csr_matrix(
        (ones, (entries.row[keep], moved[keep])), shape=(matrix.shape[0], width), dtype=np.float32
    )
    result.sort_indices()
    return result
