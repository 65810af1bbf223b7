"""Daily replenishment orders: stock levels from quantiles of demand, and order quantities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Doubles, Int64s
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext
from batch_predictions.inference.validation import Check
from batch_predictions.models.demand.stock_policy import (
    TERM_COLUMNS,
    OrderTerms,
    order_quantity,
    stock_levels,
)
from batch_predictions.predictions.demand import float_values
from batch_predictions.predictions.demand import parameters as demand_parameters
from batch_predictions.predictions.demand_plots import plot_orders
from batch_predictions.settings import Settings
from batch_predictions.tables import REPLENISHMENT_ORDERS

NO_FORECAST = "it has no forecast: see the exclusions of demand_forecasts"
NO_SERIES = "not among the demand.max_series items that sold most in 84 days: it has no forecast"


class OrderScorer:
    """Orders up to the quantile of the demand of lead time and review period (periodic review).

    The quantile is the one at the service level or, where costs are known, at the newsvendor's
    critical ratio. Orders are whole packs and reach at least the minimum order; a smaller order
    waits until the stock is at the reorder point.
    """

    version: ClassVar[str] = "2"
    uses_gpu: ClassVar[bool] = False

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.horizon = int(parameters["horizon"])
        self.default_terms = parameters

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        """Takes horizon and default terms from the parameters."""
        return cls(context.parameters)

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Orders of items: rows with terms, stock, and `sums` as lists of lead-time demand."""
        item_terms = {name: float_values(rows[name]) for name in TERM_COLUMNS}
        terms = OrderTerms.from_items(item_terms, self.default_terms)
        sums_by_days = [
            {entry["days"]: entry for entry in entries or ()}
            for entries in rows["sums"].to_pylist()
        ]
        reasons = [
            self._exclusion_reason(sums, int(cycle_days))
            for sums, cycle_days in zip(sums_by_days, terms.cycle_days.tolist(), strict=True)
        ]

        def demand(days: Int64s, name: str) -> Doubles:
            """A column of the demand over `days`; nan for excluded items."""
            return np.array(
                [
                    np.nan if reason else sums[length][name]
                    for sums, length, reason in zip(
                        sums_by_days, days.tolist(), reasons, strict=True
                    )
                ],
                np.float64,
            )

        levels = stock_levels(
            lead_quantile=demand(terms.lead_days, "q_level"),
            cycle_quantile=demand(terms.cycle_days, "q_level"),
            cycle_mean=demand(terms.cycle_days, "mean"),
        )
        on_hand = float_values(rows["on_hand"])
        on_order = np.nan_to_num(float_values(rows["on_order"]))
        quantity = order_quantity(on_hand + on_order, levels, terms.pack_size, terms.min_order)
        is_unknown = ~np.isfinite(on_hand)
        columns = {
            "item_id": rows["item_id"],
            "location": rows["location"],
            "on_hand": pa.array(on_hand, mask=is_unknown),
            "reorder_point": pa.array(levels.reorder_point),
            "order_up_to": pa.array(levels.order_up_to),
            "safety_stock": pa.array(levels.safety_stock),
            "order_quantity": pa.array(quantity, mask=is_unknown),
            "service_level": pa.array(terms.service_level),
            "on_order": pa.array(on_order, mask=is_unknown),
            "lead_time_days": pa.array(terms.lead_days),
            "review_days": pa.array(terms.review_days),
            "forecast_version": rows["forecast_version"],
            "simulated": rows["simulated"],
            EXCLUDED: pa.array(reasons, pa.string()),
        }
        return pa.RecordBatch.from_pydict(columns)

    def _exclusion_reason(self, sums: Mapping[int, object], cycle_days: int) -> str | None:
        """Explains why there is no order for an item; None where there is one."""
        if cycle_days > self.horizon:
            return (
                f"lead time and review period are {cycle_days} days, longer than "
                f"demand.horizon = {self.horizon}"
            )
        return None if cycle_days in sums else NO_FORECAST


def parameters(settings: Settings) -> Mapping[str, Any]:
    """Parameters of the forecasts, the level that is ordered, and the age limit of stock counts."""
    demand = settings.demand
    return {
        **demand_parameters(settings),
        # Where items are forecast by location they are ordered by location only.
        "order_level": "item_location" if "item_location" in demand.levels else "item",
        "stock_max_age_days": demand.stock_max_age_days,
    }


_STOCK = """
    select
        item_id,
        case when $order_level = 'item' then 'all' else location end as location,
        date,
        fsum(on_hand) as on_hand,
        fsum(coalesce(on_order, 0)) as on_order,
        coalesce(bool_or(simulated), false) as simulated
    from raw.inventory
    where date <= $date and date >= $date - $stock_max_age_days::INTEGER
        and on_hand is not null
    group by all
"""
"""SQL: stock counts of the last days, at the level that is ordered."""

replenishment_orders = BatchPrediction(
    table=REPLENISHMENT_ORDERS,
    key=("item_id", "location"),
    rows=f"""
        with stock as ({_STOCK}),
        newest_stock as (
            select * from stock
            qualify row_number() over (partition by item_id, location order by date desc) = 1
        ),
        demand_sums as (
            select item_id, location, any_value(model_version) as forecast_version,
                list(struct_pack(days, mean, q_level) order by days) as sums
            from predictions.lead_time_demand where date = $date group by item_id, location
        )
        select
            series.item_id, series.location,
            {", ".join(f"series.{name}" for name in TERM_COLUMNS)},
            newest_stock.on_hand, newest_stock.on_order,
            coalesce(newest_stock.simulated, false) as simulated,
            demand_sums.forecast_version, demand_sums.sums
        from features.demand as series
        left join demand_sums
            on demand_sums.item_id = series.item_id and demand_sums.location = series.location
        left join newest_stock
            on newest_stock.item_id = series.item_id and newest_stock.location = series.location
        where series.date = $date and series.level = $order_level
    """,
    # Who counts the stock of an item expects an order.
    eligible=f"""
        select item_id, location, '{NO_SERIES}' as reason from features.demand
        where date = $date and level = $order_level
        union
        select item_id, location, '{NO_SERIES}' from ({_STOCK})
    """,
    scorer=OrderScorer,
    parameters=parameters,
    checks=(
        Check(
            "orders_fit_their_levels",
            "The reorder point is at most the order-up-to level, and orders are not negative.",
            """select count(*) from new_rows where (reorder_point <= order_up_to + 1e-9
                and safety_stock >= 0 and service_level > 0 and service_level < 1
                and (order_quantity >= 0 or on_hand is null)) is not true""",
        ),
        Check(
            "orders_reach_their_level",
            "Where something is ordered, stock on hand and on order reaches the order-up-to level.",
            """select count(*) from new_rows where order_quantity > 0
                and on_hand + on_order + order_quantity < order_up_to - 1e-6""",
        ),
    ),
    plot=plot_orders,
    kinds=frozenset({"duckdb"}),
)
