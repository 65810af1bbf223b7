"""How promotions of the coming week differ from those before it, counted on fingers."""

from __future__ import annotations

import datetime as dt

import pytest

from batch_predictions.features.sql.queries import sql
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.promotions import Promotion, write_march_promotions

SUNDAY = dt.date(2024, 3, 24)
PROMOTIONS: tuple[Promotion, ...] = (
    ("new", "a", "25", "31", "shelf", None),
    ("old", "a", "04", "24", None, "page"),
    ("old", "b", "04", "24", None, "page"),
    ("always", "a", "04", "31", "shelf", None),
    ("everywhere", "all", "25", "31", None, "page"),
    ("one week of three", "a", "11", "17", "shelf", None),
    ("one week of three", "b", "11", "17", "shelf", None),
)


def changes(warehouse: Warehouse, day: dt.date) -> dict[str, tuple[float, float]]:
    """Display and mailer by item."""
    rows = warehouse.query(sql("promotion_changes"), {"date": day}).to_pylist()
    return {row["item_id"]: (row["display"], row["mailer"]) for row in rows}


def test_the_share_of_shops_in_the_coming_week_less_the_mean_of_the_weeks_before(
    warehouse: Warehouse,
) -> None:
    write_march_promotions(warehouse, *PROMOTIONS)
    # Two shops; of the four weeks before, three are known.
    assert changes(warehouse, SUNDAY) == {
        "new": (0.5, 0.0),
        "old": (0.0, -1.0),
        "everywhere": (0.0, 1.0),
        "one week of three": (pytest.approx(-1 / 3), 0.0),
    }


def test_a_weekday_looks_at_the_seven_days_after_it(warehouse: Warehouse) -> None:
    write_march_promotions(warehouse, *PROMOTIONS)
    # From Thursday the 21st: the 22nd to the 28th have new and old, the seven days before only old.
    rows = changes(warehouse, dt.date(2024, 3, 21))
    assert rows["new"] == (0.5, 0.0) and "old" not in rows


@pytest.mark.parametrize("day", ["2024-03-31", "2024-03-03", "2024-06-02"])
def test_without_the_next_week_or_any_earlier_one_there_are_no_rows(
    warehouse: Warehouse, day: str
) -> None:
    write_march_promotions(warehouse, *PROMOTIONS)
    assert changes(warehouse, dt.date.fromisoformat(day)) == {}
