"""Stock of a folder of files: days, locations, and rows that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_predictions.automation.planning import raw_due
from batch_predictions.sources import SourceError
from batch_predictions.sources.ingest import ingest
from batch_predictions.tables import INTERACTIONS, INVENTORY
from batch_predictions.warehouse import as_date
from batch_predictions_tests.worlds.source_folders import HEADER, World, totals

EVENTS = HEADER + "u,i,2024-01-02,1\nu,i,2024-01-03,1\n"


def test_stock_is_read_by_day_and_location_and_bad_rows_are_told(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", EVENTS)
    world.write(
        "inventory.csv",
        "sku,day,store,stock,incoming\n"
        "a,2024-01-02,east,12,3\n"
        "a,2024-01-02,west,-1,\n"
        "b,2024-01-02,,5,0\n"
        "a,2024-01-03,east,9,\n"
        "a,2024-01-02,east,11,\n"  # a second count of the same day and place
        "c,2024-01-02,east,,\n"  # no count
        "d,2024-01-02,east,4,-2\n"  # less than nothing under way
        "e,2024-01-02,east,many,\n",
    )
    assert INVENTORY in world.source.tables()
    assert totals(world.ingest(INVENTORY)) == (8, 4, 4)
    rows = world.rows("select * exclude (date) from raw.inventory where date = '2024-01-02'")
    assert [tuple(row.values()) for row in rows] == [
        ("a", "east", 12, 3),
        ("a", "west", -1, None),
        ("b", "all", 5, 0),
    ]
    reasons = world.reasons()
    told = ("already", "on_hand is empty", "not negative")
    assert all(any(part in reason for reason in reasons) for part in told), reasons


def test_stock_without_a_day_is_of_the_default_day(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", EVENTS)
    world.write("inventory.csv", "item_id,on_hand\na,3\n")
    world.ingest(INVENTORY)
    [row] = world.rows("select date, location from raw.inventory")
    assert (str(row["date"]), row["location"]) == ("2024-01-07", "all")


def test_a_file_without_a_count_is_refused_with_the_setting_that_names_it(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", EVENTS)
    world.write("inventory.csv", "item_id,pieces\na,3\n")
    with pytest.raises(SourceError, match=r"source\.columns\.inventory\.on_hand"):
        world.ingest(INVENTORY)


def test_a_home_from_before_there_was_the_table_gets_empty_days_to_predict(
    tmp_path: Path,
) -> None:
    world = World(tmp_path).write("interactions.csv", EVENTS)
    state, first, last = world.state, as_date("2024-01-02"), as_date("2024-01-03")
    for table in (each for each in world.source.tables() if each.partition == "date"):
        everything = [f"2024-01-{day:02}" for day in range(1, 4)]
        ingest(world.warehouse, world.source, table, everything, state)
    assert world.warehouse.partitions(INTERACTIONS) and INVENTORY not in world.source.tables()
    due = raw_due(world.warehouse, world.source, state, first, last)
    assert due == ["2024-01-02", "2024-01-03"]
