"""Stock policy: from quantiles of demand to levels of stock, and to order quantities.

Periodic review: every `review_days` days an order is placed that arrives `lead_days` days later.
So the stock on hand and on order must last for `lead_days + review_days` days, the cycle. The
order-up-to level is a quantile of the demand of the cycle: the one at the service level or, where
the costs are known, at the critical ratio of the newsvendor (Arrow, Harris and Marschak 1951).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from batch_predictions.core.arrays import Doubles, Int64s

TERM_COLUMNS = (
    "lead_time_days",
    "review_days",
    "service_level",
    "pack_size",
    "min_order",
    "holding_cost",
    "lost_sale_cost",
)
"""Terms of orders: attributes of items, and the settings in `demand` that are their defaults."""
MIN_SERVICE_LEVEL, MAX_SERVICE_LEVEL = 0.01, 0.995
"""Range of the service level; quantiles outside it are not calibrated."""
MIN_POSITIVE = 1e-9


@dataclass(frozen=True)
class OrderTerms:
    """The terms on which each series is ordered, (n,) each.

    Attributes:
        lead_days: days from order to receipt.
        review_days: days between orders.
        service_level: probability that the stock lasts for a cycle.
        pack_size: orders are multiples of this number of units.
        min_order: smallest order in units.
    """

    lead_days: Int64s
    review_days: Int64s
    service_level: Doubles
    pack_size: Doubles
    min_order: Doubles

    @property
    def cycle_days(self) -> Int64s:
        """Days for which the stock on hand and on order must last."""
        return self.lead_days + self.review_days

    @classmethod
    def from_items(
        cls, item_terms: Mapping[str, Doubles], defaults: Mapping[str, Any]
    ) -> OrderTerms:
        """The terms of each item where they are valid, else the defaults.

        Args:
            item_terms: (n,) by name of `TERM_COLUMNS`; nan where an item has none.
            defaults: one number by the same names; None for costs that are not known.
        """

        def valid(name: str, low: float, high: float = np.inf) -> Doubles:
            values = np.asarray(item_terms[name], np.float64)
            default = np.nan if defaults[name] is None else float(defaults[name])
            return np.where((values >= low) & (values <= high), values, default)

        lead_days = np.ceil(valid("lead_time_days", 1)).astype(np.int64)
        review_days = np.ceil(valid("review_days", 1)).astype(np.int64)
        service_level = valid("service_level", MIN_POSITIVE, 1 - MIN_POSITIVE)
        lost_sale_cost = valid("lost_sale_cost", MIN_POSITIVE)
        holding_cost = valid("holding_cost", MIN_POSITIVE)
        has_costs = np.isfinite(lost_sale_cost) & np.isfinite(holding_cost)
        ratio = critical_ratio(lost_sale_cost, holding_cost * review_days)
        return cls(
            lead_days,
            review_days,
            np.clip(
                np.where(has_costs, ratio, service_level), MIN_SERVICE_LEVEL, MAX_SERVICE_LEVEL
            ),
            valid("pack_size", MIN_POSITIVE),
            valid("min_order", 0),
        )


def critical_ratio(shortage_cost: Doubles, excess_cost: Doubles) -> Doubles:
    """The newsvendor's optimal quantile, from the costs of one unit too few and one too many."""
    return np.asarray(shortage_cost / (shortage_cost + excess_cost))


@dataclass(frozen=True)
class StockLevels:
    """Levels of stock in units, (n,) each.

    Attributes:
        reorder_point: at or below it, stock may run out before an order that is placed now arrives.
        order_up_to: stock on hand and on order after ordering.
        safety_stock: order-up-to level minus the expected demand of the cycle.
    """

    reorder_point: Doubles
    order_up_to: Doubles
    safety_stock: Doubles


def stock_levels(
    lead_quantile: Doubles, cycle_quantile: Doubles, cycle_mean: Doubles
) -> StockLevels:
    """Stock levels from the demand of the lead time and of the cycle, (n,) each.

    Args:
        lead_quantile: quantile of the demand of the lead time at the service level.
        cycle_quantile: quantile of the demand of the cycle at the service level.
        cycle_mean: expected demand of the cycle.
    """
    order_up_to = np.maximum(cycle_quantile, 0.0)
    return StockLevels(
        reorder_point=np.clip(lead_quantile, 0.0, order_up_to),
        order_up_to=order_up_to,
        safety_stock=np.maximum(order_up_to - cycle_mean, 0.0),
    )


def order_quantity(
    position: Doubles, levels: StockLevels, pack_size: Doubles | float, min_order: Doubles | float
) -> Doubles:
    """Units to order so that the position reaches the order-up-to level, in whole packs, (n,).

    An order below the minimum waits until the position is at or below the reorder point; then the
    minimum is ordered.

    Args:
        position: units on hand and on order, (n,).
        levels: the stock levels.
        pack_size: units of a pack.
        min_order: smallest order in units.
    """
    gap = np.maximum(levels.order_up_to - position, 0.0)
    # Rounded first, so that a rounding error of the gap does not order one more pack.
    packs = np.ceil(np.round(gap / pack_size, 9))
    min_packs = np.ceil(np.round(np.asarray(min_order, np.float64) / pack_size, 9))
    is_urgent = position <= levels.reorder_point
    is_too_small = (packs > 0) & (packs < min_packs)
    packs = np.where(is_too_small, np.where(is_urgent, min_packs, 0.0), packs)
    return np.asarray(packs * pack_size)
