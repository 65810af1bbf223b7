"""An item's response to promotions: how much more of it is taken where it is promoted.

For each item its share of all events of a week, relative to its mean share, is regressed on the
share of shops that promote it, over the weeks whose promotions are known:

    slope = (Sxy + PRIOR_WEIGHT x common slope) / (Sxx + PRIOR_WEIGHT)

where the common slope is that of the most popular items together: the posterior mean of a slope
with a normal prior around the common one (empirical Bayes). An item that was never promoted, or
always, has the common slope.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from batch_predictions.models.common.ranking_metrics import Doubles
from batch_predictions.models.recommender.data.interactions import positions_in

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
