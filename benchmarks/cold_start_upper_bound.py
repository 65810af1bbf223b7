"""Upper bounds of lists for users without history: lists that are computed from the test rows.

NDCG@10 of one list is a sum over its ranks of a user's gains over that user's ideal DCG, so the
best single list for all users, in hindsight, has the ten items with the largest sums: exact. The
best list of a small segment in hindsight would be its members' own items, so the segments' lists
are computed from the test rows of *other* users, shrunk to the sums of all users with the strength
that is best in hindsight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.recommender.data.interactions import Interactions

FOLDS = 5
KAPPAS = (10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0)
"""Prior weights of all users' gains, in users, that are added to a segment's."""
DISCOUNTS = 1.0 / np.log2(np.arange(10) + 2.0)


def upper_bounds(test: Interactions, leaves: Sequence[Any], seed: int) -> dict[str, Doubles]:
    """NDCG@10 of each user of the test rows, by kind of list; `leaves` are their traits."""
    gains = _gains(test)
    users = gains.shape[0]
    fold = np.empty(users, dtype=np.int64)
    fold[np.random.default_rng(seed).permutation(users)] = np.arange(users) % FOLDS
    codes = {"everyone": np.zeros(users, dtype=np.int64)}
    for name, key in (("age and gender", slice(0, 2)), ("age, gender and location", slice(0, 3))):
        _, codes[name] = np.unique(["|".join(leaf[key]) for leaf in leaves], return_inverse=True)
    bounds = {"one list, in hindsight": gains[:, _top(gains.sum(axis=0))].toarray() @ DISCOUNTS}
    for name, code in codes.items():
        by_kappa = [_lists_of_other_users(gains, code, fold, kappa) for kappa in KAPPAS]
        best = max(by_kappa, key=lambda values: float(values.mean()))
        bounds[f"lists by {name}, from other users of the same days"] = best
    return bounds


def _lists_of_other_users(
    gains: Any, code: npt.NDArray[np.int64], fold: npt.NDArray[np.int64], kappa: float
) -> Doubles:
    values = np.zeros(gains.shape[0])
    for number in range(FOLDS):
        in_fold = fold == number
        overall = _sums(gains[~in_fold]) / max(int((~in_fold).sum()), 1)
        for segment in np.unique(code[in_fold]):
            segment_sums = _sums(gains[~in_fold & (code == segment)])
            members = np.flatnonzero(in_fold & (code == segment))
            top = _top(segment_sums + kappa * overall)
            values[members] = gains[members][:, top].toarray() @ DISCOUNTS
    return values


def _gains(test: Interactions) -> Any:
    """Users x items, CSR: 1 over the user's ideal DCG where the item is relevant."""
    matrix = test.matrix().astype(np.float64)
    sizes = np.diff(matrix.indptr)
    ideal = np.cumsum(DISCOUNTS)[np.clip(sizes, 1, 10) - 1]
    matrix.data = np.repeat(1.0 / ideal, sizes)
    return matrix


def _sums(matrix: Any) -> Doubles:
    return np.asarray(matrix.sum(axis=0), dtype=np.float64).ravel()


def _top(sums: Any) -> npt.NDArray[np.int64]:
    return np.argsort(-np.asarray(sums).ravel(), kind="stable")[:10]
