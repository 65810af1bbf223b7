"""The base of recommenders whose scores are the same for all users, or all of a segment or shop."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Floats, Positions
from batch_predictions.models.recommender.base import (
    Proposals,
    TrainableRecommender,
    is_same_mask,
)
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.item_features import ItemFeatures

Blocked: TypeAlias = npt.NDArray[np.bool_] | None
"""Whether each item is left out of all lists, (m,)."""
MAX_KEPT_MB = 64
"""Scores and orders of segments that a model keeps from one batch of users to the next."""


class SharedScoresRecommender(TrainableRecommender):
    """Scores and ranks the items once for all users of a segment."""

    _ranked: _RankedSegments | None = None

    @abstractmethod
    def segment_of_user(
        self, histories: Histories, item_features: ItemFeatures | None
    ) -> npt.NDArray[np.integer]:
        """The segment of each user, a number from 0 on; -1 for users without scores, (n,)."""

    @abstractmethod
    def segment_scores(self, segment: int, item_features: ItemFeatures | None) -> Floats:
        """Scores of all items in a segment, nan where there is none, (m,), new."""

    def scores(self, histories: Histories, item_features: ItemFeatures | None = None) -> Floats:
        """Scores of all items; nan where there is none, (n, m)."""
        users = self.segment_of_user(histories, item_features)
        segments, row_of_user = np.unique(users, return_inverse=True)
        rows = self._score_segments(segments, item_features)
        if len(rows) == 1:
            return np.broadcast_to(rows[0], (histories.users, len(self.items)))
        return rows[row_of_user]

    def _score_segments(
        self, segments: npt.NDArray[np.integer], item_features: ItemFeatures | None
    ) -> Floats:
        rows = np.full((len(segments), len(self.items)), np.nan, dtype=np.float32)
        for row in np.flatnonzero(segments >= 0):
            rows[row] = self.segment_scores(int(segments[row]), item_features)
        return rows

    def propose(
        self,
        histories: Histories,
        item_features: ItemFeatures,
        k: int,
        *,
        exclude_seen: bool,
        blocked: Blocked = None,
    ) -> Proposals:
        """Ranks each segment's items once, and leaves out those that the user has seen."""
        from batch_predictions.models.recommender.kernels.candidate_kernels import shared_scores_of
        from batch_predictions.models.recommender.kernels.topk import first_allowed

        segment_of_user = self.segment_of_user(histories, item_features)
        segments, place_of_user = np.unique(segment_of_user, return_inverse=True)
        is_barred = histories.entry_is_seen if exclude_seen else np.zeros(0, dtype=bool)
        barred_items = int(np.diff(histories.indptr).max(initial=0)) if exclude_seen else 0
        depth = min(k + barred_items, len(self.items)) if k else 0
        ranked = self._rank_segments(segments, item_features, blocked, depth)
        row_of_user = ranked.rows_of(segments)[place_of_user]
        positions = np.empty((histories.users, k), dtype=np.int64)
        if k:
            first_allowed(
                ranked.order,
                row_of_user,
                histories.indptr if exclude_seen else np.zeros(histories.users + 1, np.int64),
                histories.entry_items,
                is_barred,
                positions,
            )

        def scores_of(items: Positions) -> Floats:
            values = np.empty(items.shape, dtype=np.float32)
            shared_scores_of(ranked.scores, row_of_user, items, values)
            # Blocked items have no scores.
            values[histories.is_masked(items, exclude_seen, None)] = np.nan
            return values

        return Proposals(positions, scores_of)

    @property
    def dense_scores(self) -> int:
        """Number of scores of a user that `propose` holds: none, since users share them."""
        return 0

    def _rank_segments(
        self,
        segments: npt.NDArray[np.integer],
        item_features: ItemFeatures,
        blocked: Blocked,
        depth: int,
    ) -> _RankedSegments:
        """The best `depth` items, or more, of some segments; kept for the next batches."""
        from batch_predictions.models.recommender.kernels.topk import topk_rows

        kept = self._ranked
        if kept is None or not kept.holds(item_features, blocked, depth):
            kept = _RankedSegments.empty(item_features, blocked, len(self.items), depth)
        segments = segments[segments >= 0]
        missing = segments[kept.rows_of(segments) < 0]
        if kept.megabytes(len(missing)) > MAX_KEPT_MB:
            kept = _RankedSegments.empty(item_features, blocked, len(self.items), depth)
            missing = segments
        if len(missing):
            scores = self._score_segments(missing, item_features)
            if blocked is not None:
                scores[:, np.flatnonzero(blocked)] = np.nan
            order = np.empty((len(missing), kept.order.shape[1]), dtype=np.int64)
            if depth:
                topk_rows(scores, order.shape[1], order, np.empty(order.shape, dtype=np.float32))
            kept = kept.append(missing, scores, order)
        self._ranked = kept
        return kept


@dataclass(frozen=True)
class _RankedSegments:
    """Scores and best items of segments, as of one day.

    Attributes:
        item_features: of the day.
        blocked: true for items that no user gets, (m,).
        scores: nan for blocked items, (r, m).
        order: best items, -1 at the end, (r, depth).
        row_of_segment: row of each segment.
    """

    item_features: ItemFeatures
    blocked: Blocked
    scores: Floats
    order: Positions
    row_of_segment: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def empty(
        cls, item_features: ItemFeatures, blocked: Blocked, items: int, depth: int
    ) -> _RankedSegments:
        """Builds an object without segments, to which `append` adds them.

        Args:
            item_features: as of the day.
            blocked: marks items that no user gets, (m,); None: none.
            items: number of items, m.
            depth: ranks that are kept of each segment.
        """
        scores = np.empty((0, items), dtype=np.float32)
        return cls(item_features, blocked, scores, np.empty((0, depth), dtype=np.int64))

    def holds(self, item_features: ItemFeatures, blocked: Blocked, depth: int) -> bool:
        """Returns whether the rows are of this day and these blocked items, and deep enough.

        Args:
            item_features: the day's object; another one is another day.
            blocked: marks items that no user gets, (m,); None: none.
            depth: ranks that are needed.
        """
        is_deep = depth <= self.order.shape[1]
        is_equal = is_same_mask(blocked, self.blocked)
        return self.item_features is item_features and is_equal and is_deep

    def megabytes(self, more: int) -> float:
        """Returns the size of the arrays with some more rows, MB."""
        rows = len(self.scores) + more
        return rows * (self.scores.shape[1] * 4 + self.order.shape[1] * 8) / 2**20

    def append(
        self, segments: npt.NDArray[np.integer], scores: Floats, order: Positions
    ) -> _RankedSegments:
        """Returns a copy with the rows of further segments.

        Args:
            segments: their numbers, (s,).
            scores: of all items, (s, m).
            order: positions of the best items, best first, (s, depth).
        """
        first = len(self.scores)
        rows = {int(segment): first + row for row, segment in enumerate(segments)}
        return _RankedSegments(
            self.item_features,
            self.blocked,
            np.concatenate([self.scores, scores]),
            np.concatenate([self.order, order]),
            {**self.row_of_segment, **rows},
        )

    def rows_of(self, segments: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """The row of each segment, -1 where it has none, (segments,)."""
        rows = [self.row_of_segment.get(int(segment), -1) for segment in segments]
        return np.array(rows, dtype=np.int64)
