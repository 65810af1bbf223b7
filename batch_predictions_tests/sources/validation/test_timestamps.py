"""Business days and timestamps of the time formats that sources use."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from batch_predictions.sources.validation.timestamps import day_sql, timestamp_sql
from batch_predictions.warehouse.shared_database import open_cursor

ZONE = "America/New_York"


def parse(text: str) -> tuple[dt.datetime | None, dt.date | None]:
    """The timestamp in UTC and the business day of a text."""
    timestamp, day = timestamp_sql("v", "VARCHAR"), day_sql("v", "VARCHAR", ZONE)
    with open_cursor() as db:
        row = db.execute(f"select {timestamp}, {day} from (select ? as v)", [text]).fetchone()
    assert row is not None
    return row[0], row[1]


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01",
        "2026/3/1",
        "20260301",
        "Mar 1, 2026",
        "March 1, 2026",
        "1 Mar 2026",
        "01-MAR-2026",
        "Sun, 01 Mar 2026",
        " Mar 1, 2026 ",
    ],
)
def test_a_date_alone_is_the_business_day(text: str) -> None:
    assert parse(text) == (None, dt.date(2026, 3, 1))


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-02T03:30:00Z",
        "2026-03-02 03:30:00",
        "2026-03-02 03:30:00 UTC",
        "2026-03-01 22:30:00-05:00",
        "2026-03-01 22:30:00 -05:00",
        "2026-03-01 22:30:00 -0500",
        "2026-03-01T22:30:00-0500",
        "2026-03-02 09:00:00 +0530",
        "1772422200",
        "1772422200000",
        "1772422200000000000",
        "Sun, 01 Mar 2026 22:30:00 -0500",
        "1 Mar 2026 22:30:00 -0500",
        "Mon, 02 Mar 2026 03:30:00 GMT",
        "Mar 2, 2026 3:30 AM",
        "Mar 2, 2026, 3:30:00 AM",
        "02-Mar-2026 03:30",
        "2 March 2026 03:30:00",
    ],
)
def test_a_time_is_converted_to_utc_and_its_day_to_the_time_zone(text: str) -> None:
    assert parse(text) == (dt.datetime(2026, 3, 2, 3, 30), dt.date(2026, 3, 1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "may",
        "infinity",
        "epoch",
        "May 99, 2026",
        "Mar 1",
        "13/05/2026",
        "03.04.2026 10:15",
        "2026-13-01",
        "2026-03-01 25:00:00",
        "2026-03-01 22:30:00 -2500",
        "2026-03-01 22:30:00+99:00",
        "2026-03-01T22:30:00.123+14:01",
        "2026-03-01 22:30:00 +1501",
        "2026-03-01 22:30:00-15",
        "2026-03-01 22:30:00+05:75",
        "1e40",
    ],
)
def test_other_texts_are_unreadable(text: str) -> None:
    assert parse(text) == (None, None)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-03-01 23:30:00", "2026-03-02 04:30:00"),
        ("2026-07-01T23:30", "2026-07-02 03:30:00"),
        ("Mar 1, 2026 11:30 PM", "2026-03-02 04:30:00"),
        ("2026-03-01 23:30:00 UTC", "2026-03-01 23:30:00"),
        ("2026-03-01T23:30:00Z", "2026-03-01 23:30:00"),
        ("2026-03-01 23:30:00 +0100", "2026-03-01 22:30:00"),
        ("2026-03-01 23:30:00+01", "2026-03-01 22:30:00"),
        ("1772407800", "2026-03-01 23:30:00"),
    ],
)
def test_times_without_an_offset_are_of_their_zone(text: str, utc: str) -> None:
    timestamp = timestamp_sql("v", "VARCHAR", ZONE)
    day = day_sql("v", "VARCHAR", ZONE, ZONE)
    with open_cursor() as db:
        row = db.execute(f"select {timestamp}, {day} from (select ? as v)", [text]).fetchone()
        typed = db.execute(
            f"select {day_sql('v', 'TIMESTAMP', ZONE, ZONE)} from (select ?::TIMESTAMP as v)",
            ["2026-03-01 23:30:00"],
        ).fetchone()
    moment = dt.datetime.fromisoformat(utc)
    local = moment.replace(tzinfo=dt.UTC).astimezone(ZoneInfo(ZONE)).date()
    assert row == (moment, local) and typed == (dt.date(2026, 3, 1),)
