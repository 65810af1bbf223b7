"""How much more of an item is taken where it is promoted: the item's own response.

Some items are bought whatever the leaflet says, others only when they are in it. For each item its
share of all that is taken in a week, relative to its mean share, is regressed on the share of shops
that promote it, over the weeks whose promotions are known:

    slope = (Sxy + WEIGHT x common slope) / (Sxx + WEIGHT)

the common slope being that of the most wanted items together: the posterior mean of a slope with a
normal prior around the common one (empirical Bayes). An item that was never promoted, or always,
has the common slope.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from batch_predictions.models.common.ranking_metrics import Doubles
from batch_predictions.models.recommender.data.histories import positions

WEEKS = 12
"""Weeks before a day that `features/promotion_weeks.sql` looks at."""
WEIGHT = 0.5
"""Prior weight of the common slope, as a sum of squares of shares of shops: half a week in which
all shops promote what they usually do not."""
TOP = 300
"""Most taken items, which the common slope is estimated on."""
LEAST, MOST = -0.5, 4.0


def shown(weeks: pa.Table, items: pa.StringArray) -> Doubles:
    """Shares of shops, (WEEKS, items), from rows item_id, weeks_back (from 1), share; a week
    without any row is unknown: nan."""
    out = np.full((WEEKS, len(items)), np.nan)
    back = weeks["weeks_back"].to_numpy() - 1
    out[np.unique(back)] = 0.0
    place = positions(weeks["item_id"].cast(pa.string()).combine_chunks(), items)
    known = place >= 0
    out[back[known], place[known]] = weeks["share"].to_numpy()[known]
    return out


def responses(shares_of_shops: Doubles, events: Doubles) -> tuple[Doubles, float]:
    """Each item's slope, (items,), and the common one.

    Args:
        shares_of_shops: (weeks, items), rows of nan where nothing is known.
        events: (weeks, items), what was taken.
    """
    totals = events.sum(axis=1)
    known = ~np.isnan(shares_of_shops).any(axis=1) & (totals > 0)
    if known.sum() < 2:
        return np.zeros(events.shape[1]), 0.0
    promoted, taken = shares_of_shops[known], events[known] / totals[known, np.newaxis]
    mean = taken.mean(axis=0)
    off = promoted - promoted.mean(axis=0)
    squares = (off**2).sum(axis=0)
    products = (off * (taken - mean)).sum(axis=0) / np.maximum(mean, 1e-12)
    top = np.argsort(-mean, kind="stable")[:TOP]
    common = float(products[top].sum() / max(float(squares[top].sum()), 1e-12))
    common = min(max(common, LEAST), MOST)
    slopes = (products + WEIGHT * common) / (squares + WEIGHT)
    return np.asarray(np.clip(slopes, LEAST, MOST), dtype=np.float64), common
