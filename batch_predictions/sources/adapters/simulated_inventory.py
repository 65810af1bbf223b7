"""Simulated stock for the demo: its data, the Complete Journey, has no stock counts.

Every item is delivered once a week, on a weekday that its id decides, up to a level that covers
`COVERED_DAYS` days of its sales in the four weeks before. In between, what is sold is taken from
the stock, and `ORDER_DAYS` days after a delivery the next one is on order. The stock of a day is a
function of the sales up to that day. Everything computed from it is marked as `simulated`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from batch_predictions.warehouse.path_sql import date_list, quote_literal

SEED = "inventory-1"
HISTORY_DAYS = 28
COVERED_DAYS = 10
ORDER_DAYS = 4
MIN_UNITS = 28
"""Items that sell less in `HISTORY_DAYS` days are not counted."""
DAYS_BEFORE = HISTORY_DAYS + 7
"""Days of sales before a day that its stock depends on."""


def inventory_sql(purchases: str, days: Sequence[str]) -> str:
    """A query for the stock of items at the end of days: date, item_id, on_hand, on_order and more.

    Args:
        purchases: SQL of purchases (date, item_id, quantity) from `DAYS_BEFORE` days before the
            first of the days to the last.
        days: ISO dates.
    """
    epoch = dt.date(2000, 1, 3)
    weekday = f"('0x' || substr(md5(item_id || {quote_literal(SEED)}), 1, 7))::BIGINT % 7"
    return f"""
        with sales as (
            select item_id::VARCHAR as item_id, date, sum(quantity)::DOUBLE as units
            from ({purchases}) where quantity > 0 group by all
        ),
        cumulative as (
            select item_id, date, sum(units) over (partition by item_id order by date) as units
            from sales
        ),
        grid as (
            select
                item_id,
                date,
                date - ((date - DATE '{epoch}' - {weekday}) % 7)::INTEGER as delivered_on
            from (select item_id from sales group by 1 having sum(units) >= {MIN_UNITS})
            cross join (select unnest([{date_list(days)}]) as date)
        ),
        levels as (
            select
                grid.*,
                coalesce(today.units, 0) - coalesce(delivered.units, 0) as sold,
                coalesce(delivered.units, 0) - coalesce(before.units, 0) as units_before
            from grid
            asof left join cumulative as today
                on today.item_id = grid.item_id and today.date <= grid.date
            asof left join cumulative as delivered
                on delivered.item_id = grid.item_id and delivered.date <= grid.delivered_on
            asof left join cumulative as before
                on before.item_id = grid.item_id
                and before.date <= grid.delivered_on - {HISTORY_DAYS}
        )
        select
            date,
            item_id,
            greatest(ceil(units_before * {COVERED_DAYS} / {HISTORY_DAYS}) - sold, 0) as on_hand,
            case when date - delivered_on >= {ORDER_DAYS} then sold else 0 end as on_order,
            'simulated' as source,
            row_number() over (order by date, item_id) as row_number,
            struct_pack(item_id, date) as row
        from levels where units_before >= {MIN_UNITS}
        order by date, item_id
    """
