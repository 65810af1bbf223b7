"""Simulates a stock policy day by day: units sold, sales lost and stock.

During a day, demand is met from the stock; what exceeds it is lost. In the evening, orders that
were placed `lead_days` days ago arrive and, every `review_days` days, an order is placed. So stock
on hand and on order must last for the `lead_days + review_days` days after an order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from batch_predictions.core.arrays import Doubles, Int64s

OrderPolicy: TypeAlias = Callable[[int, Doubles], Doubles]
"""Units to order, (n,), from the number of the day and the position: units on hand and on order."""


@dataclass(frozen=True)
class StockSimulation:
    """The days of a simulation, (n, days) each.

    Attributes:
        demand: units demanded.
        sold: units sold; the difference to the demand was lost.
        received: units that arrived in the evening.
        ordered: units ordered in the evening.
        stock: units on hand in the evening.
        initial_stock: units on hand before the first day, (n,).
    """

    demand: Doubles
    sold: Doubles
    received: Doubles
    ordered: Doubles
    stock: Doubles
    initial_stock: Doubles

    def from_day(self, day: int) -> StockSimulation:
        """The simulation without its first `day` days, in which stock has not settled yet."""
        names = ("demand", "sold", "received", "ordered", "stock")
        return StockSimulation(
            **{name: getattr(self, name)[:, day:] for name in names},
            initial_stock=self.stock[:, day - 1] if day else self.initial_stock,
        )


def simulate(
    demand: Doubles,
    policy: OrderPolicy,
    lead_days: Int64s | int,
    review_days: int,
    initial_stock: Doubles | None = None,
) -> StockSimulation:
    """Simulates the days of a demand, (n, days).

    Args:
        demand: units demanded.
        policy: called in the evening of the days 0, review_days, 2 review_days, …
        lead_days: days from order to receipt, one number or (n,): an order with a lead time of 1
            arrives the next evening and can be sold from the day after.
        review_days: days between orders.
        initial_stock: units on hand before the first day, (n,); None: 0.

    Raises:
        ValueError: `lead_days` or `review_days` is less than 1.
    """
    n, days = demand.shape
    leads = np.broadcast_to(np.asarray(lead_days, np.int64), (n,))
    if (leads < 1).any() or review_days < 1:
        raise ValueError("lead_days and review_days must be at least one day")
    on_hand = np.zeros(n) if initial_stock is None else np.asarray(initial_stock, np.float64).copy()
    start = on_hand.copy()
    on_order = np.zeros(n)
    arrivals = np.zeros((n, days + int(leads.max(initial=1)) + 1))
    sold, received, ordered, stock = (np.zeros((n, days)) for _ in range(4))
    rows = np.arange(n)
    for day in range(days):
        sold[:, day] = np.minimum(on_hand, demand[:, day])
        received[:, day] = arrivals[:, day]
        on_hand += received[:, day] - sold[:, day]
        on_order -= received[:, day]
        stock[:, day] = on_hand
        if day % review_days == 0:
            ordered[:, day] = np.maximum(policy(day, on_hand + on_order), 0.0)
            arrivals[rows, day + leads] += ordered[:, day]
            on_order += ordered[:, day]
    return StockSimulation(demand, sold, received, ordered, stock, start)
