"""The effect of the coming week's promotions on the popularity of items.

Popularity counts what was taken under the promotions of recent weeks. Those of the coming week are
known ahead, so popularity is multiplied by

    1 + display (change of the share of shops with a display)
      + mailer (change of the share of shops with a mailer)
      + item_response (change of the share of shops with either) x the item's response,

where a change is that from the recent weeks to the coming one, and an item's response that of
`promotion_response`. `promotion_uplift_cv` fits the three coefficients.

An item's response to promotions: how much more of it is taken where it is promoted.

For each item its share of all events of a week, relative to its mean share, is regressed on the
share of shops that promote it, over the weeks whose promotions are known:

    slope = (Sxy + PRIOR_WEIGHT x common slope) / (Sxx + PRIOR_WEIGHT)

where the common slope is that of the most popular items together: the posterior mean of a slope
with a normal prior around the common one (empirical Bayes). An item that was never promoted, or
always, has the common slope.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.recommender.data.interactions import positions_in

MIN_FACTOR = 0.05
"""No item's popularity is multiplied by less."""
CHANGE_COLUMNS = ("display", "mailer", "promoted")

PromotionChanges: TypeAlias = Callable[[date], pa.Table]
"""As of a day: item_id, display, mailer, promoted of the items whose promotions change; no rows
where promotions are unknown (`features/sql/promotion_changes.sql`)."""
PromotionWeeks: TypeAlias = Callable[[date], pa.Table]
"""As of a day: item_id, weeks_back, share of past promotions (`promotion_weeks.sql`)."""
Factors: TypeAlias = Mapping[tuple[int, int], Doubles]
"""By window and fold: what each item's popularity is multiplied by."""


@dataclass(frozen=True)
class PromotionUplift:
    """Coefficients: relative change of popularity where all shops start to promote an item.

    Attributes:
        display: of displays, >= 0.
        mailer: of mailers, >= 0.
        item_response: of the item's response times promotions of either kind, >= 0.
        responses: of the items whose response differs from the default.
        default_response: of all other items.
    """

    display: float
    mailer: float
    item_response: float = 0.0
    responses: Mapping[str, float] = field(default_factory=dict)
    default_response: float = 0.0

    def factors(self, changes: pa.Table, items: pa.StringArray) -> Doubles:
        """The factor of each item, 1 for items without a change, (m,).

        Args:
            changes: item_id, display, mailer, promoted.
            items: ids, (m,).
        """
        responses = [self.responses.get(item, self.default_response) for item in items.to_pylist()]
        aligned = align_changes(changes, items)
        return self.factors_of(aligned, np.array(responses, dtype=np.float64))

    def factors_of(self, changes: Doubles, responses: Doubles) -> Doubles:
        """Computes the factor of each item, (m,), from changes (m, 3) and responses (m,)."""
        coefficients = np.array([self.display, self.mailer, self.item_response])
        change = (uplift_inputs(changes, responses) * coefficients).sum(axis=1)
        return np.asarray(np.maximum(1.0 + change, MIN_FACTOR), dtype=np.float64)


def align_changes(changes: pa.Table, items: pa.StringArray) -> Doubles:
    """Changes of each item, 0 for those without a row, (m, 3)."""
    changed_items = changes["item_id"].cast(pa.string()).combine_chunks()
    rows = positions_in(items, changed_items)
    values = np.column_stack([changes[name].to_numpy() for name in CHANGE_COLUMNS])
    if not len(values):
        return np.zeros((len(items), len(CHANGE_COLUMNS)))
    return np.asarray(np.where(rows[:, np.newaxis] >= 0, values[np.maximum(rows, 0)], 0.0))


def uplift_inputs(changes: Doubles, responses: Doubles) -> Doubles:
    """Builds the inputs that the three coefficients are multiplied by, (m, 3)."""
    return np.column_stack([changes[:, :2], changes[:, 2] * responses])


RESPONSE_WEEKS = 12
"""Weeks before a day that `features/sql/promotion_weeks.sql` reads."""
PRIOR_WEIGHT = 0.5
"""Weight of the common slope, as a sum of squares of shares of shops: half a week in which all
shops promote what they usually do not."""
COMMON_SLOPE_ITEMS = 300
"""The most popular items, by which the common slope is estimated."""
MIN_SLOPE, MAX_SLOPE = -0.5, 4.0


def promoted_shares(weeks: pa.Table, items: pa.StringArray) -> Doubles:
    """Share of shops that promote each item in each week, (RESPONSE_WEEKS, m); nan if unknown.

    Args:
        weeks: item_id, weeks_back (from 1), share; a week without any row is unknown.
        items: ids, (m,).
    """
    shares = np.full((RESPONSE_WEEKS, len(items)), np.nan)
    week = weeks["weeks_back"].to_numpy() - 1
    shares[np.unique(week)] = 0.0
    columns = positions_in(weeks["item_id"].cast(pa.string()).combine_chunks(), items)
    is_known = columns >= 0
    shares[week[is_known], columns[is_known]] = weeks["share"].to_numpy()[is_known]
    return shares


def fit_responses(shares_of_shops: Doubles, events: Doubles) -> tuple[Doubles, float]:
    """Fits each item's slope, (m,), and the common slope.

    Args:
        shares_of_shops: rows of nan where promotions are unknown, (weeks, m).
        events: of the items, (weeks, m).
    """
    totals = events.sum(axis=1)
    is_known = ~np.isnan(shares_of_shops).any(axis=1) & (totals > 0)
    if is_known.sum() < 2:
        return np.zeros(events.shape[1]), 0.0
    promoted = shares_of_shops[is_known]
    event_shares = events[is_known] / totals[is_known, np.newaxis]
    mean = event_shares.mean(axis=0)
    centred = promoted - promoted.mean(axis=0)
    squares = (centred**2).sum(axis=0)
    products = (centred * (event_shares - mean)).sum(axis=0) / np.maximum(mean, 1e-12)
    popular = np.argsort(-mean, kind="stable")[:COMMON_SLOPE_ITEMS]
    common = float(products[popular].sum() / max(float(squares[popular].sum()), 1e-12))
    common = min(max(common, MIN_SLOPE), MAX_SLOPE)
    slopes = (products + PRIOR_WEIGHT * common) / (squares + PRIOR_WEIGHT)
    return np.asarray(np.clip(slopes, MIN_SLOPE, MAX_SLOPE), dtype=np.float64), common
