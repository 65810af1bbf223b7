"""Series of demand on tiny worlds whose right answers can be counted on fingers."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st

from batch_predictions.features.demand import parameters
from batch_predictions.features.queries import sql
from batch_predictions.settings import Settings
from batch_predictions.tables import DEMAND, INTERACTIONS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.sales import goods, promoted, sold

DAY = dt.date(2024, 3, 17)
"""A Sunday."""
MONDAYS = [dt.date(2024, 3, 4) + dt.timedelta(days=7 * n) for n in range(4)]


def ago(days: int) -> dt.date:
    return DAY - dt.timedelta(days=days)


def series(
    warehouse: Warehouse, settings: Settings, day: dt.date = DAY, **bound: Any
) -> dict[tuple[str, str], dict[str, Any]]:
    """The series of a day by item and location, written and read again."""
    values = {**parameters(warehouse, settings), **bound, "date": day}
    warehouse.replace_partition(DEMAND, day.isoformat(), sql("demand"), values)
    rows = warehouse.query(
        "select * exclude (date) from features.demand where date = $date", {"date": day}
    )
    return {(row.pop("item_id"), row.pop("location")): row for row in rows.to_pylist()}


def test_units_begin_with_the_first_sale_and_days_without_one_are_zero(
    warehouse: Warehouse, settings: Settings
) -> None:
    sold(
        warehouse,
        [
            {"day": ago(5), "item": "a", "quantity": 2.0, "amount": 6.0},
            {"day": ago(5), "item": "a", "quantity": 1.0, "amount": 6.0},
            {"day": ago(2), "item": "a", "quantity": None, "amount": 5.0},
            {"day": ago(1), "item": "b"},
        ],
    )
    found = series(warehouse, settings, levels=["item"])
    a, b = found["a", "all"], found["b", "all"]
    assert a["units"] == [3, 0, 0, 1, 0, 0]
    assert a["prices"] == [4, 4, 4, 5, 5, 5]
    assert (a["first_date"], a["last_date"], a["units_84d"]) == (ago(5), ago(2), 4)
    assert b["units"] == [1, 0] and b["prices"] == [None, None]


def test_series_are_of_items_of_items_in_shops_and_of_categories(
    warehouse: Warehouse, settings: Settings
) -> None:
    goods(
        warehouse,
        {"item_id": "a", "category": "fruit"},
        {"item_id": "b", "category": "fruit"},
    )
    sold(
        warehouse,
        [
            {"day": ago(1), "item": "a", "location": "east"},
            {"day": ago(0), "item": "a", "location": "west", "quantity": 2.0},
            {"day": ago(0), "item": "b", "location": "east"},
            {"day": ago(0), "item": "c"},
        ],
    )
    found = series(warehouse, settings, levels=["item", "item_location", "category"])
    units = {key: row["units"] for key, row in found.items()}
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
    assert {row["level"] for key, row in found.items() if key[1] != "all"} == {"item_location"}


def test_what_is_no_good_no_demand_or_a_slip_does_not_count(
    warehouse: Warehouse, settings: Settings
) -> None:
    goods(
        warehouse,
        {"item_id": "fuel", "category": "FUEL"},
        {"item_id": "milk", "category": "DAIRY"},
    )
    lines = [{"day": ago(1), "item": "milk", "quantity": 2.0} for _ in range(3)]
    sold(
        warehouse,
        [
            *lines,
            # A wholesale line of 1,000 counts as 20 times the usual 2; a return takes one back.
            {"day": ago(0), "item": "milk", "quantity": 1000.0},
            {"day": ago(0), "item": "milk", "quantity": -1.0},
            {"day": ago(0), "item": "fuel", "quantity": 9000.0},
            {"day": ago(0), "item": "milk", "event_type": "view"},
        ],
    )
    found = series(warehouse, settings, exclude_category=["FUEL"])
    assert set(found) == {("milk", "all"), ("category:DAIRY", "all")}
    assert found["milk", "all"]["units"] == [6, 39]
    assert series(warehouse, settings, outlier_factor=0.0)["milk", "all"]["units"] == [6, 999]


def test_the_series_of_most_units_are_chosen_level_by_level(
    warehouse: Warehouse, settings: Settings
) -> None:
    sold(
        warehouse,
        [{"day": ago(n), "item": f"i{n}", "quantity": float(n + 1)} for n in range(5)]
        # Sold out of the last 84 days: no series, however much it once sold.
        + [{"day": ago(84), "item": "gone", "quantity": 100.0}],
    )
    found = series(warehouse, settings, max_series=2, levels=["item", "item_location"])
    assert {key for key in found if key[1] == "all"} == {("i4", "all"), ("i3", "all")}
    assert len(found) == 4


def test_promotions_weigh_as_their_shops_sell_and_reach_beyond_the_day(
    warehouse: Warehouse, settings: Settings
) -> None:
    sold(
        warehouse,
        [
            {"day": ago(8), "item": "a", "location": "east", "quantity": 3.0},
            {"day": ago(8), "item": "a", "location": "west", "quantity": 1.0},
        ],
    )
    promoted(
        warehouse,
        MONDAYS[:3],
        {
            "item": "a",
            "location": "east",
            "starts": ago(1),
            "ends": DAY + dt.timedelta(days=2),
            "display": "front",
        },
        {"item": "a", "location": "west", "starts": DAY, "ends": DAY, "mailer": "back"},
        {"item": "a", "location": "north", "starts": DAY, "ends": DAY, "mailer": "back"},
    )
    row = series(warehouse, settings, levels=["item"], horizon=10)["a", "all"]
    # Known from Monday, 4 March, to Sunday, 24 March; the fortnight after it was never read.
    assert row["promotion"][-12:] == [0.75, 1.0, 0.75, 0.75, 0, 0, 0, 0, 0, None, None, None]
    assert row["display"][-12:-3] == [0.75, 0.75, 0.75, 0.75, 0, 0, 0, 0, 0]
    assert row["mailer"][-12:-8] == [0, 0.25, 0, 0]
    assert len(row["promotion"]) == len(row["units"]) + 10


def test_a_promotion_everywhere_counts_for_every_shop_and_in_its_category(
    warehouse: Warehouse, settings: Settings
) -> None:
    goods(warehouse, {"item_id": "a", "category": "x"}, {"item_id": "b", "category": "x"})
    sold(
        warehouse,
        [
            {"day": DAY, "item": "a", "location": "east", "quantity": 1.0},
            {"day": DAY, "item": "b", "location": "east", "quantity": 3.0},
        ],
    )
    promoted(warehouse, MONDAYS[1:2], {"item": "a", "starts": DAY, "ends": DAY})
    found = series(warehouse, settings, levels=["item", "item_location", "category"], horizon=1)
    assert found["a", "all"]["promotion"] == [1, None]
    assert found["a", "east"]["promotion"] == [1, None]
    assert found["b", "all"]["promotion"] == [0, None]
    assert found["category:x", "all"]["promotion"] == [0.25, None]


def test_terms_of_ordering_come_from_the_items_attributes(
    warehouse: Warehouse, settings: Settings
) -> None:
    goods(warehouse, {"item_id": "a", "attributes": {"pack_size": "12", "lead_time_days": "soon"}})
    sold(warehouse, [{"day": DAY, "item": "a"}])
    row = series(warehouse, settings, levels=["item"])["a", "all"]
    assert (row["pack_size"], row["lead_time_days"], row["min_order"]) == (12, None, None)


def test_a_home_without_a_sale_has_no_series(warehouse: Warehouse, settings: Settings) -> None:
    assert series(warehouse, settings) == {}


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
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_later_day_changes_what_was_known(
    warehouse: Warehouse, settings: Settings, sales: list[tuple[int, str, float, str]]
) -> None:
    rows = [
        {"day": ago(days), "item": item, "quantity": units, "location": place}
        for days, item, units, place in sales
    ]
    for key in warehouse.partitions(INTERACTIONS):
        warehouse.remove_partition(INTERACTIONS, key)
    levels = ["item", "item_location", "category"]
    sold(warehouse, [row for row in rows if row["day"] <= DAY])
    before = series(warehouse, settings, levels=levels)
    sold(warehouse, rows)
    assert series(warehouse, settings, levels=levels) == before
    items = sum(sum(row["units"]) for (item, at), row in before.items() if row["level"] == "item")
    total = sum(sum(row["units"]) for row in before.values() if row["level"] == "category")
    shops = sum(sum(row["units"]) for row in before.values() if row["level"] == "item_location")
    # A return may sink into a day without sales, the more so the finer the series.
    assert 0 <= total <= items + 1e-9 <= shops + 2e-9
    assert all(len(row["units"]) == (DAY - row["first_date"]).days + 1 for row in before.values())


def test_a_day_made_again_has_the_same_bytes(warehouse: Warehouse, settings: Settings) -> None:
    sold(
        warehouse,
        [
            {"day": ago(n % 40), "item": f"i{n % 7}", "quantity": n / 7, "location": f"s{n % 3}"}
            for n in range(300)
        ],
    )
    series(warehouse, settings)
    before = warehouse.path(DEMAND, DAY.isoformat()).read_bytes()
    series(warehouse, settings)
    assert warehouse.path(DEMAND, DAY.isoformat()).read_bytes() == before


@pytest.mark.parametrize("weeks", [0, 2])
def test_a_week_that_was_never_read_is_unknown_and_an_empty_one_has_no_promotion(
    warehouse: Warehouse, settings: Settings, weeks: int
) -> None:
    sold(warehouse, [{"day": DAY, "item": "a"}])
    promoted(warehouse, MONDAYS[1 : 1 + weeks])
    row = series(warehouse, settings, levels=["item"], horizon=7)["a", "all"]
    assert row["promotion"] == ([0.0] * 8 if weeks else [None] * 8)
