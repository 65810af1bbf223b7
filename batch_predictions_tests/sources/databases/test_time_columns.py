"""Conditions of days select all rows of their days, in every time zone."""

from __future__ import annotations

import datetime as dt
import sqlite3
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_predictions.sources.base import SourceError
from batch_predictions.sources.databases.dialects import SqlDialect, split_table_name
from batch_predictions.sources.databases.time_columns import (
    MAX_RANGES,
    SqliteTimeColumn,
    TypedTimeColumn,
)
from batch_predictions.warehouse.shared_database import open_cursor

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Asia/Kathmandu"]
zones = st.sampled_from([*ZONES, "Pacific/Kiritimati", "Pacific/Apia", "Australia/Lord_Howe"])
instants = st.datetimes(
    dt.datetime(1995, 1, 1), dt.datetime(2037, 1, 1), timezones=st.just(dt.UTC)
).map(lambda time: time.replace(microsecond=0))
DAY = dt.timedelta(days=1)


def local_day(time: dt.datetime, zone: str) -> dt.date:
    return time.astimezone(ZoneInfo(zone)).date()


@given(instants, zones, st.sampled_from(["instant", "timestamp", "number", "milliseconds"]))
@settings(max_examples=150, deadline=None)
def test_a_typed_condition_selects_a_row_on_its_day_only(
    time: dt.datetime, zone: str, kind: str
) -> None:
    values = {
        "instant": f"TIMESTAMPTZ '{time:%Y-%m-%d %H:%M:%S}+00'",
        "timestamp": f"TIMESTAMP '{time:%Y-%m-%d %H:%M:%S}'",
        "number": str(int(time.timestamp())),
        "milliseconds": str(int(time.timestamp()) * 1000),
    }
    name = "number" if kind == "milliseconds" else kind
    column = TypedTimeColumn("c", SqlDialect(), zone, name)  # type: ignore[arg-type]
    day = local_day(time, zone)
    conditions = [
        column.within(day, day, margin=0),
        column.within(day - DAY, day - DAY, margin=0),
        column.within(day + DAY, day + DAY, margin=0),
        column.within(day, day),
        column.outside(day - 2 * DAY, day - DAY),
        column.outside(day - 2 * DAY, day + 2 * DAY),
    ]
    with open_cursor() as db:
        selected = db.execute(
            f"select {', '.join(f'({condition})' for condition in conditions)} "
            f"from (select {values[kind]} as c)"
        ).fetchall()
    assert selected == [(True, False, False, True, True, False)]
    if name == "number":
        assert column.day_of(int(values[kind])) == day


@given(instants, zones, st.sampled_from(["{:%Y-%m-%d %H:%M:%S}", "{:%Y-%m-%dT%H:%M:%SZ}", "unix"]))
@settings(max_examples=150, deadline=None)
def test_sqlite_computes_the_business_day(time: dt.datetime, zone: str, format_: str) -> None:
    day = local_day(time, zone)
    value = int(time.timestamp()) if format_ == "unix" else format_.format(time)
    column = SqliteTimeColumn("c", SqlDialect(), zone)
    with sqlite3.connect(":memory:") as db:
        row = db.execute(
            f"select {column.day(day - 40 * DAY, day + 40 * DAY)}, {column.within(day, day)}, "
            f"{column.outside(day - 3 * DAY, day + 3 * DAY)}, {column.unreadable()} "
            "from (select ? as c)",
            (value,),
        ).fetchone()
    assert row == (day.isoformat(), 1, 0, 0)


@pytest.mark.parametrize(
    "value",
    ["05-Jun-2026", "2024-02-30", "2024-01-02 25:00:00", "now", "2460000.5", "", 7e20, -1e9],
)
def test_values_that_sqlite_cannot_read_are_selected_with_every_day(value: object) -> None:
    column = SqliteTimeColumn("c", SqlDialect(), "UTC")
    day = dt.date(2024, 1, 1)
    with sqlite3.connect(":memory:") as db:
        row = db.execute(
            f"select {column.within(day, day)}, {column.outside(day - DAY, day + DAY)} "
            "from (select ? as c)",
            (value,),
        ).fetchone()
    assert row[1] == 1
    assert row[0] == (0 if value == -1e9 else 1)


def test_many_ranges_of_days_are_joined() -> None:
    column = TypedTimeColumn("c", SqlDialect(), "UTC", "date")
    days = [dt.date(2024, 1, 1) + 2 * n * DAY for n in range(MAX_RANGES + 1)]
    assert column.condition(days) == f"(c >= DATE '{days[0]}' and c < DATE '{days[-1] + DAY}')"
    assert column.condition(days[:2]).count("c >=") == 2
    assert column.condition([]) == "1 = 0"


def test_names_of_tables() -> None:
    assert split_table_name("", 'shop."Order ""Lines""".x$1') == [
        ("shop", False),
        ('Order "Lines"', True),
        ("x$1", False),
    ]
    for name in ("", "a.", ".a", "a b", 'a"b"', "a;b", '"a', "1a"):
        with pytest.raises(SourceError, match="is not the name of a table"):
            split_table_name("source.tables.users", name)
