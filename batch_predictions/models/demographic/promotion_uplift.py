"""What the coming week's promotions do to popularity.

Popularity counts what was bought under the promotions of late. Those of the coming week are known
ahead, so popularity is multiplied by

    1 + display (change of the share of shops with a display) + mailer (the same of mailers)
      + own (change of the share of shops with either) x the item's own response to promotions,

the change being that from the weeks before to the coming one, the response what the weeks before
told of the item (`demographic_response`). The three coefficients are learned by least squares over
past windows and all items together: what a window's users took, each user's items weighted as
NDCG@10 weighs them, against what was popular before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import combinations
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.models.common.ranking_metrics import Doubles
from batch_predictions.models.demographic.promotion_response import WEEKS, responses, shown
from batch_predictions.models.recommender.data.histories import positions

if TYPE_CHECKING:
    from batch_predictions.models.demographic.evaluation import ColdStartEvaluation

FLOOR = 0.05
"""No item's popularity is multiplied by less."""
TOP = 400
"""Most popular items of a window, which the coefficients are learned on: lists are drawn there."""
RIDGE = 0.01
"""Share of the diagonal that is added to it: a calendar without displays gives 0, not noise."""
KINDS = ("display", "mailer", "promoted")

Changes: TypeAlias = Callable[[date], pa.Table]
"""As of a day: item_id, display, mailer, promoted of the items whose promotions change; no rows:
unknown."""
Weeks: TypeAlias = Callable[[date], pa.Table]
"""As of a day: item_id, weeks_back, share of the promotions before it."""
Factors: TypeAlias = Mapping[tuple[int, int], Doubles]
"""By window and fold: what each item's popularity is multiplied by."""


@dataclass(frozen=True)
class PromotionUplift:
    """Coefficients: what being promoted in all shops, and not before, adds to popularity."""

    display: float
    mailer: float
    own: float = 0.0
    """Times the item's own response."""
    responses: Mapping[str, float] = field(default_factory=dict)
    usual_response: float = 0.0
    """That of items without one of their own."""

    def on(self, changes: pa.Table, items: pa.StringArray) -> Doubles:
        """The factor of each item, from rows item_id, display, mailer, promoted; 1 for the
        others."""
        own = [self.responses.get(item, self.usual_response) for item in items.to_pylist()]
        return self.of(spread(changes, items), np.array(own, dtype=np.float64))

    def of(self, changes: Doubles, own: Doubles) -> Doubles:
        """The same from changes (items, 3) and responses (items,)."""
        coefficients = np.array([self.display, self.mailer, self.own])
        moved = (_inputs(changes, own) * coefficients).sum(axis=1)
        return np.asarray(np.maximum(1.0 + moved, FLOOR), dtype=np.float64)


def spread(changes: pa.Table, items: pa.StringArray) -> Doubles:
    """Changes of each item, (items, 3); 0 for those without a row."""
    known = changes["item_id"].cast(pa.string()).combine_chunks()
    rows = positions(items, known)
    values = np.column_stack([changes[kind].to_numpy() for kind in KINDS])
    if not len(values):
        return np.zeros((len(items), len(KINDS)))
    return np.asarray(np.where(rows[:, np.newaxis] >= 0, values[np.maximum(rows, 0)], 0.0))


def _inputs(changes: Doubles, own: Doubles) -> Doubles:
    return np.column_stack([changes[:, :2], changes[:, 2] * own])


class PromotionUpliftCV:
    """The coefficients of each window and fold, learned from other users of the other windows, and
    those of all; `learned` is None where no window's promotions are known."""

    def __init__(
        self,
        trial: ColdStartEvaluation,
        changes: Changes,
        half_life: float,
        weeks: Weeks | None = None,
    ) -> None:
        """`weeks`: of the promotions before a day; None: items have no response of their own."""
        self.factors: Factors = {}
        self.learned: PromotionUplift | None = None
        changed = {}
        for number, window in enumerate(trial.windows):
            table = changes(window.cut)
            if table.num_rows:
                changed[number] = spread(table, trial.known.item_ids)
        if not changed:
            return
        # One fold more than there are: nobody is left out of it.
        everybody = trial.folds
        folds = range(trial.folds + 1)
        own = {
            (number, fold): found
            for number in changed
            for fold, found in enumerate(_responses(trial, trial.windows[number].cut, weeks))
        }
        equations = {
            (number, fold): self._equations(
                trial, number, fold, half_life, _inputs(values, own[number, fold][0])
            )
            for number, values in changed.items()
            for fold in folds
        }
        display, mailer, times = _solved([equations[number, everybody] for number in changed])
        told, usual = {}, 0.0
        if times:
            newest, usual = _responses(trial, trial.through, weeks)[everybody]
            names = trial.known.item_ids.to_pylist()
            every = zip(names, newest.tolist(), strict=True)
            told = {name: value for name, value in every if value != usual}
        self.learned = PromotionUplift(display, mailer, times, told, usual)
        self.factors = {
            (number, fold): PromotionUplift(
                *_solved(
                    [equations[other, fold] for other in changed if other != number]
                    or [equations[number, fold]]
                )
            ).of(values, own[number, fold][0])
            for number, values in changed.items()
            for fold in range(trial.folds)
        }

    @staticmethod
    def _equations(
        trial: ColdStartEvaluation, number: int, fold: int, half_life: float, moved: Doubles
    ) -> tuple[Doubles, Doubles]:
        """X'X and X'y of one window, without the users of a fold."""
        window, known = trial.windows[number], trial.known
        others = trial.fold != fold
        rows = others[known.users[window.before]]
        items = known.items[window.before][rows]
        weights = trial.weights(window, half_life)[rows]
        popular = np.bincount(items, weights, minlength=len(known.item_ids))
        asked = others[window.asked]
        wanted = asked / _ideal(np.diff(window.relevant.indptr)) @ window.relevant
        top = np.argsort(-popular, kind="stable")[:TOP]
        shares = popular[top] / max(popular.sum(), 1e-12)
        inputs = shares[:, np.newaxis] * np.column_stack([np.ones(len(top)), moved[top]])
        # einsum, not BLAS: the same bits on any number of threads.
        target = np.asarray(wanted, dtype=np.float64).ravel()[top] / max(int(asked.sum()), 1)
        return np.einsum("ip,iq->pq", inputs, inputs), np.einsum("ip,i->p", inputs, target)


def _responses(
    trial: ColdStartEvaluation, day: date, weeks: Weeks | None
) -> list[tuple[Doubles, float]]:
    """Without the users of each fold, and at last of all: slopes of the weeks up to a day."""
    known, width = trial.known, len(trial.known.item_ids)
    if weeks is None:
        return [(np.zeros(width), 0.0)] * (trial.folds + 1)
    promoted = shown(weeks(day), known.item_ids)
    ago = (np.datetime64(day, "D") - known.dates).astype(np.int64) // 7
    rows = (ago >= 0) & (ago < WEEKS)
    place = (trial.fold[known.users[rows]] * WEEKS + ago[rows]) * width + known.items[rows]
    events = np.bincount(place, known.events[rows], trial.folds * WEEKS * width)
    by_fold = events.reshape(trial.folds, WEEKS, width)
    return [
        responses(promoted, np.delete(by_fold, fold, axis=0).sum(axis=0))
        for fold in range(trial.folds)
    ] + [responses(promoted, by_fold.sum(axis=0))]


def _ideal(sizes: npt.NDArray[np.integer[Any]]) -> Doubles:
    """The best DCG@10 of users with so many right items."""
    discounts = 1.0 / np.log2(np.arange(10) + 2.0)
    return np.asarray(np.cumsum(discounts)[np.clip(sizes, 1, 10) - 1], dtype=np.float64)


def _solved(equations: list[tuple[Doubles, Doubles]]) -> tuple[float, float, float]:
    """Coefficients relative to what popularity alone is worth; none is below 0, since nothing sells
    less for being promoted: what looks so is chance. So few are tried in all combinations."""
    gram = np.sum([each for each, _ in equations], axis=0)
    sides = np.sum([each for _, each in equations], axis=0)
    diagonal = np.diag(gram)
    gram = gram + np.diag(RIDGE * diagonal + 1e-12 * max(float(diagonal.max()), 1e-300))
    best, told = np.zeros(len(sides)), -np.inf
    for size in range(len(KINDS), 0, -1):
        for others in combinations(range(1, len(sides)), size):
            kept = [0, *others]
            solution = np.zeros(len(sides))
            solution[kept] = np.linalg.solve(gram[np.ix_(kept, kept)], sides[kept])
            # What least squares explain.
            explained = float((solution * sides).sum())
            if solution[0] > 0 and solution.min() >= 0 and explained > told:
                best, told = solution, explained
    if best[0] <= 0:
        return 0.0, 0.0, 0.0
    display, mailer, own = (best[1:] / best[0]).tolist()
    return display, mailer, own
