"""The base of recommenders whose scores are the same for all users, or all of a segment or shop."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from batch_predictions.models.recommender.base import (
    Floats,
    Positions,
    Proposals,
    TrainableRecommender,
)
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.item_features import ItemFeatures

SharedScores: TypeAlias = tuple[Floats, npt.NDArray[np.integer]]
"""Distinct rows of scores, (r, m), nan where there is none; and the row of each user, -1 where it
has no scores, (n,)."""


class SharedScoresRecommender(TrainableRecommender):
    """Ranks the items once for all users who share their scores."""

    @abstractmethod
    def shared_scores(
        self, histories: Histories, item_features: ItemFeatures | None
    ) -> SharedScores:
        """The distinct rows of scores, and each user's.

        Args:
            histories: n users over `items`.
            item_features: of `items`, as of the day.

        Returns:
            The rows, new or read-only: `propose` overwrites them where it can.
        """

    def scores(self, histories: Histories, item_features: ItemFeatures | None = None) -> Floats:
        """Scores of all items; nan where there is none, (n, m)."""
        rows, row_of_user = self.shared_scores(histories, item_features)
        if len(rows) == 1 and not (row_of_user < 0).any():
            return np.broadcast_to(rows[0], (histories.users, len(self.items)))
        scores = np.full((histories.users, len(self.items)), np.nan, dtype=np.float32)
        is_scored = row_of_user >= 0
        scores[is_scored] = rows[row_of_user[is_scored]]
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
        """Each distinct row's best items, less those that the user has seen."""
        from batch_predictions.models.recommender.kernels.candidates import shared_scores_of
        from batch_predictions.models.recommender.kernels.topk import first_allowed, topk_rows

        rows, row_of_user = self.shared_scores(histories, item_features)
        rows = np.require(rows, np.float32, ["C", "W"])
        if blocked is not None and blocked.any():
            rows[:, np.flatnonzero(blocked)] = np.nan
        is_barred = histories.entry_is_seen if exclude_seen else np.zeros(0, dtype=bool)
        positions = np.empty((histories.users, k), dtype=np.int64)
        if k:
            barred_items = int(np.diff(histories.indptr).max(initial=0)) if exclude_seen else 0
            depth = min(k + barred_items, len(self.items))
            order = np.empty((len(rows), depth), dtype=np.int64)
            topk_rows(rows, depth, order, np.empty(order.shape, dtype=np.float32))
            first_allowed(
                order,
                row_of_user,
                histories.indptr if exclude_seen else np.zeros(histories.users + 1, np.int64),
                histories.entry_items,
                is_barred,
                positions,
            )

        def scores_of(items: Positions) -> Floats:
            values = np.empty(items.shape, dtype=np.float32)
            shared_scores_of(rows, row_of_user, items, values)
            if len(is_barred):
                entries = histories.find_entries(items)
                values[(entries >= 0) & is_barred[np.maximum(entries, 0)]] = np.nan
            return values

        return Proposals(positions, scores_of)
