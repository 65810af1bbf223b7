"""Formats of dates and times from settings."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from batch_predictions.sources.base import SourceError
from batch_predictions.sources.validation.interpretation import interpret_columns
from batch_predictions.tables import INTERACTIONS, USERS
from batch_predictions_tests.worlds.source_folders import HEADER, SourceFolder

EVENTS = (
    HEADER + "ann,tea,02.01.2024 23:30,1\nbob,tea,2024-01-03 10:00,2\neve,tea,32.01.2024 1:00,3\n"
)


def read_times(folder: SourceFolder) -> list[tuple[str, dt.date, dt.datetime]]:
    rows = folder.warehouse.query("from raw.interactions order by user_id").to_pylist()
    return [(row["user_id"], row["date"], row["occurred_at"]) for row in rows]


def test_times_of_the_format_and_iso_times_are_read_and_others_quarantined(tmp_path: Path) -> None:
    formats = {"interactions": {"occurred_at": "%d.%m.%Y %H:%M"}}
    folder = SourceFolder(tmp_path, formats=formats).write("interactions.csv", EVENTS)
    folder.ingest()
    assert read_times(folder) == [
        ("ann", dt.date(2024, 1, 2), dt.datetime(2024, 1, 2, 23, 30)),
        ("bob", dt.date(2024, 1, 3), dt.datetime(2024, 1, 3, 10)),
    ]
    (refused,) = folder.warehouse.query("from raw.quarantine").to_pylist()
    assert "'32.01.2024 1:00' is not a time" in refused["reason"]
    assert "source.formats" in refused["reason"]


def test_without_the_format_the_reason_names_the_setting(tmp_path: Path) -> None:
    folder = SourceFolder(tmp_path).write("interactions.csv", EVENTS)
    folder.ingest()
    assert [user for user, _, _ in read_times(folder)] == ["bob"]
    assert folder.source.day_range(folder.source.tables()[0]) == (dt.date(2024, 1, 3),) * 2


@pytest.mark.parametrize(
    ("format_", "text"),
    [
        ("%m/%d/%Y %I:%M %p", "01/02/2024 11:30 PM"),
        ("%d/%m/%y %H.%M", "02/01/24 23.30"),
        ("%Y%m%d%H%M%S", "20240102233000"),
        ("%d.%m.%Y %H:%M:%S %z", "03.01.2024 01:30:00 +0200"),
    ],
)
def test_formats_of_times(tmp_path: Path, format_: str, text: str) -> None:
    formats = {"interactions": {"occurred_at": format_}}
    folder = SourceFolder(tmp_path, formats=formats)
    folder.write("interactions.csv", f"{HEADER}ann,tea,{text},1\n").ingest()
    assert read_times(folder) == [("ann", dt.date(2024, 1, 2), dt.datetime(2024, 1, 2, 23, 30))]


def test_a_column_of_dates_has_a_format(tmp_path: Path) -> None:
    folder = SourceFolder(tmp_path, formats={"users": {"signed_up_on": "%m/%d/%Y"}})
    folder.write("interactions.csv", EVENTS).write(
        "users.csv", "user_id,signed_up_on\nann,3/4/2024\n"
    )
    folder.ingest(USERS)
    assert folder.warehouse.value("select signed_up_on from raw.users") == dt.date(2024, 3, 4)


def test_another_format_changes_the_fingerprint(tmp_path: Path) -> None:
    first = SourceFolder(tmp_path).write("interactions.csv", EVENTS)
    formats = {"interactions": {"occurred_at": "%d.%m.%Y %H:%M"}}
    second = SourceFolder(tmp_path, formats=formats)
    table = first.source.tables()[0]
    assert first.source.fingerprint(table) != second.source.fingerprint(table)


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        ({"orders": {"date": "%d.%m.%Y"}}, "there is no raw table orders; write one of"),
        (
            {"users": {"gender": "%d.%m.%Y"}},
            "no such column of dates, times or numbers; write one of signed_up_on, birthday",
        ),
        ({"interactions": {"date": "%Q"}}, "'%Q' is not valid .* strptime format such as"),
        ({"interactions": {"date": "%d.%m."}}, "has no day, month and year"),
    ],
)
def test_a_wrong_setting_is_an_error(
    tmp_path: Path, formats: dict[str, dict[str, str]], message: str
) -> None:
    folder = SourceFolder(tmp_path, formats=formats).write("interactions.csv", EVENTS)
    with pytest.raises(SourceError, match=message):
        folder.ingest()


def test_a_format_of_a_column_that_the_files_lack_is_an_error() -> None:
    with pytest.raises(SourceError, match=r"source\.formats\.interactions has date, but no column"):
        interpret_columns(
            INTERACTIONS, {"user_id": '"user"'}, {"user_id": "VARCHAR"}, {"date": "%d.%m.%Y"}, {}
        )
