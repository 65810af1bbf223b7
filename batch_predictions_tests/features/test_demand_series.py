"""The query for the demand series, on tables small enough to calculate the answers by hand."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from batch_predictions.features.sql.queries import demand_parameters, sql
from batch_predictions.settings import Settings
from batch_predictions.tables import DEMAND, INTERACTIONS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.properties import ONE_FIXTURE_FOR_ALL
from batch_predictions_tests.worlds.sales import write_items, write_promotions, write_sales

DAY = dt.date(2024, 3, 17)
"""A Sunday."""
MONDAYS = [dt.date(2024, 3, 4) + dt.timedelta(days=7 * n) for n in range(4)]


def days_ago(days: int) -> dt.date:
    """A day before `DAY`."""
    return DAY - dt.timedelta(days=days)


def build_series(
    warehouse: Warehouse, settings: Settings, day: dt.date = DAY, **values: Any
) -> dict[tuple[str, str], dict[str, Any]]:
    """The series of a day by item and location; `values` replace parameters of the query."""
    values = {**demand_parameters(warehouse, settings), **values, "date": day}
    warehouse.replace_partition(DEMAND, day.isoformat(), sql("demand"), values)
    rows = warehouse.query(
        "select * exclude (date) from features.demand where date = $date", {"date": day}
    )
    return {(row.pop("item_id"), row.pop("location")): row for row in rows.to_pylist()}


def test_units_begin_with_the_first_sale_and_days_without_one_are_zero(
    warehouse: Warehouse, settings: Settings
) -> None:
    write_sales(
        warehouse,
        [
            {"day": days_ago(5), "item": "a", "quantity": 2.0, "amount": 6.0},
            {"day": days_ago(5), "item": "a", "quantity": 1.0, "amount": 6.0},
            {"day": days_ago(2), "item": "a", "quantity": None, "amount": 5.0},
            {"day": days_ago(1), "item": "b"},
        ],
    )
    rows = build_series(warehouse, settings, levels=["item"])
    a, b = rows["a", "all"], rows["b", "all"]
    assert a["units"] == [3, 0, 0, 1, 0, 0]
    assert a["prices"] == [4, 4, 4, 5, 5, 5]
    assert (a["first_date"], a["last_date"], a["units_84d"]) == (days_ago(5), days_ago(2), 4)
    assert b["units"] == [1, 0] and b["prices"] == [None, None]


def test_there_are_series_of_items_of_items_by_shop_and_of_categories(
    warehouse: Warehouse, settings: Settings
) -> None:
    write_items(
        warehouse,
        {"item_id": "a", "category": "fruit"},
        {"item_id": "b", "category": "fruit"},
    )
    write_sales(
        warehouse,
        [
            {"day": days_ago(1), "item": "a", "location": "east"},
            {"day": days_ago(0), "item": "a", "location": "west", "quantity": 2.0},
            {"day": days_ago(0), "item": "b", "location": "east"},
            {"day": days_ago(0), "item": "c"},
        ],
    )
    rows = build_series(warehouse, settings, levels=["item", "item_location", "category"])
    units = {key: row["units"] for key, row in rows.items()}
    assert units == {
        ("a", "all"): [1, 2],
        ("b", "all"): [1],
        ("c", "all"): [1],
        ("a", "east"): [1, 0],
        ("a", "west"): [2],
        ("b", "east"): [1],
        ("c", "unknown"): [1],
        ("category:fruit", "all"): [1, 3],
        ("category:unknown", "all"): [1],
    }
    assert {row["level"] for key, row in rows.items() if key[1] != "all"} == {"item_location"}


def test_excluded_items_other_events_and_outliers_do_not_count(
    warehouse: Warehouse, settings: Settings
) -> None:
    write_items(
        warehouse,
        {"item_id": "fuel", "category": "FUEL"},
        {"item_id": "milk", "category": "DAIRY"},
    )
    lines = [{"day": days_ago(1), "item": "milk", "quantity": 2.0} for _ in range(3)]
    write_sales(
        warehouse,
        [
            *lines,
            # A wholesale line of 1,000 counts as 20 times the median of 2; a return subtracts one.
            {"day": days_ago(0), "item": "milk", "quantity": 1000.0},
            {"day": days_ago(0), "item": "milk", "quantity": -1.0},
            {"day": days_ago(0), "item": "fuel", "quantity": 9000.0},
            {"day": days_ago(0), "item": "milk", "event_type": "view"},
        ],
    )
    rows = build_series(warehouse, settings, exclude_category=["FUEL"])
    assert set(rows) == {("milk", "all"), ("category:DAIRY", "all")}
    assert rows["milk", "all"]["units"] == [6, 39]
    assert build_series(warehouse, settings, outlier_factor=0.0)["milk", "all"]["units"] == [6, 999]


def test_the_series_with_the_most_units_of_each_level_are_selected(
    warehouse: Warehouse, settings: Settings
) -> None:
    write_sales(
        warehouse,
        [{"day": days_ago(n), "item": f"i{n}", "quantity": float(n + 1)} for n in range(5)]
        # Not sold in the last 84 days: no series, even if it sold the most before.
        + [{"day": days_ago(84), "item": "gone", "quantity": 100.0}],
    )
    rows = build_series(warehouse, settings, max_series=2, levels=["item", "item_location"])
    assert {key for key in rows if key[1] == "all"} == {("i4", "all"), ("i3", "all")}
    assert len(rows) == 4


def test_promotions_are_weighted_by_the_shops_units_and_reach_beyond_the_day(
    warehouse: Warehouse, settings: Settings
) -> None:
    write_sales(
        warehouse,
        [
            {"day": days_ago(8), "item": "a", "location": "east", "quantity": 3.0},
            {"day": days_ago(8), "item": "a", "location": "west", "quantity": 1.0},
        ],
    )
    write_promotions(
        warehouse,
        MONDAYS[:3],
        {
            "item": "a",
            "location": "east",
            "starts": days_ago(1),
            "ends": DAY + dt.timedelta(days=2),
            "display": "front",
        },
        {"item": "a", "location": "west", "starts": DAY, "ends": DAY, "mailer": "back"},
        {"item": "a", "location": "north", "starts": DAY, "ends": DAY, "mailer": "back"},
    )
    row = build_series(warehouse, settings, levels=["item"], horizon=10)["a", "all"]
    # The calendar was ingested from Monday, 4 March, to Sunday, 24 March.
    assert row["promotion"][-12:] == [0.75, 1.0, 0.75, 0.75, 0, 0, 0, 0, 0, None, None, None]
    assert row["display"][-12:-3] == [0.75, 0.75, 0.75, 0.75, 0, 0, 0, 0, 0]
    assert row["mailer"][-12:-8] == [0, 0.25, 0, 0]
    assert len(row["promotion"]) == len(row["units"]) + 10


def test_a_promotion_in_all_shops_counts_for_every_shop_and_for_the_category(
    warehouse: Warehouse, settings: Settings
) -> None:
    write_items(warehouse, {"item_id": "a", "category": "x"}, {"item_id": "b", "category": "x"})
    write_sales(
        warehouse,
        [
            {"day": DAY, "item": "a", "location": "east", "quantity": 1.0},
            {"day": DAY, "item": "b", "location": "east", "quantity": 3.0},
        ],
    )
    write_promotions(warehouse, MONDAYS[1:2], {"item": "a", "starts": DAY, "ends": DAY})
    rows = build_series(
        warehouse, settings, levels=["item", "item_location", "category"], horizon=1
    )
    assert rows["a", "all"]["promotion"] == [1, None]
    assert rows["a", "east"]["promotion"] == [1, None]
    assert rows["b", "all"]["promotion"] == [0, None]
    assert rows["category:x", "all"]["promotion"] == [0.25, None]


def test_terms_of_orders_come_from_the_items_attributes(
    warehouse: Warehouse, settings: Settings
) -> None:
    write_items(
        warehouse, {"item_id": "a", "attributes": {"pack_size": "12", "lead_time_days": "soon"}}
    )
    write_sales(warehouse, [{"day": DAY, "item": "a"}])
    row = build_series(warehouse, settings, levels=["item"])["a", "all"]
    assert (row["pack_size"], row["lead_time_days"], row["min_order"]) == (12, None, None)


def test_a_home_without_sales_has_no_series(warehouse: Warehouse, settings: Settings) -> None:
    assert build_series(warehouse, settings) == {}


@given(
    sales=st.lists(
        st.tuples(
            st.integers(-9, 40),
            st.sampled_from("abc"),
            st.sampled_from([1.0, 2.0, 5.0, 300.0, -1.0]),
            st.sampled_from(["east", "west"]),
        ),
        min_size=1,
        max_size=40,
    )
)
@budget(
    max_examples=6,
    deadline=None,
    suppress_health_check=ONE_FIXTURE_FOR_ALL,
)
def test_later_sales_do_not_change_the_series_of_a_day(
    warehouse: Warehouse, settings: Settings, sales: list[tuple[int, str, float, str]]
) -> None:
    rows: list[dict[str, Any]] = [
        {"day": days_ago(days), "item": item, "quantity": units, "location": location}
        for days, item, units, location in sales
    ]
    for key in warehouse.partitions(INTERACTIONS):
        warehouse.remove_partition(INTERACTIONS, key)
    levels = ["item", "item_location", "category"]
    write_sales(warehouse, [row for row in rows if row["day"] <= DAY])
    series_before = build_series(warehouse, settings, levels=levels)
    write_sales(warehouse, rows)
    assert build_series(warehouse, settings, levels=levels) == series_before
    total = {
        level: sum(sum(row["units"]) for row in series_before.values() if row["level"] == level)
        for level in levels
    }
    # A return is lost where its day has no sale in the series, more often in finer series.
    assert 0 <= total["category"] <= total["item"] + 1e-9 <= total["item_location"] + 2e-9
    assert all(
        len(row["units"]) == (DAY - row["first_date"]).days + 1 for row in series_before.values()
    )


def test_a_day_that_is_built_again_has_the_same_bytes(
    warehouse: Warehouse, settings: Settings
) -> None:
    write_sales(
        warehouse,
        [
            {
                "day": days_ago(n % 40),
                "item": f"i{n % 7}",
                "quantity": n / 7,
                "location": f"s{n % 3}",
            }
            for n in range(300)
        ],
    )
    build_series(warehouse, settings)
    bytes_before = warehouse.path(DEMAND, DAY.isoformat()).read_bytes()
    build_series(warehouse, settings)
    assert warehouse.path(DEMAND, DAY.isoformat()).read_bytes() == bytes_before


@pytest.mark.parametrize("weeks", [0, 2])
def test_promotions_are_null_in_weeks_not_ingested_and_zero_in_empty_weeks(
    warehouse: Warehouse, settings: Settings, weeks: int
) -> None:
    write_sales(warehouse, [{"day": DAY, "item": "a"}])
    write_promotions(warehouse, MONDAYS[1 : 1 + weeks])
    row = build_series(warehouse, settings, levels=["item"], horizon=7)["a", "all"]
    assert row["promotion"] == ([0.0] * 8 if weeks else [None] * 8)
