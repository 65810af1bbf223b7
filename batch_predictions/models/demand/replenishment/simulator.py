"""Replays demand under a stock policy: what is sold, what is lost, what lies in stock.

A day: demand takes from the shelf, and what is not there is lost; in the evening, what was ordered
`lead` days ago arrives and, on a day of review, an order is placed. So stock and orders under way
must last for the `lead + review` days after an order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from batch_predictions.models.demand.panel import Doubles, Integers

Order = Callable[[int, Doubles], Doubles]
"""Units to order, (n,), in the evening of a day, given the position: on hand and on order."""


@dataclass(frozen=True)
class StockSimulation:
    """What came of a policy; (n, days) each.

    Attributes:
        demand: units wanted.
        sold: units sold; the rest was lost.
        received: units that arrived in the evening.
        ordered: units ordered in the evening.
        stock: units on the shelf in the evening.
        start: units on the shelf before the first day, (n,).
    """

    demand: Doubles
    sold: Doubles
    received: Doubles
    ordered: Doubles
    stock: Doubles
    start: Doubles

    @property
    def fill_rate(self) -> float:
        """Share of all units wanted that were sold."""
        wanted = self.demand.sum()
        return float(self.sold.sum() / wanted) if wanted > 0 else 1.0

    @property
    def mean_stock(self) -> float:
        """Units of all series on the shelf of an evening, on average over days."""
        return float(self.stock.sum(axis=0).mean())

    def cost(self, holding: Doubles | float, lost_sale: Doubles | float) -> float:
        """Cost of all units kept overnight and of all sales lost."""
        lost = (self.demand - self.sold).sum(axis=1)
        return float((self.stock.sum(axis=1) * holding + lost * lost_sale).sum())

    def from_day(self, day: int) -> StockSimulation:
        """Without the days before, in which stock settles."""
        start = self.stock[:, day - 1] if day else self.start
        names = ("demand", "sold", "received", "ordered", "stock")
        return StockSimulation(
            **{name: getattr(self, name)[:, day:] for name in names}, start=start
        )


def simulate(
    demand: Doubles,
    order: Order,
    lead: Integers | int,
    review: int,
    start: Doubles | None = None,
) -> StockSimulation:
    """Replays days of demand, (n, days).

    Args:
        demand: units wanted.
        order: the policy, asked in the evening of days 0, review, 2 review, …
        lead: days from order to receipt, one number or (n,): an order of lead 1 arrives the next
            evening, to be sold from the day after.
        review: days between orders.
        start: units on the shelf before the first day; None: none.
    """
    n, days = demand.shape
    leads = np.broadcast_to(np.asarray(lead, np.int64), (n,))
    if (leads < 1).any() or review < 1:
        raise ValueError("lead and review are at least one day")
    shelf = np.zeros(n) if start is None else np.asarray(start, np.float64).copy()
    first = shelf.copy()
    arriving = np.zeros((n, days + int(leads.max(initial=1)) + 1))
    under_way = np.zeros(n)
    sold, received, ordered, stock = (np.zeros((n, days)) for _ in range(4))
    rows = np.arange(n)
    for day in range(days):
        sold[:, day] = np.minimum(shelf, demand[:, day])
        received[:, day] = arriving[:, day]
        shelf += received[:, day] - sold[:, day]
        under_way -= received[:, day]
        stock[:, day] = shelf
        if day % review == 0:
            ordered[:, day] = np.maximum(order(day, shelf + under_way), 0.0)
            arriving[rows, day + leads] += ordered[:, day]
            under_way += ordered[:, day]
    return StockSimulation(demand, sold, received, ordered, stock, first)
