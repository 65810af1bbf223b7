"""Stock policies: from quantiles of demand to levels of stock, and to what is ordered.

Periodic review: every `review` days an order is placed that arrives `lead` days later, so stock
and orders under way must last for `lead + review` days. The base-stock level is a quantile of the
demand of those days: that of the service level, or, where costs are known, of the critical ratio
of the newsvendor (Arrow, Harris and Marschak 1951).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from batch_predictions.models.demand.panel import Doubles, Integers

SMALLEST_LEVEL, LARGEST_LEVEL = 0.01, 0.995
"""Quantiles beyond are not calibrated."""


@dataclass(frozen=True)
class OrderTerms:
    """On what terms each series is ordered, (n,) each.

    Attributes:
        lead: days from order to receipt.
        review: days between orders.
        level: chance that a cycle passes without stock running out.
        pack: units are ordered in multiples of it.
        least: fewest units of an order.
    """

    lead: Integers
    review: Integers
    level: Doubles
    pack: Doubles
    least: Doubles

    @property
    def cycle(self) -> Integers:
        """Days for which stock and orders under way must last."""
        return self.lead + self.review

    @classmethod
    def of(cls, own: Mapping[str, Doubles], usual: Mapping[str, Any]) -> OrderTerms:
        """Each item's own terms where they make sense, else the usual ones.

        Args:
            own: lead_time_days, review_days, service_level, pack_size, min_order, holding_cost and
                lost_sale_cost, (n,); nan: not given.
            usual: the same as one number each; costs may be None.
        """

        def chosen(name: str, low: float, high: float = np.inf) -> Doubles:
            given = np.asarray(own[name], np.float64)
            fits = (given >= low) & (given <= high)
            other = np.nan if usual[name] is None else float(usual[name])
            return np.where(fits, given, other)

        tiny = 1e-9
        lead = np.ceil(chosen("lead_time_days", 1)).astype(np.int64)
        review = np.ceil(chosen("review_days", 1)).astype(np.int64)
        level = chosen("service_level", tiny, 1 - tiny)
        lost, holding = chosen("lost_sale_cost", tiny), chosen("holding_cost", tiny)
        priced = np.isfinite(lost) & np.isfinite(holding)
        ratio = critical_ratio(lost, holding * review)
        level = np.clip(np.where(priced, ratio, level), SMALLEST_LEVEL, LARGEST_LEVEL)
        return cls(lead, review, level, chosen("pack_size", tiny), chosen("min_order", 0))


def critical_ratio(shortage: Doubles, excess: Doubles) -> Doubles:
    """The newsvendor's quantile: cost of a unit too few over that of one too few plus too many."""
    return np.asarray(shortage / (shortage + excess))


@dataclass(frozen=True)
class StockLevels:
    """Levels of stock, (n,) each."""

    reorder_point: Doubles
    order_up_to: Doubles
    safety_stock: Doubles


def stock_levels(
    lead_quantile: Doubles, cycle_quantile: Doubles, cycle_mean: Doubles
) -> StockLevels:
    """Levels from the demand of the lead time and of the cycle, each at the service level.

    At or below the reorder point, stock may run out before an order that is placed now arrives.
    """
    up_to = np.maximum(cycle_quantile, 0.0)
    return StockLevels(
        reorder_point=np.clip(lead_quantile, 0.0, up_to),
        order_up_to=up_to,
        safety_stock=np.maximum(up_to - cycle_mean, 0.0),
    )


def order_quantity(
    position: Doubles, stock: StockLevels, pack: Doubles | float, least: Doubles | float
) -> Doubles:
    """Units that raise a position (on hand and on order) to the order-up-to level.

    In whole packs, rounded up. Less than the least is not ordered, until the position is at the
    reorder point: then the least is.
    """
    gap = np.maximum(stock.order_up_to - position, 0.0)
    packs = np.ceil(np.round(gap / pack, 9))
    least_packs = np.ceil(np.round(np.asarray(least, np.float64) / pack, 9))
    urgent = position <= stock.reorder_point
    packs = np.where((packs > 0) & (packs < least_packs), np.where(urgent, least_packs, 0.0), packs)
    return np.asarray(packs * pack)
