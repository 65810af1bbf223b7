"""Validation of rows: ages, repeated keys, and ids made from rows."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb
import pytest

from batch_predictions.sources.base import SourceError
from batch_predictions.sources.rows.ingest_log import read_ingest_log
from batch_predictions.sources.validation.ages import AGE_BRACKETS
from batch_predictions.sources.validation.column_rules import ColumnRule
from batch_predictions.tables import (
    CAMPAIGN_EVENTS,
    INTERACTIONS,
    ITEMS,
    PROMOTIONS,
    REVIEWS,
    USERS,
    Table,
)
from batch_predictions.warehouse.shared_database import open_cursor
from batch_predictions_tests.worlds.source_folders import SourceFolder, total_counts

EVENTS = "event_id,user_id,item_id,occurred_at,amount\n"


def age_and_reason(age: str) -> tuple[str | None, str | None]:
    """The age bracket of an age, and why it has none."""
    rule = ColumnRule("age_bracket", "age", required=False)
    value = rule.value_sql("age", "VARCHAR")
    reason = rule.reason_sql("age", "VARCHAR", f"({value})")
    with open_cursor() as db:
        [row] = db.execute(f"select {value}, {reason} from (select $1 as age)", [age]).fetchall()
    return row


@pytest.mark.parametrize(
    ("age", "bracket"),
    [
        ("0", "under 19"),
        ("18", "under 19"),
        ("18.9", "under 19"),
        ("19", "19-24"),
        ("24", "19-24"),
        ("25", "25-34"),
        ("44", "35-44"),
        ("54", "45-54"),
        ("64", "55-64"),
        ("65", "65+"),
        ("120", "65+"),
        ("121", None),
        ("-1", None),
        ("18-24", None),
        ("Under 19", "under 19"),
        ("19 - 24", "19-24"),
        ("25–34", "25-34"),
        ("65 +", "65+"),
        ("inf", None),
    ],
)
def test_ages_are_mapped_to_brackets(age: str, bracket: str | None) -> None:
    value, reason = age_and_reason(age)
    assert value == bracket
    assert (reason is None) == (bracket is not None)
    assert bracket is None or bracket in AGE_BRACKETS


@pytest.mark.parametrize("age", ["", "unknown", "nan", "None"])
def test_an_unknown_age_is_accepted(age: str) -> None:
    assert age_and_reason(age) == (None, None)


def test_a_repeated_given_event_id_is_refused_after_the_first(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    rows = ["e1,u1,i1,2024-01-02,1", "e1,u2,i2,2024-01-02,2", "e2,u2,i2,2024-01-02,2"]
    # On another day the same id is accepted.
    rows += ["e1,u3,i3,2024-01-03,3", "e1,u4,i4,2024-01-02,4", "e1,,i4,2024-01-02,4"]
    shop.write("interactions.csv", EVENTS + "\n".join(rows) + "\n")
    assert total_counts(shop.ingest()) == (6, 3, 3)
    refused = shop.rows("from raw.quarantine order by row_number")
    assert [row["row_number"] for row in refused] == [2, 5, 6]
    assert "'e1' is already in row 1 of interactions.csv" in refused[0]["reason"]
    assert '"amount":"2"' in refused[0]["row"]
    assert "user_id is empty" in refused[2]["reason"]


def test_generated_ids_are_unique_and_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    rows = [
        f"u{user},i{item},2024-01-0{day} 10:00:00,{amount}"
        for user in range(3)
        for item in range(2)
        for day in (2, 3)
        for amount in (1, 1, 2)
    ]
    tables = []
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        header = "user_id,item_id,occurred_at,amount\n"
        shop.write("interactions.csv", header + "\n".join(rows) + "\n")
        results = shop.ingest()
        assert total_counts(results) == (36, 36, 0)
        tables.append(shop.rows("from raw.interactions order by all"))
        assert any(result.write_result.changed for result in results.values()) == (seed == 0)
    assert tables[0] == tables[1] == tables[2]
    assert len({row["event_id"] for row in tables[0]}) == 36


def test_ids_are_generated_only_for_rows_without_one(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    rows = "e1,u1,i1,2024-01-02,1\n,u1,i1,2024-01-02,1\n,u1,i1,2024-01-02,1\n"
    shop.write("interactions.csv", EVENTS + rows)
    assert total_counts(shop.ingest()) == (3, 3, 0)
    ids = [row["event_id"] for row in shop.rows("from raw.interactions")]
    assert "e1" in ids
    assert sorted(map(len, ids)) == [2, 32, 32]


def test_reviews_need_a_text_and_an_item_but_no_user(tmp_path: Path) -> None:
    text = "item_id,text,rating,label,date\ni1,good,5,Positive,2024-01-02\ni2,,4,,2024-01-02\n"
    text += "i3,odd,0,,2024-01-02\ni4,odd,3,meh,2024-01-02\ni5,fine,,,2024-01-02\n"
    shop = SourceFolder(tmp_path).write("reviews.csv", text)
    results = shop.ingest(REVIEWS)
    assert total_counts(results) == (5, 4, 1)
    assert results["2024-01-02"].counts.nulled == {"label": 1, "rating": 1}
    rows = shop.rows("select item_id, rating, label, simulated from raw.reviews order by 1")
    assert [tuple(row.values()) for row in rows] == [
        ("i1", 5, "positive", False),
        ("i3", None, None, False),
        ("i4", 3, None, False),
        ("i5", None, None, False),
    ]
    assert "text is empty" in shop.reasons()[0]


def test_days_and_event_types_of_campaigns_are_validated(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", EVENTS)
    header = "campaign_id,kind,item_id,starts_on,ends_on\n"
    rows = "c1,a,i1,2024-01-01,2024-01-31\nc1,a,i2,2024-02-01,2024-01-31\nc1,a,i3,soon,\n"
    shop.write("promotions.csv", header + rows + "c1,b,i1,2024-01-01,2024-01-31\n")
    assert total_counts(shop.ingest(PROMOTIONS)) == (4, 1, 3)
    shop.write(
        "campaign_events.csv",
        "campaign_id,user_id,event_type,date\nc1,u1,targeted,2024-01-02\nc1,u1,seen,2024-01-02\n",
    )
    assert total_counts(shop.ingest(CAMPAIGN_EVENTS)) == (2, 1, 1)


def test_a_time_far_from_its_date_is_refused(tmp_path: Path) -> None:
    text = "user_id,item_id,date,occurred_at\nu,i,2024-01-02,2024-01-02 10:00\n"
    text += "u,i,2024-01-02,2024-01-09 10:00\nu,i,2024-01-02,later\nu,i,2024-01-02,\n"
    shop = SourceFolder(tmp_path).write("interactions.csv", text)
    assert total_counts(shop.ingest()) == (4, 2, 2)
    reasons = shop.reasons()
    assert "more than two days apart" in reasons[0]
    assert "occurred_at is not a time" in reasons[1]


def test_the_counts_of_many_rows_add_up(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    path = shop.folder / "interactions.parquet"
    duckdb.execute(
        "copy (select case when i % 97 = 0 then null else (i % 500)::VARCHAR end as user_id, "
        "(i % 50)::VARCHAR as item_id, TIMESTAMP '2023-12-31' + to_minutes(i % 14400) as "
        "occurred_at, case when i % 101 = 0 then 'x' else (i % 9)::VARCHAR end as amount, "
        f"from range(60000) t(i)) to '{path}'"
    )
    read, accepted, quarantined = total_counts(shop.ingest(INTERACTIONS))
    assert read == 60_000
    assert quarantined > 6_000
    assert accepted == shop.rows("select count(*) as n from raw.interactions")[0]["n"]
    assert quarantined == shop.rows("select count(*) as n from raw.quarantine")[0]["n"]


@pytest.mark.parametrize(
    ("table", "content", "column"),
    [
        (USERS, "user_id,dob\nu,1801-02-01\n", "birthday"),
        (ITEMS, "item_id,price\ni,inf\n", "price"),
        (ITEMS, "item_id,available\ni,archived\n", "available"),
    ],
)
def test_an_optional_value_that_cannot_be_read_is_null_and_counted(
    tmp_path: Path, table: Table, content: str, column: str
) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", EVENTS)
    results = shop.write(f"{table.name}.csv", content).ingest(table, ["2024-01-10"])
    assert total_counts(results) == (1, 1, 0)
    assert results["2024-01-10"].counts.nulled == {column: 1}
    name = "age_bracket" if column == "birthday" else column
    assert shop.rows(f"select {name} from {table.qualified}") == [{name: None}]
    assert read_ingest_log(shop.settings.home, table).days["2024-01-10"].nulled == {column: 1}


def test_nulled_values_of_refused_rows_are_not_counted(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", EVENTS)
    shop.write("items.csv", "item_id,price\na,x\n,x\na,x\n")
    results = shop.ingest(ITEMS, ["2024-01-10"])
    assert total_counts(results) == (3, 1, 2)
    assert results["2024-01-10"].counts.nulled == {"price": 1}


def test_the_age_is_as_of_the_day_of_the_snapshot(tmp_path: Path) -> None:
    brackets = {
        "2005-01-11": "under 19",
        "2005-01-10": "19-24",
        "10.01.2005": "19-24",
        "1959-01-10": "65+",
        "1904-02-01": "65+",
        "": None,
    }
    shop = SourceFolder(tmp_path, formats={"users": {"birthday": "%d.%m.%Y"}})
    shop.write("interactions.csv", EVENTS)
    lines = [f"u{number},{birthday}" for number, birthday in enumerate(brackets)]
    shop.write("users.csv", "\n".join(["user_id,date_of_birth", *lines]) + "\n")
    assert total_counts(shop.ingest(USERS, ["2024-01-10"])) == (6, 6, 0)
    assert shop.rows("select age_bracket, attributes from raw.users order by user_id") == [
        {"age_bracket": bracket, "attributes": None} for bracket in brackets.values()
    ]


def test_a_readable_age_is_preferred_to_a_birthday(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", EVENTS)
    shop.write("users.csv", "user_id,age,dob\nu,30,1950-01-01\nv,?,1950-01-01\n").ingest(USERS)
    rows = shop.rows("select age_bracket from raw.users order by user_id")
    assert [row["age_bracket"] for row in rows] == ["25-34", "65+"]


def test_ids_are_written_alike_in_all_tables(tmp_path: Path) -> None:
    ids = {"user_id": {"case": "lower"}, "item_id": {"case": "upper", "trim": False}}
    shop = SourceFolder(tmp_path, ids=ids)
    shop.write("interactions.csv", EVENTS + "E1, Ann , a1 ,2024-01-02,1\n")
    shop.write("users.csv", "user_id\nANN\n").write("items.csv", "item_id\na1\n")
    for table in (INTERACTIONS, USERS, ITEMS):
        shop.ingest(table)
    assert shop.rows("select event_id, user_id, item_id from raw.interactions") == [
        {"event_id": "E1", "user_id": "ann", "item_id": " A1 "}
    ]
    assert shop.rows("select user_id from raw.users") == [{"user_id": "ann"}]
    assert shop.rows("select item_id from raw.items") == [{"item_id": "A1"}]


def test_ids_of_an_unknown_column_are_an_error(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path, ids={"customer": {"case": "lower"}})
    shop.write("interactions.csv", EVENTS)
    with pytest.raises(SourceError, match=r"source\.ids\.customer: .* one of event_id, user_id"):
        shop.ingest()
