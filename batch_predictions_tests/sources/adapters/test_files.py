"""A folder of files: whatever is wrong with it is told, kept, or both; nothing is lost."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from batch_predictions.sources import SourceError
from batch_predictions.tables import INTERACTIONS, ITEMS, REVIEWS, USERS
from batch_predictions_tests.worlds.source_folders import HEADER, World, days, totals

GOOD = "u1,i1,2024-01-02,1.5\n"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param("u2,i2,2024-01-03,abc\n", "amount 'abc' is not a number", id="wrong type"),
        pytest.param("NaN,i2,2024-01-03,1\n", "user_id is empty", id="NaN id"),
        pytest.param(",i2,2024-01-03,1\n", "user_id is empty", id="empty id"),
        pytest.param("u2,,2024-01-03,1\n", "item_id is empty", id="empty item"),
        pytest.param("u2,i2,1970-01-01,1\n", "before 1990-01-01", id="1970"),
        pytest.param("u2,i2,0,1\n", "before 1990-01-01", id="unix zero"),
        pytest.param("u2,i2,2999-01-01,1\n", "after 2099", id="2999"),
        pytest.param("u2,i2,2023-12-31,1\n", "first day of this home", id="before the home"),
        pytest.param("u2,i2,yesterday,1\n", "'yesterday' is not a time", id="unreadable date"),
        pytest.param("u2,i2,2024-02-30,1\n", "is not a time", id="no such day"),
        pytest.param("u2,i2,03/01/2024,1\n", "is not a time", id="mixed date formats"),
        pytest.param("u2,i2,,1\n", "occurred_at is empty", id="no date"),
        pytest.param("u2,i2,infinity,1\n", "is not a time", id="infinite date"),
        pytest.param("u2,i2,2024-01-03,inf\n", "is not finite", id="infinite amount"),
        pytest.param('u2,i2,2024-01-03,"1,50"\n', "is not a number", id="decimal comma"),
        pytest.param("u2,i2\n", "line 3 has fewer fields", id="too few fields"),
        pytest.param("u2,i2,2024-01-03,1,9\n", "line 3 has more fields", id="too many fields"),
        pytest.param(b"u2,caf\xe9,2024-01-03,1\n", "line 3 is not UTF-8", id="bad encoding"),
        pytest.param('u2,"i"2,2024-01-03,1\n', "closing quote", id="stray quote"),
    ],
)
def test_a_bad_row_is_kept_with_its_reason(tmp_path: Path, row: str | bytes, reason: str) -> None:
    row = row.encode() if isinstance(row, str) else row
    world = World(tmp_path).write(
        "interactions.csv", (HEADER + GOOD).encode() + row + b"u3,i3,2024-01-04,2\n"
    )
    assert totals(world.ingest()) == (3, 2, 1)
    [kept] = world.rows("from raw.quarantine")
    assert reason in kept["reason"]
    assert (kept["source"], kept["row_number"]) == ("interactions.csv", 2)
    assert "u2" in kept["row"] or "i2" in kept["row"]
    assert world.rows("select user_id from raw.interactions order by 1") == [
        {"user_id": "u1"},
        {"user_id": "u3"},
    ]


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        pytest.param("who,item_id\nu,i\n", {}, "no column for user_id; it has: who", id="missing"),
        pytest.param("who,item_id\n", {}, "source.columns.interactions.user_id", id="remedy"),
        pytest.param("", {}, "is empty", id="empty file"),
        pytest.param(GOOD, {"interactions": {"user": "x"}}, "no column of raw", id="unknown key"),
        pytest.param(GOOD, {"sales": {"user_id": "x"}}, "names no table", id="unknown table"),
        pytest.param(
            HEADER, {"interactions": {"user_id": "kunde"}}, "no column 'kunde'", id="mapped away"
        ),
        pytest.param("user_id,user_id,item_id\n", {}, "user_id twice", id="double column"),
        pytest.param("user,customer,item_id\n", {}, "could each be user_id", id="ambiguous"),
        pytest.param("user_id,,item_id\n", {}, "without a name", id="nameless column"),
        pytest.param(HEADER.encode("utf-16"), {}, "UTF-8", id="utf-16"),
        pytest.param(
            HEADER + 'u2,"i2,2024-01-03,1\nu3,i3,2024-01-03,1\n', {}, "line 2: a quote is opened",
            id="open quote",
        ),
        pytest.param(
            HEADER + "u1,i1,2024-01-02,1\r\nu1,i2,2024-01-02,1\n", {}, "CR LF", id="line ends"
        ),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_as_a_whole(
    tmp_path: Path, content: str | bytes, columns: dict[str, dict[str, str]], message: str
) -> None:
    world = World(tmp_path, columns=columns).write("interactions.csv", content)
    with pytest.raises(SourceError, match=message):
        world.ingest()
    assert world.warehouse.partitions(INTERACTIONS) == []


def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    world = World(tmp_path).write("sales.csv", HEADER)
    with pytest.raises(SourceError, match=r"interactions\.parquet.*it holds: sales\.csv"):
        world.source.tables()


def test_two_forms_of_one_table_are_refused(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", HEADER).write("interactions.tsv", HEADER)
    with pytest.raises(SourceError, match="more than once"):
        world.source.tables()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(HEADER, id="header only"),
        pytest.param(HEADER.rstrip(), id="header without line end"),
    ],
)
def test_a_header_alone_gives_no_rows(tmp_path: Path, content: str) -> None:
    world = World(tmp_path).write("interactions.csv", content)
    assert totals(world.ingest()) == (0, 0, 0)
    assert world.warehouse.partitions(INTERACTIONS) == days(10)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(HEADER + GOOD, id="comma"),
        pytest.param((HEADER + GOOD).replace(",", ";"), id="semicolon"),
        pytest.param((HEADER + GOOD).replace(",", "\t"), id="tab"),
        pytest.param(b"\xef\xbb\xbf" + (HEADER + GOOD).encode(), id="BOM"),
        pytest.param((HEADER + GOOD).replace("\n", "\r\n"), id="CR LF"),
        pytest.param(HEADER.upper() + GOOD, id="capitals"),
        pytest.param(HEADER.replace("user_id", "customer_id") + GOOD, id="synonym"),
        pytest.param(HEADER.replace("occurred_at", "Timestamp") + GOOD, id="synonym of time"),
        pytest.param(HEADER + "\n" + GOOD + "\n\n", id="empty lines"),
    ],
)
def test_a_well_formed_file_is_read_whatever_its_dialect(
    tmp_path: Path, content: str | bytes
) -> None:
    world = World(tmp_path).write("interactions.csv", content)
    assert totals(world.ingest()) == (1, 1, 0)
    [row] = world.rows("select date, user_id, item_id, amount, event_type from raw.interactions")
    assert list(row.values()) == [dt.date(2024, 1, 2), "u1", "i1", 1.5, "interaction"]


def test_quoted_line_ends_stay_in_the_value_and_rows_keep_their_numbers(tmp_path: Path) -> None:
    text = 'item_id,text,date\ni1,"fine,\nreally",2024-01-02\ni2\ni3\n'
    text += "i4,good,2024-01-02\n,x,2024-01-02\n"
    world = World(tmp_path).write("reviews.csv", text)
    assert totals(world.ingest(REVIEWS)) == (5, 2, 3)
    assert world.rows("select text from raw.reviews order by item_id")[0]["text"] == "fine,\nreally"
    kept = world.rows("select row_number from raw.quarantine order by 1")
    assert [row["row_number"] for row in kept] == [2, 3, 5]


@pytest.mark.parametrize("name", ["Title", "summary", "mine"])
def test_a_reviews_title_is_put_before_its_text(tmp_path: Path, name: str) -> None:
    text = f"item_id,{name},text,rating\na,Lovely,fits well,5\nb,,too small,2\nc,Only a title,,3\n"
    columns = {"reviews": {"headline": name}} if name == "mine" else {}
    world = World(tmp_path, columns=columns).write("reviews.csv", text)
    read = totals(world.ingest(REVIEWS))
    found = [row["text"] for row in world.rows("select text from raw.reviews order by item_id")]
    assert found == ["Lovely. fits well", "too small"]
    assert read == (3, 2, 1) and "text is empty" in world.reasons()[0]


def test_ids_are_text_and_a_float_of_pandas_is_the_id_it_was(tmp_path: Path) -> None:
    text = "user_id,item_id\n00123,1.0\n 7 ,0x1F\n1e5,1.50\n"
    world = World(tmp_path).write("interactions.csv", text)
    world.ingest()
    ids = world.rows("select user_id, item_id from raw.interactions order by 1")
    assert [tuple(row.values()) for row in ids] == [("00123", "1"), ("1e5", "1.50"), ("7", "0x1F")]


def test_rows_without_a_time_column_belong_to_the_default_date(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", "user_id,item_id\nu,i\nu,j\n")
    ingested = world.ingest()
    assert totals(ingested) == (2, 2, 0)
    assert ingested["2024-01-07"].counts.accepted == 2
    assert {row["occurred_at"] for row in world.rows("from raw.interactions")} == {None}


def test_users_keep_what_is_not_mapped_as_attributes(tmp_path: Path) -> None:
    text = "user_id,age,sex,shoe size\nu1,23,F,38\nu2,-4,M,44\nu3,18-24,,\nu1,30,F,39\nu4,65+,,\n"
    world = World(tmp_path).write("interactions.csv", HEADER).write("users.csv", text)
    assert totals(world.ingest(USERS)) == (5, 2, 3)
    rows = world.rows("select * from raw.users order by user_id")
    assert (rows[0]["age_bracket"], rows[0]["attributes"]) == ("19-24", [("shoe size", "38")])
    assert rows[1]["age_bracket"] == "65+"
    reasons = world.reasons()
    assert "neither an age" in reasons[0]
    assert "neither an age" in reasons[1]
    assert "stands in row 1 of users.csv already" in reasons[2]


def test_items_availability_and_price_are_read(tmp_path: Path) -> None:
    text = "sku,name,price,available\na,Apple,1.20,no\nb,Pear,-1,yes\nc,Plum,,perhaps\nd,Fig,,\n"
    world = World(tmp_path).write("interactions.csv", HEADER).write("items.csv", text)
    assert totals(world.ingest(ITEMS)) == (4, 2, 2)
    rows = world.rows("select item_id, title, price, available from raw.items order by 1")
    assert [tuple(row.values()) for row in rows] == [
        ("a", "Apple", 1.2, False),
        ("d", "Fig", None, None),
    ]


def test_columns_may_be_called_as_the_platform_calls_its_own(tmp_path: Path) -> None:
    names = ("source", "row", "line", "problem", "row_number", "reason", "label", "Größe")
    header = ",".join(("user_id", "item_id", "occurred_at", *names))
    world = World(tmp_path).write(
        "interactions.csv", f"{header}\nu,i,2024-01-02{',x' * 8}\n,i,2024-01-02{',y' * 8}\n"
    )
    assert totals(world.ingest()) == (2, 1, 1)
    [kept] = world.rows("from raw.quarantine")
    assert (kept["source"], kept["row_number"]) == ("interactions.csv", 2)
    assert '"source":"y"' in kept["row"]


def test_a_quote_that_swallows_megabytes_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    rows = GOOD * 200_000
    world.write("interactions.csv", HEADER + GOOD + 'u,"i,2024-01-02,1\n' + rows)
    with pytest.raises(SourceError, match=r"interactions\.csv, line \d+"):
        world.ingest()
