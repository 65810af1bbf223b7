"""The promotion calendar: a row in every week of a promotion, future weeks, invalid rows."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from batch_predictions.core.home import write_state
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.checking.check import check_source
from batch_predictions.sources.due_partitions import days_to_ingest
from batch_predictions.sources.home_state import initialise_home
from batch_predictions.tables import PROMOTION_CALENDAR as CALENDAR
from batch_predictions.tables.partitions import week_of
from batch_predictions_tests.worlds.home import PARTITIONS, raw_asset
from batch_predictions_tests.worlds.source_folders import HEADER, SourceFolder, total_counts

NAMES = "item_id,location,starts_on,ends_on,display,mailer\n"
WEEKS = ["2024-01-01", "2024-01-08", "2024-01-15", "2024-01-22"]


def promotion_folder(tmp_path: Path, rows: str, names: str = NAMES) -> SourceFolder:
    """A source with a promotion calendar."""
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER)
    return shop.write("promotion_calendar.csv", names + rows)


def materialize(shop: SourceFolder, first: str, last: str) -> dg.ExecuteInProcessResult:
    """Materializes the asset over a range of weeks."""
    write_state(shop.settings.home, shop.state)
    return dg.materialize(
        [raw_asset("promotion_calendar")],
        resources={"warehouse": shop.warehouse, "settings": shop.settings},
        tags={
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        },
    )


def promotion_weeks(shop: SourceFolder, item: str) -> list[str]:
    """The weeks with a promotion of an item."""
    rows = shop.rows(f"select week from raw.promotion_calendar where item_id = '{item}' order by 1")
    return [str(row["week"]) for row in rows]


def test_a_promotion_has_a_row_in_each_of_its_weeks(tmp_path: Path) -> None:
    shop = promotion_folder(
        tmp_path, "i,a,2024-01-07,2024-01-15,shelf,0\nj,a,2024-01-08,2024-01-14,,D\n"
    )
    results = shop.ingest(CALENDAR, WEEKS)
    assert [results[week].counts.accepted for week in WEEKS] == [1, 2, 1, 0]
    assert (promotion_weeks(shop, "i"), promotion_weeks(shop, "j")) == (WEEKS[:3], WEEKS[1:2])
    rows = shop.rows("from raw.promotion_calendar where week = '2024-01-08' order by item_id")
    week = dt.date(2024, 1, 8)
    assert [tuple(row.values()) for row in rows] == [
        (week, "i", "a", dt.date(2024, 1, 7), dt.date(2024, 1, 15), "shelf", None),
        (week, "j", "a", dt.date(2024, 1, 8), dt.date(2024, 1, 14), None, "D"),
    ]


@pytest.mark.parametrize(
    ("row", "week", "reason"),
    [
        pytest.param("i,,soon,2024-01-10", 1, "starts_on 'soon' is not a time", id="unreadable"),
        pytest.param("i,,2024-01-03,never", 0, "ends_on 'never' is not a", id="no such end"),
        pytest.param("i,,2024-02-30,x", 2, "starts_on '2024-02-30' is not a", id="both unreadable"),
        pytest.param("i,,,2024-01-10", 1, "starts_on is empty", id="no start"),
        pytest.param("i,,2024-01-10,", 1, "ends_on is empty", id="no end"),
        pytest.param("i,,1970-01-01,2024-01-10", 1, "before 1990-01-01", id="1970"),
        pytest.param("i,,2024-01-10,2999-01-01", 1, "after 2099", id="2999"),
        pytest.param("i,,2024-01-10,2024-01-03", 1, "ends_on is before starts_on", id="reversed"),
        pytest.param(",,2024-01-10,2024-01-11", 1, "item_id is empty", id="no item"),
        pytest.param("i,,2024-01-10", 2, "fewer fields", id="too few fields"),
    ],
)
def test_an_invalid_row_belongs_to_its_readable_week_or_the_newest_of_the_file(
    tmp_path: Path, row: str, week: int, reason: str
) -> None:
    names = "item_id,location,starts_on,ends_on\n"
    shop = promotion_folder(tmp_path, f"g,,2024-01-15,2024-01-16\n{row}\n", names)
    results = shop.ingest(CALENDAR, WEEKS)
    assert total_counts(results) == (2, 1, 1)
    assert [results[key].counts.quarantined for key in WEEKS] == [
        int(n == week) for n in range(len(WEEKS))
    ]
    [refused] = shop.rows("from raw.quarantine")
    assert reason in refused["reason"]
    assert (str(refused["date"]), refused["table_name"]) == (WEEKS[week], "promotion_calendar")
    assert (refused["source"], refused["row_number"]) == ("promotion_calendar.csv", 2)
    assert promotion_weeks(shop, "g") == WEEKS[2:3]


def test_a_column_week_decides_the_week(tmp_path: Path) -> None:
    names = "week,sku,starts_on,ends_on\n"
    lines = (
        "2024-01-10,whole,,\n"
        "2024-01-08,days,2024-01-09,2024-01-16\n"
        "2024-01-01,elsewhere,2024-01-09,2024-01-16\n"
        "2024-01-08,bad,noon,\n"
        "W2,unread,,\n"
    )
    shop = promotion_folder(tmp_path, lines, names)
    assert total_counts(shop.ingest(CALENDAR, WEEKS)) == (5, 2, 3)
    rows = shop.rows("select item_id, location, starts_on, ends_on from raw.promotion_calendar")
    assert [tuple(row.values()) for row in rows] == [
        ("days", "all", dt.date(2024, 1, 9), dt.date(2024, 1, 16)),
        ("whole", "all", dt.date(2024, 1, 8), dt.date(2024, 1, 14)),
    ]
    reasons = shop.reasons()
    assert "has no day in week" in reasons[0]
    assert "starts_on 'noon' is not a time" in reasons[1]
    assert "week 'W2' is not a time" in reasons[2]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("item_id,starts_on\n", "no column for ends_on.*promotion_calendar.week"),
        ("item_id,display\n", "no column for starts_on"),
        ("starts_on,ends_on\n", "no column for item_id"),
    ],
)
def test_a_file_without_required_columns_is_refused(
    tmp_path: Path, names: str, message: str
) -> None:
    shop = promotion_folder(tmp_path, "", names)
    with pytest.raises(SourceError, match=message):
        shop.ingest(CALENDAR, WEEKS)
    assert shop.warehouse.partitions(CALENDAR) == []


@pytest.mark.parametrize("no_placement", ["0", "", "no", "None", "false", "0.0"])
def test_words_for_no_placement_are_null_and_single_letters_are_placements(
    tmp_path: Path, no_placement: str
) -> None:
    shop = promotion_folder(tmp_path, f"i,a,2024-01-01,2024-01-02,{no_placement},F\n")
    shop.ingest(CALENDAR, WEEKS)
    [row] = shop.rows("from raw.promotion_calendar")
    assert (row["display"], row["mailer"]) == (None, "F")


def test_a_repeated_item_is_refused_only_in_the_repeated_week(tmp_path: Path) -> None:
    shop = promotion_folder(
        tmp_path, "i,a,2024-01-01,2024-01-09,x,\ni,a,2024-01-10,2024-01-16,y,\n"
    )
    results = shop.ingest(CALENDAR, WEEKS)
    assert [
        (results[week].counts.accepted, results[week].counts.quarantined) for week in WEEKS
    ] == [(1, 0), (1, 1), (1, 0), (0, 0)]
    [reason] = shop.reasons()
    assert "'i, a' is already in row 1 of promotion_calendar.csv" in reason
    assert "as one row" in reason
    assert promotion_weeks(shop, "i") == WEEKS[:3]


def test_a_promotion_without_an_end_is_read_only_for_the_ingested_weeks(tmp_path: Path) -> None:
    shop = promotion_folder(tmp_path, "i,a,1990-01-01,2099-12-31,x,\n")
    assert total_counts(shop.ingest(CALENDAR, WEEKS[1:3])) == (2, 2, 0)
    assert promotion_weeks(shop, "i") == WEEKS[1:3]


def test_types_of_parquet_are_converted(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER)
    duckdb.connect().sql(
        "select 7 as product_id, 3 as store_id, DATE '2024-01-05' as start_date, "
        "DATE '2024-01-08' as end_date, 2 as display, false as mailer"
    ).write_parquet(str(shop.folder / "promotion_calendar.parquet"))
    assert total_counts(shop.ingest(CALENDAR, WEEKS)) == (2, 2, 0)
    [first, _] = shop.rows("from raw.promotion_calendar")
    assert list(first.values())[1:] == [
        "7", "3", dt.date(2024, 1, 5), dt.date(2024, 1, 8), "2", None
    ]  # fmt: skip


def test_the_promotion_calendar_does_not_change_the_days_of_the_source(tmp_path: Path) -> None:
    rows = "i,a,2020-01-01,2020-01-02,x,\ni,a,2031-01-01,2031-01-20,x,\n"
    shop = promotion_folder(tmp_path, rows).write("interactions.csv", HEADER + "u,i,2024-01-03,1\n")
    state = initialise_home(shop.settings, dt.date(2024, 1, 10))
    assert state.first_day == dt.date(2024, 1, 3)
    assert shop.source.newest_complete_day(dt.date(2024, 1, 10)) == dt.date(2024, 1, 3)
    tables = check_source(shop.settings, today=dt.date(2024, 1, 10)).tables
    [report] = [table for table in tables if table.table == "promotion_calendar"]
    assert (report.first_day, report.newest_day) == (dt.date(2020, 1, 1), dt.date(2031, 1, 20))
    assert report.accepted == report.rows_seen == 1 + 4


def test_weeks_are_due_until_they_are_ingested_and_after_the_source_changed(tmp_path: Path) -> None:
    shop = promotion_folder(tmp_path, "i,a,2024-01-03,2024-01-10,x,\n")

    def due_weeks() -> list[str]:
        first, last = dt.date(2024, 1, 3), dt.date(2024, 1, 22)
        return days_to_ingest(shop.warehouse, shop.source, CALENDAR, first, last)

    assert due_weeks() == WEEKS
    shop.ingest(CALENDAR, WEEKS)
    assert due_weeks() == []
    shop.write("promotion_calendar.csv", NAMES + "i,a,2024-01-03,2024-01-17,x,\n")
    assert due_weeks() == WEEKS
    results = shop.ingest(CALENDAR, WEEKS)
    assert [result.write_result.changed for result in results.values()] == [True, True, True, False]


def test_weeks_are_ingested_by_their_mondays_from_the_first_of_the_home(tmp_path: Path) -> None:
    shop = promotion_folder(tmp_path, "")
    with pytest.raises(SourceError, match="not a Monday: choose its week, 2024-01-08"):
        shop.ingest(CALENDAR, ["2024-01-10"])
    with pytest.raises(SourceError, match="before 2024-01-01, the first week"):
        shop.ingest(CALENDAR, ["2023-12-25"])


def test_the_asset_is_weekly_and_writes_empty_weeks(tmp_path: Path) -> None:
    shop = promotion_folder(tmp_path, "i,a,2024-01-03,2024-01-10,x,\ni,a,2024-01-09,soon,x,\n")
    result = materialize(shop, WEEKS[0], WEEKS[3])
    [check] = result.get_asset_check_evaluations()
    metadata = {name: value.value for name, value in check.metadata.items()}
    assert check.passed
    assert [metadata[name] for name in ("days", "read", "accepted", "quarantined")] == [4, 3, 2, 1]
    assert shop.warehouse.partitions(CALENDAR) == WEEKS
    assert shop.warehouse.path(CALENDAR, WEEKS[3]).exists()
    [spec] = list(raw_asset("promotion_calendar").specs)
    assert spec.group_name == "sources" and spec.tags["cadence"] == "weekly"
    assert spec.partitions_def == PARTITIONS.weekly_ahead


def test_a_source_without_the_calendar_gets_empty_weeks(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER)
    assert CALENDAR not in shop.source.tables()
    result = materialize(shop, WEEKS[0], WEEKS[1])
    [check] = result.get_asset_check_evaluations()
    assert check.passed and check.metadata["read"].value == 0
    assert shop.warehouse.partitions(CALENDAR) == WEEKS[:2]
    assert shop.rows("from raw.promotion_calendar") == []


def test_the_week_after_next_can_be_materialized(tmp_path: Path) -> None:
    last_week = PARTITIONS.weekly_ahead.get_last_partition_key()
    assert last_week is not None
    monday = dt.date.fromisoformat(last_week)
    assert monday == week_of(dt.date.today()) + dt.timedelta(days=14)
    shop = promotion_folder(tmp_path, f"i,a,{monday},{monday + dt.timedelta(days=2)},x,\n")
    assert materialize(shop, last_week, last_week).success
    assert promotion_weeks(shop, "i") == [last_week]
