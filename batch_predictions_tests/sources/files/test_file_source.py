"""Days of rows, folders of files, Parquet."""

from __future__ import annotations

import datetime as dt
import gzip
import os
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_predictions.sources.base import SourceError
from batch_predictions.sources.checking.check import check_source
from batch_predictions.sources.due_partitions import days_to_ingest
from batch_predictions.sources.manual_rows import add_manual_rows
from batch_predictions.tables import CAMPAIGN_EVENTS, INTERACTIONS, ITEMS
from batch_predictions_tests.worlds.source_folders import (
    FIRST_DAY,
    HEADER,
    SourceFolder,
    day_keys,
    total_counts,
)


def test_times_are_converted_to_the_time_zone_and_dates_are_not(tmp_path: Path) -> None:
    days = {
        "2024-01-03": "2024-01-03",
        "20240103": "2024-01-03",
        "2024-01-03T04:59:59Z": "2024-01-02",
        "2024-01-03 05:00:00": "2024-01-03",
        "2024-01-03 00:30:00-05:00": "2024-01-03",
        "2024-01-03T00:30:00+01:00": "2024-01-02",
        "1704257999": "2024-01-02",
        "1704258000": "2024-01-03",
        "1704257999000": "2024-01-02",
    }
    shop = SourceFolder(tmp_path, timezone="America/New_York")
    lines = "".join(f"u,i{number},{time},1\n" for number, time in enumerate(days))
    shop.write("interactions.csv", HEADER + lines).ingest()
    rows = shop.rows("select date from raw.interactions order by item_id")
    assert [str(row["date"]) for row in rows] == list(days.values())


@pytest.mark.parametrize(
    ("expression", "day"),
    [
        ("DATE '2024-01-03'", "2024-01-03"),
        ("TIMESTAMP '2024-01-03 00:00:01'", "2024-01-03"),
        ("TIMESTAMPTZ '2024-01-03 05:00:00+00'", "2024-01-03"),
        ("1704258000", "2024-01-03"),
        ("1704257999.5::DOUBLE", "2024-01-02"),
        ("20240103", "2024-01-03"),
    ],
)
def test_types_of_parquet_are_converted(tmp_path: Path, expression: str, day: str) -> None:
    shop = SourceFolder(tmp_path, timezone="America/New_York")
    path = shop.folder / "interactions.parquet"
    duckdb.execute(
        f"copy (select 1.0::DOUBLE as user_id, 12 as item_id, {expression} as ts union all "
        f"select 'nan'::DOUBLE, 13, {expression}) to '{path}'"
    )
    assert total_counts(shop.ingest()) == (2, 1, 1)
    [row] = shop.rows("from raw.interactions")
    assert (row["user_id"], row["item_id"], str(row["date"])) == ("1", "12", day)
    assert shop.reasons() == ["user_id is empty: give every row one"]


def test_invalid_rows_belong_to_the_newest_day_of_their_file(
    tmp_path: Path,
) -> None:
    shop = SourceFolder(tmp_path)
    shop.write("interactions/a.csv", HEADER + "u,i,2024-01-02,1\nu,i,never,1\n")
    shop.write("interactions/b.csv", "user_id,item_id,day,shop\nv,i,2024-01-05,s\nv,j,bad,s\n")
    packed = gzip.compress((HEADER + "w,i,broken,1\n").encode())
    shop.write("interactions/c.csv.gz", packed)
    shop.write("interactions/_SUCCESS", "")
    # In b.csv the time has another name than in the other files: its rows are refused.
    assert total_counts(shop.ingest()) == (5, 1, 4)
    shop.write("interactions/b.csv", HEADER + "v,i,2024-01-05,1\nv,j,bad,1\n")
    assert total_counts(shop.ingest()) == (5, 2, 3)
    refused = shop.rows("select source, date from raw.quarantine order by source")
    assert [(row["source"], str(row["date"])) for row in refused] == [
        ("interactions/a.csv", "2024-01-02"),
        ("interactions/b.csv", "2024-01-05"),
        ("interactions/c.csv.gz", "2024-01-07"),
    ]
    # Ingested day by day, every invalid row is also counted once.
    counts = [total_counts(shop.ingest(days=[day])) for day in day_keys(10)]
    assert [sum(column) for column in zip(*counts, strict=True)] == [5, 2, 3]


def test_the_folder_name_of_a_parquet_file_may_have_the_day(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    for day in day_keys(3):
        path = shop.folder / "interactions" / f"date={day}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        with duckdb.connect() as db:
            db.execute(f"copy (select 'u' as user_id, '{day}' as item_id) to '{path}'")
    assert total_counts(shop.ingest(days=day_keys(2))) == (2, 2, 0)
    rows = shop.rows("select date::VARCHAR as date, item_id from raw.interactions")
    assert all(row["date"] == row["item_id"] for row in rows)
    assert shop.source.day_range(INTERACTIONS) == (dt.date(2024, 1, 1), dt.date(2024, 1, 3))


def test_the_folder_name_of_a_text_file_may_have_the_day(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    for day in day_keys(2):
        shop.write(f"interactions/date={day}/a.csv", f"user_id,item_id\nu,{day}\n")
    assert total_counts(shop.ingest()) == (2, 2, 0)
    rows = shop.rows("select date::VARCHAR as date, item_id from raw.interactions")
    assert all(row["date"] == row["item_id"] for row in rows)


def test_the_span_begins_with_the_oldest_readable_day(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    shop.write("interactions.csv", HEADER + "u,i,2023-05-06,1\nu,i,1970-01-01,1\nu,i,x,1\n")
    today = dt.date(2024, 1, 10)
    span = shop.source.span(today)
    assert (span.first_day, span.last_day) == (dt.date(2023, 5, 6), None)
    assert span.default_date == dt.date(2024, 1, 7)
    shop.write("interactions.csv", HEADER + "u,i,2024-01-06,1\nu,i,2025-01-01,1\n")
    assert shop.source.newest_complete_day(today) == dt.date(2024, 1, 6)
    shop.write("interactions.csv", HEADER + "u,i,2024-01-06,1\nu,i,2024-01-10,1\n")
    assert shop.source.newest_complete_day(today) == dt.date(2024, 1, 9)


def test_wildcards_in_the_paths_of_home_and_source_are_no_wildcards(tmp_path: Path) -> None:
    base = tmp_path / "we[i]rd *'s"
    base.mkdir()
    shop = SourceFolder(base).write("interactions.csv", HEADER + "u,i,2024-01-02,1\n")
    shop.write("items.jsonl", '{"item_id": "i", "title": "a b"}\n')
    assert total_counts(shop.ingest()) == (1, 1, 0)
    assert total_counts(shop.ingest(ITEMS)) == (1, 1, 0)
    assert shop.rows("select title from raw.items") == [{"title": "a b"}]
    event = {"date": dt.date(2024, 1, 3), "campaign_id": "c", "user_id": "u"}
    schema = pa.schema(
        [("date", pa.date32()), *((n, pa.string()) for n in ("campaign_id", "user_id"))]
        + [(n, pa.string()) for n in ("item_id", "event_type")]
    )
    row = pa.Table.from_pylist([{**event, "item_id": None, "event_type": "listed"}], schema)
    for _ in range(2):
        add_manual_rows(shop.warehouse, CAMPAIGN_EVENTS, "c", row)
        shop.ingest(CAMPAIGN_EVENTS)
        assert len(shop.rows("from raw.campaign_events")) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"files": {"interactions": "interactions/*.csv"}},
        {"files": {"interactions": "**/*.csv"}},
        {"queries": {"interactions": "from 'interactions/*.csv'"}},
        {},
    ],
)
def test_a_folder_that_is_a_link_out_of_the_source_is_not_read(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.csv").write_text(HEADER + "u,i,2024-01-03,1\n")
    shop = SourceFolder(tmp_path, **options)
    (shop.folder / "interactions").symlink_to(outside)
    refusal = r"is a link out of|fits no file|has no such file"
    with pytest.raises(SourceError, match=refusal):
        shop.ingest()


def test_a_link_to_a_folder_of_the_source_is_read(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("2024/a.csv", HEADER + "u,i,2024-01-03,1\n")
    (shop.folder / "interactions").symlink_to(shop.folder / "2024")
    assert total_counts(shop.ingest()) == (1, 1, 0)


def test_a_loop_of_links_is_named(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions/a.csv", HEADER + "u,i,2024-01-03,1\n")
    loop = shop.folder / "interactions" / "loop.csv"
    loop.symlink_to(loop)
    with pytest.raises(SourceError, match=r"loop\.csv cannot be read: .*; remove it"):
        shop.ingest()


def test_more_columns_than_are_read_stop_the_ingest(tmp_path: Path) -> None:
    names = ",".join(f"c{number}" for number in range(100_000))
    shop = SourceFolder(tmp_path).write("interactions.csv", f"{HEADER.strip()},{names}\n")
    with pytest.raises(SourceError, match=r"has 100,004 columns, and at most 2,000 are read"):
        shop.ingest()
    wide = pa.table({f"c{number}": [1] for number in range(2_001)})
    (shop.folder / "interactions.csv").unlink()
    pq.write_table(wide, shop.folder / "interactions.parquet")
    with pytest.raises(SourceError, match=r"has 2,001 columns"):
        shop.ingest()


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland"])
def test_a_damaged_line_of_a_file_that_is_being_written_does_not_wait(
    tmp_path: Path, zone: str
) -> None:
    """It is of the last day that was over then, not of that day, which is not read yet."""
    shop = SourceFolder(tmp_path, timezone=zone)
    rows = "".join(f"u,i,2024-01-{day:02d} 10:00,1\n" for day in range(1, 6))
    shop.write("interactions.csv", f"{HEADER}{rows}u,i,20")
    written_at = dt.datetime(2024, 1, 5, 12, tzinfo=ZoneInfo(zone)).timestamp()
    os.utime(shop.folder / "interactions.csv", (written_at, written_at))
    days = days_to_ingest(shop.warehouse, shop.source, INTERACTIONS, FIRST_DAY, dt.date(2024, 1, 4))
    read, accepted, refused = total_counts(shop.ingest(days=days))
    later = shop.source.later_rows(INTERACTIONS, dt.date(2024, 1, 4))
    assert later is not None and (read, accepted, refused, later.rows) == (5, 4, 1, 1)
    [row] = shop.rows("select date::VARCHAR as day, reason from raw.quarantine")
    assert row["day"] == "2024-01-04" and "is cut off in its last line, no. 7" in row["reason"]
    report = check_source(shop.settings, today=dt.date(2024, 1, 5))
    assert report.tables[0].later == 1
    # With the rest of the line, the day is over, and has both rows.
    shop.write("interactions.csv", f"{HEADER}{rows}u,i,2024-01-05 11:00,1\n")
    shop.ingest()
    assert shop.reasons() == [] and len(shop.rows()) == 6
