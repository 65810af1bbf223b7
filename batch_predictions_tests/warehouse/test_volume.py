"""A day's number of rows beside that of the same weekdays before it."""

from __future__ import annotations

import datetime as dt

import pytest

from batch_predictions.automation.status import read_status
from batch_predictions.settings import Settings
from batch_predictions.tables import CHURN_SCORES
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.volume import read_volume

DAY = dt.date(2024, 3, 6)


def write(warehouse: Warehouse, rows: list[int], day_rows: int) -> None:
    """Partitions of the weekdays before DAY, the newest first, and of DAY."""
    for week, count in enumerate([day_rows, *rows]):
        day = DAY - dt.timedelta(days=7 * week)
        warehouse.replace_partition(
            CHURN_SCORES,
            day.isoformat(),
            "select 'u' || u as user_id, 0.5 as churn_probability, 1 as days_inactive, "
            f"'m' as model_version from range({count}) as a(u)",
        )


@pytest.mark.parametrize(
    ("rows", "is_usual"), [(100, True), (51, True), (49, False), (199, True), (201, False)]
)
def test_a_day_within_a_factor_of_two_is_usual(
    warehouse: Warehouse, rows: int, is_usual: bool
) -> None:
    write(warehouse, [100] * 8, rows)
    volume = read_volume(warehouse, CHURN_SCORES, DAY)
    assert volume is not None and volume.is_usual is is_usual
    assert (volume.median, volume.lower, volume.upper, volume.weeks) == (100, 50, 200, 8)


def test_bounds_are_wider_where_weeks_differ_more(warehouse: Warehouse) -> None:
    write(warehouse, [50, 200, 100, 400, 25, 100, 200, 50], 30)
    volume = read_volume(warehouse, CHURN_SCORES, DAY)
    assert volume is not None and volume.is_usual and volume.lower < 10


@pytest.mark.parametrize("before", [[100, 100, 100], [100, 0, 0, 0, 100], [5] * 8])
def test_too_little_to_compare_with(warehouse: Warehouse, before: list[int]) -> None:
    write(warehouse, before, 1)
    assert read_volume(warehouse, CHURN_SCORES, DAY) is None
    assert read_volume(warehouse, CHURN_SCORES, DAY + dt.timedelta(days=1)) is None


def test_an_unusual_day_is_told(warehouse: Warehouse, settings: Settings) -> None:
    write(warehouse, [100] * 8, 10)
    problems = {p.condition: p.message for p in read_status(settings, 9, DAY).problems}
    assert "has 10 rows; 50 to 200 are usual" in problems["volume:predictions.churn_scores"]
