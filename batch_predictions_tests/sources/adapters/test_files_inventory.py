"""Inventory of a folder of files: days, locations and invalid rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_predictions.planning.run_plan import raw_due
from batch_predictions.sources.base import SourceError
from batch_predictions.tables import INTERACTIONS, INVENTORY
from batch_predictions.warehouse import as_date
from batch_predictions_tests.worlds.source_folders import (
    HEADER,
    SourceFolder,
    day_keys,
    total_counts,
)

EVENTS = HEADER + "u,i,2024-01-02,1\nu,i,2024-01-03,1\n"


def test_stock_is_read_by_day_and_location_and_invalid_rows_are_quarantined(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", EVENTS)
    shop.write(
        "inventory.csv",
        "sku,day,store,stock,incoming\n"
        "a,2024-01-02,east,12,3\n"
        "a,2024-01-02,west,-1,\n"
        "b,2024-01-02,,5,0\n"
        "a,2024-01-03,east,9,\n"
        "a,2024-01-02,east,11,\n"  # repeats the key of the first row
        "c,2024-01-02,east,,\n"  # no count
        "d,2024-01-02,east,4,-2\n"  # negative units on order
        "e,2024-01-02,east,many,\n",
    )
    assert INVENTORY in shop.source.tables()
    assert total_counts(shop.ingest(INVENTORY)) == (8, 4, 4)
    rows = shop.rows(
        "select * exclude (date, simulated) from raw.inventory where date = '2024-01-02'"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("a", "east", 12, 3),
        ("a", "west", -1, None),
        ("b", "all", 5, 0),
    ]
    reasons = shop.reasons()
    for text in ("already", "on_hand is empty", "negative number of units"):
        assert any(text in reason for reason in reasons), reasons


def test_stock_without_a_day_belongs_to_the_default_date(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", EVENTS)
    shop.write("inventory.csv", "item_id,on_hand\na,3\n")
    shop.ingest(INVENTORY)
    [row] = shop.rows("select date, location from raw.inventory")
    assert (str(row["date"]), row["location"]) == ("2024-01-07", "all")


def test_a_file_without_on_hand_is_refused_with_the_setting_to_use(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", EVENTS)
    shop.write("inventory.csv", "item_id,pieces\na,3\n")
    with pytest.raises(SourceError, match=r"source\.columns\.inventory\.on_hand"):
        shop.ingest(INVENTORY)


def test_days_of_a_table_that_the_home_does_not_have_yet_are_due(
    tmp_path: Path,
) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", EVENTS)
    state, first, last = shop.state, as_date("2024-01-02"), as_date("2024-01-03")
    for table in shop.source.tables():
        if table.partition == "date":
            shop.ingest(table, day_keys(3))
    assert shop.warehouse.partitions(INTERACTIONS) and INVENTORY not in shop.source.tables()
    due = raw_due(shop.warehouse, shop.source, state, first, last)
    assert due[INVENTORY.name] == ["2024-01-02", "2024-01-03"]
