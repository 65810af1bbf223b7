"""Which share of the shops promoted what in the weeks before, counted on fingers."""

from __future__ import annotations

import datetime as dt

from batch_predictions.features.sql.queries import sql
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.promotions import Promotion, write_march_promotions

SUNDAY = dt.date(2024, 3, 24)
PROMOTIONS: tuple[Promotion, ...] = (
    ("coming", "a", "25", "31", "shelf", None),
    ("last", "a", "18", "24", None, "page"),
    ("both ways", "b", "18", "24", "shelf", "page"),
    ("long", "b", "04", "24", None, "page"),
    ("everywhere", "all", "11", "17", None, "page"),
    ("listed only", "a", "18", "24", None, None),
)


def weeks(warehouse: Warehouse, day: dt.date) -> dict[tuple[str, int], float]:
    """The share by item and week."""
    rows = warehouse.query(sql("promotion_weeks"), {"date": day}).to_pylist()
    return {(row["item_id"], row["weeks_back"]): row["share"] for row in rows}


def test_the_share_of_shops_in_each_of_the_weeks_before(warehouse: Warehouse) -> None:
    write_march_promotions(warehouse, *PROMOTIONS)
    assert weeks(warehouse, SUNDAY) == {
        ("last", 1): 0.5,
        ("both ways", 1): 0.5,
        ("long", 1): 0.5,
        ("long", 2): 0.5,
        ("long", 3): 0.5,
        ("everywhere", 2): 1.0,
    }


def test_a_weekday_looks_at_sevens_of_days_that_end_with_it(warehouse: Warehouse) -> None:
    write_march_promotions(warehouse, *PROMOTIONS)
    # Up to Thursday the 21st: the 15th to the 21st, the 8th to the 14th, the 1st to the 7th.
    rows = weeks(warehouse, dt.date(2024, 3, 21))
    assert rows[("last", 1)] == 0.5 and ("last", 2) not in rows
    assert rows[("everywhere", 1)] == rows[("everywhere", 2)] == 1.0
    assert {week for item, week in rows if item == "long"} == {1, 2, 3}


def test_without_earlier_weeks_there_are_no_rows(
    warehouse: Warehouse,
) -> None:
    write_march_promotions(warehouse, *PROMOTIONS)
    assert weeks(warehouse, dt.date(2024, 3, 3)) == {}
    assert weeks(warehouse, dt.date(2024, 12, 1)) == {}
