"""What the coming week's promotions do to popularity.

Popularity counts what was bought under the promotions of late. Those of the coming week are known
ahead, so popularity is multiplied by

    1 + display (change of the share of shops with a display) + mailer (the same of mailers),

the change being that from the weeks before to the coming one. Both coefficients are learned by
least squares over past windows and all items together: what a window's users took, each user's
items weighted as NDCG@10 weighs them, against what was popular before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.models.ranking import Doubles
from batch_predictions.models.recommender.histories import positions

if TYPE_CHECKING:
    from batch_predictions.models.demographic_evaluation import ColdStart

FLOOR = 0.05
"""No item's popularity is multiplied by less."""
TOP = 400
"""Most popular items of a window, which the coefficients are learned on: lists are drawn there."""
RIDGE = 0.01
"""Share of the diagonal that is added to it: a calendar without displays gives 0, not noise."""
KINDS = ("display", "mailer")

Changes: TypeAlias = Callable[[date], pa.Table]
"""As of a day: item_id, display, mailer of the items whose promotions change; no rows: unknown."""
Factors: TypeAlias = Mapping[tuple[int, int], Doubles]
"""By window and fold: what each item's popularity is multiplied by."""


@dataclass(frozen=True)
class CalendarFactor:
    """Two coefficients: what being promoted in all shops, and not before, adds to popularity."""

    display: float
    mailer: float

    def on(self, changes: pa.Table, items: pa.StringArray) -> Doubles:
        """The factor of each item, from rows item_id, display, mailer; 1 for the others."""
        return self.of(spread(changes, items))

    def of(self, changes: Doubles) -> Doubles:
        """The same from changes (items, 2)."""
        factor = 1.0 + self.display * changes[:, 0] + self.mailer * changes[:, 1]
        return np.asarray(np.maximum(factor, FLOOR), dtype=np.float64)


def spread(changes: pa.Table, items: pa.StringArray) -> Doubles:
    """Changes of each item, (items, 2); 0 for those without a row."""
    known = changes["item_id"].cast(pa.string()).combine_chunks()
    rows = positions(items, known)
    values = np.column_stack([changes[kind].to_numpy() for kind in KINDS])
    if not len(values):
        return np.zeros((len(items), len(KINDS)))
    return np.asarray(np.where(rows[:, np.newaxis] >= 0, values[np.maximum(rows, 0)], 0.0))


class CalendarTrial:
    """The coefficients of each window and fold, learned from other users of the other windows, and
    those of all; `learned` is None where no window's promotions are known."""

    def __init__(self, trial: ColdStart, changes: Changes, half_life: float) -> None:
        self.factors: Factors = {}
        self.learned: CalendarFactor | None = None
        changed = {}
        for number, window in enumerate(trial.windows):
            table = changes(window.cut)
            if table.num_rows:
                changed[number] = spread(table, trial.known.item_ids)
        # One fold more than there are: nobody is left out of it.
        everybody = trial.folds
        equations = {
            (number, fold): self._equations(trial, number, fold, half_life, values)
            for number, values in changed.items()
            for fold in range(trial.folds + 1)
        }
        if not changed:
            return
        self.learned = _solved([equations[number, everybody] for number in changed])
        self.factors = {
            (number, fold): _solved(
                [equations[other, fold] for other in changed if other != number]
                or [equations[number, fold]]
            ).of(values)
            for number, values in changed.items()
            for fold in range(trial.folds)
        }

    @staticmethod
    def _equations(
        trial: ColdStart, number: int, fold: int, half_life: float, changes: Doubles
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
        inputs = shares[:, np.newaxis] * np.column_stack([np.ones(len(top)), changes[top]])
        # einsum, not BLAS: the same bits on any number of threads.
        target = np.asarray(wanted, dtype=np.float64).ravel()[top] / max(int(asked.sum()), 1)
        return np.einsum("ip,iq->pq", inputs, inputs), np.einsum("ip,i->p", inputs, target)


def _ideal(sizes: npt.NDArray[np.integer[Any]]) -> Doubles:
    """The best DCG@10 of users with so many right items."""
    discounts = 1.0 / np.log2(np.arange(10) + 2.0)
    return np.asarray(np.cumsum(discounts)[np.clip(sizes, 1, 10) - 1], dtype=np.float64)


def _solved(equations: list[tuple[Doubles, Doubles]]) -> CalendarFactor:
    """Coefficients relative to what popularity alone is worth; none is below 0, since nothing sells
    less for being promoted: what looks so is chance."""
    gram = np.sum([each for each, _ in equations], axis=0)
    sides = np.sum([each for _, each in equations], axis=0)
    diagonal = np.diag(gram)
    gram = gram + np.diag(RIDGE * diagonal + 1e-12 * max(float(diagonal.max()), 1e-300))
    for kept in ([0, 1, 2], [0, 1], [0, 2]):
        solution = np.zeros(3)
        solution[kept] = np.linalg.solve(gram[np.ix_(kept, kept)], sides[kept])
        level, display, mailer = solution.tolist()
        if level > 0 and min(display, mailer) >= 0:
            return CalendarFactor(display / level, mailer / level)
    return CalendarFactor(0.0, 0.0)
