"""The user's most frequent items: a strong baseline where users buy the same items again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.core.arrays import Floats, Positions
from batch_predictions.models.recommender.base import Proposals, TrainableRecommender
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.generators.base import Generator


def user_frequency_name(half_life_days: float | None) -> str:
    """Names the user's frequencies in evaluation tables: own_history, own_history_90d."""
    return "own_history" if half_life_days is None else f"own_history_{half_life_days:g}d"


@dataclass(frozen=True)
class UserFrequencyParams:
    """Parameters of the generator UserFrequency.

    Attributes:
        half_life_days: half-life of the user's events; None: all count alike.
    """

    half_life_days: float | None = None


class UserFrequency(TrainableRecommender):
    """Items of the user's history by decayed events."""

    kind = "own_history"
    Params = UserFrequencyParams

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        as_of: date,
        params: UserFrequencyParams | None = None,
        users: pa.Table | None = None,
    ) -> Self:
        """Learns which items there are; frequencies are read from the histories."""
        params = params or UserFrequencyParams()
        return cls(interactions.item_ids, params, name=user_frequency_name(params.half_life_days))

    def scores(self, histories: Histories, item_features: ItemFeatures | None = None) -> Floats:
        """Scores items by decayed events; nan for items that are not in the history, (n, m)."""
        matrix = histories.matrix(self.params.half_life_days).tocoo()
        scores = np.full(matrix.shape, np.nan, dtype=np.float32)
        scores[matrix.row, matrix.col] = matrix.data
        return scores

    def propose(
        self,
        histories: Histories,
        item_features: ItemFeatures,
        k: int,
        *,
        exclude_seen: bool,
        blocked: npt.NDArray[np.bool_] | None = None,
    ) -> Proposals:
        """Ranks the entries of the histories alone, at a cost that ignores the other items."""
        from batch_predictions.models.recommender.kernels.topk import topk_entries

        matrix = histories.matrix(self.params.half_life_days)
        values = matrix.data
        if exclude_seen:
            values = np.where(histories.entry_is_seen, np.float32(np.nan), values)
        if blocked is not None:
            values = np.where(blocked[matrix.indices], np.float32(np.nan), values)
        positions = np.empty((histories.users, k), dtype=np.int64)
        topk_entries(matrix.indptr, matrix.indices, values, k, positions)

        def scores_of(items: Positions) -> Floats:
            entries = histories.find_entries(items)
            if not len(values):
                return np.full(items.shape, np.nan, dtype=np.float32)
            return np.where(entries >= 0, values[np.maximum(entries, 0)], np.float32(np.nan))

        return Proposals(positions, scores_of)

    @property
    def dense_scores(self) -> int:
        """Number of scores of a user that `propose` holds: none beyond the history's."""
        return 0

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """Explains each pick by itself, where it is in the history, (n, k)."""
        return np.where(histories.find_entries(picks) >= 0, picks, -1)


own_history = Generator(
    "own_history",
    UserFrequency,
    "own",
    # Where seen items are excluded: what the user viewed and did not take yet.
    params_for_new_items=UserFrequencyParams(half_life_days=14),
    params_for_repeats=UserFrequencyParams(half_life_days=90),
    requires=("history_items",),
    full_catalogue=True,
    order=100,
)
