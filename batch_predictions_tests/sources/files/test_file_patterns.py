"""Files by patterns, of several formats, with mappings of their own and columns in their paths."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from batch_predictions.sources.base import SourceError
from batch_predictions.sources.checking.check import check_source
from batch_predictions.tables import INTERACTIONS, ITEMS, REVIEWS, USERS
from batch_predictions_tests.worlds.source_folders import HEADER, SourceFolder, total_counts


def write_parquet(shop: SourceFolder, name: str, sql: str) -> None:
    path = shop.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as db:
        db.execute(f"copy ({sql}) to '{path}' (format parquet)")


def zstd(text: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(text.encode())
    return bytes(sink.getvalue())


def test_one_table_may_have_files_of_several_formats_and_mappings(tmp_path: Path) -> None:
    entry = {
        "pattern": "appstore.csv",
        "columns": {"text": "body", "item_id": "app", "rating": "note"},
        "formats": {"written_at": "%d.%m.%Y", "rating": "1.234,56"},
        "values": {"label": {"gut": "positive"}},
        "where": "body <> 'spam'",
    }
    shop = SourceFolder(
        tmp_path,
        files={"reviews": ["shop/*.jsonl*", entry, "old.parquet"]},
        columns={"reviews": {"item_id": "sku"}},
    )
    line = '{"sku": "a", "text": "fine", "rating": 4, "written_at": "2024-01-02T10:00:00Z"}\n'
    shop.write("shop/1.jsonl", line).write("shop/2.jsonl.gz", gzip.compress(line.encode()))
    # The table's mapping of item_id is overridden, as sku is not in this file.
    rows = "b;good;4,5;03.01.2024;gut\nc;bad;4.5;03.01.2024;\nd;spam;5;03.01.2024;\n"
    shop.write("appstore.csv", "app;body;note;written_at;label\n" + rows)
    write_parquet(
        shop,
        "old.parquet",
        "select 'e' as sku, 'old' as text, 2::TINYINT as rating, TIMESTAMP '2024-01-04' as date "
        "union all select null, 'none', 2, TIMESTAMP '2024-01-04'",
    )
    results = shop.ingest(REVIEWS)
    assert total_counts(results) == (6, 5, 1)
    counts = results["2024-01-03"].counts
    assert (counts.filtered, counts.nulled) == (1, {"rating": 1})
    rows_read = shop.rows(
        "select item_id, rating, label, date::VARCHAR as date from raw.reviews order by all"
    )
    assert [tuple(row.values()) for row in rows_read] == [
        ("a", 4.0, None, "2024-01-02"),
        ("a", 4.0, None, "2024-01-02"),
        ("b", 4.5, "positive", "2024-01-03"),
        ("c", None, None, "2024-01-03"),
        ("e", 2.0, None, "2024-01-04"),
    ]
    [refused] = shop.rows("from raw.quarantine")
    assert (refused["source"], refused["row_number"]) == ("old.parquet", 2)
    assert '"text":"none"' in refused["row"]
    report = check_source(shop.settings)
    assert report.unread_files == []
    assert report.tables[0].columns["item_id"] == "sku or app"


def test_files_of_any_depth_and_days_in_folders(tmp_path: Path) -> None:
    shop = SourceFolder(
        tmp_path,
        files={"interactions": "events/dt=*/**/*.csv"},
        columns={"interactions": {"date": "dt"}},
    )
    shop.write("events/dt=2024-01-02/part.csv", "user_id,item_id,dt\nu,i,2020-01-01\n")
    shop.write("events/dt=2024-01-03/region=de%20nord/a/part.csv", "user_id,item_id\nu,j\n")
    shop.write("events/dt=2024-01-03/_tmp/part.csv", "user_id,item_id\nu,k\n")
    shop.write("events/dt=__HIVE_DEFAULT_PARTITION__/part.csv", "user_id,item_id\nu,x\n")
    assert total_counts(shop.ingest()) == (3, 2, 1)
    rows = shop.rows(
        "select item_id, date::VARCHAR as date, location from raw.interactions order by 1"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("i", "2024-01-02", None),
        ("j", "2024-01-03", "de nord"),
    ]
    assert "date is empty" in shop.reasons()[0]


def test_a_file_belongs_to_the_first_pattern_that_fits_and_may_belong_to_several_tables(
    tmp_path: Path,
) -> None:
    first: dict[str, Any] = {"pattern": "b.dat", "format": "csv", "columns": {"amount": "eur"}}
    users = {"pattern": "b.dat", "format": "csv"}
    shop = SourceFolder(tmp_path, files={"interactions": [first, "*.dat"], "users": users})
    shop.write("b.dat", "user_id,item_id,eur,amount\nu,i,5,6\n")
    with pytest.raises(SourceError, match=r"format of a\.dat is unknown .*format: csv"):
        shop.write("a.dat", HEADER).ingest()
    (shop.folder / "a.dat").unlink()
    assert total_counts(shop.ingest()) == (1, 1, 0)
    assert shop.rows("select amount from raw.interactions") == [{"amount": 5.0}]
    assert total_counts(shop.ingest(USERS)) == (1, 1, 0)


def test_types_that_differ_between_files_are_read_as_text(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path, files={"items": ["a.parquet", "b.parquet", "c.csv"]})
    shop.write("interactions.csv", HEADER)
    write_parquet(shop, "a.parquet", "select 1.0::DOUBLE as item_id, 2.5 as price, 'x' as kind")
    write_parquet(shop, "b.parquet", "select '0012' as ITEM_ID, 3 as price, true as available")
    shop.write("c.csv", "item_id,price,available\nx,1.25,no\n,,\n")
    assert total_counts(shop.ingest(ITEMS)) == (4, 3, 1)
    rows = shop.rows("select item_id, price, available from raw.items order by item_id")
    assert [tuple(row.values()) for row in rows] == [
        ("0012", 3.0, True),
        ("1.0", 2.5, None),
        ("x", 1.25, False),
    ] or [tuple(row.values()) for row in rows] == [
        ("0012", 3.0, True),
        ("1", 2.5, None),
        ("x", 1.25, False),
    ]


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("interactions.csv.gz", lambda text: gzip.compress(text.encode())),
        ("interactions.csv.zst", zstd),
        ("interactions.txt", lambda text: text),
        ("interactions/2024/a.tsv.zst", lambda text: zstd(text.replace(",", "\t"))),
    ],
)
def test_compressed_text_is_found_by_name(tmp_path: Path, name: str, pack: Any) -> None:
    shop = SourceFolder(tmp_path).write(name, pack(HEADER + "u,i,2024-01-02,1\n"))
    assert total_counts(shop.ingest()) == (1, 1, 0)


@pytest.mark.parametrize("name", ["interactions.csv.gz", "interactions.csv.zst"])
def test_an_incomplete_compressed_file_is_refused(tmp_path: Path, name: str) -> None:
    shop = SourceFolder(tmp_path).write(name, "no compressed data")
    with pytest.raises(SourceError, match=rf"{name} is not a complete"):
        shop.ingest()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"files": {"orders": "*.csv"}}, r"source\.files\.orders: there is no raw table"),
        ({"files": {"interactions": "/etc/*.csv"}}, "write a pattern relative to source.path"),
        ({"files": {"interactions": "../*.csv"}}, "write a pattern relative to source.path"),
        (
            {"files": {"interactions": "sales*.csv"}},
            r"'sales\*\.csv' fits no file in .*; it has: a/b\.csv, interactions\.csv",
        ),
        (
            {"files": {"interactions": [{"pattern": "*.csv", "columns": {"who": "x"}}]}},
            "no column of raw.interactions with that name",
        ),
        (
            {"files": {"interactions": [{"pattern": "*.csv", "formats": {"amount": "x"}}]}},
            "not an example of a number",
        ),
        (
            {"formats": {"interactions": {"quantity": "1.234,56"}}},
            "no column of the source is mapped to it",
        ),
    ],
)
def test_a_wrong_setting_is_an_error(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    shop = SourceFolder(tmp_path, **options).write("interactions.csv", HEADER)
    shop.write("a/b.csv", HEADER)
    with pytest.raises(SourceError, match=message):
        shop.ingest()


def test_another_pattern_changes_the_fingerprint(tmp_path: Path) -> None:
    plain = SourceFolder(tmp_path).write("interactions.csv", HEADER)
    named = SourceFolder(tmp_path, files={"interactions": "*.csv"})
    assert plain.source.files(INTERACTIONS) == named.source.files(INTERACTIONS)  # type: ignore[attr-defined]
    assert plain.source.fingerprint(INTERACTIONS) != named.source.fingerprint(INTERACTIONS)
