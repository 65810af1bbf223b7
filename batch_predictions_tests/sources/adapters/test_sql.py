"""Databases as a source: equal rows as from files, days, late rows, deletes, groups of days."""

from __future__ import annotations

import datetime as dt
import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.sources.adapters import sql as sql_adapter
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.shrinkage import read_kept_rows
from batch_predictions.tables import INTERACTIONS, ITEMS, REVIEWS, USERS
from batch_predictions_tests.worlds.postgres import empty_postgres
from batch_predictions_tests.worlds.source_database import DRIVERS, SourceDatabase
from batch_predictions_tests.worlds.source_folders import SourceFolder, day_keys, total_counts

TODAY = dt.date(2024, 1, 20)
POSTGRES_COLUMNS = {
    "line_id": "bigint",
    "customer": "text",
    "sku": "varchar(20)",
    "ordered_at": "timestamptz",
    "paid": "numeric(12, 2)",
    "qty": "int",
}
COLUMNS = {
    "event_id": "line_id",
    "user_id": "customer",
    "item_id": "sku",
    "occurred_at": "ordered_at",
    "amount": "paid",
    "quantity": "qty",
}


HAS_ADBC = importlib.util.find_spec("adbc_driver_sqlite") is not None
SECOND_DRIVER = pytest.param(DRIVERS[1], marks=[pytest.mark.slow] if HAS_ADBC else [])
by_driver = pytest.mark.parametrize("driver", DRIVERS)
"""For tests of what a driver does itself; the others are quick with one driver."""


@pytest.fixture(params=[DRIVERS[0], SECOND_DRIVER])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shop(tmp_path: Path, database_url: str | None, driver: str) -> Iterator[SourceDatabase]:
    """A database with an empty table of order lines, read by each driver."""
    columns = {"interactions": COLUMNS}
    database = SourceDatabase(tmp_path, database_url, driver=driver, columns=columns)
    types = POSTGRES_COLUMNS if database.is_postgres else dict.fromkeys(POSTGRES_COLUMNS, "")
    yield database.create(**types)
    database.engine.dispose()


def order_line(number: int, time: str | None, paid: float | None = 1.5) -> dict[str, Any]:
    """A row of the table of order lines."""
    customer, sku = f"u{number % 3}", f"i{number % 5}"
    return {
        "line_id": number,
        "customer": customer,
        "sku": sku,
        "ordered_at": time,
        "paid": paid,
        "qty": 1 + number % 2,
    }


def order_lines(days: int = 10, lines: int = 4) -> list[dict[str, Any]]:
    """Order lines of days, at 00:00, 06:00, … UTC."""
    return [
        order_line(100 * number + line, f"{day} {24 // lines * line:02}:00:00+00:00", line + 0.25)
        for number, day in enumerate(day_keys(days))
        for line in range(lines)
    ]


@by_driver
def test_rows_equal_those_of_a_file(shop: SourceDatabase, tmp_path: Path) -> None:
    rows = [*order_lines(), order_line(7000, None), order_line(7001, "1970-01-01 00:00:00+00:00")]
    rows.append(order_line(100, "2024-01-02 12:00:00+00:00"))  # repeats an id
    shop.insert(rows)
    (tmp_path / "files").mkdir()
    folder = SourceFolder(tmp_path / "files", columns={"interactions": COLUMNS})
    header = ",".join(rows[0])
    lines = (",".join("" if v is None else str(v) for v in row.values()) for row in rows)
    folder.write("interactions.csv", "\n".join([header, *lines]) + "\n")
    assert total_counts(shop.ingest()) == total_counts(folder.ingest()) == (43, 40, 3)
    query = "from raw.interactions order by all"
    assert shop.rows(query) == folder.rows(query)
    # Files and databases number rows differently.
    reasons = (
        "select regexp_replace(replace(reason, '00:00:00+00:00', '00:00:00+00'), 'in row .* of "
        "[^:]*', '') as reason from raw.quarantine order by all"
    )
    assert shop.rows(reasons) == folder.rows(reasons)
    # Rows without a plausible day are counted on the home's first day.
    days = shop.rows("select date::VARCHAR as date, source from raw.quarantine order by all")
    assert [row["date"] for row in days] == ["2024-01-01", "2024-01-01", "2024-01-02"]
    assert {row["source"] for row in days} == {"order_lines"}


@by_driver
def test_days_read_one_by_one_give_the_same_rows(shop: SourceDatabase) -> None:
    shop.insert([*order_lines(), order_line(7000, None)])
    counts = [total_counts(shop.ingest(days=[day])) for day in day_keys(4)]
    assert counts == [(5, 4, 1), *[(4, 4, 0)] * 3]


@by_driver
def test_a_year_of_rows_is_read_in_groups_of_days(
    shop: SourceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_adapter, "ROWS_PER_READ", 9)
    shop.insert([*order_lines(), order_line(7000, None)])
    with shop.source.open_partitions(INTERACTIONS, day_keys(10), shop.settings.home.parent) as days:
        assert [len(group) for group in days] == [2, 2, 2, 2, 2]
    results = shop.ingest()
    assert total_counts(results) == (41, 40, 1)
    assert [result.counts.read for result in results.values()] == [5, *[4] * 9]


def test_the_span_and_the_newest_complete_day(shop: SourceDatabase) -> None:
    shop.insert([*order_lines(), order_line(7000, None), order_line(1, "1970-01-01 00:00:00+00")])
    span = shop.source.span(TODAY)
    assert (span.first_day, span.last_day) == (dt.date(2024, 1, 1), None)
    assert shop.source.newest_complete_day(TODAY) == dt.date(2024, 1, 10)
    assert shop.source.newest_complete_day(dt.date(2024, 1, 5)) == dt.date(2024, 1, 4)


def test_late_rows_within_the_window_are_found(shop: SourceDatabase) -> None:
    shop.insert(order_lines(8))
    assert shop.run("2024-01-08") == day_keys(8)
    assert shop.due("2024-01-08") == []
    shop.insert([order_line(9001, "2024-01-06 10:00:00+00:00")])
    shop.insert([order_line(9002, "2024-01-03 10:00:00+00:00")])  # too late for the window
    shop.insert([order_line(9003, "2024-01-09 10:00:00+00:00")])
    assert shop.run("2024-01-09") == ["2024-01-06", "2024-01-09"]
    # The window is that of the previous run too: it was 2024-01-06 to 2024-01-09.
    shop.insert([order_line(9004, "2024-01-07 10:00:00+00:00")])
    assert shop.run("2024-01-14") == ["2024-01-07", *(f"2024-01-{n}" for n in range(10, 15))]


def test_deleted_rows_are_found_by_the_comparison_of_all_days(shop: SourceDatabase) -> None:
    shop.insert(order_lines(8))
    shop.run("2024-01-08")
    shop.execute("delete from order_lines where line_id in (0, 101)")
    # The first day, with rows without a day, is always compared.
    assert shop.run("2024-01-08") == ["2024-01-01"]
    assert shop.due("2024-01-14") == day_keys(6, dt.date(2024, 1, 9))
    due = shop.due("2024-01-15")
    assert due[0] == "2024-01-02"
    # A day that was found changed stays due until it is ingested.
    assert shop.due("2024-01-15") == due
    assert "2024-01-02" in shop.run("2024-01-15")
    assert shop.due("2024-01-15") == []
    assert len(shop.rows()) == 30


def test_kept_rows_are_compared_until_they_are_back(shop: SourceDatabase) -> None:
    shop.change(reconcile_days=0).insert(order_lines(12))
    shop.run("2024-01-08")
    shop.execute("delete from order_lines where line_id between 600 and 603")
    shop.run("2024-01-08")
    assert "4 rows of 1 day" in read_kept_rows(shop.settings.home).lost["interactions"]
    shop.run("2024-01-12")
    shop.insert([row for row in order_lines(8) if 600 <= row["line_id"] <= 603])
    # The day is long before the window.
    assert shop.due("2024-01-12") == []
    assert read_kept_rows(shop.settings.home).lost == {}


def test_all_days_are_never_compared_if_reconcile_days_is_0(shop: SourceDatabase) -> None:
    shop.change(reconcile_days=0).insert(order_lines(8))
    shop.run("2024-01-08")
    shop.execute("delete from order_lines where line_id = 101")
    shop.run("2024-02-08")
    assert shop.due("2024-02-28")[0] == "2024-02-09"


def test_changed_settings_make_all_days_due(shop: SourceDatabase) -> None:
    shop.insert(order_lines(8))
    shop.run("2024-01-08")
    assert shop.due("2024-01-08") == []
    shop.change(where={"interactions": "qty > 1"})
    assert shop.due("2024-01-08") == day_keys(8)
    shop.run("2024-01-08")
    assert len(shop.rows()) == 16
    assert shop.due("2024-01-08") == []


def test_a_run_of_an_older_day_does_not_hide_changed_settings(shop: SourceDatabase) -> None:
    shop.insert(order_lines(8))
    shop.run("2024-01-08")
    shop.change(late_days=0, where={"interactions": "qty > 1"})
    assert shop.run("2024-01-03") == day_keys(3)
    assert shop.due("2024-01-08") == day_keys(8)[3:]


def test_softly_deleted_rows_are_left_out(shop: SourceDatabase) -> None:
    type_ = "timestamptz" if shop.is_postgres else "text"
    shop.execute(f"alter table order_lines add column deleted_at {type_}")
    shop.change(where={"interactions": "deleted_at is null -- soft deletes"})
    shop.insert(order_lines(8))
    shop.run("2024-01-08")
    shop.execute("update order_lines set deleted_at = '2024-01-08 12:00:00' where line_id = 701")
    assert shop.run("2024-01-08") == ["2024-01-08"]
    assert len(shop.rows()) == 31


def test_a_change_in_place_is_found_with_updated_at(shop: SourceDatabase) -> None:
    type_ = "timestamptz" if shop.is_postgres else "text"
    shop.execute(f"alter table order_lines add column modified {type_}")
    shop.insert(order_lines(8))
    shop.run("2024-01-08")
    change = "update order_lines set sku = 'x', modified = '2024-01-0{} 12:00' where line_id = {}"
    shop.execute(change.format(8, 701))
    assert shop.run("2024-01-08") == []
    shop.change(updated_at={"interactions": "modified"})
    assert shop.run("2024-01-08") == ["2024-01-08"]
    shop.execute(change.format(9, 702))
    assert shop.due("2024-01-08") == ["2024-01-08"]
    shop.change(updated_at={"interactions": "nope"})
    with pytest.raises(SourceError, match=r"no column 'nope', which source\.updated_at"):
        shop.due("2024-01-08")


@by_driver
def test_days_of_23_and_25_hours(shop: SourceDatabase) -> None:
    # Berlin: 2024-03-31 has 23 hours, 2024-10-27 has 25.
    shop.change(timezone="Europe/Berlin")
    shop.state = shop.state.model_copy(update={"timezone": "Europe/Berlin"})
    times = {
        "2024-03-30 22:59:59": "2024-03-30",
        "2024-03-30 23:00:00": "2024-03-31",
        "2024-03-31 21:59:59": "2024-03-31",
        "2024-03-31 22:00:00": "2024-04-01",
        "2024-10-26 21:59:59": "2024-10-26",
        "2024-10-26 22:00:00": "2024-10-27",
        "2024-10-27 22:59:59": "2024-10-27",
        "2024-10-27 23:00:00": "2024-10-28",
    }
    shop.insert([order_line(n, f"{time}+00:00") for n, time in enumerate(times)])
    for day in sorted(set(times.values())):
        shop.ingest(days=[day])
    rows = shop.rows("select event_id, date::VARCHAR as date from raw.interactions")
    assert {row["event_id"]: row["date"] for row in rows} == {
        str(n): day for n, day in enumerate(times.values())
    }
    due = shop.due("2024-10-28")
    assert not set(due) & set(times.values())
    shop.insert([order_line(99, "2024-10-27 22:30:00+00:00")])
    assert set(shop.due("2024-10-28")) - set(due) == {"2024-10-27"}


TIMES = [
    ("timestamptz", "2024-01-03 00:30:00-05:00", "2024-01-03"),
    ("timestamptz", "2024-01-03T04:59:59Z", "2024-01-02"),
    ("timestamp", "2024-01-03 04:59:59", "2024-01-02"),
    ("timestamp", "2024-01-03 05:00:00", "2024-01-03"),
    ("date", "2024-01-03", "2024-01-03"),
    ("bigint", 1704257999, "2024-01-02"),
    ("bigint", 1704258000, "2024-01-03"),
    ("bigint", 1704258000000, "2024-01-03"),
    ("bigint", 1704257999000000000, "2024-01-02"),
    ("bigint", 20240103, "2024-01-03"),
    ("double precision", 1704257999.5, "2024-01-02"),
    ("numeric", 1704257999.5, "2024-01-02"),
    ("text", "2024-01-03T04:59:59Z", "2024-01-02"),
    ("text", "Jan 3, 2024", "2024-01-03"),
    ("text", "2024-01-03 00:00:00 -0500", "2024-01-03"),
]
"""Types of columns in PostgreSQL, values, and their days in New York."""


LOCAL_TIMES = [
    ("timestamp", f"2024-01-0{day} {time}", f"2024-01-0{day}")
    for day, time in ((2, "23:59:59"), (3, "00:00:00"))
]
"""The same for times without an offset that are local."""
CASES = [*(("utc", *time) for time in TIMES), *(("local", *time) for time in LOCAL_TIMES)]


@pytest.mark.slow
@by_driver
@pytest.mark.parametrize(("naive_times", "type_", "value", "day"), CASES)
def test_types_of_times(
    tmp_path: Path, driver: str, naive_times: str, type_: str, value: object, day: str
) -> None:
    options = {"timezone": "America/New_York", "naive_times": naive_times}
    shop = SourceDatabase(tmp_path, empty_postgres(), driver=driver, **options)
    assert_days(shop.create(user_id="text", item_id="text", ts=type_), {value: day})


@by_driver
@pytest.mark.parametrize("naive_times", [pytest.param("utc", marks=pytest.mark.slow), None])
def test_a_column_of_sqlite_has_times_of_all_types(
    tmp_path: Path, driver: str, naive_times: str | None
) -> None:
    options = {"timezone": "America/New_York", "naive_times": naive_times}
    shop = SourceDatabase(tmp_path, driver=driver, **options)
    shop.create(user_id="text", item_id="text", ts="")
    times = [time for time in TIMES if naive_times or time[0] != "timestamp"]
    times += [] if naive_times else LOCAL_TIMES
    assert_days(shop, {value: day for _, value, day in times})


def assert_days(shop: SourceDatabase, days: Mapping[object, str]) -> None:
    """Rows of the values are of their days, alone and together, and found where they are late."""
    for value, day in days.items():
        shop.insert([{"user_id": "u", "item_id": "i", "ts": value}])
        assert shop.source.span(TODAY).first_day == dt.date.fromisoformat(day)
        shop.execute("delete from order_lines")
    shop.insert([{"user_id": "u", "item_id": day, "ts": value} for value, day in days.items()])
    shop.insert([{"user_id": "u", "item_id": "empty", "ts": None}])
    counts = [total_counts(shop.ingest(days=[key])) for key in day_keys(4)]
    numbers = [sum(column) for column in zip(*counts, strict=True)]
    assert numbers == [len(days) + 1, len(days), 1]
    assert all(str(row["date"]) == row["item_id"] for row in shop.rows())
    assert shop.due("2024-01-04") == []
    shop.insert([{"user_id": "u", "item_id": day, "ts": value} for value, day in days.items()])
    assert shop.run("2024-01-04") == sorted({*days.values()})
    found = [row["item_id"] for row in shop.rows("from raw.interactions order by all")]
    assert found == sorted([*days.values()] * 2)


@by_driver
def test_a_time_that_is_rounded_to_the_next_day_is_not_lost(
    tmp_path: Path, database_url: str | None, driver: str
) -> None:
    shop = SourceDatabase(tmp_path, database_url, driver=driver)
    shop.create(user_id="text", item_id="text", ts="bigint" if shop.is_postgres else "")
    end = 1704153600 * 10**9  # of 2024-01-01; DuckDB rounds times to microseconds
    shop.insert([{"user_id": "u", "item_id": "i", "ts": end - 1}])
    counts = [total_counts(shop.ingest(days=[key])) for key in day_keys(3)]
    assert [sum(column) for column in zip(*counts, strict=True)] == [1, 1, 0]


@by_driver
def test_snapshots_and_attributes(shop: SourceDatabase) -> None:
    shop.create("products", sku="text", name="text", price="numeric", weight="int")
    shop.insert([{"sku": "a", "name": "Apple", "price": 1.5, "weight": 3}], "products")
    shop.change(tables={"interactions": "order_lines", "items": "products"})
    assert shop.run("2024-01-03", ITEMS) == ["2024-01-03"]
    [row] = shop.rows("from raw.items")
    assert (row["item_id"], row["title"], row["price"]) == ("a", "Apple", 1.5)
    assert dict(row["attributes"]) == {"weight": "3"}
    # Without updated_at, a snapshot is read once a day.
    assert shop.due("2024-01-03", ITEMS) == []
    assert shop.due("2024-01-04", ITEMS) == ["2024-01-04"]
    shop.change(updated_at={"items": "weight"})
    shop.run("2024-01-04", ITEMS)
    assert shop.due("2024-01-05", ITEMS) == []
    shop.execute("update products set weight = 4")
    assert shop.due("2024-01-05", ITEMS) == ["2024-01-05"]


@by_driver
def test_a_query_in_the_sql_of_the_database(shop: SourceDatabase) -> None:
    shop.insert(order_lines(3))
    query = "select line_id as event_id, customer as user_id, 'x:y' as item_id, ordered_at from "
    shop.change(
        tables={},
        queries={"interactions": f"{query} order_lines where qty > 1 -- a comment"},
        columns={"interactions": {"occurred_at": "ordered_at"}},
    )
    shop.insert([{**order_line(9001, "2024-01-01 00:00:00+00"), "customer": None}])
    assert total_counts(shop.ingest()) == (7, 6, 1)
    assert {row["item_id"] for row in shop.rows()} == {"x:y"}
    [refused] = shop.rows("select source, row from raw.quarantine")
    assert refused["source"] == "query interactions"
    assert '"event_id"' in refused["row"]


def test_the_newest_of_repeated_rows_stays(shop: SourceDatabase) -> None:
    shop.execute("alter table order_lines add column changed int")
    rows = [{**order_line(n, "2024-01-02 10:00:00+00:00"), "changed": 9 - n} for n in range(3)]
    shop.insert([{**row, "qty": 7, "customer": "u"} for row in rows])
    shop.change(
        updated_at={"interactions": "changed"},
        deduplicate={"interactions": {"by": ["qty", "customer"], "keep": "last"}},
    )
    results = shop.ingest()
    assert results["2024-01-02"].counts.deduplicated == 2
    assert [row["event_id"] for row in shop.rows()] == ["0"]


@by_driver
def test_row_numbers_do_not_depend_on_the_order_of_the_database(shop: SourceDatabase) -> None:
    rows = [order_line(n % 3, f"2024-01-02 0{n}:00:00+00:00", n) for n in range(9)]
    shop.insert(rows)
    shop.ingest()
    before = shop.rows("from raw.quarantine order by row_number"), shop.rows()
    shop.execute("delete from order_lines")
    shop.insert(rows[::-1])
    results = shop.ingest()
    assert not any(result.write_result.changed for result in results.values())
    assert (shop.rows("from raw.quarantine order by row_number"), shop.rows()) == before


# Another process: two copies of SQLite in one process do not see each other's locks.
WRITER = """
import sys
import sqlalchemy as sa
engine, days = sa.create_engine(sys.argv[1]), sys.argv[2:]
insert = "insert into order_lines values ({}, 'u', 'i', '{} 11:00:00+00:00', 1.5, 1)"
for number in range(10_000, 10_300):
    with engine.begin() as db:
        db.exec_driver_sql(insert.format(number, days[number % len(days)]))
    print(number, flush=True)
"""


@by_driver
def test_no_row_is_lost_while_others_are_inserted(shop: SourceDatabase) -> None:
    if not shop.is_postgres:
        shop.execute("pragma journal_mode = wal")
    shop.insert(order_lines(8))
    command = [sys.executable, "-c", WRITER, shop.url, *day_keys(8)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "10000\n"
        reads = 0
        while writer.poll() is None or reads == 0:
            read, accepted, _ = total_counts(shop.ingest(days=day_keys(8)))
            assert read == accepted
            reads += 1
    assert writer.returncode == 0
    shop.change(late_days=8).run("2024-01-08")
    ids = sorted(int(row["event_id"]) for row in shop.rows())
    assert ids == [*(row["line_id"] for row in order_lines(8)), *range(10_000, 10_300)]
    assert shop.due("2024-01-08") == []


def test_a_table_without_a_time_belongs_to_the_default_date(shop: SourceDatabase) -> None:
    shop.create("pairs", user_id="text", item_id="text")
    shop.insert([{"user_id": "u", "item_id": "i"}], "pairs")
    shop.change(tables={"interactions": "pairs"}, columns={})
    assert shop.run("2024-01-10") == day_keys(10)
    assert [str(row["date"]) for row in shop.rows()] == ["2024-01-07"]
    assert shop.source.day_range(INTERACTIONS) == (dt.date(2024, 1, 7),) * 2
    assert shop.due("2024-01-10") == []
    shop.insert([{"user_id": "u", "item_id": "j"}], "pairs")
    assert "2024-01-07" in shop.due("2024-01-10")


@by_driver
def test_an_empty_table_has_empty_partitions(shop: SourceDatabase) -> None:
    assert total_counts(shop.ingest()) == (0, 0, 0)
    assert shop.source.day_range(INTERACTIONS) is None
    with pytest.raises(SourceError, match="interactions has no rows yet"):
        shop.source.span(TODAY)


def test_tables_that_are_not_named_are_absent(shop: SourceDatabase) -> None:
    assert shop.source.tables() == (INTERACTIONS,)
    results = shop.ingest(REVIEWS)
    assert total_counts(results) == (0, 0, 0)
    assert shop.ingest(USERS)["2024-01-10"].counts.read == 0
