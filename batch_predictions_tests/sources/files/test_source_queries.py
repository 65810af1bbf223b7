"""Queries over a source's files: results are ingested like files; they see nothing else."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from batch_predictions.settings import DuckDBSettings
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.checking.check import check_source
from batch_predictions.sources.files.file_queries import SourceQuery
from batch_predictions.tables import INTERACTIONS, ITEMS
from batch_predictions_tests.worlds.source_folders import SourceFolder, day_keys, total_counts

ORDERS_QUERY = """
    select "Lineitem sku" as item_id, o.Email as user_id, quantity * price as amount,
        "Created at"::DATE as date
    from 'export/orders*.csv' o join read_csv('prices.csv', delim = ';') using (sku_group)
    where status = 'paid' order by date
"""
HEADER = "Lineitem sku,Email,quantity,Created at,status,sku_group\n"


@pytest.fixture
def shop(tmp_path: Path) -> SourceFolder:
    folder = SourceFolder(tmp_path, queries={"interactions": ORDERS_QUERY})
    folder.write(
        "export/orders-1.csv",
        HEADER + "A1,ann,2,2024-01-02,paid,g\n" + "A2,bob,1,2024-01-03,open,g\n",
    )
    folder.write("export/orders-2.csv", HEADER + ",eve,3,2024-01-03,paid,g\n")
    return folder.write("prices.csv", "sku_group;price\ng;1.5\n").write("notes.txt", "x")


def run_query(folder: Path, sql: str) -> Path:
    query = SourceQuery("interactions", sql, folder)
    return query.result(folder.parent / "results", DuckDBSettings(memory_limit="200MB"))


def test_the_result_is_validated_like_a_file(shop: SourceFolder) -> None:
    assert total_counts(shop.ingest()) == (2, 1, 1)
    [row] = shop.rows(
        "select date::VARCHAR as date, user_id, item_id, amount from raw.interactions"
    )
    assert list(row.values()) == ["2024-01-02", "ann", "A1", 3.0]
    [refused] = shop.rows("from raw.quarantine")
    assert (refused["source"], refused["row_number"]) == ("query interactions", 2)
    assert "item_id is empty" in refused["reason"]
    assert '"user_id":"eve"' in refused["row"]


def test_the_files_of_a_query_are_read_files(shop: SourceFolder) -> None:
    assert shop.source.file_names(INTERACTIONS) == [
        "export/orders-1.csv",
        "export/orders-2.csv",
        "prices.csv",
    ]
    report = check_source(shop.settings)
    assert report.unread_files == ["notes.txt"]
    assert report.tables[0].columns == {
        name: name for name in ("date", "user_id", "item_id", "amount")
    }
    assert not shop.settings.home.exists()


def test_a_query_runs_again_only_when_its_files_change(shop: SourceFolder) -> None:
    results = shop.settings.home / "source_queries"
    shop.ingest(days=day_keys(3))
    [first] = results.glob("*.parquet")
    written = first.stat().st_mtime_ns
    shop.write("notes.txt", "changed").ingest(days=day_keys(3))
    assert [path.stat().st_mtime_ns for path in results.glob("*.parquet")] == [written]
    for day in (4, 5, 6):
        row = f"A{day},ann,2,2024-01-0{day},paid,g\n"
        shop.write(f"export/orders-{day}.csv", HEADER + row).ingest()
    assert len(list(results.iterdir())) == 2  # the newest and the one before it
    assert len(shop.rows("from raw.interactions")) == 4


def test_a_query_of_one_table_leaves_the_others_to_files(shop: SourceFolder) -> None:
    shop.write("items.csv", "item_id,price\nA1,2\n")
    assert total_counts(shop.ingest(ITEMS)) == (1, 1, 0)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select 1; select 2", "is not one SELECT .there are several statements"),
        ("copy (select 1) to 'out.csv'", "is not one SELECT"),
        ("selec 1", "is not one SELECT .* The query is: selec 1"),
        ("select 1 from 'missing*.csv'", r"reads 'missing\*\.csv', but .* it has: export, notes"),
        ("select kunde from 'export/*.csv'", r"cannot be run: .*kunde[\s\S]*The query is: select"),
        ("select 1 as user_id from 'prices.csv'", "result of source.queries.interactions has no c"),
    ],
)
def test_a_query_that_cannot_be_run_is_shown_with_its_error(
    shop: SourceFolder, tmp_path: Path, sql: str, message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        SourceFolder(tmp_path, queries={"interactions": sql}).ingest()


@pytest.mark.parametrize(
    "sql",
    [
        "select * from '{other}/secret.csv'",
        "select * from '{folder}/../other/secret.csv'",
        "select * from read_csv('{other}/secret.csv')",
        "select * from read_csv('../other/secret.csv')",
        "select * from read_text('/etc/hostname')",
        "select * from read_blob(['/etc/hostname'])",
        "select * from glob('{other}/*')",
        "select * from parquet_scan('{other}/x.parquet')",
        "select * from query('select * from read_text(''/etc/hostname'')')",
        "select * from query_table('{other}/secret.csv')",
        "select * from 'https://example.com/x.csv'",
        "select * from sqlite_scan('{other}/x.db', 't')",
        "select (select content from read_text('{other}/secret.csv')) from 'prices.csv'",
    ],
)
def test_a_query_reads_nothing_outside_the_folder(
    shop: SourceFolder, tmp_path: Path, sql: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "secret.csv").write_text("secret\n1\n")
    with pytest.raises(SourceError, match=r"source\.queries\.interactions"):
        run_query(shop.folder, sql.format(other=other, folder=shop.folder))


@pytest.mark.parametrize(
    "statement",
    [
        "copy (select 1) to '{folder}/out.csv'",
        "attach '{folder}/x.db'",
        "load httpfs",
        "install httpfs",
        "set enable_external_access = true",
        "create table x as select 1",
        "export database '{folder}/x'",
        "pragma enable_profiling",
    ],
)
def test_a_query_can_only_select(shop: SourceFolder, statement: str) -> None:
    before = sorted(shop.folder.rglob("*"))
    sql = statement.format(folder=shop.folder)
    quoted = sql.replace("'", "''")
    for text in (
        sql,
        f"select 1; {sql}",
        f"select * from query('{quoted}')",
    ):
        with pytest.raises(SourceError, match=r"source\.queries\.interactions"):
            run_query(shop.folder, text)
    assert sorted(shop.folder.rglob("*")) == before


def test_a_large_result_is_written_within_the_memory_limit(shop: SourceFolder) -> None:
    sql = (
        "select i::VARCHAR as user_id, repeat(i::VARCHAR, 20) as item_id from range(2000000) t(i), "
        "'prices.csv' order by hash(i)"
    )
    result = run_query(shop.folder, sql)
    assert duckdb.execute(f"select count(*) from '{result}'").fetchall() == [(2_000_000,)]
    assert [path for path in result.parent.iterdir() if path.is_file()] == [result]


def test_the_path_of_the_folder_is_no_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "so[u]rce *?"
    (folder / "parts").mkdir(parents=True)
    (folder / "rows[1].csv").write_text("a\n1\n", encoding="utf-8")
    (folder / "rows1.csv").write_text("a\n2\n", encoding="utf-8")
    (folder / "parts" / "x1.csv").write_text("a\n3\n", encoding="utf-8")
    (folder / "parts" / "x[2].csv").write_text("a\n4\n", encoding="utf-8")
    sql = (
        "select a from 'rows[1].csv' union all select a from read_csv('parts/x*.csv') "
        f"union all select a from '{folder}/rows1.csv' order by 1"
    )
    result = run_query(folder, sql)
    assert pq.read_table(result)["a"].to_pylist() == [1, 2, 3, 4]


@pytest.mark.parametrize("options", ["", ", quote = ''"])
def test_two_stray_quotes_that_swallow_rows_stop_a_query(tmp_path: Path, options: str) -> None:
    query = (
        "select user_id, item_id, occurred_at, trim(amount, '\"') as amount "
        f"from read_csv('sales.csv', all_varchar = true{options})"
    )
    lines = [f"u{n},i,2024-01-03,1" for n in range(99)]
    lines[20], lines[80] = 'u20,i,2024-01-03,"1', 'u80,i,2024-01-03,1"'
    shop = SourceFolder(tmp_path, queries={"interactions": query})
    shop.write("sales.csv", "\n".join(["user_id,item_id,occurred_at,amount", *lines, ""]))
    if options:
        assert total_counts(shop.ingest()) == (99, 99, 0)
        return
    with pytest.raises(
        SourceError, match=r"sales\.csv, line 22: a quote is opened here and closed"
    ):
        shop.ingest()
