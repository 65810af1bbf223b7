"""Time: which week a day stands on, and how long a day is."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_predictions.core.home import State
from batch_predictions.predictions.recommendations import recommendations
from batch_predictions.settings import RecommenderSettings, Settings
from batch_predictions.tables.partitions import (
    Partitions,
    days_between,
    latest_ended_week,
    newest_ended_week,
    trained_through,
    week_of,
)
from batch_predictions_tests.worlds.home import PARTITIONS

DATES = st.dates(dt.date(1990, 1, 1), dt.date(2100, 1, 1))
MONDAY = dt.date(2024, 3, 4)


@pytest.mark.parametrize("weekday", range(6))
def test_before_sunday_the_week_before_is_due(weekday: int) -> None:
    day = MONDAY + dt.timedelta(days=weekday)
    assert latest_ended_week(day) == MONDAY - dt.timedelta(days=7)


def test_on_a_sunday_the_week_that_ends_with_it_is_due() -> None:
    assert latest_ended_week(dt.date(2024, 3, 10)) == MONDAY
    assert trained_through(MONDAY) == dt.date(2024, 3, 10)


def test_a_week_begins_on_its_monday_across_years() -> None:
    assert week_of(dt.date(2025, 1, 1)) == dt.date(2024, 12, 30)
    assert week_of(MONDAY) == MONDAY
    assert week_of(dt.date(2024, 3, 10)) == MONDAY


@given(DATES)
def test_a_day_depends_on_the_newest_week_that_had_ended(day: dt.date) -> None:
    week = latest_ended_week(day)
    assert week.weekday() == 0
    assert day - dt.timedelta(days=7) < trained_through(week) <= day


@given(DATES, st.integers(0, 400))
def test_days_between_are_all_of_them_in_order(first: dt.date, more: int) -> None:
    days = days_between(first, first + dt.timedelta(days=more))
    assert len(days) == more + 1 and days[0] == first.isoformat()
    assert days == sorted(set(days)) and days[-1] == (first + dt.timedelta(days=more)).isoformat()


def test_days_between_a_day_and_an_earlier_one_are_empty() -> None:
    assert days_between(MONDAY, MONDAY - dt.timedelta(days=1)) == []


def mapped(
    day: str,
    days: dg.PartitionsDefinition,
    weeks: dg.PartitionsDefinition,
    mapping: dg.PartitionMapping = newest_ended_week,
) -> list[str]:
    """The weeks that the lineage draws for a day."""
    subset = days.empty_subset().with_partition_keys([day])
    result = mapping.get_upstream_mapped_partitions_result_for_partitions(subset, days, weeks)
    return sorted(result.partitions_subset.get_partition_keys())


def test_the_lineage_agrees_with_the_week_due_on_every_day_of_two_months() -> None:
    for day in days_between(dt.date(2024, 1, 7), dt.date(2024, 3, 10)):
        due = latest_ended_week(dt.date.fromisoformat(day)).isoformat()
        assert mapped(day, PARTITIONS.daily, PARTITIONS.weekly) == [due], day


@pytest.mark.parametrize(
    ("day", "weeks", "last"),
    [
        ("2024-03-10", 1, "2024-03-11"),
        ("2024-03-11", 1, "2024-03-18"),
        ("2024-03-10", 4, "2024-04-01"),
        ("2024-03-16", 4, "2024-04-08"),
    ],
)
def test_recommendations_depend_on_planned_weeks(day: str, weeks: int, last: str) -> None:
    settings = Settings(recommender=RecommenderSettings(planned_weeks=weeks))
    calendar = recommendations.upstreams(settings)["raw__promotion_calendar"]
    assert isinstance(calendar.partition_mapping, dg.TimeWindowPartitionMapping)
    days = days_between(dt.date(2024, 3, 11), dt.date.fromisoformat(last))
    with dg.partition_loading_context(effective_dt=dt.datetime(2024, 5, 1, tzinfo=ZoneInfo("UTC"))):
        upstream = mapped(
            day, PARTITIONS.daily, PARTITIONS.weekly_ahead, calendar.partition_mapping
        )
    assert upstream == days[::7]


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Pacific/Auckland"])
def test_the_lineage_agrees_across_the_days_on_which_clocks_change(zone: str) -> None:
    days = dg.DailyPartitionsDefinition("2024-01-01", timezone=zone)
    weeks = dg.WeeklyPartitionsDefinition("2024-01-01", day_offset=1, timezone=zone)
    changes = ["2024-03-10", "2024-03-31", "2024-04-07", "2024-09-29", "2024-10-27", "2024-11-03"]
    for change in map(dt.date.fromisoformat, changes):
        nearby_days = days_between(change - dt.timedelta(days=2), change + dt.timedelta(days=2))
        for day in nearby_days:
            due = latest_ended_week(dt.date.fromisoformat(day)).isoformat()
            assert mapped(day, days, weeks) == [due], day


def test_a_day_on_which_clocks_change_is_one_partition_of_23_or_25_hours() -> None:
    zone = ZoneInfo("America/New_York")
    days = dg.DailyPartitionsDefinition("2024-01-01", timezone=zone.key)
    hours = {}
    for key in ("2024-03-09", "2024-03-10", "2024-11-03"):
        window = days.time_window_for_partition_key(key)
        assert window.start.astimezone(zone).date().isoformat() == key
        hours[key] = (window.end.timestamp() - window.start.timestamp()) / 3600
    assert hours == {"2024-03-09": 24, "2024-03-10": 23, "2024-11-03": 25}


def test_partitions_begin_with_the_homes_first_day_and_its_week() -> None:
    daily, weekly = PARTITIONS.daily, PARTITIONS.weekly
    assert daily.get_first_partition_key() == "2024-01-01"
    assert weekly.get_first_partition_key() == "2024-01-01"
    assert all(dt.date.fromisoformat(k).weekday() == 0 for k in weekly.get_partition_keys()[:60])


@pytest.mark.parametrize(
    ("today", "planned", "newest"),
    [
        # On a Monday the week that has just begun and the next two, as on the Sunday after it.
        ("2024-01-08", 1, "2024-01-22"),
        ("2024-01-14", 1, "2024-01-22"),
        ("2024-01-15", 1, "2024-01-29"),
        ("2024-01-22", 1, "2024-01-29"),
        # Of four planned weeks, the next four.
        ("2024-01-01", 4, "2024-01-29"),
        ("2023-12-31", 4, "2024-01-22"),
        # The source ends on Wednesday, 31 January: its week is the last.
        ("2024-01-29", 1, "2024-01-29"),
        ("2024-06-01", 4, "2024-01-29"),
    ],
)
def test_weeks_ahead_end_with_the_plan_or_the_source(today: str, planned: int, newest: str) -> None:
    state = State(
        source_kind="files",
        timezone="America/New_York",
        first_day=dt.date(2024, 1, 3),
        last_day=dt.date(2024, 1, 31),
        default_date=dt.date(2024, 1, 7),
    )
    settings = Settings(recommender=RecommenderSettings(planned_weeks=planned))
    weekly_ahead = Partitions.of_home(state, settings).weekly_ahead
    tick = dt.datetime.fromisoformat(today).replace(hour=2, tzinfo=ZoneInfo(state.timezone))
    with dg.partition_loading_context(effective_dt=tick):
        assert weekly_ahead.get_first_partition_key() == "2024-01-01"
        assert weekly_ahead.get_last_partition_key() == newest
