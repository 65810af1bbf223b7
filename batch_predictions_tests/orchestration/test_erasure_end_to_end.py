"""After a user was erased, no file of a home or of its sinks has the id: all are searched."""

from __future__ import annotations

import datetime as dt
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from batch_predictions.sources.posted_rows.posted_schema import (
    METADATA,
    POSTED_EVENTS,
    POSTED_USERS,
)
from batch_predictions_tests.worlds.bytes_of_home import files_with, tables_with
from batch_predictions_tests.worlds.postgres import POSTGRES, empty_postgres
from batch_predictions_tests.worlds.retail_fixtures import (
    environment,
    run_command,
    run_json,
    write_shop,
)

pytestmark = pytest.mark.slow

LAST = dt.date(2024, 3, 17)
"""A Sunday: its run trains, too."""
USER, REVIEW = "customer-77fae1", "review-of-77fae1"
SIGNED_UP = f"{USER}-app"
"""A user whom the source does not know, but the application."""
IDS = {"u01": USER}
DAYS = 35
"""Enough for models of queries."""
QUERIES = """
predictions:
  buyers: {predict: "top(24, user_id)", of: interaction, for: item, days: 1}
  pairs: {predict: count(*) > 0, of: interaction, for: user x item, days: 1}
"""
NOBODY_FOUND = 7
EXCEPTIONS = ("backups/",)
"""What may have the id afterwards: docs/how_to/erase_users.md."""


def write_source(folder: Path) -> None:
    """A shop in which a user has an id of its own, reviews, and rows that are refused."""
    write_shop(folder, days=DAYS, last=LAST)
    users = pq.read_table(folder / "users.parquet").to_pylist()
    for row in users:
        row["email"] = f"{IDS.get(row['user_id'], row['user_id'])}@example.com"
    pq.write_table(pa.Table.from_pylist(users), folder / "users.parquet")
    for name in ("interactions", "users"):
        rows = pq.read_table(folder / f"{name}.parquet").to_pylist()
        rows = [{**row, "user_id": IDS.get(row["user_id"], row["user_id"])} for row in rows]
        if name == "interactions":
            rows.append({**rows[-1], "user_id": USER, "item_id": ""})
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    reviews = [
        {
            "review_id": REVIEW if user == USER and not number else f"r{number}-{user}",
            "user_id": user,
            "item_id": "red-01",
            "rating": 1.0 + 4 * (number % 2),
            "text": f"it is {'good and fine' if number % 2 else 'bad and poor'}",
            "written_at": LAST - dt.timedelta(days=number),
        }
        for number in range(20)
        for user in (USER, "u02", "u03")
    ]
    pq.write_table(pa.Table.from_pylist(reviews), folder / "reviews.parquet")


def post(home: Path, day: dt.date, received: dt.datetime) -> None:
    """Stores events and sign-ups of a day as the HTTP service does."""
    engine = sa.create_engine(f"sqlite:///{home / 'serving-posted.sqlite'}")
    moment = dt.datetime.combine(day, dt.time(12))
    with engine.begin() as db:
        METADATA.create_all(db)
        for user in (USER, SIGNED_UP, "u02"):
            event: dict[str, Any] = {"event_type": "click", "user_id": user, "item_id": "red-01"}
            event |= {"event_id": f"{day} {user[:8]}{user[-3:]}", "source": "personal", "rank": 1}
            db.execute(
                sa.insert(POSTED_EVENTS).values(
                    **event, bucket="a", occurred_at=moment, received_at=received
                )
            )
        for attributes in ({"gender": "f"}, {"gender": "m"}, {"gender": "f"}):
            values = {"user_id": SIGNED_UP, "posted_at": moment, **attributes}
            db.execute(sa.insert(POSTED_USERS).values(values))
    engine.dispose()


def posted_events(home: Path) -> int:
    with sqlite3.connect(home / "serving-posted.sqlite") as db:
        (count,) = db.execute("select count(*) from posted_events").fetchone()
    return int(count)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with a source, a home that has run, its backups and release files; variables."""
    root = tmp_path_factory.mktemp("erasure")
    home = root / "home"
    write_source(root / "source")
    (root / "batch_predictions.yaml").write_text(QUERIES, encoding="utf-8")
    sinks = [
        {"url": str(root / "delta"), "keep": "days"},
        {"url": str(root / "parquet"), "keep": "days", "format": "parquet"},
    ]
    if os.environ.get(POSTGRES):
        sinks.append({"url": empty_postgres(), "keep": "days"})
    env = environment(
        home,
        root / "source",
        BATCH_PREDICTIONS_EXECUTION__SHOW_IDENTIFIERS="true",
        BATCH_PREDICTIONS_SERVING__RELEASE_DIR=str(root / "releases"),
        BATCH_PREDICTIONS_SERVING__EXPERIMENTS='{"half": {"share": 0.5}}',
        BATCH_PREDICTIONS_DEMAND__CANDIDATES='["linear_regression"]',
        BATCH_PREDICTIONS_DEMAND__MIN_DAYS="7",
        BATCH_PREDICTIONS_SINKS=json.dumps(sinks),
    )
    day = LAST - dt.timedelta(days=1)
    run_command("run", "--date", str(day), env=env, cwd=root)
    post(home, day - dt.timedelta(days=1), dt.datetime.combine(day, dt.time()))
    assert posted_events(home) == 3
    # It ingests what was posted, and prunes what was received long ago.
    run_command("run", "--date", str(LAST), env=env, cwd=root)
    assert posted_events(home) == 0
    post(home, day, dt.datetime.now(dt.UTC).replace(tzinfo=None))
    run_command("run", "--date", str(LAST), env=env, cwd=root)
    assert posted_events(home) == 3
    run_command("backup", str(root / "backups"), env=env, cwd=root)
    return root, env


def test_no_file_has_the_id_of_an_erased_user(shop: tuple[Path, dict[str, str]]) -> None:
    root, env = shop
    before = [name for name in files_with(root, USER) if not name.startswith("source/")]
    folders = {name.split("/")[0] for name in before}
    assert folders == {"backups", "home", "releases", "delta", "parquet"}
    assert any("/inference/buyers/" in name for name in before)
    database = json.loads(env["BATCH_PREDICTIONS_SINKS"])[2:]
    assert all(tables_with(sink["url"], USER) for sink in database)
    feedback = {name for name in before if name.startswith("home/warehouse/raw/feedback/")}
    assert len(feedback) == 2
    for user in (USER, SIGNED_UP):
        run_command("erase-user", user, env=env, cwd=root)
    nobody = run_command("erase-user", "nobody-5e1d", env=env, cwd=root, check=False)
    assert nobody.returncode == NOBODY_FOUND
    assert nobody.stdout.startswith("Nobody was found: no user has this id. It is recorded,")
    for text in (USER, REVIEW, "nobody-5e1d"):
        names = files_with(root, text, ("source",))
        assert [name for name in names if not name.startswith(EXCEPTIONS)] == []
        assert [table for sink in database for table in tables_with(sink["url"], text)] == []
    summary = run_json("run", "--date", str(LAST), env=env, cwd=root)
    assert summary["unchanged"]
    run_command("run", "--force", "--date", str(LAST), env=env, cwd=root)
    names = files_with(root, USER, ("source",))
    assert [name for name in names if not name.startswith(EXCEPTIONS)] == []
