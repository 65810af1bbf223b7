"""Validation of rows: ages, repeated keys, and ids made from rows."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb
import pytest

from batch_predictions.sources.validation.column_rules import AGE_BRACKETS, ColumnRule
from batch_predictions.tables import CAMPAIGN_EVENTS, INTERACTIONS, PROMOTIONS, REVIEWS
from batch_predictions_tests.worlds.source_folders import SourceFolder, total_counts

EVENTS = "event_id,user_id,item_id,occurred_at,amount\n"


def query_row(sql: str, value: str) -> tuple[str | None, ...]:
    """The one row of a query that binds a value."""
    with duckdb.connect() as db:
        [row] = db.execute(sql, [value]).fetchall()
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
    rule = ColumnRule("age_bracket", "age", required=False)
    value = rule.value_sql("age", "VARCHAR")
    reason = rule.reason_sql("age", "VARCHAR", f"({value})")
    row = query_row(f"select {value}, {reason} from (select $1 as age)", age)
    assert row[0] == bracket
    assert (row[1] is None) == (bracket is not None)
    assert bracket is None or bracket in AGE_BRACKETS


@pytest.mark.parametrize("age", ["", "unknown", "nan", "None"])
def test_an_unknown_age_is_accepted(age: str) -> None:
    rule = ColumnRule("age_bracket", "age", required=False)
    value = rule.value_sql("age", "VARCHAR")
    reason = rule.reason_sql("age", "VARCHAR", f"({value})")
    row = query_row(f"select {value}, {reason} from (select $1 as age)", age)
    assert row == (None, None)


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
    assert total_counts(shop.ingest(REVIEWS)) == (5, 2, 3)
    rows = shop.rows("select item_id, label, simulated, user_id from raw.reviews order by 1")
    assert [tuple(row.values()) for row in rows] == [
        ("i1", "positive", False, None),
        ("i5", None, False, None),
    ]
    reasons = " ".join(shop.reasons())
    for text in ("text is empty", "between 1 and 5 stars", "one of negative, neutral, positive"):
        assert text in reasons


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
