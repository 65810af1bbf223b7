"""Item to item: what is taken by those who took what the user took.

`ItemNeighbours` is cosine likeness of items (Sarwar et al. 2001, "Item-based collaborative
filtering") over a user's newest days. With `target_half_life_days` an item is near to another if
those who took it take the other *now*: the likeness is not symmetric and follows taste.
`GraphFilter` is GF-CF (Shen et al. 2021, "How Powerful is Graph Convolution for Recommendation?"):
a linear low-pass filter, normalised co-occurrence, plus an ideal one, a truncated SVD.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from batch_predictions.models.recommender.base import (
    Floats,
    Positions,
    Recommender,
    inner_products,
)
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFacts

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


BLOCK = 512
"""Items whose neighbours one thread looks for at a time."""
THREADS = 2


class ItemNeighbours(Recommender):
    """Sum of the likeness to the items of the user's newest days, damped by their number."""

    kind = "item_neighbours"

    @classmethod
    def fit(cls, interactions: Interactions, as_of: date, **params: Any) -> Self:
        """Parameters: `neighbours` kept per item; `newest_days` of each user that count when
        scoring (None: all); `target_half_life_days` (None: symmetric cosine); `name`."""
        name = str(params.pop("name", cls.kind))
        neighbours = int(params.pop("neighbours", 100))
        newest_days: int | None = params.pop("newest_days", 14)
        half_life_days: float | None = params.pop("target_half_life_days", None)
        refuse(name, params)
        left = _binary(interactions.matrix())
        right = left
        if half_life_days is not None:
            right = interactions.decayed(half_life_days, as_of).matrix()
            sizes = np.asarray(left.sum(axis=1)).ravel()
            left = _scaled(left, 1.0 / np.sqrt(sizes), None)
        else:
            lengths = np.asarray(left.sum(axis=0)).ravel()
            left = right = _scaled(left, None, 1.0 / np.sqrt(lengths))
        near, likeness = _nearest(left, right, neighbours, itself=half_life_days is not None)
        settings = {
            "neighbours": neighbours,
            "newest_days": newest_days,
            "target_half_life_days": half_life_days,
        }
        arrays = {"near": near, "likeness": likeness}
        return cls(name, interactions.item_ids, settings, arrays)

    def scores(self, histories: Histories, facts: ItemFacts | None = None) -> Floats:
        """Sums of likeness over the square root of the number of items, (n, items)."""
        return spread(self._heard(histories), self.arrays["near"], self.arrays["likeness"])

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """The item of the user's newest days that is most like the pick."""
        return causes(self._heard(histories), picks, self.arrays["near"], self.arrays["likeness"])

    def _heard(self, histories: Histories) -> csr_matrix:
        days = self.params["newest_days"]
        matrix = _binary((histories if days is None else histories.newest(days)).matrix())
        return _damped(matrix)


class GraphFilter(Recommender):
    """Needs no training: two filters over the normalised graph of users and items."""

    kind = "graph_filter"

    @classmethod
    def fit(cls, interactions: Interactions, as_of: date, **params: Any) -> Self:
        """Parameters: `factors` of the SVD, its `weight`, `neighbours` kept per item, `half_life`
        of histories (days; None: all alike), `seed`."""
        from scipy.sparse.linalg import svds
        from threadpoolctl import threadpool_limits

        factors = int(params.pop("factors", 64))
        weight = float(params.pop("weight", 0.3))
        neighbours = int(params.pop("neighbours", 200))
        half_life: float | None = params.pop("half_life_days", None)
        seed = int(params.pop("seed", 0))
        refuse(cls.kind, params)
        # A copy: the interactions keep their matrix for whoever learns next.
        taken = interactions.decayed(half_life, as_of).matrix().copy()
        taken.data = np.log1p(taken.data)
        of_users = np.asarray(taken.sum(axis=1), dtype=np.float64).ravel()
        of_items = np.asarray(taken.sum(axis=0), dtype=np.float64).ravel()
        graph = _scaled(taken, 1 / np.sqrt(of_users), 1 / np.sqrt(of_items))
        near, likeness = _nearest(graph, graph, neighbours, itself=True)
        factors = min(factors, min(graph.shape) - 1)
        basis = np.zeros((graph.shape[1], 0), dtype=np.float64)
        if factors > 0:
            start = np.random.default_rng(seed).standard_normal(min(graph.shape))
            # One thread: the result then does not depend on the number of cores.
            with threadpool_limits(limits=1, user_api="blas"):
                basis = svds(graph.astype(np.float64), factors, v0=start)[2].T
        root = np.sqrt(of_items)[:, np.newaxis]
        arrays = {
            "near": near,
            "likeness": likeness,
            "left": np.ascontiguousarray(basis / root, dtype=np.float32),
            "right": np.ascontiguousarray(weight * basis * root, dtype=np.float32),
        }
        settings = {
            "factors": factors,
            "weight": weight,
            "neighbours": neighbours,
            "half_life_days": half_life,
            "seed": seed,
        }
        return cls(cls.kind, interactions.item_ids, settings, arrays)

    def scores(self, histories: Histories, facts: ItemFacts | None = None) -> Floats:
        """Both filters over the square root of the number of items, (n, items)."""
        heard = self._heard(histories)
        scores = spread(heard, self.arrays["near"], self.arrays["likeness"])
        scores += inner_products(heard @ self.arrays["left"], self.arrays["right"])
        return scores

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """The item of the history that says most for the pick, by co-occurrence."""
        return causes(self._heard(histories), picks, self.arrays["near"], self.arrays["likeness"])

    def _heard(self, histories: Histories) -> csr_matrix:
        matrix = histories.matrix(self.params["half_life_days"])
        matrix.data = np.log1p(matrix.data)
        return _damped(matrix)


def refuse(name: str, params: dict[str, Any]) -> None:
    if params:
        raise TypeError(f"{name}: unknown parameters {sorted(params)}")


def _binary(matrix: csr_matrix) -> csr_matrix:
    result = matrix.copy()
    result.data = np.ones_like(result.data)
    return result


def _scaled(
    matrix: csr_matrix, rows: npt.NDArray[Any] | None, columns: npt.NDArray[Any] | None
) -> csr_matrix:
    """Rows and columns times factors, float32."""
    result = matrix.astype(np.float64)
    if rows is not None:
        result.data *= np.repeat(rows, np.diff(result.indptr))
    if columns is not None:
        result.data *= columns[result.indices]
    return result.astype(np.float32)


def _damped(matrix: csr_matrix) -> csr_matrix:
    """Rows over the square root of their number of entries: long histories are not louder."""
    numbers = np.diff(matrix.indptr)
    result = matrix.copy()
    result.data = result.data / np.sqrt(np.repeat(np.maximum(numbers, 1), numbers)).astype(
        np.float32
    )
    return result


def _nearest(
    left: csr_matrix, right: csr_matrix, keep: int, *, itself: bool
) -> tuple[npt.NDArray[np.int32], Floats]:
    """For every item i the items j of the largest (left' right)_ij > 0: (items, keep), -1 ends."""
    from batch_predictions.models.recommender.kernels import nearest

    items = left.shape[1]
    keep = min(keep, items)
    near = np.full((items, keep), -1, dtype=np.int32)
    likeness = np.zeros((items, keep), dtype=np.float32)
    by_item, by_user = left.T.tocsr(), right.tocsr()

    def fill(start: int) -> None:
        nearest(
            by_item.indptr,
            by_item.indices,
            by_item.data,
            by_user.indptr,
            by_user.indices,
            by_user.data,
            itself,
            start,
            min(start + BLOCK, items),
            near,
            likeness,
        )

    in_blocks(fill, items)
    return near, likeness


def in_blocks(fill: Callable[[int], None], items: int) -> None:
    """Fills blocks of items on some threads. Every item is by itself: their number changes
    nothing."""
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fill, range(0, items, BLOCK)))


def spread(heard: csr_matrix, near: npt.NDArray[np.int32], likeness: Floats) -> Floats:
    from batch_predictions.models.recommender.kernels import add_neighbours

    scores = np.zeros((heard.shape[0], len(near)), dtype=np.float32)
    add_neighbours(heard.indptr, heard.indices, heard.data, near, likeness, scores)
    return scores


def causes(
    heard: csr_matrix, picks: Positions, near: npt.NDArray[np.int32], likeness: Floats
) -> Positions:
    """For each pick the history item with the largest part in its score, -1 where none has."""
    from batch_predictions.models.recommender.kernels import loudest

    because = np.empty(picks.shape, dtype=np.int64)
    loudest(heard.indptr, heard.indices, heard.data, near, likeness, picks, because)
    return because
