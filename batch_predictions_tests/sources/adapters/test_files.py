"""A folder of files: invalid rows are quarantined with a reason, unreadable files are refused."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from batch_predictions.sources.base import SourceError
from batch_predictions.tables import INTERACTIONS, ITEMS, REVIEWS, USERS
from batch_predictions_tests.worlds.source_folders import (
    HEADER,
    SourceFolder,
    day_keys,
    total_counts,
)

VALID_ROW = "u1,i1,2024-01-02,1.5\n"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param("u2,i2,2024-01-03,abc\n", "amount 'abc' is not a number", id="wrong type"),
        pytest.param("NaN,i2,2024-01-03,1\n", "user_id is empty", id="NaN id"),
        pytest.param("u2,,2024-01-03,1\n", "item_id is empty", id="empty item"),
        pytest.param("u2,i2\n", "line 3 has fewer fields", id="too few fields"),
        pytest.param(b"u2,caf\xe9,2024-01-03,1\n", "line 3 is not UTF-8", id="bad encoding"),
    ],
)
def test_an_invalid_row_is_quarantined_with_its_reason(
    tmp_path: Path, row: str | bytes, reason: str
) -> None:
    row = row.encode() if isinstance(row, str) else row
    shop = SourceFolder(tmp_path).write(
        "interactions.csv", (HEADER + VALID_ROW).encode() + row + b"u3,i3,2024-01-04,2\n"
    )
    assert total_counts(shop.ingest()) == (3, 2, 1)
    [refused] = shop.rows("from raw.quarantine")
    assert reason in refused["reason"]
    assert (refused["source"], refused["row_number"]) == ("interactions.csv", 2)
    assert "u2" in refused["row"] or "i2" in refused["row"]
    assert shop.rows("select user_id from raw.interactions order by 1") == [
        {"user_id": "u1"},
        {"user_id": "u3"},
    ]


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        pytest.param("who,item_id\nu,i\n", {}, "no column for user_id; its columns", id="missing"),
        pytest.param("who,item_id\n", {}, "source.columns.interactions.user_id", id="remedy"),
        pytest.param(VALID_ROW, {"interactions": {"user": "x"}}, "no column of", id="unknown key"),
        pytest.param(VALID_ROW, {"sales": {"user_id": "x"}}, "no raw table", id="unknown table"),
    ],
)
def test_an_unreadable_file_is_refused(
    tmp_path: Path, content: str | bytes, columns: dict[str, dict[str, str]], message: str
) -> None:
    shop = SourceFolder(tmp_path, columns=columns).write("interactions.csv", content)
    with pytest.raises(SourceError, match=message):
        shop.ingest()
    assert shop.warehouse.partitions(INTERACTIONS) == []


def test_a_folder_without_interactions_and_reviews_names_the_files_it_needs(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("sales.csv", HEADER)
    with pytest.raises(SourceError, match=r"interactions\.parquet.*it has: sales\.csv"):
        shop.source.tables()


def test_two_forms_of_one_table_are_refused(tmp_path: Path) -> None:
    shop = (
        SourceFolder(tmp_path).write("interactions.csv", HEADER).write("interactions.tsv", HEADER)
    )
    with pytest.raises(SourceError, match="more than once"):
        shop.source.tables()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(HEADER, id="header only"),
        pytest.param(HEADER.rstrip(), id="header without line end"),
    ],
)
def test_a_file_with_only_a_header_has_no_rows(tmp_path: Path, content: str) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", content)
    assert total_counts(shop.ingest()) == (0, 0, 0)
    assert shop.warehouse.partitions(INTERACTIONS) == day_keys(10)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(HEADER + VALID_ROW, id="comma"),
        pytest.param((HEADER + VALID_ROW).replace(",", ";"), id="semicolon"),
        pytest.param((HEADER + VALID_ROW).replace(",", "\t"), id="tab"),
        pytest.param(b"\xef\xbb\xbf" + (HEADER + VALID_ROW).encode(), id="BOM"),
        pytest.param((HEADER + VALID_ROW).replace("\n", "\r\n"), id="CR LF"),
        pytest.param(HEADER.upper() + VALID_ROW, id="capitals"),
        pytest.param(HEADER.replace("user_id", "customer_id") + VALID_ROW, id="synonym"),
        pytest.param(HEADER.replace("occurred_at", "Timestamp") + VALID_ROW, id="synonym of time"),
        pytest.param(HEADER + "\n" + VALID_ROW + "\n\n", id="empty lines"),
    ],
)
def test_valid_files_of_all_dialects_are_read(tmp_path: Path, content: str | bytes) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", content)
    assert total_counts(shop.ingest()) == (1, 1, 0)
    [row] = shop.rows("select date, user_id, item_id, amount, event_type from raw.interactions")
    assert list(row.values()) == [dt.date(2024, 1, 2), "u1", "i1", 1.5, "interaction"]


def test_row_numbers_count_quoted_line_ends_and_damaged_lines(tmp_path: Path) -> None:
    text = 'item_id,text,date\ni1,"fine,\nreally",2024-01-02\ni2\ni3\n'
    text += "i4,good,2024-01-02\n,x,2024-01-02\n"
    shop = SourceFolder(tmp_path).write("reviews.csv", text)
    assert total_counts(shop.ingest(REVIEWS)) == (5, 2, 3)
    assert shop.rows("select text from raw.reviews order by item_id")[0]["text"] == "fine,\nreally"
    refused = shop.rows("select row_number from raw.quarantine order by 1")
    assert [row["row_number"] for row in refused] == [2, 3, 5]


@pytest.mark.parametrize("name", ["Title", "summary", "mapped"])
def test_a_reviews_title_is_put_before_its_text(tmp_path: Path, name: str) -> None:
    text = f"item_id,{name},text,rating\na,Lovely,fits well,5\nb,,too small,2\nc,Only a title,,3\n"
    columns = {"reviews": {"headline": name}} if name == "mapped" else {}
    shop = SourceFolder(tmp_path, columns=columns).write("reviews.csv", text)
    assert total_counts(shop.ingest(REVIEWS)) == (3, 2, 1)
    texts = [row["text"] for row in shop.rows("select text from raw.reviews order by item_id")]
    assert texts == ["Lovely. fits well", "too small"]
    assert "text is empty" in shop.reasons()[0]


def test_ids_are_text_and_the_floats_of_pandas_are_reverted(tmp_path: Path) -> None:
    text = "user_id,item_id\n00123,1.0\n 7 ,0x1F\n1e5,1.50\n"
    shop = SourceFolder(tmp_path).write("interactions.csv", text)
    shop.ingest()
    ids = shop.rows("select user_id, item_id from raw.interactions order by 1")
    assert [tuple(row.values()) for row in ids] == [("00123", "1"), ("1e5", "1.50"), ("7", "0x1F")]


def test_rows_without_a_time_column_belong_to_the_default_date(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", "user_id,item_id\nu,i\nu,j\n")
    results = shop.ingest()
    assert total_counts(results) == (2, 2, 0)
    assert results["2024-01-07"].counts.accepted == 2
    assert {row["occurred_at"] for row in shop.rows("from raw.interactions")} == {None}


def test_unmapped_columns_of_users_become_attributes(tmp_path: Path) -> None:
    text = "user_id,age,sex,shoe size\nu1,23,F,38\nu2,-4,M,44\nu3,18-24,,\nu1,30,F,39\nu4,65+,,\n"
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER).write("users.csv", text)
    results = shop.ingest(USERS)
    assert total_counts(results) == (5, 4, 1)
    rows = shop.rows("select * from raw.users order by user_id")
    assert [row["age_bracket"] for row in rows] == ["19-24", None, None, "65+"]
    assert rows[0]["attributes"] == [("shoe size", "38")]
    assert results["2024-01-10"].counts.nulled == {"age_bracket": 2}
    assert "is already in row 1 of users.csv" in shop.reasons()[0]


def test_availability_and_price_of_items_are_validated(tmp_path: Path) -> None:
    text = "sku,name,price,available\na,Apple,1.20,no\nb,Pear,-1,yes\nc,Plum,,perhaps\nd,Fig,,\n"
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER).write("items.csv", text)
    results = shop.ingest(ITEMS)
    assert total_counts(results) == (4, 4, 0)
    assert results["2024-01-10"].counts.nulled == {"available": 1, "price": 1}
    rows = shop.rows("select item_id, title, price, available from raw.items order by 1")
    assert [tuple(row.values()) for row in rows] == [
        ("a", "Apple", 1.2, False),
        ("b", "Pear", None, True),
        ("c", "Plum", None, None),
        ("d", "Fig", None, None),
    ]


def test_columns_may_have_the_names_of_the_platforms_own_columns(tmp_path: Path) -> None:
    names = ("source", "row", "line", "problem", "row_number", "reason", "label", "Größe")
    header = ",".join(("user_id", "item_id", "occurred_at", *names))
    shop = SourceFolder(tmp_path).write(
        "interactions.csv", f"{header}\nu,i,2024-01-02{',x' * 8}\n,i,2024-01-02{',y' * 8}\n"
    )
    assert total_counts(shop.ingest()) == (2, 1, 1)
    [refused] = shop.rows("from raw.quarantine")
    assert (refused["source"], refused["row_number"]) == ("interactions.csv", 2)
    assert '"source":"y"' in refused["row"]


def test_a_quote_that_is_closed_only_after_megabytes_is_refused(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    rows = VALID_ROW * 200_000
    shop.write("interactions.csv", HEADER + VALID_ROW + 'u,"i,2024-01-02,1\n' + rows)
    with pytest.raises(SourceError, match=r"interactions\.csv, line \d+"):
        shop.ingest()


def test_interactions_with_a_rating_and_no_type_are_ratings(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write(
        "interactions.csv", "user_id,item_id,occurred_at,rating\nu1,a,2024-01-02,4\n"
    )
    shop.ingest()
    assert shop.rows("select event_type, amount, quantity from raw.interactions") == [
        {"event_type": "rating", "amount": 4.0, "quantity": None}
    ]
