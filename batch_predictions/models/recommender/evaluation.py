"""How good a recommender is on days that it has not seen.

One global cut in time: models learn from the days up to it and are asked about the days after.
Everyone who was known before the cut and was active after it counts, also those for whom a model
finds nothing; items that are new after the cut count as missed by every model.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.models.ranking import (
    DEPTH,
    NDCG,
    Doubles,
    Interval,
    Positions,
    Row,
    bootstrap_interval,
    measures,
    metric_row,
    paired_difference,
    top_k,
)
from batch_predictions.models.recommender.base import Recommender
from batch_predictions.models.recommender.data import Interactions

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = [
    "Evaluation",
    "Holdout",
    "Interval",
    "bootstrap_interval",
    "evaluate",
    "hold_out",
    "leave_out",
    "paired_difference",
    "split_by_time",
]

Split: TypeAlias = Literal["time", "leave_out"]

COVERAGE = "coverage@10"
CHUNK = 256
"""Users whose scores are dense at one time."""
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
    known = _positions(test.user_ids, train.user_ids)
    active = np.flatnonzero(known >= 0)
    columns = _positions(test.item_ids, item_ids)
    relevant = _moved(test.matrix()[active], columns, len(item_ids))
    users = known[active]
    if masked:
        history = _moved(train.matrix()[users], _positions(train.item_ids, item_ids), len(item_ids))
        relevant = relevant - relevant.multiply(history)
        relevant.eliminate_zeros()
    some = np.flatnonzero(np.diff(relevant.indptr) > 0)
    without_new = len(users) - len(some)
    if len(some) > max_users:
        some = np.sort(np.random.default_rng(seed).choice(some, max_users, replace=False))
    return Holdout(train, as_of, users[some], item_ids, relevant[some], masked, split, without_new)


def _positions(ids: pa.StringArray, among: pa.StringArray) -> Positions:
    """Position of each id among others, -1 where it is not there."""
    found = pc.index_in(ids, value_set=among)
    return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)


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


def evaluate(model: Recommender, holdout: Holdout) -> Evaluation:
    """Rank all of the model's items for each user, 256 users at a time."""
    from scipy.sparse import csr_matrix

    to_model = _positions(holdout.train.item_ids, model.items)
    to_answer = _positions(model.items, holdout.item_ids)
    matrix = holdout.train.decayed(model.history_half_life_days, holdout.as_of).matrix()
    targets = model.targets().T
    tops = [np.empty((0, DEPTH), dtype=np.int64)]
    hits = [np.empty((0, DEPTH), dtype=bool)]
    for start in range(0, len(holdout.users), CHUNK):
        counts = matrix[holdout.users[start : start + CHUNK]].tocoo()
        columns = to_model[counts.col]
        keep = columns >= 0
        history = csr_matrix(
            (counts.data[keep], (counts.row[keep], columns[keep])),
            shape=(counts.shape[0], len(model.items)),
        )
        history.sort_indices()
        scores = model.queries(history) @ targets
        if holdout.masked:
            seen = history.tocoo()
            scores[seen.row, seen.col] = -np.inf
        top = top_k(scores, DEPTH)
        right = holdout.relevant[start : start + CHUNK]
        tops.append(top)
        hits.append(_hits(to_answer[top], top >= 0, right))
    ranked, hit = np.concatenate(tops), np.concatenate(hits)
    relevant = np.diff(holdout.relevant.indptr)
    offered = np.unique(ranked[:, :10])
    known = len(holdout.train.item_ids)
    return Evaluation(
        candidate=model.name,
        per_user=measures(hit, relevant),
        coverage=float((offered >= 0).sum()) / known if known else 0.0,
        split=holdout.split,
    )


def _hits(
    ranked: Positions, filled: npt.NDArray[np.bool_], relevant: csr_matrix
) -> npt.NDArray[np.bool_]:
    """Which of the ranked items (n, k) are relevant, without a dense n x items."""
    width = relevant.shape[1]
    entries = relevant.tocoo()
    right = entries.row.astype(np.int64) * width + entries.col
    asked = np.arange(len(ranked))[:, np.newaxis] * width + ranked
    return np.isin(asked, right) & filled & (ranked >= 0)
