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
    ITEMS,
    REALIZED_METRICS,
    RECOMMENDATIONS,
    REPLENISHMENT_ORDERS,
    USER_ACTIVITY,
    USER_SEGMENTS,
)
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.sales import write_stock_counts
from batch_predictions_tests.worlds.table_rows import (
    arrow_rows,
    named_rows,
    write_events,
    write_rows,
)

AS_OF = dt.date(2024, 3, 1)
NEXT = AS_OF + dt.timedelta(days=1)
QUANTILES = ("q05", "q10", "q25", "q50", "q75", "q90", "q95")


def write_day(warehouse: Warehouse, day: dt.date, *sales: tuple[str, str, float]) -> None:
    """Purchases of a day: user, item and quantity; negative for a return."""
    rows = [(*sale, sale[2], "purchase" if sale[2] > 0 else "return") for sale in sales]
    write_events(warehouse, "user_id item_id quantity amount event_type", rows, day, date=day)


def write_items(warehouse: Warehouse, *items: str) -> None:
    write_rows(warehouse, ITEMS, [{"item_id": item, "category": "things"} for item in items])


def by_metric(rows: list[Any]) -> dict[str, dict[str, Any]]:
    return {f"{row['model']} {row['metric']}": row for row in rows}


def test_buyers_count_with_the_list_that_a_lookup_would_have_answered(
    warehouse: Warehouse, settings: Settings
) -> None:
    lists = [(f"u{user}", rank, f"p{rank}") for user in range(3) for rank in range(1, 13)]
    write_rows(warehouse, RECOMMENDATIONS, named_rows("user_id rank item_id", lists, date=AS_OF))
    fallback_lists = [
        (level, age, rank, f"{level}{age or ''}{rank}")
        for level, age in (("everyone", None), ("age", "25-34"), ("age", "unknown"))
        for rank in range(1, 4)
    ]
    names = "segment_level age_bracket rank item_id"
    write_rows(
        warehouse, DEMOGRAPHIC_RECOMMENDATIONS, named_rows(names, fallback_lists, date=AS_OF)
    )
    unknown = {"gender": "unknown", "location": "unknown", "date": AS_OF}
    users = [("young", "25-34"), ("grey", "unknown")]
    write_rows(warehouse, USER_SEGMENTS, named_rows("user_id age_bracket", users, **unknown))
    seen = [("u0", AS_OF - dt.timedelta(days=27)), ("u1", AS_OF - dt.timedelta(days=28))]
    write_rows(warehouse, USER_ACTIVITY, named_rows("user_id first_date", seen, date=AS_OF))
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
    parts = {name.partition("hit_rate@10:")[2]: row for name, row in rows.items() if "=" in name}
    assert {part: (row["value"], row["n"]) for part, row in parts.items()} == {
        "age=25-34": (1, 1),
        "age=unknown": (0.75, 4),
        "known=0 to 27 days": (1, 1),
        "known=28 to 179 days": (0, 1),
    }
    fallback = rows["recommender next_day_ndcg@10:fallback"]
    assert fallback["value"] == pytest.approx((ndcg["young"] + ndcg["grey"] + 1) / 3)
    assert measure_recommendations(warehouse, settings, AS_OF) == [], "no lists of the day before"


def forecasts(made_on: dt.date, means: dict[str, float], target: dt.date) -> pa.Table:
    """Forecasts whose 5 % and 95 % quantiles are a half below and above the mean."""
    factors = [0.5 + n / (len(QUANTILES) - 1) for n in range(len(QUANTILES))]
    rows = [(item, mean, *(mean * factor for factor in factors)) for item, mean in means.items()]
    names = f"item_id mean {' '.join(QUANTILES)}"
    values = {"date": made_on, "location": "all", "target_date": target}
    return arrow_rows(DEMAND_FORECASTS, named_rows(names, rows, **values))


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
    orders = [("a", 5.0, 8.0, 4), ("b", 5.0, 9.0, 4), ("c", None, None, 4), ("d", 1.0, 1.0, 9)]
    names = "item_id on_hand order_quantity review_days"
    values = {"date": AS_OF, "location": "all", "on_order": 1.0, "lead_time_days": 3}
    write_rows(warehouse, REPLENISHMENT_ORDERS, named_rows(names, orders, **values))
    end = AS_OF + dt.timedelta(days=7)
    write_stock_counts(warehouse, end, {"item": "a", "on_hand": 3.0}, {"item": "b", "on_hand": 0.0})
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
