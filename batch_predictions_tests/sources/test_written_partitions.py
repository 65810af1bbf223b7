"""Partitions that were written, but that queries do not see."""

from __future__ import annotations

from pathlib import Path

import duckdb

from batch_predictions.sources.written_partitions import lost_partitions, unread_partitions
from batch_predictions.tables import INTERACTIONS, ITEMS
from batch_predictions_tests.worlds.source_folders import HEADER, SourceFolder, day_keys

NAMES = ("raw.interactions", "raw.items", "features.user_activity")
DAYS = day_keys(3)


def ingested_shop(tmp_path: Path) -> SourceFolder:
    """A shop with events on the second of three days, and one item."""
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER + "u,i,2024-01-02,1\n")
    shop.write("items.csv", "item_id,title\ni,a\n")
    shop.ingest(INTERACTIONS, DAYS)
    shop.ingest(ITEMS, DAYS)
    return shop


def test_written_days_and_days_without_rows_are_complete(tmp_path: Path) -> None:
    shop = ingested_shop(tmp_path)
    assert lost_partitions(shop.warehouse, NAMES, "date", DAYS) == []
    assert [unread_partitions(shop.warehouse, NAMES, "date", day) for day in DAYS] == [[], [], []]
    # Days that were not ingested are not lost, nor are those of which no row was accepted.
    shop.warehouse.remove_partition(INTERACTIONS, DAYS[0])
    assert lost_partitions(shop.warehouse, NAMES, "date", [*DAYS, "2024-02-01"]) == []


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    shop = ingested_shop(tmp_path)
    shop.warehouse.remove_partition(INTERACTIONS, DAYS[1])
    shop.warehouse.remove_partition(ITEMS, None)
    [events, items] = lost_partitions(shop.warehouse, NAMES, "date", DAYS)
    assert "1 rows of raw/interactions were ingested for 2024-01-02" in events
    assert "materialize raw/interactions for 2024-01-02" in events
    assert "1 rows of raw/items were ingested for 2024-01-03" in items
    assert lost_partitions(shop.warehouse, NAMES, "week", ["2024-01-01"]) == [items]


def test_a_view_that_does_not_find_the_rows_of_a_file_is_named(tmp_path: Path) -> None:
    shop = ingested_shop(tmp_path)
    with duckdb.connect(str(tmp_path / "home" / "warehouse.duckdb")) as db:
        [(view,)] = db.execute(
            "select sql from duckdb_views() where view_name = 'interactions'"
        ).fetchall()
        db.execute("drop view raw.interactions")
        db.execute(view.replace("/interactions/", "/nowhere/"))
    [problem] = unread_partitions(shop.warehouse, NAMES, "date", DAYS[1])
    assert "has 1 rows, but the view raw.interactions" in problem
    (tmp_path / "home" / "warehouse.views").unlink()
    assert unread_partitions(shop.warehouse, NAMES, "date", DAYS[1]) == []
