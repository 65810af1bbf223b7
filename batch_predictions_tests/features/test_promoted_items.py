"""What is promoted in the weeks after a day, counted on fingers; read from two files."""

from __future__ import annotations

import datetime as dt

import pytest

from batch_predictions.features.sql.queries import sql
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.promotions import write_march_promotions


def promoted_ahead(warehouse: Warehouse, day: dt.date, weeks: int = 1) -> list[tuple[object, ...]]:
    """The rows of the query as of a day, but `tomorrow`; without the week where there is one."""
    bound = {"date": day, "planned_weeks": weeks}
    rows = warehouse.query(sql("promoted_items"), bound).to_pylist()
    for row in rows:
        row.pop("tomorrow")
    if weeks == 1:
        assert all(row.pop("weeks_ahead") == 1 for row in rows)
    return [tuple(row.values()) for row in rows]


@pytest.mark.parametrize(
    ("day", "items"),
    [
        # Tomorrow, Monday, to Sunday: one week, which begins after the day.
        (dt.date(2024, 3, 10), ["all week", "ends monday", "sunday alone"]),
        (dt.date(2024, 3, 11), ["all week", "next monday", "sunday alone"]),
        (dt.date(2024, 3, 16), ["all week", "next monday", "sunday alone"]),
        (dt.date(2024, 3, 17), ["next monday"]),
        (dt.date(2024, 3, 18), []),
        # Nothing of a promotion that begins on the eighth day.
        (dt.date(2024, 3, 3), ["ends monday"]),
    ],
)
def test_items_promoted_on_any_of_the_next_seven_days_and_no_other(
    warehouse: Warehouse, day: dt.date, items: list[str]
) -> None:
    write_march_promotions(
        warehouse,
        ("all week", "all", "11", "17", "1", None),
        ("ends monday", "all", "04", "11", "1", None),
        ("next monday", "all", "18", "18", "1", None),
        ("sunday alone", "all", "17", "17", "1", None),
    )
    assert [row[0] for row in promoted_ahead(warehouse, day)] == items


def test_each_item_and_location_has_display_and_mailer(warehouse: Warehouse) -> None:
    write_march_promotions(
        warehouse,
        ("bread", "north", "11", "17", "7", None),
        ("bread", "north", "18", "24", None, "D"),
        ("bread", "south", "11", "17", None, "A"),
        ("cheaper", "all", "14", "20", None, None),
    )
    assert promoted_ahead(warehouse, dt.date(2024, 3, 13)) == [
        ("bread", "north", True, True),
        ("bread", "south", False, True),
        ("cheaper", "all", False, False),
    ]
    assert promoted_ahead(warehouse, dt.date(2024, 3, 10))[0] == ("bread", "north", True, False)


def test_items_promoted_on_the_next_day_are_marked(warehouse: Warehouse) -> None:
    write_march_promotions(
        warehouse,
        ("from thursday on", "all", "14", "17", None, "A"),
        ("on friday", "north", "15", "15", "7", None),
        ("until wednesday", "all", "11", "13", "7", None),
        ("cheaper", "all", "14", "20", None, None),
        ("long", "north", "01", "31", "7", None),
        ("long", "south", "15", "31", "7", None),
    )
    # On Wednesday, the 13th, the list is made; on Thursday it is looked up.
    bound = {"date": dt.date(2024, 3, 13), "planned_weeks": 2}
    rows = warehouse.query(sql("promoted_items"), bound).to_pylist()
    marked = {
        (row["item_id"], row["location"], row["weeks_ahead"]): row["tomorrow"] for row in rows
    }
    assert marked == {
        ("cheaper", "all", 1): False,
        ("from thursday on", "all", 1): True,
        ("long", "north", 1): True,
        ("long", "north", 2): True,
        ("long", "south", 1): False,
        ("long", "south", 2): False,
        ("on friday", "north", 1): False,
    }


def test_each_requested_week_ahead_has_rows(
    warehouse: Warehouse,
) -> None:
    write_march_promotions(
        warehouse,
        ("cake", "all", "22", "31", "1", None),
        ("bread", "north", "11", "20", "7", None),
        ("milk", "all", "20", "20", None, "A"),
    )
    # Seven days from Thursday, the 14th; from the 21st; from the 28th.
    day = dt.date(2024, 3, 13)
    first = [(1, "bread", "north", True, False), (1, "milk", "all", False, True)]
    second = [(2, "cake", "all", True, False)]
    assert promoted_ahead(warehouse, day, 2) == first + second
    assert promoted_ahead(warehouse, day, 3) == first + second + [(3, "cake", "all", True, False)]
    assert [row[1:] for row in first] == promoted_ahead(warehouse, day)


@pytest.mark.parametrize(
    ("day", "weeks", "files"),
    [
        (dt.date(2024, 3, 10), 1, 1),
        (dt.date(2024, 3, 12), 1, 2),
        (dt.date(2024, 3, 10), 2, 2),
        (dt.date(2024, 3, 12), 2, 3),
    ],
)
def test_only_the_weeks_of_those_days_are_read(
    warehouse: Warehouse, day: dt.date, weeks: int, files: int
) -> None:
    write_march_promotions(warehouse, ("bread", "all", "04", "31", "7", None))
    with warehouse.connect() as db:
        plan = db.execute(
            f"explain analyze {sql('promoted_items')}", {"date": day, "planned_weeks": weeks}
        ).fetchall()
    assert f"Total Files Read: {files}" in plan[0][1]
