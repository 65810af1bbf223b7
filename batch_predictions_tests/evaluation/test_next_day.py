"""Lists, forecasts and orders against what was bought and sold afterwards, in small worlds."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pyarrow as pa
import pytest

from batch_predictions.evaluation.assets import plots_over_time
from batch_predictions.evaluation.realized_demand import measure_forecasts, measure_orders
from batch_predictions.evaluation.realized_recommendations import measure_recommendations
from batch_predictions.settings import Settings
from batch_predictions.tables import (
    DEMAND_FORECASTS,
    DEMOGRAPHIC_RECOMMENDATIONS,
    INTERACTIONS,
    INVENTORY,
    ITEMS,
    REALIZED_METRICS,
    RECOMMENDATIONS,
    REPLENISHMENT_ORDERS,
    USER_SEGMENTS,
)
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.table_rows import arrow_rows, write_rows

AS_OF = dt.date(2024, 3, 1)
NEXT = AS_OF + dt.timedelta(days=1)
QUANTILES = ("q05", "q10", "q25", "q50", "q75", "q90", "q95")


def write_day(warehouse: Warehouse, day: dt.date, *sales: tuple[str, str, float]) -> None:
    """Purchases of a day: user, item and quantity; negative for a return."""
    rows = [
        {
            "date": day,
            "event_id": f"{day}-{n}",
            "user_id": user,
            "item_id": item,
            "event_type": "purchase" if quantity > 0 else "return",
            "quantity": quantity,
            "amount": quantity,
        }
        for n, (user, item, quantity) in enumerate(sales)
    ]
    write_rows(warehouse, INTERACTIONS, rows, day)


def write_items(warehouse: Warehouse, *items: str) -> None:
    write_rows(warehouse, ITEMS, [{"item_id": item, "category": "things"} for item in items])


def by_metric(rows: list[Any]) -> dict[str, dict[str, Any]]:
    return {f"{row['model']} {row['metric']}": row for row in rows}


def test_buyers_count_with_the_list_that_a_lookup_would_have_answered(
    warehouse: Warehouse, settings: Settings
) -> None:
    warehouse.replace_partition(
        RECOMMENDATIONS,
        str(AS_OF),
        "select 'u' || u as user_id, r as rank, 'p' || r as item_id, 1.0 as score, 'r' as reason, "
        "'m' as model_version from range(3) as a(u), range(1, 13) as b(r)",
    )
    segments = "('everyone', null), ('age', '25-34'), ('age', 'unknown')"
    warehouse.replace_partition(
        DEMOGRAPHIC_RECOMMENDATIONS,
        str(AS_OF),
        f"select level as segment_level, age as age_bracket, null as gender, null as location, "
        "r as rank, level || coalesce(age, '') || r as item_id, 1.0 as score, 9 as support, "
        f"'d' as model_version from (values {segments}) as l(level, age), range(1, 4) as b(r)",
    )
    warehouse.replace_partition(
        USER_SEGMENTS,
        str(AS_OF),
        "select u as user_id, a as age_bracket, 'unknown' as gender, 'unknown' as location "
        "from (values ('young', '25-34'), ('grey', 'unknown')) as l(u, a)",
    )
    write_items(warehouse)
    write_day(
        warehouse,
        NEXT,
        ("u0", "p2", 1),
        ("u0", "p2", 2),
        ("u0", "other", 1),
        ("u1", "p11", 1),  # beyond the first ten
        ("u2", "p1", -1),  # a return is no purchase
        ("young", "age25-343", 1),
        ("young", "everyone1", 1),  # not of the list that was served
        ("grey", "everyone1", 1),
        ("grey", "ageunknown1", 1),  # an unknown value is no segment of a lookup
        ("new", "everyone1", 1),
    )
    rows = by_metric(measure_recommendations(warehouse, settings, NEXT))
    discount = {rank: 1 / math.log2(rank + 1) for rank in range(1, 12)}
    ideal = 1 + discount[2]
    ndcg = {
        "u0": discount[2] / ideal,
        "u1": 0.0,
        "young": discount[3] / ideal,
        "grey": 1 / ideal,
        "new": 1.0,
    }
    row = rows["recommender next_day_ndcg@10"]
    assert row["value"] == pytest.approx(sum(ndcg.values()) / 5) and row["n"] == 5
    assert rows["recommender next_day_hit_rate@10"]["value"] == pytest.approx(4 / 5)
    assert rows["recommender next_day_hit_rate@10:personal"]["value"] == 0.5
    fallback = rows["recommender next_day_ndcg@10:fallback"]
    assert fallback["value"] == pytest.approx((ndcg["young"] + ndcg["grey"] + 1) / 3)
    assert measure_recommendations(warehouse, settings, AS_OF) == [], "no lists of the day before"


def forecasts(made_on: dt.date, means: dict[str, float], target: dt.date) -> pa.Table:
    """Forecasts whose 5 % and 95 % quantiles are a half below and above the mean."""
    rows = [
        {
            "date": made_on,
            "item_id": item,
            "location": "all",
            "target_date": target,
            "mean": mean,
            **{name: mean * (0.5 + n / (len(QUANTILES) - 1)) for n, name in enumerate(QUANTILES)},
            "model_version": "m",
            "method": "mean28",
        }
        for item, mean in means.items()
    ]
    return arrow_rows(DEMAND_FORECASTS, rows)


def test_forecasts_are_compared_with_the_units_that_were_sold(
    warehouse: Warehouse, settings: Settings
) -> None:
    write_items(warehouse, "a", "b", "c")
    days = [NEXT - dt.timedelta(days=n) for n in range(8)]
    for day in days[1:]:
        write_day(warehouse, day, ("u", "a", 10), ("u", "b", 4))
    write_day(warehouse, NEXT, ("u", "a", 12), ("u", "b", 5), ("v", "b", -1))
    means = {"a": 10.0, "b": 8.0, "c": 2.0, "category:things": 20.0}
    for made_on, factor in ((AS_OF, 1.0), (NEXT - dt.timedelta(days=7), 2.0)):
        table = forecasts(made_on, {item: mean * factor for item, mean in means.items()}, NEXT)
        warehouse.replace_partition(DEMAND_FORECASTS, str(made_on), table)
    rows = by_metric(measure_forecasts(warehouse, settings, NEXT))
    # Sold are 12 of a and 4 of b; nothing of c counts as 0.
    assert rows["demand wape:item:1d"]["value"] == pytest.approx((2 + 4 + 2) / 16)
    assert rows["demand wape:item:1d"]["n"] == 3
    assert rows["demand bias:item:1d"]["value"] == pytest.approx((20 - 16) / 16)
    assert rows["demand wape:item:7d"]["value"] == pytest.approx((8 + 12 + 4) / 16)
    assert rows["demand wape:category:1d"]["value"] == pytest.approx(4 / 16)
    # 12 is 1.2 of the mean, 4 is .5 of it: the end of the 90 % interval, ends included.
    assert rows["demand coverage_90:item:1d"]["value"] == pytest.approx(2 / 3)
    assert rows["demand coverage_80:item:1d"]["value"] == pytest.approx(1 / 3)
    assert rows["demand coverage_80:category:1d"]["value"] == 1
    assert rows["demand coverage_50:category:1d"]["value"] == 0
    for row in rows.values():
        assert row["lower"] <= row["value"] <= row["upper"]
    write_day(warehouse, NEXT)
    assert measure_forecasts(warehouse, settings, NEXT) == [], "a day without sales"
    assert measure_forecasts(warehouse, settings, NEXT + dt.timedelta(days=1)) == [], "not ingested"


def test_orders_are_compared_with_what_was_sold_until_the_next(
    warehouse: Warehouse, settings: Settings
) -> None:
    write_items(warehouse, "a", "b", "c")
    for n in range(-30, 8):
        write_day(warehouse, AS_OF + dt.timedelta(days=n), ("u", "a", 2), ("u", "b", 3))
    order = "'all' as location, 1.0 as reorder_point, 9.0 as order_up_to, 0.0 as safety_stock, "
    warehouse.replace_partition(
        REPLENISHMENT_ORDERS,
        str(AS_OF),
        f"select item as item_id, {order} hand as on_hand, quantity as order_quantity, "
        "0.95 as service_level, 'r' as model_version, 1.0 as on_order, 3 as lead_time_days, "
        "review as review_days, 'f' as forecast_version, false as simulated from (values "
        "('a', 5.0, 8.0, 4), ('b', 5.0, 9.0, 4), ('c', null, null, 4), ('d', 1.0, 1.0, 9)) "
        "as l(item, hand, quantity, review)",
    )
    end = AS_OF + dt.timedelta(days=7)
    warehouse.replace_partition(
        INVENTORY,
        str(end),
        "select i as item_id, 'all' as location, h as on_hand, 0.0 as on_order, "
        "false as simulated from (values ('a', 3.0), ('b', 0.0)) as l(i, h)",
    )
    rows = by_metric(measure_orders(warehouse, settings, end))
    # In seven days 14 of a are sold, of 5 + 1 + 8, and 21 of b, of 5 + 1 + 9.
    assert rows["replenishment fill_rate"]["value"] == pytest.approx((14 + 15) / 35)
    assert rows["replenishment covered"]["value"] == 0.5
    assert rows["replenishment covered"]["n"] == 2, "c's stock was not known, d's period is longer"
    assert rows["replenishment in_stock"]["value"] == 0.5
    assert measure_orders(warehouse, settings, end - dt.timedelta(days=1)) == []


def test_metrics_are_drawn_over_time_up_to_the_day(warehouse: Warehouse) -> None:
    for n in range(3):
        warehouse.replace_partition(
            REALIZED_METRICS,
            str(AS_OF + dt.timedelta(days=n)),
            "select 'recommender' as model, 'click_rate' as metric, 0.1 as value, "
            "0.05 as lower, 0.2 as upper, 10 as n union all "
            "select 'demand', 'wape:item:1d', 0.4, 0.3, 0.5, 10",
        )
    assert set(plots_over_time(warehouse, str(NEXT))) == {"clicks_over_time", "forecasts_over_time"}
    assert plots_over_time(warehouse, str(AS_OF - dt.timedelta(days=1))) == {}
