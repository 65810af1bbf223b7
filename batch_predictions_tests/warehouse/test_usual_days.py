"""A day's rows, empty values and ranges beside those of the same weekday before it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pytest

from batch_predictions.inference.dagster.step_reports import unusual_exclusions
from batch_predictions.inference.partition_loading import UNSTAGED
from batch_predictions.operations.status import read_status
from batch_predictions.orchestration.dagster_records import DagsterRecords
from batch_predictions.settings import ChecksSettings, Settings
from batch_predictions.tables import CHURN_SCORES, EXCLUSIONS, ITEM_SENTIMENTS
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.partition_profiles import read_profile
from batch_predictions.warehouse.usual_check import check_is_usual, usual_check_specs
from batch_predictions.warehouse.usual_days import compare_day
from batch_predictions_tests.worlds.table_rows import write_events

DAY = dt.date(2024, 3, 6)
LIMITS = ChecksSettings()


def write_weeks(warehouse: Warehouse, rows: Sequence[int]) -> None:
    """The weekdays before DAY, the newest first; `days_inactive` is 1 to 9."""
    for week, count in enumerate(rows, 1):
        write_day(warehouse, count, "1 + u % 9", DAY - dt.timedelta(days=7 * week))


def write_day(warehouse: Warehouse, rows: int, inactive: str, day: dt.date = DAY) -> None:
    """A day of which `inactive` is the SQL of `days_inactive`, of the row number u."""
    warehouse.replace_partition(
        CHURN_SCORES,
        day.isoformat(),
        "select 'u' || u as user_id, 0.5 as churn_probability, "
        f"({inactive})::INTEGER as days_inactive, 'm' as model_version from range({rows}) as a(u)",
    )


def test_a_day_within_a_factor_is_usual_and_half_of_the_rows_is_not(warehouse: Warehouse) -> None:
    write_weeks(warehouse, [90] * 8)
    for rows, is_usual in [(90, True), (50, True), (49, False), (45, False), (162, True)]:
        write_day(warehouse, rows, "1 + u % 9")
        comparison = compare_day(warehouse, CHURN_SCORES, DAY, LIMITS)
        assert comparison is not None and comparison.is_usual is is_usual
        assert (comparison.median, comparison.lower, comparison.upper) == (90, 50, 162)
        assert comparison.weeks == 8 and not comparison.unusual_columns


def test_bounds_are_wider_where_weeks_differ_more(warehouse: Warehouse) -> None:
    write_weeks(warehouse, [50, 200, 100, 400, 25, 100, 200, 50])
    write_day(warehouse, 30, "1 + u % 9")
    comparison = compare_day(warehouse, CHURN_SCORES, DAY, LIMITS)
    assert comparison is not None and comparison.is_usual and comparison.lower < 10


@pytest.mark.parametrize("before", [[100, 100, 100], [100, 0, 0, 0, 100], [5] * 8])
def test_too_little_to_compare_with(
    warehouse: Warehouse, settings: Settings, before: list[int]
) -> None:
    write_weeks(warehouse, before)
    write_day(warehouse, 1, "1")
    assert compare_day(warehouse, CHURN_SCORES, DAY, LIMITS) is None
    assert compare_day(warehouse, CHURN_SCORES, DAY + dt.timedelta(days=1), LIMITS) is None
    assert check_is_usual(warehouse, settings, CHURN_SCORES, DAY.isoformat()).passed


UNUSUAL_VALUES = {
    "1 + u % 9": "",
    "if(u < 5, null, 1 + u % 9)": "",
    "if(u < 6, null, 1 + u % 9)": "is empty in 6% of the rows; up to 5% is usual",
    "if(u = 3, 90, 1)": "",
    "if(u = 3, 91, 1)": "reaches 91; up to 90 is usual",
    "if(u = 3, -1, 1)": "has numbers below 0 (-1); none is usual",
    "0": "reaches 0 only; at least 0.9 is usual",
    "null": "is empty in 100% of the rows; up to 5% is usual",
}


def test_values_that_are_not_usual(warehouse: Warehouse) -> None:
    write_weeks(warehouse, [100] * 4)
    for inactive, phrase in UNUSUAL_VALUES.items():
        write_day(warehouse, 100, inactive)
        comparison = compare_day(warehouse, CHURN_SCORES, DAY, LIMITS)
        expected = [f"days_inactive {phrase}"] if phrase else []
        assert comparison is not None and list(comparison.unusual_columns) == expected


def test_limits_are_settings(warehouse: Warehouse) -> None:
    write_weeks(warehouse, [100] * 4)
    write_day(warehouse, 30, "if(u = 3, 91, null)")
    wide = ChecksSettings(rows_factor=4, range_factor=100, null_share=1)
    comparison = compare_day(warehouse, CHURN_SCORES, DAY, wide)
    assert comparison is not None and comparison.is_usual


def test_what_a_footer_tells(warehouse: Warehouse) -> None:
    write_day(warehouse, 10, "if(u < 4, null, u)")
    path = warehouse.path(CHURN_SCORES, DAY.isoformat())
    profile = read_profile(path, CHURN_SCORES)
    assert profile is not None and profile.rows == 10
    column = profile.columns["days_inactive"]
    assert (column.null_share, column.lowest, column.highest) == (0.4, 4, 9)
    assert read_profile(path.with_name("missing"), CHURN_SCORES) is None


def test_an_unusual_day_is_told(warehouse: Warehouse, settings: Settings) -> None:
    write_weeks(warehouse, [100] * 4)
    write_day(warehouse, 10, "-1")
    problems = {
        p.condition: p.message
        for p in read_status(settings, DagsterRecords(settings), 9, DAY).problems
    }
    told = problems["unusual:predictions.churn_scores"]
    assert "10 rows; 56 to 180 are usual; days_inactive has numbers below 0" in told
    check = check_is_usual(warehouse, settings, CHURN_SCORES, DAY.isoformat())
    assert not check.passed and check.severity.value == "WARN"


def test_tables_without_days_have_no_check() -> None:
    from batch_predictions.tables import USERS

    assert not usual_check_specs(USERS)
    assert usual_check_specs(ITEM_SENTIMENTS)


def test_keys_without_a_prediction(warehouse: Warehouse) -> None:
    def write(week: int, keys: int, unstaged: int = 0) -> None:
        warehouse.replace_partition(
            EXCLUSIONS,
            (DAY - dt.timedelta(days=7 * week)).isoformat(),
            f"select 'u' || u as key, 'no history' as reason from range({keys}) as a(u)",
            part={"table_name": CHURN_SCORES.name},
            metadata={UNSTAGED: str(unstaged)} if unstaged else None,
        )

    def unusual(keys: int, unstaged: int = 0) -> str:
        write(0, keys, unstaged)
        return unusual_exclusions(warehouse, CHURN_SCORES, DAY, 1000, LIMITS)

    for week in (1, 2, 3):
        write(week, 0)
    assert unusual(900) == "", "three weeks are too few to compare with"
    write(4, 0)
    assert unusual(50) == ""
    assert unusual(550, unstaged=500) == "", "keys that were not to be scored do not count"
    assert unusual(51).startswith("51 of 1,000 keys have no prediction; up to 50 are usual")
    write(4, 45)
    assert unusual(90) == ""
    assert unusual(91).startswith("91 of 1,000 keys have no prediction; up to 90 are usual")


def test_a_day_that_is_late_is_told_until_it_arrives(
    warehouse: Warehouse, settings: Settings
) -> None:
    def write(day: dt.date, rows: int) -> None:
        write_events(warehouse, "user_id item_id", ["ui"] * rows, day, date=day)

    def told() -> list[str]:
        problems = read_status(settings, DagsterRecords(settings), 9, DAY).problems
        return [p.message for p in problems if p.condition.startswith("missing:")]

    late = DAY - dt.timedelta(days=1)
    for number in range(1, 40):
        write(DAY - dt.timedelta(days=number), 100)
    write(DAY, 100)
    assert told() == []
    write(late, 0)
    [message] = told()
    assert message.startswith(f"raw.interactions of {late} has no rows, where 56 to 180 are usual")
    write(late, 30)
    assert told() == []
