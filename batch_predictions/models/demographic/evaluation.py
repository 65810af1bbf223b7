"""Lists for users without a history, measured: whole users are hidden, known by demographics only.

Users are dealt into folds. What a fold's users took after a cut in time is asked of models that
learned from the other folds' rows up to the cut. Several cuts, one window apart, are asked about,
and a user's figure is the mean over the windows in which they were active: the best half-life of a
single week is that week's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.models.common.ranking_metrics import DEPTH, Doubles, measures, top_k
from batch_predictions.models.demographic.promotion_uplift import Factors
from batch_predictions.models.demographic.segments import user_leaves
from batch_predictions.models.demographic.statistics import (
    Candidate,
    SegmentStatistics,
    matrices,
    recency,
)
from batch_predictions.models.recommender.data.interactions import Interactions

FOLDS = 5
LEARNED_SHARE = 0.5
"""An earlier window is asked about only if this share of all rows was known before it."""

Measured = dict[str, Doubles]
"""Metric to one value for each asked user."""


@dataclass(frozen=True)
class EvaluationWindow:
    """A cut in time, the rows before it, and who is asked about what came after."""

    cut: date
    before: npt.NDArray[np.bool_]
    asked: npt.NDArray[np.int64]
    """Users, ascending."""
    relevant: Any
    """csr, asked x items: ones where the user took the item in the window."""


class ColdStartEvaluation:
    """The users who are asked, in folds and windows, and what each was right to be offered."""

    def __init__(
        self,
        known: Interactions,
        segments: pa.Table,
        through: date,
        *,
        holdout_days: int,
        windows: int,
        window_days: int | None,
        seed: int,
        min_users: int,
    ) -> None:
        """Cut and deal.

        Args:
            known: rows up to `through`.
            segments: user_id, age_bracket, gender, location; users without a row are unknown.
            through: last day of the newest window.
            holdout_days: days of one window.
            windows: at most so many; older ones only where enough was known before them.
            window_days: days that recency-weighted popularity is counted over; None: all.
            seed: of the folds.
            min_users: users that a segment needs for a list from its counts.
        """
        self.known, self.window_days, self.min_users = known, window_days, min_users
        self.through = through
        self.split: Literal["time", "leave_out"] = "leave_out" if known.single_date else "time"
        self.windows = list(self._cut(through, holdout_days, windows))
        self.leaves, self.leaf_of_user = user_leaves(known.user_ids, segments)
        users = len(known.user_ids)
        owners = [window.asked for window in self.windows]
        self._owner = np.concatenate([np.empty(0, dtype=np.int64), *owners])
        self.asked: npt.NDArray[np.int64] = np.unique(self._owner)
        self.folds = max(2, min(FOLDS, len(self.asked)))
        # Folds over all users in a seeded order, so that each fold has its share of the asked.
        self.fold = np.empty(users, dtype=np.int64)
        self.fold[np.random.default_rng(seed).permutation(users)] = np.arange(users) % self.folds
        self.fold_of_asked = self.fold[self.asked]

    def _cut(self, through: date, holdout_days: int, windows: int) -> Iterator[EvaluationWindow]:
        known = self.known
        if known.single_date:
            # No times: hiding the user is all that can be done, and nothing has an age.
            everything = np.ones(len(known), dtype=bool)
            yield self._window(known.dates[0].item(), everything, everything)
            return
        for number in range(windows):
            end = through - timedelta(days=number * holdout_days)
            cut = end - timedelta(days=holdout_days)
            before = known.dates <= np.datetime64(cut, "D")
            answers = ~before & (known.dates <= np.datetime64(end, "D"))
            if not before.any() or (number and before.mean() < LEARNED_SHARE):
                return
            if answers.any():
                yield self._window(cut, before, answers)

    def _window(
        self, cut: date, before: npt.NDArray[np.bool_], answers: npt.NDArray[np.bool_]
    ) -> EvaluationWindow:
        from scipy.sparse import csr_matrix

        asked, rows = np.unique(self.known.users[answers], return_inverse=True)
        items = self.known.items[answers]
        shape = (len(asked), len(self.known.item_ids))
        relevant = csr_matrix((np.ones(len(items), dtype=np.float32), (rows, items)), shape=shape)
        relevant.sum_duplicates()
        relevant.data[:] = 1.0
        return EvaluationWindow(cut, before, asked.astype(np.int64), relevant)

    def popularity(
        self, half_lives: Sequence[float], factors: Factors | None = None
    ) -> dict[float, Measured]:
        """Everyone's list with each half-life in days; infinity is all-time popularity.

        `factors`, where they are known of a window, multiply its popularity.
        """
        hits: dict[float, list[npt.NDArray[np.bool_]]] = {days: [] for days in half_lives}
        width = len(self.known.item_ids)
        for number, window in enumerate(self.windows):
            users, items = self.known.users[window.before], self.known.items[window.before]
            place = self.fold[users] * width + items
            for half_life in half_lives:
                weights = self.weights(window, half_life)
                by_fold = np.bincount(place, weights, self.folds * width).reshape(-1, width)
                hit = np.zeros((len(window.asked), DEPTH), dtype=bool)
                for fold in range(self.folds):
                    sums = np.delete(by_fold, fold, axis=0).sum(axis=0)
                    sums = sums * (factors or {}).get((number, fold), 1.0)
                    top = top_k(np.where(sums > 0, sums, -np.inf)[np.newaxis], DEPTH)[0]
                    members = np.flatnonzero(self.fold[window.asked] == fold)
                    right = window.relevant[members][:, np.maximum(top, 0)].toarray() > 0
                    hit[members] = right & (top >= 0)
                hits[half_life].append(hit)
        return {half_life: self._measured(of_windows) for half_life, of_windows in hits.items()}

    def tilts(
        self,
        half_life: float,
        candidates: Sequence[Candidate],
        factors: Factors | None = None,
    ) -> dict[Candidate, Measured]:
        """Every candidate's tilt of popularity with a half-life, times factors."""
        hits: dict[Candidate, list[npt.NDArray[np.bool_]]] = {each: [] for each in candidates}
        for number, window in enumerate(self.windows):
            popular, ever = self._matrices(window, half_life)
            for each in candidates:
                hits[each].append(np.zeros((len(window.asked), DEPTH), dtype=bool))
            for fold in range(self.folds):
                learned = self._learned(popular, ever, self.fold != fold)
                members = np.flatnonzero(self.fold[window.asked] == fold)
                leaves, leaf = np.unique(
                    self.leaf_of_user[window.asked[members]], return_inverse=True
                )
                right = window.relevant[members][:, learned.columns].toarray() > 0
                if not len(members) or not len(learned.columns):
                    continue
                for each in candidates:
                    of_leaf = learned.lists(
                        each,
                        [self.leaves[place] for place in leaves],
                        self.min_users,
                        (factors or {}).get((number, fold)),
                    )
                    top = of_leaf[leaf]
                    hit = np.take_along_axis(right, np.maximum(top, 0), axis=1)
                    hits[each][-1][members] = hit & (top >= 0)
        return {each: self._measured(of_windows) for each, of_windows in hits.items()}

    def weights(self, window: EvaluationWindow, half_life: float) -> Doubles:
        """Events of the rows before a window, faded; infinity leaves them as they are."""
        events = self.known.events[window.before]
        if math.isinf(half_life):
            return events
        return recency(self.known, window.cut, half_life, self.window_days)[window.before] * events

    def _matrices(self, window: EvaluationWindow, half_life: float) -> tuple[Any, Any]:
        rows = window.before
        weights = self.weights(window, half_life)
        return matrices(self.known, rows, weights)

    def _learned(self, popular: Any, ever: Any, users: npt.NDArray[np.bool_]) -> SegmentStatistics:
        return SegmentStatistics(self.known, self.leaves, self.leaf_of_user, popular, ever, users)

    def _measured(self, of_windows: Sequence[npt.NDArray[np.bool_]]) -> Measured:
        """Per metric the mean over each user's windows."""
        sizes = [np.diff(window.relevant.indptr) for window in self.windows]
        place = np.searchsorted(self.asked, self._owner)
        times = np.bincount(place, minlength=len(self.asked))
        values = measures(np.concatenate(of_windows), np.concatenate(sizes))
        return {
            metric: np.bincount(place, each, minlength=len(self.asked)) / times
            for metric, each in values.items()
        }
