"""Neighbours in time: items that users took shortly before or after the user's newest items.

Within a visit one item leads to the next, which similarity over whole histories misses.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa

from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions, item_sequences
from batch_predictions.models.recommender.generators.base import Generator
from batch_predictions.models.recommender.generators.neighbour_tables import (
    BLOCK_ITEMS,
    NeighbourRecommender,
    run_in_blocks,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class SequenceNeighboursParams:
    """Parameters of the generator SequenceNeighbours.

    Attributes:
        neighbours: neighbours kept per item.
        half_life: distance in a sequence, items, after which nearness counts half.
        reach: largest distance that counts.
        backward: weight of a neighbour that precedes the item against one that follows it.
        newest: newest items of a history that count when scoring.
        fade: weight of each of these against the one after it.
    """

    neighbours: int = 200
    half_life: float = 20.0
    reach: int = 60
    backward: float = 0.5
    newest: int = 20
    fade: float = 0.9


class SequenceNeighbours(NeighbourRecommender):
    """Sum of co-occurrence in sequences with the user's newest items."""

    kind = "sequence_neighbours"
    Params = SequenceNeighboursParams

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        as_of: date,
        params: SequenceNeighboursParams | None = None,
        users: pa.Table | None = None,
    ) -> Self:
        """Computes every item's neighbours in the sequences of all users."""
        params = params or SequenceNeighboursParams()
        sequence, sequence_users = item_sequences(interactions)
        bounds = np.searchsorted(sequence_users, np.arange(len(interactions.user_ids) + 1))
        first, last = bounds[sequence_users], bounds[sequence_users + 1]
        width = len(interactions.item_ids)
        places = np.argsort(sequence, kind="stable")
        place_indptr = np.searchsorted(sequence[places], np.arange(width + 1))
        weights = 0.5 ** (np.arange(params.reach + 1) / params.half_life)
        neighbour_ids = np.full((width, min(params.neighbours, width)), -1, dtype=np.int32)
        similarity = np.zeros(neighbour_ids.shape, dtype=np.float32)

        def compute_block(start: int) -> None:
            from batch_predictions.models.recommender.kernels.cooccurrence import cooccurrence

            cooccurrence(
                sequence,
                first,
                last,
                place_indptr,
                places,
                weights,
                params.backward,
                start,
                min(start + BLOCK_ITEMS, width),
                neighbour_ids,
                similarity,
            )

        run_in_blocks(compute_block, width)
        arrays = {"neighbour_ids": neighbour_ids, "similarity": similarity}
        return cls(interactions.item_ids, params, arrays)

    def user_profile(self, histories: Histories) -> csr_matrix:
        """Weights of the newest items, 1 for the last one that was taken, (n, m)."""
        ranks = histories.recency_rank
        fade = np.float32(self.params.fade) ** ranks.astype(np.float32) * histories.entry_strength
        profile = histories.to_csr(np.where(ranks < self.params.newest, fade, 0))
        profile.eliminate_zeros()
        return profile


sequence_neighbours = Generator(
    "sequence_neighbours",
    SequenceNeighbours,
    "similar",
    requires=("new_items", "times"),
    order=60,
)
# What directly follows the user's last items.
next_neighbours = Generator(
    "next_neighbours",
    SequenceNeighbours,
    "similar",
    params_for_new_items=SequenceNeighboursParams(
        half_life=3, reach=10, backward=0.3, newest=5, fade=0.7
    ),
    requires=("new_items", "times"),
    order=70,
)
