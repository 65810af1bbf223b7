"""Fits the uplift of promotions by cross-validation over users and windows.

The coefficients minimise squared errors over past windows and all items together: what a window's
users took, each user's items weighted as NDCG@10 weighs them, against what was popular before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.demographic.demographic_evaluation import ColdStartEvaluation
from batch_predictions.models.demographic.promotion_uplift import (
    CHANGE_COLUMNS,
    RESPONSE_WEEKS,
    Factors,
    PromotionChanges,
    PromotionUplift,
    PromotionWeeks,
    align_changes,
    fit_responses,
    promoted_shares,
    uplift_inputs,
)

POPULAR_ITEMS = 400
"""The most popular items of a window, on which coefficients are fitted: lists consist of these."""
RIDGE = 0.01
"""Added to the diagonal, as a share of it: a calendar without displays gives 0, not noise."""


@dataclass(frozen=True)
class PromotionUpliftCV:
    """Uplifts of promotions, fitted on all users and by cross-validation.

    Attributes:
        uplift: fitted on all users and windows; None where no window's promotions are known.
        factors: by window and fold, from other users of the other windows.
    """

    uplift: PromotionUplift | None = None
    factors: Factors = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        evaluation: ColdStartEvaluation,
        changes: PromotionChanges,
        half_life: float,
        weeks: PromotionWeeks | None = None,
    ) -> PromotionUpliftCV:
        """Fits on the windows and folds of an evaluation.

        Args:
            evaluation: the windows and folds.
            changes: of promotions in the week after a day.
            half_life: of popularity, days.
            weeks: promotions before a day; None: items have no response.
        """
        aligned = {}
        for number, window in enumerate(evaluation.windows):
            table = changes(window.cut)
            if table.num_rows:
                aligned[number] = align_changes(table, evaluation.interactions.item_ids)
        if not aligned:
            return cls()
        # The fold after the last one leaves out no users.
        all_users = evaluation.folds
        responses = {
            (number, fold): slopes
            for number in aligned
            for fold, (slopes, _) in enumerate(
                _responses_by_fold(evaluation, evaluation.windows[number].cut, weeks)
            )
        }
        equations = {
            (number, fold): _normal_equations(
                evaluation, number, fold, half_life, uplift_inputs(values, responses[number, fold])
            )
            for number, values in aligned.items()
            for fold in range(evaluation.folds + 1)
        }
        display, mailer, item_response = _solve([equations[n, all_users] for n in aligned])
        item_responses, default = {}, 0.0
        if item_response:
            slopes, default = _responses_by_fold(evaluation, evaluation.through, weeks)[all_users]
            names = evaluation.interactions.item_ids.to_pylist()
            by_item = zip(names, slopes.tolist(), strict=True)
            item_responses = {name: slope for name, slope in by_item if slope != default}
        uplift = PromotionUplift(display, mailer, item_response, item_responses, default)
        factors = {
            (number, fold): PromotionUplift(
                *_solve(
                    [equations[n, fold] for n in aligned if n != number]
                    or [equations[number, fold]]
                )
            ).factors_of(values, responses[number, fold])
            for number, values in aligned.items()
            for fold in range(evaluation.folds)
        }
        return cls(uplift, factors)


def _normal_equations(
    evaluation: ColdStartEvaluation, number: int, fold: int, half_life: float, inputs: Doubles
) -> tuple[Doubles, Doubles]:
    """X'X and X'y of one window, without the users of a fold."""
    window, interactions = evaluation.windows[number], evaluation.interactions
    is_training_user = evaluation.fold != fold
    rows = is_training_user[interactions.users[window.before]]
    items = interactions.items[window.before][rows]
    weights = evaluation.weights(window.cut, window.before, half_life)[rows]
    popularity = np.bincount(items, weights, minlength=len(interactions.item_ids))
    is_training = is_training_user[window.users]
    gains = is_training / _ideal_dcg(np.diff(window.relevant.indptr)) @ window.relevant
    top = np.argsort(-popularity, kind="stable")[:POPULAR_ITEMS]
    shares = popularity[top] / max(popularity.sum(), 1e-12)
    x = shares[:, np.newaxis] * np.column_stack([np.ones(len(top)), inputs[top]])
    y = np.asarray(gains, dtype=np.float64).ravel()[top] / max(int(is_training.sum()), 1)
    # einsum, not BLAS: the same bits on any number of threads.
    return np.einsum("ip,iq->pq", x, x), np.einsum("ip,i->p", x, y)


def _responses_by_fold(
    evaluation: ColdStartEvaluation, day: date, weeks: PromotionWeeks | None
) -> list[tuple[Doubles, float]]:
    """Slopes from the weeks up to a day, without the users of each fold, and last of all users."""
    interactions, width = evaluation.interactions, len(evaluation.interactions.item_ids)
    if weeks is None:
        return [(np.zeros(width), 0.0)] * (evaluation.folds + 1)
    promoted = promoted_shares(weeks(day), interactions.item_ids)
    weeks_ago = (np.datetime64(day, "D") - interactions.dates).astype(np.int64) // 7
    rows = (weeks_ago >= 0) & (weeks_ago < RESPONSE_WEEKS)
    fold_week = evaluation.fold[interactions.users[rows]] * RESPONSE_WEEKS + weeks_ago[rows]
    cell = fold_week * width + interactions.items[rows]
    events = np.bincount(cell, interactions.events[rows], evaluation.folds * RESPONSE_WEEKS * width)
    by_fold = events.reshape(evaluation.folds, RESPONSE_WEEKS, width)
    return [
        fit_responses(promoted, np.delete(by_fold, fold, axis=0).sum(axis=0))
        for fold in range(evaluation.folds)
    ] + [fit_responses(promoted, by_fold.sum(axis=0))]


def _ideal_dcg(relevant: npt.NDArray[np.integer[Any]]) -> Doubles:
    """The best DCG@10 of users by their number of relevant items."""
    discounts = 1.0 / np.log2(np.arange(10) + 2.0)
    return np.asarray(np.cumsum(discounts)[np.clip(relevant, 1, 10) - 1], dtype=np.float64)


def _solve(equations: Sequence[tuple[Doubles, Doubles]]) -> tuple[float, float, float]:
    """Coefficients relative to that of popularity, by non-negative least squares.

    None is below 0: promotion does not lower sales, so a negative estimate is noise. There are so
    few coefficients that all subsets are tried.
    """
    gram = np.sum([xx for xx, _ in equations], axis=0)
    sides = np.sum([xy for _, xy in equations], axis=0)
    diagonal = np.diag(gram)
    gram = gram + np.diag(RIDGE * diagonal + 1e-12 * max(float(diagonal.max()), 1e-300))
    best, best_explained = np.zeros(len(sides)), -np.inf
    for size in range(len(CHANGE_COLUMNS), 0, -1):
        for subset in combinations(range(1, len(sides)), size):
            used = [0, *subset]
            solution = np.zeros(len(sides))
            solution[used] = np.linalg.solve(gram[np.ix_(used, used)], sides[used])
            explained = float((solution * sides).sum())
            if solution[0] > 0 and solution.min() >= 0 and explained > best_explained:
                best, best_explained = solution, explained
    if best[0] <= 0:
        return 0.0, 0.0, 0.0
    display, mailer, item_response = (best[1:] / best[0]).tolist()
    return display, mailer, item_response
