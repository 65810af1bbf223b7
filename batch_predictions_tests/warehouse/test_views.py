"""The file of views: rewritten only when a table is declared, and readable by analysts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from batch_predictions.settings import Settings
from batch_predictions.tables import TABLES, Column, Table, declare
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.views import ensure_views
from batch_predictions_tests.worlds.pets import DAY, NEXT, PETS, ROW, read_ids


def analyst(home: Path, sql: str) -> list[tuple[Any, ...]]:
    """What somebody sees who opens the views' file."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as db:
        return db.execute(sql).fetchall()


def test_views_read_files_that_are_added_later(warehouse: Warehouse) -> None:
    views = ensure_views(Path(warehouse.home), warehouse.folder)
    stat_before = views.stat()
    assert analyst(views.parent, "select count(*) from raw.pets") == [(0,)]
    warehouse.replace_partition(PETS, DAY, ROW)
    warehouse.replace_partition(PETS, NEXT, ROW)
    assert views.stat().st_ino == stat_before.st_ino
    assert analyst(views.parent, "select count(*), max(date)::VARCHAR from raw.pets") == [(2, NEXT)]


def test_views_read_files_without_a_newer_column(warehouse: Warehouse) -> None:
    warehouse.replace_partition(PETS, DAY, ROW)
    newer = Table(
        "raw", "pets", PETS.description, (*PETS.columns, Column("wings", "BIGINT", "how many"))
    )
    TABLES[PETS.qualified] = newer
    assert warehouse.value("select typeof(wings) from raw.pets") == "BIGINT"
    warehouse.replace_partition(newer, NEXT, f"select *, 2 as wings from ({ROW})")
    rows = warehouse.query("select wings from raw.pets order by date")
    assert rows["wings"].to_pylist() == [None, 2]


def test_a_query_opens_only_the_files_that_it_reads(warehouse: Warehouse) -> None:
    warehouse.replace_partition(PETS, DAY, ROW)
    warehouse.replace_partition(PETS, NEXT, ROW)
    warehouse.path(PETS, NEXT).write_bytes(b"no Parquet file")
    assert warehouse.value("select count(*) from raw.pets where date = $date", {"date": DAY}) == 1


def test_views_of_an_older_version_are_made_anew(warehouse: Warehouse) -> None:
    """They opened every file of a table to plan a query."""
    warehouse.replace_partition(PETS, DAY, ROW)
    views = ensure_views(Path(warehouse.home), warehouse.folder)
    stamp = views.with_suffix(".views")
    text = stamp.read_text()
    assert "union_by_name" not in text
    stamp.write_text(text.replace("allow_empty=true", "allow_empty=true, union_by_name=true"))
    assert ensure_views(Path(warehouse.home), warehouse.folder).with_suffix(".views") == stamp
    assert {*text.splitlines()} <= {*stamp.read_text().splitlines()}


def test_views_are_rewritten_only_when_a_table_is_declared(
    warehouse: Warehouse,
) -> None:
    views = ensure_views(Path(warehouse.home), warehouse.folder)
    first = views.stat().st_ino
    assert ensure_views(Path(warehouse.home), warehouse.folder).stat().st_ino == first
    more = declare(Table("raw", "more_pets", "For this test.", PETS.columns, key=("pet_id",)))
    try:
        assert warehouse.query("from raw.more_pets").num_rows == 0
        second = views.stat().st_ino
        assert second != first
    finally:
        del TABLES[more.qualified]
    # A process that knows fewer tables leaves those of another alone.
    assert ensure_views(Path(warehouse.home), warehouse.folder).stat().st_ino == second
    assert analyst(views.parent, "from raw.more_pets") == []


def test_views_follow_a_home_that_moves(settings: Settings, tmp_path: Path) -> None:
    Warehouse.of(settings).replace_partition(PETS, DAY, ROW)
    moved = settings.home.rename(tmp_path / "it's moved")
    moved_warehouse = Warehouse.of(settings.model_copy(update={"home": moved}))
    assert read_ids(moved_warehouse) == ["1"]
    assert analyst(moved, "select pet_id from raw.pets") == [("1",)]


def test_the_views_file_has_no_rows(warehouse: Warehouse) -> None:
    warehouse.replace_partition(PETS, DAY, ROW)
    home = Path(warehouse.home)
    assert analyst(home, "select count(*) from duckdb_tables()") == [(0,)]
    views = "select schema_name || '.' || view_name from duckdb_views() where not internal"
    assert {name for (name,) in analyst(home, views)} == set(TABLES)


def test_a_damaged_views_file_is_made_again(warehouse: Warehouse) -> None:
    query = "select count(*) from raw.items"
    assert warehouse.value(query) == 0
    path = Path(warehouse.home) / "warehouse.duckdb"
    content = path.read_bytes()
    for damaged in (b"", b"garbage", content[:20_000], bytes(len(content))):
        path.write_bytes(damaged)
        assert warehouse.value(query) == 0


def test_an_analyst_may_change_the_views_while_the_process_that_reads_them_lives(
    warehouse: Warehouse,
) -> None:
    assert warehouse.value("select count(*) from raw.users") == 0
    with duckdb.connect(str(Path(warehouse.home) / "warehouse.duckdb")) as db:
        db.execute("create view main.answer as select 42 as n")
    assert warehouse.value("select n from main.answer") == 42
