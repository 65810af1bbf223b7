"""Evaluation of lists for users without history: users are hidden, and known by demographics only.

Users are split into folds. Models that learned from the other folds' rows up to a cut in time are
evaluated on what the fold's users took after it. Several windows are evaluated, and a user's metric
is the mean over the windows in which it was active: the best half-life of a single week says little
about the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.common.ranking_metrics import DEPTH, compute_metrics, top_k
from batch_predictions.models.demographic.demographic_segments import encode_user_leaves
from batch_predictions.models.demographic.demographic_statistics import (
    Candidate,
    SegmentStatistics,
    event_matrices,
    recency_weights,
)
from batch_predictions.models.demographic.promotion_uplift import Factors
from batch_predictions.models.recommender.data.interactions import Interactions

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MAX_FOLDS = 5
MIN_TRAINING_SHARE = 0.5
"""An older window is evaluated only if this share of all rows comes before it."""

UserMetrics: TypeAlias = Mapping[str, Doubles]
"""By metric, one value for each evaluated user."""


@dataclass(frozen=True)
class EvaluationWindow:
    """A cut in time, and the items that users took after it.

    Attributes:
        cut: last day of the training rows.
        before: mask of the training rows.
        users: evaluated users, ascending, (n,).
        relevant: CSR n x items, ones where the user took the item in the window.
    """

    cut: date
    before: npt.NDArray[np.bool_]
    users: npt.NDArray[np.int64]
    relevant: csr_matrix


@dataclass(frozen=True)
class DemographicConfig:
    """Configuration of the training of the demographic fallback.

    Attributes:
        seed: of folds and bootstrap samples.
        holdout_days: days of each evaluated window.
        windows: windows at most.
        window_days: days of which popularity is counted; None: all.
        min_users: users that a segment needs for a list from its counts.
    """

    seed: int
    holdout_days: int = 7
    windows: int = 4
    window_days: int | None = None
    min_users: int = 20


class ColdStartEvaluation:
    """Hidden users in folds and windows, and the metrics of lists for them.

    Args:
        interactions: rows up to `through`.
        segments: user_id, age_bracket, gender, location; users without a row are unknown.
        through: last day of the newest window.
        config: windows and folds; older windows only where there are enough rows before them.

    Attributes:
        users: evaluated users, ascending, (n,).
        fold: of every user.
    """

    def __init__(
        self,
        interactions: Interactions,
        segments: pa.Table,
        through: date,
        config: DemographicConfig,
    ) -> None:
        self.interactions, self.through, self.config = interactions, through, config
        is_timed = not interactions.has_single_date
        self.split: Literal["time", "leave_out"] = "time" if is_timed else "leave_out"
        self.windows = list(self._make_windows())
        self.leaves, self.leaf_of_user = encode_user_leaves(interactions.user_ids, segments)
        window_users = [window.users for window in self.windows]
        self._user_of_row = np.concatenate([np.empty(0, dtype=np.int64), *window_users])
        self.users: npt.NDArray[np.int64] = np.unique(self._user_of_row)
        self.folds = max(2, min(MAX_FOLDS, len(self.users)))
        # Folds of all users in a seeded order, so that each has its share of the evaluated ones.
        users = len(interactions.user_ids)
        self.fold = np.empty(users, dtype=np.int64)
        self.fold[np.random.default_rng(config.seed).permutation(users)] = (
            np.arange(users) % self.folds
        )
        self.fold_of_evaluated = self.fold[self.users]

    def _make_windows(self) -> Iterator[EvaluationWindow]:
        interactions = self.interactions
        if interactions.has_single_date:
            # Without times users can be hidden, but no rows come before others.
            all_rows = np.ones(len(interactions), dtype=bool)
            yield self._make_window(interactions.dates[0].item(), all_rows, interactions.is_target)
            return
        length = timedelta(days=self.config.holdout_days)
        for number in range(self.config.windows):
            end = self.through - number * length
            cut = end - length
            before = interactions.dates <= np.datetime64(cut, "D")
            in_window = ~before & (interactions.dates <= np.datetime64(end, "D"))
            in_window &= interactions.is_target
            if not before.any() or (number and before.mean() < MIN_TRAINING_SHARE):
                return
            if in_window.any():
                yield self._make_window(cut, before, in_window)

    def _make_window(
        self, cut: date, before: npt.NDArray[np.bool_], in_window: npt.NDArray[np.bool_]
    ) -> EvaluationWindow:
        from scipy.sparse import csr_matrix

        users, rows = np.unique(self.interactions.users[in_window], return_inverse=True)
        items = self.interactions.items[in_window]
        shape = (len(users), len(self.interactions.item_ids))
        relevant = csr_matrix((np.ones(len(items), dtype=np.float32), (rows, items)), shape=shape)
        relevant.sum_duplicates()
        relevant.data[:] = 1.0
        return EvaluationWindow(cut, before, users.astype(np.int64), relevant)

    def evaluate_popularity(
        self, half_lives: Sequence[float], factors: Factors | None = None
    ) -> dict[float, UserMetrics]:
        """Evaluates one list for all users with each half-life in days; infinity: all-time.

        Args:
            half_lives: days.
            factors: multiply popularity in the windows where they are known.
        """
        hits: dict[float, list[npt.NDArray[np.bool_]]] = {days: [] for days in half_lives}
        width = len(self.interactions.item_ids)
        for number, window in enumerate(self.windows):
            users = self.interactions.users[window.before]
            cell = self.fold[users] * width + self.interactions.items[window.before]
            for half_life in half_lives:
                weights = self.weights(window.cut, window.before, half_life)
                by_fold = np.bincount(cell, weights, self.folds * width).reshape(-1, width)
                window_hits = np.zeros((len(window.users), DEPTH), dtype=bool)
                for fold in range(self.folds):
                    sums = np.delete(by_fold, fold, axis=0).sum(axis=0)
                    sums = sums * (factors or {}).get((number, fold), 1.0)
                    top = top_k(np.where(sums > 0, sums, -np.inf)[np.newaxis], DEPTH)[0]
                    members = np.flatnonzero(self.fold[window.users] == fold)
                    is_hit = window.relevant[members][:, np.maximum(top, 0)].toarray() > 0
                    window_hits[members] = is_hit & (top >= 0)
                hits[half_life].append(window_hits)
        return {half_life: self._mean_metrics(by_window) for half_life, by_window in hits.items()}

    def evaluate_adjustments(
        self,
        half_life: float,
        candidates: Sequence[Candidate],
        factors: Factors | None = None,
    ) -> dict[Candidate, UserMetrics]:
        """Evaluates every candidate's adjustment of popularity, on users whose history is hidden.

        Args:
            half_life: of popularity, days; infinity: all-time popularity.
            candidates: adjustments to evaluate.
            factors: multiply the items' popularity, by window and fold; None: 1.
        """
        hits: dict[Candidate, list[npt.NDArray[np.bool_]]] = {
            candidate: [] for candidate in candidates
        }
        for number, window in enumerate(self.windows):
            decayed = self.weights(window.cut, window.before, half_life)
            weights, log_events = event_matrices(self.interactions, window.before, decayed)
            for by_window in hits.values():
                by_window.append(np.zeros((len(window.users), DEPTH), dtype=bool))
            for fold in range(self.folds):
                statistics = SegmentStatistics(
                    self.interactions,
                    self.leaves,
                    self.leaf_of_user,
                    weights,
                    log_events,
                    self.fold != fold,
                )
                members = np.flatnonzero(self.fold[window.users] == fold)
                leaves, leaf = np.unique(
                    self.leaf_of_user[window.users[members]], return_inverse=True
                )
                is_relevant = window.relevant[members][:, statistics.columns].toarray() > 0
                if not len(members) or not len(statistics.columns):
                    continue
                for candidate in candidates:
                    lists = statistics.lists(
                        candidate,
                        [self.leaves[index] for index in leaves],
                        self.config.min_users,
                        (factors or {}).get((number, fold)),
                    )
                    top = lists[leaf]
                    is_hit = np.take_along_axis(is_relevant, np.maximum(top, 0), axis=1)
                    hits[candidate][-1][members] = is_hit & (top >= 0)
        return {candidate: self._mean_metrics(by_window) for candidate, by_window in hits.items()}

    def weights(self, as_of: date, rows: npt.NDArray[np.bool_], half_life: float) -> Doubles:
        """Events of some rows, decayed up to a day; infinity leaves them as they are."""
        events = self.interactions.events[rows]
        if math.isinf(half_life):
            return events
        return (
            recency_weights(self.interactions, as_of, half_life, self.config.window_days)[rows]
            * events
        )

    def _mean_metrics(self, hits: Sequence[npt.NDArray[np.bool_]]) -> UserMetrics:
        """Averages each metric over each user's windows."""
        relevant = [np.diff(window.relevant.indptr) for window in self.windows]
        index = np.searchsorted(self.users, self._user_of_row)
        windows = np.bincount(index, minlength=len(self.users))
        metrics = compute_metrics(np.concatenate(hits), np.concatenate(relevant))
        return {
            metric: np.bincount(index, values, minlength=len(self.users)) / windows
            for metric, values in metrics.items()
        }
