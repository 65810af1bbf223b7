"""Rows of merged users have the present ids, and a merge corrects the days that it concerns."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from batch_predictions.core.erasures import request_erasure
from batch_predictions.sources.due_partitions import days_to_ingest, planned_aliases
from batch_predictions.sources.ingest import IngestResult
from batch_predictions.sources.manual_rows import add_manual_rows
from batch_predictions.sources.new_users import new_sign_ups
from batch_predictions.sources.rows.ingest_log import read_ingest_log
from batch_predictions.sources.shrinkage import read_kept_rows
from batch_predictions.sources.validation.row_checks import validate_rows
from batch_predictions.tables import (
    CAMPAIGN_EVENTS,
    INTERACTIONS,
    REVIEWS,
    USER_ALIASES,
    USERS,
    Table,
)
from batch_predictions_tests.worlds.bytes_of_home import files_with
from batch_predictions_tests.worlds.source_database import SourceDatabase
from batch_predictions_tests.worlds.source_folders import (
    FIRST_DAY,
    HEADER,
    SourceFolder,
    SourceHome,
    total_counts,
)

LAST = FIRST_DAY + dt.timedelta(days=9)
TABLES = (USER_ALIASES, INTERACTIONS, REVIEWS, CAMPAIGN_EVENTS, USERS)
ROWS = {"2024-01-02": "A", "2024-01-03": "C", "2024-01-04": "B", "2024-01-05": "A"}
MERGES = "old_id,new_id\n"


def days_due(shop: SourceHome) -> dict[str, list[str]]:
    """What is due, by table."""
    found = {
        table.name: days_to_ingest(shop.warehouse, shop.source, table, FIRST_DAY, LAST)
        for table in TABLES
        if table in shop.source.tables()
    }
    return {name: days for name, days in found.items() if days}


def ingest_due(shop: SourceHome) -> dict[str, dict[str, IngestResult]]:
    """Ingests what is due, aliases first; returns the results by table."""
    due = days_due(shop)
    return {t.name: shop.ingest(t, due[t.name]) for t in TABLES if t.name in due}


def users_of(shop: SourceHome, table: Table = INTERACTIONS) -> list[str]:
    """The users of the rows by day."""
    order = table.partition or "user_id"
    return [r["user_id"] for r in shop.rows(f"from {table.qualified} order by {order}, user_id")]


def make(tmp_path: Path, **options: Any) -> SourceFolder:
    """A home of three users: A has rows on two days, B and C on one each."""
    shop = SourceFolder(tmp_path, **options)
    rows = "".join(f"{user},i1,{day},1\n" for day, user in ROWS.items())
    shop.write("interactions.csv", HEADER + rows)
    shop.write("users.csv", "user_id,gender\nA,f\nC,m\n")
    shop.write("user_aliases.csv", MERGES)
    ingest_due(shop)
    return shop


def test_a_merge_corrects_the_days_of_the_alias_and_no_others(tmp_path: Path) -> None:
    shop = make(tmp_path)
    assert days_due(shop) == {} and users_of(shop) == ["A", "C", "B", "A"]
    shop.write("user_aliases.csv", MERGES + "A,C\n")
    days = ["2024-01-02", "2024-01-05"]
    last = [LAST.isoformat()]
    assert days_due(shop) == {"user_aliases": last, "interactions": days, "users": last}
    before = {row["event_id"] for row in shop.rows()}
    ingest_due(shop)
    assert days_due(shop) == {} and users_of(shop) == ["C", "C", "B", "C"]
    assert {row["event_id"] for row in shop.rows()} == before
    # Equal aliases in another file are no change.
    shop.write("user_aliases.csv", MERGES + "A,C\n\n")
    ingest_due(shop)
    assert days_due(shop) == {}


@pytest.mark.slow
def test_a_merge_that_is_taken_back_is_corrected_too(tmp_path: Path) -> None:
    shop = make(tmp_path)
    shop.write("user_aliases.csv", MERGES + "A,B\nB,C\n")
    ingest_due(shop)
    assert users_of(shop) == ["C"] * 4
    shop.write("user_aliases.csv", MERGES + "A,B\n")
    ingest_due(shop)
    assert users_of(shop) == ["B", "C", "B", "B"]
    shop.write("user_aliases.csv", MERGES)
    assert days_due(shop)["interactions"] == ["2024-01-02", "2024-01-04", "2024-01-05"]
    ingest_due(shop)
    assert users_of(shop) == ["A", "C", "B", "A"] and users_of(shop, USERS) == ["A", "C"]
    assert days_due(shop) == {} and read_kept_rows(shop.settings.home).lost == {}


@pytest.mark.slow
def test_days_that_were_not_ingested_again_stay_due(tmp_path: Path) -> None:
    shop = make(tmp_path)
    shop.write("user_aliases.csv", MERGES + "A,C\n")
    shop.ingest(USER_ALIASES)
    shop.ingest(INTERACTIONS, ["2024-01-05"])
    assert days_due(shop)["interactions"] == ["2024-01-02"]
    # A merge that comes and goes meanwhile is seen where its rows stand.
    shop.write("user_aliases.csv", MERGES)
    assert days_due(shop)["interactions"] == ["2024-01-02", "2024-01-03", "2024-01-05"]
    ingest_due(shop)
    assert users_of(shop) == ["A", "C", "B", "A"] and days_due(shop) == {}


@pytest.mark.slow
def test_a_lost_file_of_merges_takes_none_back(tmp_path: Path) -> None:
    shop = make(tmp_path)
    shop.write("user_aliases.csv", MERGES + "A,C\n")
    ingest_due(shop)
    (shop.folder / "user_aliases.csv").unlink()
    assert days_due(shop) == {}
    shop.ingest(USER_ALIASES)
    shop.ingest()
    assert users_of(shop) == ["C", "C", "B", "C"] and days_due(shop) == {}


@pytest.mark.slow
def test_an_export_that_lost_most_merges_is_kept_until_a_person_decides(tmp_path: Path) -> None:
    shop = make(tmp_path)
    shop.write("user_aliases.csv", MERGES + "A,C\n" + "".join(f"x{n},C\n" for n in range(30)))
    ingest_due(shop)
    shop.write("user_aliases.csv", MERGES + "x1,C\n")
    assert days_due(shop) == {"user_aliases": [LAST.isoformat()]}
    ingest_due(shop)
    assert users_of(shop) == ["C", "C", "B", "C"] and days_due(shop) == {}
    assert "1 instead of 31 rows" in read_kept_rows(shop.settings.home).lost["user_aliases"]


def test_aliases_that_lead_to_no_one_user_are_refused(tmp_path: Path) -> None:
    shop = make(tmp_path)
    rows = "X,X\nP,Q\nQ,P\nR,P\nY,A\nY,C\n,A\nA, C \nA,C\nZ,\n"
    results = shop.write("user_aliases.csv", MERGES + rows).ingest(USER_ALIASES)
    assert total_counts(results) == (10, 2, 8)
    aliases = {row["alias"]: row["user_id"] for row in shop.rows("from raw.user_aliases")}
    assert aliases == {"R": "P", "A": "C"}
    itself, p, q, y1, y2, empty, repeated, nobody = shop.reasons()
    assert "'X' is the user_id itself" in itself and "'P' leads back to itself" in p
    assert "'Q' leads back to itself" in q and "'Y' has several user_ids" in y1
    assert y1 == y2 and "alias is empty" in empty and "already in row 8" in repeated
    assert "user_id is empty" in nobody
    [row] = shop.rows("select row::VARCHAR as row from raw.quarantine where row_number = 1")
    assert row["row"] == '{"old_id":"X","new_id":"X"}'


def test_long_chains_lead_to_the_last_user(tmp_path: Path) -> None:
    shop = make(tmp_path)
    chain = "".join(f"c{n},c{n + 1}\n" for n in range(37)) + "a1,a2\na2,a3\na3,a1\na0,a2\n"
    shop.write("user_aliases.csv", MERGES + chain).ingest(USER_ALIASES)
    found = shop.rows("select user_id, count(*) as n from raw.user_aliases group by 1 order by 1")
    assert found == [{"user_id": "a2", "n": 1}, {"user_id": "c37", "n": 37}]


def test_ids_of_aliases_are_written_by_the_rule_of_users(tmp_path: Path) -> None:
    shop = make(tmp_path, ids={"user_id": {"case": "lower"}})
    shop.write("user_aliases.csv", MERGES + " a , c\n")
    ingest_due(shop)
    assert users_of(shop) == ["c", "c", "b", "c"]


@pytest.mark.parametrize(
    ("users", "keep", "expected"),
    [
        ("A,f\nC,m\nB,x\n", "last", [("C", "m")]),
        ("A,f\nB,x\n", "last", [("C", "x")]),
        ("A,f\nB,x\n", "first", [("C", "f")]),
    ],
)
def test_a_user_has_the_row_of_the_present_id_else_one_of_the_aliases(
    tmp_path: Path, users: str, keep: str, expected: list[tuple[str, str]]
) -> None:
    shop = make(tmp_path, deduplicate={"users": {"by": ["user_id"], "keep": keep}})
    shop.write("users.csv", f"user_id,gender\n{users}D,y\n")
    shop.write("user_aliases.csv", MERGES + "A,C\nB,C\n")
    [result] = ingest_due(shop)["users"].values()
    found = shop.rows("select user_id, gender from raw.users order by 1")
    assert [(r["user_id"], r["gender"]) for r in found] == [*expected, ("D", "y")]
    assert result.counts.read == result.counts.accepted == 2
    assert result.counts.merged == users.count("\n") - 1
    assert new_sign_ups(shop.warehouse, shop.source, None)[0].num_rows == 0


def test_merged_rows_of_users_are_no_loss(tmp_path: Path) -> None:
    shop = make(tmp_path)
    shop.write("users.csv", "user_id\n" + "".join(f"u{n}\nv{n}\n" for n in range(40)))
    ingest_due(shop)
    shop.write("user_aliases.csv", MERGES + "".join(f"u{n},v{n}\n" for n in range(40)))
    ingest_due(shop)
    assert len(users_of(shop, USERS)) == 40 and days_due(shop) == {}
    assert read_kept_rows(shop.settings.home).lost == {}


@pytest.mark.slow
def test_all_tables_of_users_and_rows_of_commands_have_present_ids(tmp_path: Path) -> None:
    shop = make(tmp_path)
    shop.write(
        "reviews.csv", "user_id,item_id,text,written_at\nA,i1,good,2024-01-03\n,i,x,2024-01-03"
    )
    shop.write(
        "campaign_events.csv", "campaign_id,user_id,event_type,date\nk,A,targeted,2024-01-04\n"
    )
    ingest_due(shop)
    listed = {"date": dt.date(2024, 1, 6), "campaign_id": "k", "event_type": "listed"}
    rows = pa.Table.from_pylist([{**listed, "user_id": "A", "item_id": None}])
    add_manual_rows(shop.warehouse, CAMPAIGN_EVENTS, "spring", rows)
    shop.write("user_aliases.csv", MERGES + "A,C\n")
    due = days_due(shop)
    assert due["reviews"] == ["2024-01-03"] and due["campaign_events"] == [
        "2024-01-04",
        "2024-01-06",
    ]
    ingest_due(shop)
    assert users_of(shop, REVIEWS) == ["C", None] and users_of(shop, CAMPAIGN_EVENTS) == ["C", "C"]


@pytest.mark.slow
def test_days_that_the_source_has_lost_are_merged_where_they_are_kept(tmp_path: Path) -> None:
    shop = make(tmp_path)
    shop.write("interactions.csv", HEADER + "A,i1,2024-01-05,1\n")
    ingest_due(shop)
    assert users_of(shop) == ["A", "C", "B", "A"]
    shop.write("user_aliases.csv", MERGES + "A,C\n")
    ingest_due(shop)
    assert users_of(shop) == ["C", "C", "B", "C"] and days_due(shop) == {}


def test_a_home_without_merges_keeps_nothing_about_them(tmp_path: Path) -> None:
    shop = make(tmp_path)
    (shop.folder / "user_aliases.csv").unlink()
    for table in (INTERACTIONS, USERS):
        assert read_ingest_log(shop.settings.home, table).aliases == {}
        shop.ingest(table)
    assert days_due(shop) == {}
    with shop.warehouse.connect(private=True) as db:
        validated = validate_rows(db, shop.source, INTERACTIONS, ["2024-01-02"])
        tables = {name for (name,) in db.execute("show tables").fetchall()}
    assert validated.aliases is None and " m on m.alias" not in validated.accepted
    assert not [name for name in tables if name.startswith(("aliases_", "chain_", "merged_"))]


@pytest.mark.slow
def test_merges_of_a_database(tmp_path: Path) -> None:
    tables = {"interactions": "order_lines", "user_aliases": "merges"}
    shop = SourceDatabase(tmp_path, tables=tables)
    shop.create(user_id="TEXT", item_id="TEXT", occurred_at="TEXT")
    shop.create("merges", merged_from="TEXT", merged_into="TEXT")
    shop.insert([{"user_id": u, "item_id": "i", "occurred_at": day} for day, u in ROWS.items()])
    ingest_due(shop)
    assert days_due(shop) == {} and users_of(shop) == ["A", "C", "B", "A"]
    shop.insert([{"merged_from": "A", "merged_into": "C"}], "merges")
    assert days_due(shop)["interactions"] == ["2024-01-02", "2024-01-05"]
    ingest_due(shop)
    assert users_of(shop) == ["C", "C", "B", "C"] and days_due(shop) == {}
    # Of a later day, the table is read again, and is as it was.
    later = LAST + dt.timedelta(days=1)
    assert planned_aliases(shop.warehouse, shop.source, later) == {"A": "C"}


def test_an_alias_of_an_erased_user_is_refused(tmp_path: Path) -> None:
    shop = make(tmp_path)
    request_erasure(shop.settings.home, "former-7fae", dt.datetime(2024, 1, 9, tzinfo=dt.UTC))
    shop.write("user_aliases.csv", MERGES + "former-7fae,C\nB,former-7fae\nA,C\n")
    assert total_counts(shop.ingest(USER_ALIASES)) == (3, 1, 2)
    assert shop.reasons() == ["erased", "erased"]
    assert not files_with(shop.settings.home, "former-7fae")
