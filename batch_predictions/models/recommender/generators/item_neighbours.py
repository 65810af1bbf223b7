"""Item-to-item neighbours: items that are similar to those of the user's newest days.

Cosine similarity of items (Sarwar et al. 2001, "Item-based collaborative filtering"). With
`target_half_life_days` the similarity is directed and weighted by recency: item j is similar to
item i if users who ever took i have taken j recently.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa

from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.generators.base import Generator
from batch_predictions.models.recommender.generators.neighbour_tables import (
    NeighbourRecommender,
    cap_at_one,
    divide_by_root_length,
    nearest_neighbours,
    scale_matrix,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class ItemNeighboursParams:
    """Parameters of the generator ItemNeighbours.

    Attributes:
        neighbours: neighbours kept per item.
        newest_days: days of each user, ending with the newest row, that count when scoring; None:
            all.
        target_half_life_days: half-life of the neighbour's events; None: symmetric cosine.
    """

    neighbours: int = 100
    newest_days: int | None = 14
    target_half_life_days: float | None = None


class ItemNeighbours(NeighbourRecommender):
    """Sum of similarities to the items of the user's newest days, over the root of their number."""

    kind = "item_neighbours"
    Params = ItemNeighboursParams

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        as_of: date,
        params: ItemNeighboursParams | None = None,
        users: pa.Table | None = None,
    ) -> Self:
        """Computes every item's neighbours."""
        params = params or ItemNeighboursParams()
        left = cap_at_one(interactions.matrix())
        is_directed = params.target_half_life_days is not None
        if is_directed:
            right = interactions.with_decayed_events(params.target_half_life_days, as_of).matrix()
            sizes = np.asarray(left.multiply(left).sum(axis=1)).ravel()
            left = scale_matrix(left, 1.0 / np.sqrt(sizes), None)
        else:
            lengths = np.asarray(left.multiply(left).sum(axis=0)).ravel()
            left = right = scale_matrix(left, None, 1.0 / np.sqrt(lengths))
        neighbour_ids, similarity = nearest_neighbours(
            left, right, params.neighbours, include_self=is_directed
        )
        arrays = {"neighbour_ids": neighbour_ids, "similarity": similarity}
        return cls(interactions.item_ids, params, arrays)

    def user_profile(self, histories: Histories) -> csr_matrix:
        """Weights the items of the newest days by one over the root of their number, (n, m)."""
        days = self.params.newest_days
        newest = histories if days is None else histories.last_active_days(days)
        return divide_by_root_length(cap_at_one(newest.matrix()))


item_neighbours = Generator(
    "item_neighbours",
    ItemNeighbours,
    "similar",
    params_for_new_items=ItemNeighboursParams(newest_days=1),
    order=40,
)
# Where lists may repeat items it adds nothing and costs as much as all other generators.
current_neighbours = Generator(
    "current_neighbours",
    ItemNeighbours,
    "similar",
    params_for_new_items=ItemNeighboursParams(
        neighbours=400, newest_days=None, target_half_life_days=14
    ),
    requires=("new_items",),
    order=50,
)
