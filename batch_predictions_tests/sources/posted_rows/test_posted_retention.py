"""Posted rows leave their database when the warehouse has them, and only then."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import sqlalchemy as sa

from batch_predictions.core.erasures import ErasedKeys
from batch_predictions.core.home import write_state
from batch_predictions.serving.erasure.store_erasure import erase_posted_rows
from batch_predictions.settings import RetentionSettings
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.due_partitions import days_to_ingest
from batch_predictions.sources.ingest import ingest
from batch_predictions.sources.posted_rows import posted_pruning, posted_retention
from batch_predictions.sources.posted_rows.posted_retention import remove_ingested_posted_rows
from batch_predictions.sources.posted_rows.posted_schema import (
    POSTED_EVENTS,
    POSTED_USERS,
    posted_url,
)
from batch_predictions.sources.posted_rows.reader import PostedRows
from batch_predictions.tables import FEEDBACK, USERS
from batch_predictions_tests.sources.posted_rows.test_posted_rows import LAST, PostedWorld
from batch_predictions_tests.worlds.source_folders import FIRST_DAY, total_counts

KEPT_DAYS = 5


@pytest.fixture
def world(database_url: str | None, tmp_path: Path) -> Iterator[PostedWorld]:
    """A home whose events are received on 9 January 2024; chunks of two rows are removed."""
    with mock.patch.object(posted_pruning, "CHUNK_ROWS", 2):
        posted = PostedWorld(tmp_path, database_url)
        write_state(posted.settings.home, posted.state)
        yield posted


def prune(world: PostedWorld, now: str = "2024-01-20", days: int | None = KEPT_DAYS) -> int:
    time = dt.datetime.fromisoformat(now).replace(tzinfo=dt.UTC).timestamp()
    settings = world.settings.model_copy(update={"retention": RetentionSettings(posted_days=days)})
    return remove_ingested_posted_rows(world.warehouse, settings, time)


def stored(world: PostedWorld, table: sa.Table, column: str) -> list[str]:
    engine = sa.create_engine(posted_url(world.settings))
    with engine.connect() as db:
        values = db.execute(sa.select(table.c[column]).order_by(table.c.number)).scalars().all()
    engine.dispose()
    return list(values)


def events(world: PostedWorld) -> list[str]:
    return stored(world, POSTED_EVENTS, "event_id")


def test_events_go_when_they_are_old_and_the_warehouse_has_them(world: PostedWorld) -> None:
    assert prune(world) == 0, "nobody has posted yet"
    world.post_events(
        a="2024-01-03T17:00", b="2024-01-03T18:00", c="2024-01-03T19:00", d="2024-01-05T17:00"
    )
    assert prune(world) == 0 and len(events(world)) == 4, "no row is in the warehouse"
    world.ingest_feedback(["2024-01-03"])
    before = world.rows("from raw.feedback order by event_id")
    # Young by the day, by the time when they were received, or kept for ever.
    assert prune(world, "2024-01-08") == prune(world, "2024-01-13") == 0
    assert prune(world, days=0) == prune(world, days=None) == 0
    assert prune(world) == 3 and events(world) == ["d"]
    assert prune(world) == 0
    # Its day is not due: what it has is in the warehouse.
    assert world.due() == ["2024-01-05"]
    world.ingest_feedback()
    assert prune(world) == 1 and events(world) == []
    hashes = world.hashes()
    assert world.due() == [] and total_counts(world.ingest_feedback()) == (4, 4, 0)
    assert world.hashes() == hashes
    assert world.rows("from raw.feedback where date = '2024-01-03' order by event_id") == before


def test_a_late_or_repeated_event_joins_what_the_warehouse_has(world: PostedWorld) -> None:
    world.post_events(a="2024-01-03T17:00", b="2024-01-03T18:00", c="2024-01-03T19:00")
    world.ingest_feedback()
    first = world.rows("from raw.feedback order by event_id")
    assert prune(world) == 3
    # The client has repeated `a` after all this time, and a late event comes with it.
    world.post_events(a="2024-01-03T17:00", late="2024-01-03T20:00")
    assert prune(world) == 0, "the late event is not ingested yet"
    assert world.due() == ["2024-01-03"]
    assert total_counts(world.ingest_feedback(["2024-01-03"])) == (4, 4, 0)
    rows = world.rows("from raw.feedback order by event_id")
    assert [row for row in rows if row["event_id"] != "late"] == first
    assert prune(world) == 2 and world.due() == []
    assert world.rows("from raw.feedback order by event_id") == rows


def test_refused_events_stay(world: PostedWorld) -> None:
    world.post_events(a="2024-01-03T17:00", b="2024-01-04T17:00")
    world.post_events(**{" ": "2024-01-03T18:00"}, c="2024-01-03T19:00")
    assert total_counts(world.ingest_feedback()) == (4, 3, 1)
    refused = world.rows("from raw.quarantine")
    assert prune(world) == 3 and events(world) == [" "]
    assert prune(world) == 0 and world.due() == []
    # The quarantine is the same when the day is read again.
    world.post_events(late="2024-01-03T20:00")
    assert total_counts(world.ingest_feedback(["2024-01-03"])) == (4, 3, 1)
    assert world.rows("from raw.quarantine") == refused
    assert prune(world) == 1 and events(world) == [" "]


def test_a_day_of_many_refused_events_keeps_all(
    world: PostedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posted_retention, "MAX_REFUSED", 0)
    world.post_events(a="2024-01-03T17:00", b="2024-01-04T17:00")
    world.post_events(**{" ": "2024-01-03T18:00"})
    world.ingest_feedback()
    assert prune(world) == 1 and events(world) == ["a", " "]


def test_an_event_of_a_day_before_the_home_stays(world: PostedWorld) -> None:
    day = FIRST_DAY - dt.timedelta(days=3)
    world.post_events(early=f"{day}T17:00", b="2024-01-04T17:00")
    world.ingest_feedback()
    assert prune(world) == 1 and events(world) == ["early"]


def test_a_lost_partition_of_removed_events_is_an_error(world: PostedWorld) -> None:
    world.post_events(a="2024-01-03T17:00")
    world.ingest_feedback()
    assert prune(world) == 1
    world.warehouse.remove_partition(FEEDBACK, "2024-01-03")
    assert world.due() == ["2024-01-03"]
    with pytest.raises(SourceError, match=r"2024-01-03.*restore it from a backup"):
        world.ingest_feedback(["2024-01-03"])


def test_rows_that_are_written_meanwhile_stay(world: PostedWorld) -> None:
    world.post_events(a="2024-01-03T17:00", b="2024-01-03T18:00", c="2024-01-03T19:00")
    world.ingest_feedback()
    begin, end = dt.datetime(2024, 1, 3, 5), dt.datetime(2024, 1, 4, 5)
    posted = PostedRows.of(world.settings)
    state = posted.event_state(begin, end)
    world.post_events(late="2024-01-03T20:00")
    with posted_pruning.PostedRowsPruner(posted_url(world.settings)) as pruner:
        assert pruner.remove_events(begin, end, state, dt.datetime(2024, 2, 1)) == 0
    assert events(world) == ["a", "b", "c", "late"]


def test_sign_ups_that_newer_ones_supersede_go(world: PostedWorld) -> None:
    world.write("users.csv", "user_id\nu\n")
    for number, hour in enumerate((12, 9, 13, 14)):
        world.sign_up("new", f"2024-01-08T{hour:02}:00", gender="F", location=f"L{number}")
    world.sign_up("once", "2024-01-08T12:00", gender="M")
    world.ingest(USERS)
    rows = world.rows("from raw.users order by user_id")
    posted = PostedRows.of(world.settings)
    before = posted.users(), posted.user_state()
    # That of nine o'clock is the first by its time, that of two o'clock the newest.
    assert prune(world, "2024-01-12") == 0 and prune(world) == 1
    assert stored(world, POSTED_USERS, "location") == ["L0", "L1", "L3", None]
    assert (posted.users(), posted.user_state()) == before
    day = LAST.isoformat()
    assert days_to_ingest(world.warehouse, world.source, USERS, FIRST_DAY, LAST) in ([], [day])
    world.ingest(USERS)
    assert world.rows("from raw.users order by user_id") == rows


def test_an_erasure_makes_no_ingest_due(world: PostedWorld) -> None:
    nobody = ErasedKeys({"u"}.__contains__)
    assert erase_posted_rows(world.settings, nobody) == 0
    world.post_events(a="2024-01-03T04:59:59", b="2024-01-03T05:00", c="2024-01-05T17:00")
    world.sign_up("u", "2024-01-04T12:00")
    world.ingest_feedback()
    ingest(world.warehouse, world.source, USERS, [str(LAST)], world.state)
    world.post_events(new="2024-01-06T17:00")
    assert world.due() == ["2024-01-06"]
    assert erase_posted_rows(world.settings, nobody) == 5
    assert events(world) == stored(world, POSTED_USERS, "user_id") == []
    assert world.due() == ["2024-01-06"], "its event had not been ingested"
    assert days_to_ingest(world.warehouse, world.source, USERS, FIRST_DAY, LAST) == []
    assert total_counts(world.ingest_feedback(["2024-01-06"])) == (0, 0, 0)
    assert world.due() == []
    # Another user's event is of another state.
    world.post_events(other="2024-01-03T17:00")
    assert world.due() == ["2024-01-03"]
