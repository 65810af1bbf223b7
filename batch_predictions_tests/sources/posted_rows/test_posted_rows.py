"""What was posted becomes raw rows: by the business day, late ones too, and again the same."""

from __future__ import annotations

import datetime as dt
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from batch_predictions.planning.run_plan import raw_due
from batch_predictions.settings import ServingSettings, Settings
from batch_predictions.sources.due_partitions import days_to_ingest
from batch_predictions.sources.ingest import IngestResult, ingest
from batch_predictions.sources.posted_rows.feedback import FeedbackSource, feedback_days_due
from batch_predictions.sources.posted_rows.posted_schema import (
    METADATA,
    POSTED_EVENTS,
    POSTED_USERS,
    posted_url,
)
from batch_predictions.sources.posted_rows.reader import PostedRows, PostedRowsError
from batch_predictions.tables import FEEDBACK, USER_ALIASES, USERS
from batch_predictions_tests.worlds.postgres import require_psycopg
from batch_predictions_tests.worlds.source_folders import (
    FIRST_DAY,
    HEADER,
    SourceFolder,
    day_keys,
    total_counts,
)

LAST = FIRST_DAY + dt.timedelta(days=9)


class PostedWorld(SourceFolder):
    """A home in New York, and rows as the HTTP service stores them."""

    def __init__(self, tmp_path: Path, url: str | None = None) -> None:
        super().__init__(tmp_path, timezone="America/New_York")
        self.settings = self.settings.model_copy(update={"serving": ServingSettings(url=url)})
        self.settings.home.mkdir(exist_ok=True)
        self.write("interactions.csv", HEADER + "u,i,2024-01-02,1\n")
        self._engine = sa.create_engine(posted_url(self.settings))

    def post(self, table: sa.Table, *rows: dict[str, Any]) -> None:
        with self._engine.begin() as db:
            METADATA.create_all(db)
            db.execute(sa.insert(table), list(rows))
        self._engine.dispose()

    def post_events(self, **times: str) -> None:
        """Events by id, each at a time in UTC."""
        self.post(
            POSTED_EVENTS,
            *(
                {
                    "event_id": event_id,
                    "event_type": "click",
                    "user_id": "u",
                    "item_id": "i",
                    "source": "personal",
                    "rank": 3,
                    "occurred_at": dt.datetime.fromisoformat(time),
                    "received_at": dt.datetime(2024, 1, 9),
                }
                for event_id, time in times.items()
            ),
        )

    def sign_up(self, user: str, at: str, **attributes: Any) -> None:
        posted = {"user_id": user, "posted_at": dt.datetime.fromisoformat(at)}
        nothing = dict.fromkeys(("age_bracket", "gender", "location", "signed_up_on"))
        self.post(POSTED_USERS, {**nothing, **posted, **attributes})

    def ingest_feedback(self, days: list[str] | None = None) -> dict[str, IngestResult]:
        source = FeedbackSource.of(self.source)
        return ingest(self.warehouse, source, FEEDBACK, days or day_keys(10), self.state)

    def due(self) -> list[str]:
        return feedback_days_due(self.warehouse, self.source, FIRST_DAY, LAST)

    def hashes(self) -> dict[str, bytes]:
        files = self.warehouse.folder.rglob("*.parquet")
        return {str(path): path.read_bytes() for path in files}


@pytest.fixture
def world(database_url: str | None, tmp_path: Path) -> PostedWorld:
    return PostedWorld(tmp_path, database_url)


def test_events_are_of_the_business_day_in_which_they_occurred(world: PostedWorld) -> None:
    assert world.due() == [] and total_counts(world.ingest_feedback()) == (0, 0, 0)
    world.post_events(
        late_evening="2024-01-03T04:59:59.999", midnight="2024-01-03T05:00", noon="2024-01-05T17:00"
    )
    assert world.due() == ["2024-01-02", "2024-01-03", "2024-01-05"]
    assert total_counts(world.ingest_feedback()) == (3, 3, 0)
    rows = world.rows("select * from raw.feedback order by occurred_at")
    assert [(str(row["date"]), row["event_id"]) for row in rows] == [
        ("2024-01-02", "late_evening"),
        ("2024-01-03", "midnight"),
        ("2024-01-05", "noon"),
    ]
    assert rows[2] == {
        "date": dt.date(2024, 1, 5),
        "event_id": "noon",
        "event_type": "click",
        "user_id": "u",
        "item_id": "i",
        "recommendation_id": None,
        "release_id": None,
        "source": "personal",
        "rank": 3,
        "bucket": None,
        "occurred_at": dt.datetime(2024, 1, 5, 17),
    }
    assert world.due() == []


def test_a_late_event_makes_its_own_day_again_and_no_other(world: PostedWorld) -> None:
    world.post_events(a="2024-01-03T12:00", b="2024-01-05T12:00")
    world.ingest_feedback()
    before = world.hashes()
    again = world.ingest_feedback()
    assert not any(result.write_result.changed for result in again.values())
    assert world.hashes() == before, "a re-run gives the same bytes"
    world.post_events(late="2024-01-03T13:00", future="2024-01-20T13:00")
    assert world.due() == ["2024-01-03"]
    source = world.source
    assert raw_due(world.warehouse, source, world.state, LAST, LAST)["feedback"] == ["2024-01-03"]
    assert FeedbackSource.of(source).later_rows(FEEDBACK, LAST) is not None
    results = world.ingest_feedback(["2024-01-03"])
    assert results["2024-01-03"].counts.accepted == 2
    assert world.due() == []


def test_the_days_of_a_home_are_looked_at_by_few_connections(
    world: PostedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.post_events(a="2024-01-02 12:00:00", b="2024-01-09 12:00:00", c="2024-01-09 13:00:00")
    connections: list[None] = []
    connect = PostedRows._engine

    def count(rows: PostedRows) -> Any:
        connections.append(None)
        return connect(rows)

    monkeypatch.setattr(PostedRows, "_engine", count)
    source = FeedbackSource.of(world.source)
    assert source.day_fingerprints(FEEDBACK, day_keys(3)).keys() == {*day_keys(3)}
    few = len(connections)
    fingerprints = source.day_fingerprints(FEEDBACK, day_keys(10))
    assert len(connections) == 2 * few
    assert [day[-2:] for day in day_keys(10) if fingerprints[day][:2] != "0-"] == ["02", "09"]


def test_read_is_accepted_and_quarantined(world: PostedWorld) -> None:
    # Ids that the rules of ids make equal, and one that they make empty.
    world.post_events(**{"7": "2024-01-03T12:00", "7.0": "2024-01-03T12:00"})
    world.post_events(**{"null": "2024-01-03T12:00"})
    assert total_counts(world.ingest_feedback()) == (3, 1, 2)
    reasons = sorted(world.reasons())
    assert reasons[0].startswith("event_id '7' is already in row") and "empty" in reasons[1]
    [row, *_] = world.rows("select row from raw.quarantine where table_name = 'feedback'")
    assert '"source":"personal"' in row["row"]


def test_events_before_the_first_day_are_named(world: PostedWorld) -> None:
    world.post_events(early="2023-12-31T12:00", first="2024-01-01T05:00")
    feedback = FeedbackSource.of(world.source)
    assert feedback.rows_before(FIRST_DAY) == 1
    assert world.due() == ["2024-01-01"]


def test_sign_ups_are_added_to_the_users_and_the_source_s_row_wins(world: PostedWorld) -> None:
    world.write("users.csv", "user_id,age,gender,location\nold,30,F,north\n")
    assert days_to_ingest(world.warehouse, world.source, USERS, FIRST_DAY, LAST)
    world.ingest(USERS)
    assert not days_to_ingest(world.warehouse, world.source, USERS, FIRST_DAY, LAST)
    world.sign_up("old", "2024-01-09T12:00", location="south", age_bracket="65+")
    world.sign_up("new", "2024-01-08T03:00", location="west")
    world.sign_up("new", "2024-01-09T12:00", location="east", age_bracket="19-24")
    world.sign_up("later", "2024-01-09T12:00", signed_up_on=dt.date(2024, 1, 5))
    assert days_to_ingest(world.warehouse, world.source, USERS, FIRST_DAY, LAST)
    [result] = world.ingest(USERS).values()
    assert (result.counts.accepted, result.posted_rows, result.write_result.rows) == (1, 2, 3)
    columns = "user_id, age_bracket, location, signed_up_on"
    assert world.rows(f"select {columns} from raw.users order by 1") == [
        {
            "user_id": "later",
            "age_bracket": None,
            "location": None,
            "signed_up_on": dt.date(2024, 1, 5),
        },
        {
            "user_id": "new",
            "age_bracket": "19-24",
            "location": "east",
            # In New York it was still the day before.
            "signed_up_on": dt.date(2024, 1, 7),
        },
        {"user_id": "old", "age_bracket": "25-34", "location": "north", "signed_up_on": None},
    ]
    [result] = world.ingest(USERS).values()
    assert not result.write_result.changed


def test_ids_of_sign_ups_are_written_as_those_of_the_source(world: PostedWorld) -> None:
    world.write("users.csv", "user_id\n1\n")
    for user, at in (
        ("1.0", "2024-01-08T12:00"),
        ("2", "2024-01-08T12:00"),
        ("null", "2024-01-08"),
    ):
        world.sign_up(user, at)
    world.sign_up("2.0", "2024-01-09T12:00", gender="F")
    world.ingest(USERS)
    assert world.rows("select user_id, gender from raw.users order by 1") == [
        {"user_id": "1", "gender": None},
        {"user_id": "2", "gender": "F"},
        {"user_id": "null", "gender": None},
    ]


def test_posted_rows_of_merged_users_have_the_present_ids(world: PostedWorld) -> None:
    world.post_events(first="2024-01-03T12:00", second="2024-01-05T12:00")
    world.sign_up("u", "2024-01-03T12:00", gender="f")
    world.sign_up("v", "2024-01-04T12:00", gender="m")
    world.write("users.csv", "user_id,gender\nw,f\n")
    world.ingest_feedback()
    world.ingest(USERS)
    world.write("user_aliases.csv", "old_id,new_id\nu,w\nv,x\n").ingest(USER_ALIASES)
    assert world.due() == ["2024-01-03", "2024-01-05"]
    due = raw_due(world.warehouse, world.source, world.state, LAST, LAST)
    assert due["users"] == [LAST.isoformat()] and "2024-01-05" in due["feedback"]
    world.ingest_feedback(["2024-01-03"])
    assert world.due() == ["2024-01-05"]
    world.ingest_feedback(["2024-01-05"])
    [result] = world.ingest(USERS).values()
    assert world.due() == [] and result.posted_rows == 1
    assert {row["user_id"] for row in world.rows("from raw.feedback")} == {"w"}
    users = world.rows("select user_id, gender from raw.users order by 1")
    assert users == [{"user_id": "w", "gender": "f"}, {"user_id": "x", "gender": "m"}]


def test_a_source_without_users_has_those_that_were_posted(world: PostedWorld) -> None:
    world.ingest(USERS)
    world.sign_up("new", "2024-01-08T12:00", gender="F")
    due = raw_due(world.warehouse, world.source, world.state, LAST, LAST)
    assert due["users"] == ["2024-01-10"]
    [result] = world.ingest(USERS).values()
    assert (result.counts.read, result.posted_rows) == (0, 1)
    assert [row["user_id"] for row in world.rows("from raw.users")] == ["new"]


def test_a_database_that_cannot_be_read_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert PostedRows.of(settings).first_and_last_event() is None, "nobody has posted yet"
    file = tmp_path / "serving-posted.sqlite"
    with sqlite3.connect(file) as db:
        db.execute("create table other (x)")
    db.close()
    assert PostedRows.of(settings).user_state() == (0, 0), "nor to a file without tables"
    file.write_bytes(b"no database " * 1000)
    with pytest.raises(PostedRowsError, match=r"not a database.*serving\.posted_url"):
        PostedRows.of(settings).first_and_last_event()


def test_a_server_that_does_not_answer_is_an_error_without_its_password() -> None:
    require_psycopg()
    url = "postgresql+psycopg://me:s3cret@127.0.0.1:1/none"
    with pytest.raises(PostedRowsError, match=r"127\.0\.0\.1:1/none") as caught:
        PostedRows(url).user_state()
    assert "s3cret" not in str(caught.value) and caught.value.__cause__ is None
