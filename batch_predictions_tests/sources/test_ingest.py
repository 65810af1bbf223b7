"""An ingest may be repeated, corrected and interrupted; older snapshots never win."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest

from batch_predictions.home import HomeError
from batch_predictions.sources import SourceError, initialise_home, kinds, source_of
from batch_predictions.sources.ingest import days_to_ingest
from batch_predictions.sources.ingest_log import read_ingest_log
from batch_predictions.tables import INTERACTIONS, QUARANTINE, REVIEWS, USERS
from batch_predictions_tests.worlds.source_folders import HEADER, World, days, totals

PART = {"table_name": "interactions"}


def touch(path: Path, seconds: int) -> None:
    """Moves a file's time, which a file system may keep in coarse steps."""
    stat = path.stat()
    os.utime(path, (stat.st_atime, stat.st_mtime + seconds))


def test_ingesting_again_changes_nothing_even_when_files_were_touched(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", HEADER + "u,i,2024-01-02,1\nu,i,x,1\n")
    first = world.ingest()
    assert all(each.written.changed for each in first.values())
    touch(world.folder / "interactions.csv", 5)
    second = world.ingest()
    assert not any(each.written.changed for each in second.values())
    assert {day: each.counts for day, each in first.items()} == {
        day: each.counts for day, each in second.items()
    }


def test_a_late_row_changes_its_day_alone(tmp_path: Path) -> None:
    world = World(tmp_path)
    rows = HEADER + "".join(f"u,i,{day},1\n" for day in days(10))
    world.write("interactions.csv", rows).ingest()
    world.write("interactions.csv", rows + "late,i,2024-01-04,1\n")
    again = world.ingest()
    assert [day for day, each in again.items() if each.written.changed] == ["2024-01-04"]


def test_corrected_data_clears_the_quarantine(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", HEADER + "u,i,2024-01-02,x\n")
    assert totals(world.ingest()) == (1, 0, 1)
    assert world.warehouse.path(QUARANTINE, "2024-01-02", PART).exists()
    world.write("interactions.csv", HEADER + "u,i,2024-01-02,3\n")
    assert totals(world.ingest()) == (1, 1, 0)
    assert world.rows("from raw.quarantine") == []


def test_an_older_day_does_not_replace_a_newer_snapshot(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", HEADER)
    world.write("users.csv", "user_id\na\nb\n")
    world.ingest(USERS, ["2024-01-05"])
    world.write("users.csv", "user_id\na\n")
    older = world.ingest(USERS, ["2024-01-03", "2024-01-04"])
    assert older["2024-01-04"].superseded
    assert not older["2024-01-04"].written.changed
    assert len(world.rows("from raw.users")) == 2
    newer = world.ingest(USERS, days(6))
    assert list(newer) == ["2024-01-06"]
    assert newer["2024-01-06"].written.changed
    assert len(world.rows("from raw.users")) == 1
    assert read_ingest_log(world.settings.home, USERS).as_of == "2024-01-06"


def test_refused_users_are_kept_under_the_day_of_the_ingest(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", HEADER)
    world.write("users.csv", "user_id\na\na\n").ingest(USERS, days(3))
    [row] = world.rows("from raw.quarantine")
    assert (str(row["date"]), row["table_name"]) == ("2024-01-03", "users")


def test_due_days_are_those_not_written_or_read_from_another_state(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", HEADER + "u,i,2024-01-02,1\n")
    first, last = dt.date(2024, 1, 1), dt.date(2024, 1, 4)

    def pending(through: dt.date = last) -> list[str]:
        return days_to_ingest(world.warehouse, world.source, INTERACTIONS, first, through)

    assert pending() == days(4)
    world.ingest(keys=days(4))
    assert pending() == []
    assert pending(dt.date(2024, 1, 5)) == ["2024-01-05"]
    world.warehouse.remove_partition(INTERACTIONS, "2024-01-02")
    assert pending() == ["2024-01-02"]
    world.ingest(keys=["2024-01-02"])
    touch(world.folder / "interactions.csv", 7)
    assert pending() == days(4)


def test_a_snapshot_is_due_once_for_every_state_of_the_source(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", HEADER).write("users.csv", "user_id\na\n")

    def pending(last: str) -> list[str]:
        through = dt.date.fromisoformat(last)
        return days_to_ingest(world.warehouse, world.source, USERS, through, through)

    assert pending("2024-01-03") == ["2024-01-03"]
    world.ingest(USERS, ["2024-01-03"])
    assert pending("2024-01-03") == pending("2024-01-04") == []
    world.write("users.csv", "user_id\na\nbb\n")
    assert pending("2024-01-04") == ["2024-01-04"]
    assert pending("2024-01-02") == []


def test_a_table_that_the_source_lacks_gets_empty_partitions(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", HEADER)
    assert totals(world.ingest(REVIEWS)) == (0, 0, 0)
    world.ingest(USERS)
    assert world.warehouse.partitions(REVIEWS) == days(10)
    assert world.warehouse.path(USERS).exists()
    assert (
        days_to_ingest(
            world.warehouse, world.source, USERS, dt.date(2024, 1, 1), dt.date(2024, 1, 20)
        )
        == []
    )


def test_a_day_before_the_home_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", HEADER)
    with pytest.raises(SourceError, match="before 2024-01-01, the first day"):
        world.ingest(keys=["2023-12-31"])


def test_the_first_run_fixes_the_days_and_another_source_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", HEADER + "u,i,2024-01-03,1\n")
    state = initialise_home(world.settings, dt.date(2024, 1, 10))
    assert (state.first_day, state.default_date) == (dt.date(2024, 1, 3), dt.date(2024, 1, 7))
    world.write("interactions.csv", HEADER + "u,i,2023-01-03,1\n")
    assert initialise_home(world.settings, dt.date(2024, 2, 10)) == state
    for change in ({"kind": "movielens"}, {"timezone": "Europe/Berlin"}):
        source = world.settings.source.model_copy(update=change)
        other = world.settings.model_copy(update={"source": source})
        with pytest.raises(HomeError, match="--home"):
            initialise_home(other, dt.date(2024, 1, 10))


def test_an_unknown_kind_lists_those_there_are(tmp_path: Path) -> None:
    world = World(tmp_path)
    there = ["amazon_reviews", "complete_journey", "files", "movielens"]
    assert kinds() == there
    with pytest.raises(SourceError, match=f"there are {', '.join(there)}"):
        source_of(world.settings.source.model_copy(update={"kind": "oracle"}), None)
