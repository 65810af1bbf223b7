"""How good a recommender is on days that it has not seen.

One global cut in time: models learn from the days up to it and are asked about the days after.
Everyone who was known before the cut and was active after it counts, also those for whom a model
finds nothing; items that are new after the cut count as missed by every model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.models.common.bootstrap import (
    Interval,
    Row,
    bootstrap_interval,
    metric_row,
    paired_difference,
)
from batch_predictions.models.common.ranking_metrics import (
    DEPTH,
    NDCG,
    Doubles,
    Positions,
    measures,
)
from batch_predictions.models.recommender.base import Recommender
from batch_predictions.models.recommender.data.histories import Histories, positions
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFacts

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = [
    "Evaluation",
    "Holdout",
    "Interval",
    "bootstrap_interval",
    "evaluate",
    "hold_out",
    "leave_newest",
    "leave_out",
    "paired_difference",
    "split_by_time",
    "split_newest",
]

Split: TypeAlias = Literal["time", "leave_out", "leave_newest"]

COVERAGE, NOVELTY = "coverage@10", "novelty@10"
LEFT_OUT = 0.2
"""Share of a user's items that are hidden where the data has no times."""
MAX_USERS = 20_000
"""Above this, a seeded sample of the users is measured: intervals are narrow by then."""


@dataclass(frozen=True)
class Holdout:
    """What to learn from, whom to ask, and the right answers.

    `users` are positions in `train.user_ids`; `relevant` (len(users) x len(item_ids), boolean
    csr) marks what each took after the cut, over `item_ids`, the sorted ids of train and test.
    `masked` says that items of the history are neither offered nor relevant. `without_new` counts
    the active users who are left out because all they took was masked.
    """

    train: Interactions
    as_of: date
    users: npt.NDArray[np.int64]
    item_ids: pa.StringArray
    relevant: csr_matrix
    masked: bool
    split: Split
    without_new: int

    def histories(self, items: pa.StringArray, users: pa.Table | None = None) -> Histories:
        """What the users who are asked did by the cut, over a model's items."""
        return Histories.of(self.train, self.users, items, self.as_of, users)

    def are_right(self, start: int, answers: Positions) -> npt.NDArray[np.bool_]:
        """Which answers (n, k), positions in `item_ids` or -1, to the users from `start` on are
        right."""
        right = self.relevant[start : start + len(answers)].tocoo()
        width = len(self.item_ids)
        keys = np.sort(right.row.astype(np.int64) * width + right.col)
        asked = np.arange(len(answers))[:, np.newaxis] * width + answers
        if not len(keys):
            return np.zeros(answers.shape, dtype=bool)
        found = keys[np.minimum(np.searchsorted(keys, asked), len(keys) - 1)] == asked
        return found & (answers >= 0)


@dataclass(frozen=True)
class Evaluation:
    """One value per user and metric, in the order of `Holdout.users`."""

    candidate: str
    per_user: dict[str, Doubles]
    coverage: float
    """Share of the known items that are in at least one user's top 10."""
    split: Split

    @property
    def n(self) -> int:
        return len(self.per_user[NDCG])

    def named(self, candidate: str) -> Evaluation:
        """The same under another name."""
        return replace(self, candidate=candidate)

    def rows(self, seed: int) -> list[Row]:
        """Rows for `evaluation.model_metrics`: candidate, metric, value, lower, upper, n."""
        rows = [
            metric_row(self.candidate, metric, bootstrap_interval(values, seed))
            for metric, values in self.per_user.items()
        ]
        nothing = float("nan")
        coverage = metric_row(
            self.candidate, COVERAGE, Interval(self.coverage, nothing, nothing, self.n)
        )
        return [*rows, coverage]


def hold_out(
    interactions: Interactions,
    *,
    through: date,
    holdout_days: int,
    exclude_seen: bool,
    seed: int,
    max_users: int = MAX_USERS,
) -> Holdout:
    """The last `holdout_days` up to `through`; where all rows share one date, a share of each
    user's items instead."""
    known = interactions.up_to(through)
    if known.single_date:
        return leave_out(known, as_of=through, seed=seed, max_users=max_users)
    return split_by_time(
        known,
        cut=through - timedelta(days=holdout_days),
        exclude_seen=exclude_seen,
        seed=seed,
        max_users=max_users,
    )


def split_by_time(
    interactions: Interactions,
    *,
    cut: date,
    exclude_seen: bool,
    seed: int = 0,
    max_users: int = MAX_USERS,
) -> Holdout:
    """Learn from the days up to `cut`, ask about all days after it."""
    train, test = interactions.up_to(cut), interactions.after(cut)
    return _holdout(train, test, cut, exclude_seen, "time", seed, max_users)


def split_newest(
    interactions: Interactions,
    share: float,
    *,
    exclude_seen: bool,
    seed: int = 0,
    max_users: int = MAX_USERS,
) -> Holdout:
    """Ask about the newest `share` of all rows, learn from those before: one cut for everybody, by
    the time of day too. The day of the cut is known up to the cut.

    Rows of one moment, or of one day where there are no times, are asked about together.
    """
    moments = interactions.clock
    order = np.lexsort((moments, interactions.dates))
    first = order[min(int(len(order) * (1 - share)), len(order) - 1)]
    day, moment = interactions.dates[first], moments[first]
    before = (interactions.dates < day) | ((interactions.dates == day) & (moments < moment))
    train, test = interactions.where(before), interactions.where(~before)
    as_of = (train.dates.max() if len(train) else day).item()
    return _holdout(train, test, as_of, exclude_seen, "time", seed, max_users)


def leave_out(
    interactions: Interactions,
    *,
    as_of: date,
    seed: int,
    share: float = LEFT_OUT,
    max_users: int = MAX_USERS,
) -> Holdout:
    """Hide a seeded `share` of each user's items, at least one of two; learn from the others.

    An answer is by construction an item that the history lacks, so the history is always masked.
    """
    pairs = interactions.users.astype(np.int64) * len(interactions.item_ids) + interactions.items
    distinct, pair_of_row = np.unique(pairs, return_inverse=True)
    owner = distinct // max(len(interactions.item_ids), 1)
    random = np.random.default_rng(seed)
    order = np.lexsort((random.random(len(distinct)), owner))
    counts = np.bincount(owner, minlength=len(interactions.user_ids))
    first = np.cumsum(counts) - counts
    place = np.empty(len(distinct), dtype=np.int64)
    place[order] = np.arange(len(distinct)) - first[owner[order]]
    hidden_items = np.where(counts >= 2, np.maximum(1, np.floor(counts * share)), 0)
    hidden = (place < hidden_items[owner])[pair_of_row]
    train, test = interactions.where(~hidden), interactions.where(hidden)
    return _holdout(train, test, as_of, True, "leave_out", seed, max_users)


def leave_newest(
    interactions: Interactions, as_of: date, *, share: float = 0.1, max_users: int = MAX_USERS
) -> Holdout:
    """Hide the newest `share` of each user's items, by when they were first taken; learn from the
    others.

    Not a cut in time: what others did later is learned from, so it says how well tastes are
    understood, not how well the future is foreseen. Users of fewer than 1 / share items keep all.
    """
    moments = interactions.clock
    width = max(len(interactions.item_ids), 1)
    pairs = interactions.users.astype(np.int64) * width + interactions.items
    order = np.lexsort((moments, interactions.dates, pairs))
    firsts = order[np.diff(pairs[order], prepend=-1) != 0]
    # Newest first within each user; among equals the higher item.
    by_age = firsts[
        np.lexsort(
            (
                -interactions.items[firsts].astype(np.int64),
                -moments[firsts],
                -interactions.dates[firsts].astype(np.int64),
                interactions.users[firsts],
            )
        )
    ]
    owners = interactions.users[by_age]
    counts = np.bincount(owners, minlength=len(interactions.user_ids))
    place = np.arange(len(by_age)) - (np.cumsum(counts) - counts)[owners]
    newest = by_age[place < np.floor(counts * share)[owners]]
    hidden = np.isin(pairs, pairs[newest])
    train, test = interactions.where(~hidden), interactions.where(hidden)
    return _holdout(train, test, as_of, True, "leave_newest", 0, max_users)


def _holdout(
    train: Interactions,
    test: Interactions,
    as_of: date,
    masked: bool,
    split: Split,
    seed: int,
    max_users: int,
) -> Holdout:
    item_ids = pc.unique(pa.concat_arrays([train.item_ids, test.item_ids])).sort()
    known = positions(test.user_ids, train.user_ids)
    active = np.flatnonzero(known >= 0)
    columns = positions(test.item_ids, item_ids)
    relevant = _moved(test.matrix()[active], columns, len(item_ids))
    users = known[active]
    if masked:
        history = _moved(train.matrix()[users], positions(train.item_ids, item_ids), len(item_ids))
        relevant = relevant - relevant.multiply(history)
        relevant.eliminate_zeros()
    some = np.flatnonzero(np.diff(relevant.indptr) > 0)
    without_new = len(users) - len(some)
    if len(some) > max_users:
        some = np.sort(np.random.default_rng(seed).choice(some, max_users, replace=False))
    return Holdout(train, as_of, users[some], item_ids, relevant[some], masked, split, without_new)


def _moved(matrix: csr_matrix, columns: Positions, width: int) -> csr_matrix:
    """The matrix with ones for its entries and column j moved to columns[j]; -1 drops it."""
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


def evaluate(
    model: Recommender, holdout: Holdout, facts: ItemFacts, users: pa.Table | None = None
) -> Evaluation:
    """Rank for every user of the hold-out; `facts` are of the model's items, as of the cut."""
    to_answer = positions(model.items, holdout.item_ids)
    histories = holdout.histories(model.items, users)
    ranked = model.rank(histories, facts, DEPTH, exclude_seen=holdout.masked).positions
    hit = holdout.are_right(0, np.where(ranked >= 0, to_answer[np.maximum(ranked, 0)], -1))
    relevant = np.diff(holdout.relevant.indptr)
    shown = ranked[:, :10]
    offered = np.unique(shown[shown >= 0])
    known = len(holdout.train.item_ids)
    return Evaluation(
        candidate=model.name,
        per_user={**measures(hit, relevant), NOVELTY: _novelty(shown, facts)},
        coverage=float(len(offered)) / known if known else 0.0,
        split=holdout.split,
    )


def _novelty(shown: Positions, facts: ItemFacts) -> Doubles:
    """Mean self-information of the offered items, bits: -log2 of the share of all (item, user)
    pairs that are of the item (Zhou et al. 2010); 0 for an empty list."""
    surprise = -np.log2(np.maximum(facts.share("users"), 1e-12))
    filled = shown >= 0
    sums = np.where(filled, surprise[np.maximum(shown, 0)], 0.0).sum(axis=1)
    return np.asarray(sums / np.maximum(filled.sum(axis=1), 1), dtype=np.float64)
