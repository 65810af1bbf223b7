"""EASE over sequences: a ridge regression from a user's recent items to the next ones.

B = (X'X + l2 I)^-1 X'Y, as EASE (Steck 2019) has it, over places in all users' sequences: X holds
the items before a place, weighted by recency, Y the items after it. Since Y is the future, the
diagonal of B needs no constraint. X has one block of items per `fades`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.core.arrays import Doubles, Floats, Positions
from batch_predictions.models.recommender.base import TrainableRecommender
from batch_predictions.models.recommender.data.dense_scores import ColumnBlocks, sparse_products
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import (
    Codes,
    Interactions,
    item_sequences,
)
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.generators.base import Generator

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MIN_WEIGHT = 0.02
"""Items of a history whose weight is smaller are left out."""
BLOCK_PLACES = 8192
"""Places whose products are added at once: bounds the memory besides the Gram matrix."""


@dataclass(frozen=True)
class SequenceEASEParams:
    """Parameters of the generator SequenceEASE.

    Attributes:
        fades: weight of an item against the one after it, one block of features each, in (0, 1).
        ahead: following items that are targets.
        ahead_fade: weight of a target against the one before it.
        backward: weight of the sequences read in reverse.
        l2: ridge strength.
        places: positions in sequences to learn from at most, evenly spread.
        max_items: the most frequent items that the model knows.
    """

    fades: tuple[float, ...] = (0.8, 0.97)
    ahead: int = 5
    ahead_fade: float = 0.9
    backward: float = 0.5
    l2: float = 2000.0
    places: int = 50_000
    max_items: int = 3000

    def __post_init__(self) -> None:
        # A stored manifest holds a list.
        object.__setattr__(self, "fades", tuple(self.fades))


class SequenceEASE(TrainableRecommender):
    """EASE over sequences of the `max_items` most frequent items; others are never recommended."""

    kind = "sequence_ease"
    Params = SequenceEASEParams

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        as_of: date,
        params: SequenceEASEParams | None = None,
        users: pa.Table | None = None,
    ) -> Self:
        """Solves the ridge regression from recent to following items in closed form.

        Raises:
            ValueError: `l2`, `ahead`, `places` or `max_items` is not positive, or a fade is not
                between 0 and 1.
        """
        params = params or SequenceEASEParams()
        if not params.l2 > 0 or min(params.ahead, params.places, params.max_items) < 1:
            raise ValueError("sequence_ease: l2, ahead, places and max_items must be positive")
        if not all(0 < fade < 1 for fade in params.fades):
            raise ValueError("sequence_ease: fades must be between 0 and 1")
        kept_items = interactions.most_frequent_items(params.max_items)
        column_of = np.full(len(interactions.item_ids), -1, dtype=np.int32)
        column_of[kept_items] = np.arange(len(kept_items), dtype=np.int32)
        items, sequence_users = item_sequences(interactions)
        is_kept = column_of[items] >= 0
        sequence, sequence_users = column_of[items[is_kept]], sequence_users[is_kept]
        bounds = np.searchsorted(sequence_users, np.arange(len(interactions.user_ids) + 1))
        first, last = bounds[sequence_users], bounds[sequence_users + 1]
        gram, sides = _normal_equations(sequence, first, last, len(kept_items), params)
        arrays = {"weights": _solve_ridge(gram, sides, params.l2)}
        return cls(interactions.item_ids.take(pa.array(kept_items)), params, arrays)

    def scores(self, histories: Histories, item_features: ItemFeatures | None = None) -> Floats:
        """Multiplies sparse profiles by the weights, (n, m): the same bits whatever the batch."""
        return sparse_products(self._user_profile(histories), self._weight_blocks)

    @cached_property
    def _weight_blocks(self) -> ColumnBlocks:
        return ColumnBlocks.of(self.arrays["weights"])

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """Finds the profile item with the largest part of each pick's score, (n, k).

        Exact: the score is a sum over the profile's items.
        """
        from batch_predictions.models.recommender.kernels.contributors import top_sum_of_weights

        profile = self._user_profile(histories)
        contributors = np.empty(picks.shape, dtype=np.int64)
        top_sum_of_weights(
            profile.indptr,
            profile.indices,
            profile.data,
            np.asarray(self.arrays["weights"]),
            picks,
            contributors,
        )
        return contributors

    def _user_profile(self, histories: Histories) -> csr_matrix:
        """Users x (fades x items): the weight of each item of the history."""
        ranks = histories.recency_rank
        blocks = []
        for fade in self.params.fades:
            weights = _fade_weights(fade)
            recent = weights[np.minimum(ranks, len(weights) - 1)]
            values = np.where(ranks >= len(weights), 0.0, recent) * histories.entry_strength
            block = histories.to_csr(values.astype(np.float32))
            block.eliminate_zeros()
            blocks.append(block)
        return _stack(blocks)


def _normal_equations(
    sequence: Codes,
    first: npt.NDArray[np.int64],
    last: npt.NDArray[np.int64],
    width: int,
    params: SequenceEASEParams,
) -> tuple[Doubles, Doubles]:
    """Builds X'X and X'Y over places of the sequences, read forwards and backwards.

    Args:
        sequence: items of all users, one user after the other, (n,).
        first: the first place of each place's user, (n,).
        last: the place after each place's user, (n,).
        width: number of items.
        params: of the model.
    """
    columns = width * len(params.fades)
    gram = np.zeros((columns, columns), order="F")
    sides = np.zeros((columns, width), order="F")
    places = np.flatnonzero(np.arange(len(sequence)) > first)
    places = places[:: max(1, -(-len(places) // params.places))]
    reverse = sequence[first + last - 1 - np.arange(len(sequence))]
    targets = params.ahead_fade ** np.arange(params.ahead, dtype=np.float64)
    for direction, weight in ((sequence, 1.0), (reverse, params.backward)):
        for start in range(0, len(places) if weight > 0 else 0, BLOCK_PLACES):
            block = places[start : start + BLOCK_PLACES]
            before = _stack(
                [
                    _window(direction, block, first, -1, _fade_weights(fade), width)
                    for fade in params.fades
                ]
            )
            after = _window(direction, block, last, 1, targets, width)
            gram += weight * (before.T @ before).toarray()
            sides += weight * (before.T @ after).toarray()
    return gram, sides


def _fade_weights(fade: float) -> Doubles:
    """Weights of a history's items, the newest first, down to `MIN_WEIGHT`."""
    return fade ** np.arange(1 + int(np.log(MIN_WEIGHT) / np.log(fade)), dtype=np.float64)


def _stack(blocks: list[csr_matrix]) -> csr_matrix:
    from scipy.sparse import hstack

    return hstack(blocks, format="csr")


def _window(
    sequence: Codes,
    places: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.int64],
    step: int,
    weights: Doubles,
    width: int,
) -> csr_matrix:
    """Items around places of a sequence, weighted by distance, (len(places), width).

    Args:
        sequence: items of all users.
        places: where to look.
        bounds: how far each place's user reaches.
        step: 1 for the items from the place on, -1 for those before it.
        weights: by distance.
        width: number of items.
    """
    from scipy.sparse import csr_matrix

    distances = np.arange(len(weights)) + (step < 0)
    neighbours = places[:, np.newaxis] + step * distances
    bound = bounds[places][:, np.newaxis]
    is_inside = neighbours < bound if step > 0 else neighbours >= bound
    rows = np.repeat(np.arange(len(places)), is_inside.sum(axis=1))
    values = np.broadcast_to(weights, neighbours.shape)[is_inside].astype(np.float64)
    return csr_matrix((values, (rows, sequence[neighbours[is_inside]])), shape=(len(places), width))


def _solve_ridge(gram: Doubles, sides: Doubles, l2: float) -> Floats:
    """Solves (gram + l2 I)^-1 sides in place and in double precision; the result is float32."""
    from scipy.linalg import lapack
    from threadpoolctl import threadpool_limits

    gram[np.diag_indices(len(gram))] += l2
    # One thread, so that the result does not depend on the number of cores.
    with threadpool_limits(limits=1, user_api="blas"):
        _, solved, failed = lapack.dposv(gram, sides, lower=1, overwrite_a=1, overwrite_b=1)
    if failed:
        raise ValueError(f"sequence_ease: not positive definite with l2={l2:g}")
    return np.ascontiguousarray(solved, dtype=np.float32)


sequence_ease = Generator(
    "sequence_ease", SequenceEASE, "similar", requires=("new_items", "times"), order=80
)
