"""What lists for users without a history could reach at best: they are drawn from the answers.

NDCG@10 of one list is a sum over its places of a user's wants over that user's ideal, so the best
list for many users, in hindsight, is the ten items of the largest sums: exact. The best list of a
small segment in hindsight is its members' own baskets, which nobody could know; so segments' lists
are drawn from the answers of *other* users, shrunk to everyone's as is best in hindsight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from batch_predictions.models.common.ranking_metrics import Doubles
from batch_predictions.models.recommender.data.interactions import Interactions

FOLDS = 5
KAPPAS = (10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0)
"""Users of everyone's taste that are added to a segment's."""
DISCOUNTS = 1.0 / np.log2(np.arange(10) + 2.0)


def oracles(answers: Interactions, leaves: Sequence[Any], seed: int) -> dict[str, Doubles]:
    """NDCG@10 of each user of the answers, by oracle; `leaves` are their segments."""
    worth = _worth(answers)
    users = worth.shape[0]
    whole = np.zeros(users, dtype=np.int64)
    fold = np.empty(users, dtype=np.int64)
    fold[np.random.default_rng(seed).permutation(users)] = np.arange(users) % FOLDS
    codes = {"everyone": whole}
    for name, key in (("age and gender", slice(0, 2)), ("age, gender and place", slice(0, 3))):
        _, codes[name] = np.unique(["|".join(leaf[key]) for leaf in leaves], return_inverse=True)
    found = {"one list, in hindsight": worth[:, _top(worth.sum(axis=0))].toarray() @ DISCOUNTS}
    for name, code in codes.items():
        tried = [_of_others(worth, code, fold, kappa) for kappa in KAPPAS]
        best = max(tried, key=lambda values: float(values.mean()))
        found[f"lists by {name}, from other users of the same days"] = best
    return found


def _of_others(
    worth: Any, code: npt.NDArray[np.int64], fold: npt.NDArray[np.int64], kappa: float
) -> Doubles:
    values = np.zeros(worth.shape[0])
    for number in range(FOLDS):
        others = fold != number
        everyone = _sums(worth[others]) / max(int(others.sum()), 1)
        for segment in np.unique(code[~others]):
            own = _sums(worth[others & (code == segment)])
            members = np.flatnonzero(~others & (code == segment))
            top = _top(own + kappa * everyone)
            values[members] = worth[members][:, top].toarray() @ DISCOUNTS
    return values


def _worth(answers: Interactions) -> Any:
    """Users x items, csr: 1 over the user's ideal DCG where the item is right."""
    matrix = answers.matrix().astype(np.float64)
    sizes = np.diff(matrix.indptr)
    ideal = np.cumsum(DISCOUNTS)[np.clip(sizes, 1, 10) - 1]
    matrix.data = np.repeat(1.0 / ideal, sizes)
    return matrix


def _sums(matrix: Any) -> Doubles:
    return np.asarray(matrix.sum(axis=0), dtype=np.float64).ravel()


def _top(sums: Any) -> npt.NDArray[np.int64]:
    return np.argsort(-np.asarray(sums).ravel(), kind="stable")[:10]
