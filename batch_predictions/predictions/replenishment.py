"""What to order of every item now, every day: from the quantiles of demand to levels of stock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext
from batch_predictions.inference.validation import Check
from batch_predictions.models.demand.panel import Doubles
from batch_predictions.models.demand.replenishment.policy import (
    OrderTerms,
    order_quantity,
    stock_levels,
)
from batch_predictions.predictions import demand_plots as plots
from batch_predictions.predictions.demand import TERMS
from batch_predictions.predictions.demand import parameters as demand_parameters
from batch_predictions.settings import Settings
from batch_predictions.tables import REPLENISHMENT_ORDERS

NO_FORECAST = "there is no forecast of it: see the exclusions of demand_forecasts"


class OrderScorer:
    """Periodic review: order up to the quantile of the demand of lead time and review period, at
    the service level or, where costs are known, the newsvendor's critical ratio; in whole packs,
    and not less than the least order unless stock is at the reorder point."""

    version: ClassVar[str] = "1"
    uses_gpu: ClassVar[bool] = False

    def __init__(self, opening: ScorerContext) -> None:
        self.usual = opening.parameters

    @classmethod
    def open(cls, opening: ScorerContext) -> Self:
        """Takes the usual terms."""
        return cls(opening)

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Orders of items (terms, on_hand, on_order, forecast_version, sums by days)."""
        terms = OrderTerms.of({name: _numbers(rows[name]) for name in TERMS}, self.usual)
        sums = [{each["days"]: each for each in found or ()} for found in rows["sums"].to_pylist()]
        reasons = [
            self._reason(found, int(cycle))
            for found, cycle in zip(sums, terms.cycle.tolist(), strict=True)
        ]

        def of(days: Any, name: str) -> Doubles:
            return np.array(
                [
                    np.nan if reason else found[int(n)][name]
                    for found, n, reason in zip(sums, days.tolist(), reasons, strict=True)
                ],
                np.float64,
            )

        stock = stock_levels(
            of(terms.lead, "q_level"), of(terms.cycle, "q_level"), of(terms.cycle, "mean")
        )
        on_hand = _numbers(rows["on_hand"])
        on_order = np.nan_to_num(_numbers(rows["on_order"]))
        quantity = order_quantity(on_hand + on_order, stock, terms.pack, terms.least)
        known = np.isfinite(on_hand)
        columns = {
            "item_id": rows["item_id"],
            "location": rows["location"],
            "on_hand": pa.array(on_hand, mask=~known),
            "reorder_point": pa.array(stock.reorder_point),
            "order_up_to": pa.array(stock.order_up_to),
            "safety_stock": pa.array(stock.safety_stock),
            "order_quantity": pa.array(quantity, mask=~known),
            "service_level": pa.array(terms.level),
            "on_order": pa.array(on_order, mask=~known),
            "lead_time_days": pa.array(terms.lead),
            "review_days": pa.array(terms.review),
            "forecast_version": rows["forecast_version"],
            EXCLUDED: pa.array(reasons, pa.string()),
        }
        return pa.RecordBatch.from_pydict(columns)

    def _reason(self, sums: Mapping[int, Any], cycle: int) -> str | None:
        horizon = int(self.usual["horizon"])
        if cycle > horizon:
            return f"lead time and review period are {cycle} days: demand.horizon = {horizon}"
        return None if cycle in sums else NO_FORECAST


def _numbers(column: pa.Array) -> Doubles:
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def parameters(settings: Settings) -> Mapping[str, Any]:
    """The usual terms, what is ordered, and how old a count of stock may be."""
    chosen = settings.demand
    return {
        **demand_parameters(settings),
        # What is ordered of an item in each shop is not ordered of it once more.
        "order_level": "item_location" if "item_location" in chosen.levels else "item",
        "stock_max_age_days": chosen.stock_max_age_days,
    }


replenishment_orders = BatchPrediction(
    table=REPLENISHMENT_ORDERS,
    key=("item_id", "location"),
    rows=f"""
        with counted as (
            select
                item_id,
                case when $order_level = 'item' then 'all' else location end as place,
                date,
                fsum(on_hand) as on_hand,
                fsum(coalesce(on_order, 0)) as on_order
            from raw.inventory
            where date <= $date and date >= $date - $stock_max_age_days::INTEGER
                and on_hand is not null
            group by all
        ),
        newest as (
            select * from counted
            qualify row_number() over (partition by item_id, place order by date desc) = 1
        ),
        wanted as (
            select item_id, location, any_value(model_version) as forecast_version,
                list(struct_pack(days, mean, q_level) order by days) as sums
            from predictions.lead_time_demand where date = $date group by item_id, location
        )
        select
            series.item_id, series.location, {", ".join(f"series.{each}" for each in TERMS)},
            newest.on_hand, newest.on_order, wanted.forecast_version, wanted.sums
        from features.demand as series
        left join wanted
            on wanted.item_id = series.item_id and wanted.location = series.location
        left join newest on newest.item_id = series.item_id and newest.place = series.location
        where series.date = $date and series.level = $order_level
    """,
    scorer=OrderScorer,
    parameters=parameters,
    checks=(
        Check(
            "orders_fit_their_levels",
            "The reorder point is not above the order-up-to level, and orders are not negative.",
            """select count(*) from new_rows where (reorder_point <= order_up_to + 1e-9
                and safety_stock >= 0 and service_level > 0 and service_level < 1
                and (order_quantity >= 0 or on_hand is null)) is not true""",
        ),
        Check(
            "orders_reach_their_level",
            "Where anything is ordered, stock and orders under way reach the order-up-to level.",
            """select count(*) from new_rows where order_quantity > 0
                and on_hand + on_order + order_quantity < order_up_to - 1e-6""",
        ),
    ),
    plot=plots.orders,
    kinds=frozenset({"duckdb"}),
)
