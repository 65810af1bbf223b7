"""Where files lie, which day their rows belong to, and Parquet."""

from __future__ import annotations

import datetime as dt
import gzip
from pathlib import Path

import duckdb
import pytest

from batch_predictions.sources import SourceError
from batch_predictions.tables import INTERACTIONS
from batch_predictions_tests.worlds.source_folders import HEADER, World, days, totals


@pytest.mark.parametrize(
    ("time", "day"),
    [
        ("2024-01-03", "2024-01-03"),
        ("20240103", "2024-01-03"),
        ("2024-01-03T04:59:59Z", "2024-01-02"),
        ("2024-01-03 05:00:00", "2024-01-03"),
        ("2024-01-03 00:30:00-05:00", "2024-01-03"),
        ("2024-01-03T00:30:00+01:00", "2024-01-02"),
        ("1704257999", "2024-01-02"),
        ("1704258000", "2024-01-03"),
        ("1704257999000", "2024-01-02"),
    ],
)
def test_the_business_day_is_the_time_zones_and_dates_are_not_shifted(
    tmp_path: Path, time: str, day: str
) -> None:
    world = World(tmp_path, timezone="America/New_York")
    world.write("interactions.csv", HEADER + f"u,i,{time},1\n").ingest()
    assert [str(row["date"]) for row in world.rows("from raw.interactions")] == [day]


@pytest.mark.parametrize(
    ("expression", "day"),
    [
        ("DATE '2024-01-03'", "2024-01-03"),
        ("TIMESTAMP '2024-01-03 04:59:59'", "2024-01-02"),
        ("TIMESTAMPTZ '2024-01-03 05:00:00+00'", "2024-01-03"),
        ("1704258000", "2024-01-03"),
        ("1704257999.5::DOUBLE", "2024-01-02"),
        ("20240103", "2024-01-03"),
    ],
)
def test_parquet_keeps_its_types(tmp_path: Path, expression: str, day: str) -> None:
    world = World(tmp_path, timezone="America/New_York")
    path = world.folder / "interactions.parquet"
    duckdb.execute(
        f"copy (select 1.0::DOUBLE as user_id, 12 as item_id, {expression} as ts union all "
        f"select 'nan'::DOUBLE, 13, {expression}) to '{path}'"
    )
    assert totals(world.ingest()) == (2, 1, 1)
    [row] = world.rows("from raw.interactions")
    assert (row["user_id"], row["item_id"], str(row["date"])) == ("1", "12", day)
    assert world.reasons() == ["user_id is empty: give every row one"]


def test_a_folder_of_files_is_one_table_and_bad_rows_belong_to_their_files_newest_day(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    world.write("interactions/a.csv", HEADER + "u,i,2024-01-02,1\nu,i,never,1\n")
    world.write("interactions/b.csv", "user_id,item_id,day,shop\nv,i,2024-01-05,s\nv,j,bad,s\n")
    packed = gzip.compress((HEADER + "w,i,broken,1\n").encode())
    world.write("interactions/c.csv.gz", packed)
    world.write("interactions/_SUCCESS", "")
    # A file that calls its time otherwise than the others loses nothing: its rows are kept.
    assert totals(world.ingest()) == (5, 1, 4)
    world.write("interactions/b.csv", HEADER + "v,i,2024-01-05,1\nv,j,bad,1\n")
    assert totals(world.ingest()) == (5, 2, 3)
    kept = world.rows("select source, date from raw.quarantine order by source")
    assert [(row["source"], str(row["date"])) for row in kept] == [
        ("interactions/a.csv", "2024-01-02"),
        ("interactions/b.csv", "2024-01-05"),
        ("interactions/c.csv.gz", "2024-01-07"),
    ]
    # Day by day, every bad row is counted once as well.
    alone = [totals(world.ingest(keys=[day])) for day in days(10)]
    assert [sum(each) for each in zip(*alone, strict=True)] == [5, 2, 3]


def test_a_day_may_stand_in_the_name_of_a_parquet_files_folder(tmp_path: Path) -> None:
    world = World(tmp_path)
    for day in days(3):
        path = world.folder / "interactions" / f"date={day}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        with duckdb.connect() as db:
            db.execute(f"copy (select 'u' as user_id, '{day}' as item_id) to '{path}'")
    assert totals(world.ingest(keys=days(2))) == (2, 2, 0)
    rows = world.rows("select date::VARCHAR as date, item_id from raw.interactions")
    assert all(row["date"] == row["item_id"] for row in rows)
    assert world.source.extent(INTERACTIONS) == (dt.date(2024, 1, 1), dt.date(2024, 1, 3))


def test_a_day_in_the_name_of_a_text_files_folder_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions/date=2024-01-02/a.csv", HEADER)
    with pytest.raises(SourceError, match="folder's name"):
        world.ingest()


def test_a_broken_parquet_file_is_named(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.parquet", b"PAR1 no")
    with pytest.raises(SourceError, match=r"interactions\.parquet"):
        world.ingest()


def test_the_span_is_found_in_the_data(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write("interactions.csv", HEADER + "u,i,2023-05-06,1\nu,i,1970-01-01,1\nu,i,x,1\n")
    today = dt.date(2024, 1, 10)
    span = world.source.span(today)
    assert (span.first_day, span.last_day) == (dt.date(2023, 5, 6), None)
    assert span.default_date == dt.date(2024, 1, 7)
    world.write("interactions.csv", HEADER + "u,i,2024-01-06,1\nu,i,2025-01-01,1\n")
    assert world.source.newest_complete_day(today) == dt.date(2024, 1, 9)
