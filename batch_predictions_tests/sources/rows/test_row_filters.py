"""Rows that settings leave out are counted: by a condition, or as repeats of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from batch_predictions.settings import SourceSettings
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.checking.check import check_source
from batch_predictions.sources.rows.ingest_log import read_ingest_log
from batch_predictions.tables import INTERACTIONS, ITEMS, PROMOTION_CALENDAR
from batch_predictions_tests.worlds.source_folders import SourceFolder, total_counts

ORDERS = "user_id,item_id,occurred_at,order_id,status\n"


def left_out(shop: SourceFolder, **options: Any) -> dict[str, tuple[int, int]]:
    """Rows that a condition leaves out and repeats, by day, as the ingest log has them."""
    days = read_ingest_log(shop.settings.home, INTERACTIONS).days
    counts = {day: (entry.filtered, entry.deduplicated) for day, entry in days.items()}
    return {day: numbers for day, numbers in counts.items() if any(numbers)}


def test_rows_for_which_the_condition_is_not_true_are_left_out_and_counted(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path, where={"interactions": "status in ('paid', 'sent') -- only"})
    rows = (
        "a,i,2024-01-02,1,paid\nb,i,2024-01-02,2,open\nc,i,2024-01-03,3,\nd,i,2024-01-03,4,sent\n"
    )
    shop.write("interactions.csv", ORDERS + rows + "e,i,never,5,open\nf,i,never,6,paid\nbroken\n")
    # The damaged line is refused: its status is unknown.
    assert total_counts(shop.ingest()) == (4, 2, 2)
    assert [row["user_id"] for row in shop.rows("from raw.interactions order by user_id")] == [
        "a",
        "d",
    ]
    assert left_out(shop) == {"2024-01-02": (1, 0), "2024-01-03": (2, 0)}
    report = check_source(shop.settings)
    assert (report.tables[0].rows_seen, report.tables[0].filtered) == (4, 3)
    assert "3 left out by source.where.interactions" in str(report)


def test_rows_that_are_left_out_do_not_give_the_newest_day(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path, where={"interactions": "status = 'paid'"})
    shop.write(
        "interactions.csv", ORDERS + "a,i,2024-01-02,1,paid\nb,i,2024-01-09,2,open\nc,i,x,3,paid\n"
    )
    shop.ingest()
    assert [str(day) for day in shop.source.day_range(INTERACTIONS) or ()] == ["2024-01-02"] * 2
    assert [str(row["date"]) for row in shop.rows("from raw.quarantine")] == ["2024-01-02"]


def test_conditions_of_snapshots_and_weekly_tables(tmp_path: Path) -> None:
    where = {"items": "kind <> 'gift card'", "promotion_calendar": "item_id = 'a'"}
    shop = SourceFolder(tmp_path, where=where).write("interactions.csv", ORDERS)
    shop.write("items.csv", "item_id,kind\na,food\nb,gift card\n")
    shop.write("promotion_calendar.csv", "item_id,week\na,2024-01-01\nb,2024-01-01\n")
    items = shop.ingest(ITEMS, ["2024-01-10"])["2024-01-10"].counts
    assert (items.read, items.accepted, items.filtered) == (1, 1, 1)
    week = shop.ingest(PROMOTION_CALENDAR, ["2024-01-01"])["2024-01-01"].counts
    assert (week.read, week.accepted, week.filtered) == (1, 1, 1)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("status = 'paid') or (1 = 1", "is not a condition"),
        ("status = 'paid'; drop table x", "is not a condition"),
        ("order_id in (select order_id from 'other.csv')", r"has a subquery.* source\.queries"),
        ("state = 'paid'", r"cannot be evaluated: .*\"state\" not found.* The columns are user_id"),
        ("order_id > 5", r"cannot be evaluated: .*try_cast\(quantity as double\)"),
    ],
)
def test_a_condition_that_cannot_be_evaluated_is_an_error(
    tmp_path: Path, condition: str, message: str
) -> None:
    shop = SourceFolder(tmp_path, where={"interactions": condition})
    shop.write("interactions.csv", ORDERS + "a,i,2024-01-02,A1,paid\n")
    with pytest.raises(SourceError, match=message):
        shop.ingest()


@pytest.mark.parametrize("setting", ["where", "deduplicate", "queries"])
def test_an_unknown_table_is_an_error(tmp_path: Path, setting: str) -> None:
    value: Any = {"by": ["x"]} if setting == "deduplicate" else "select 1"
    shop = SourceFolder(tmp_path, **{setting: {"orders": value}})
    shop.write("interactions.csv", ORDERS)
    with pytest.raises(SourceError, match=rf"source\.{setting}\.orders: there is no raw table"):
        shop.ingest()


@pytest.mark.parametrize(("keep", "statuses"), [("last", ["c2", "x"]), ("first", ["c1", "x"])])
def test_of_repeated_rows_the_first_or_the_last_by_file_and_row_stays(
    tmp_path: Path, keep: str, statuses: list[str]
) -> None:
    rule = {"by": ["order_id", "item_id"], "keep": keep}
    columns = {"interactions": {"event_type": "status"}}
    shop = SourceFolder(tmp_path, deduplicate={"interactions": rule}, columns=columns)
    shop.write("interactions/1.csv", ORDERS + "a,i,2024-01-02,1,c1\na,i,2024-01-02,,x\n")
    shop.write("interactions/2.csv", ORDERS + "a,i,2024-01-02,1,b\na,i,2024-01-02,1,c2\n")
    # On another day, the row is another one.
    shop.write("interactions/3.csv", ORDERS + "a,i,2024-01-03,1,c2\n")
    counts = shop.ingest()["2024-01-02"].counts
    assert (counts.read, counts.accepted, counts.deduplicated) == (2, 2, 2)
    rows = shop.rows("from raw.interactions where date = '2024-01-02' order by event_type")
    assert [row["event_type"] for row in rows] == statuses
    assert left_out(shop) == {"2024-01-02": (0, 2)}
    assert "2 repeats by source.deduplicate.interactions" in str(check_source(shop.settings))


def test_rows_that_are_left_out_are_no_repeats(tmp_path: Path) -> None:
    shop = SourceFolder(
        tmp_path,
        where={"interactions": "status = 'paid'"},
        deduplicate={"interactions": {"by": ["order_id"]}},
    )
    shop.write("interactions.csv", ORDERS + "a,i,2024-01-02,1,paid\na,i,2024-01-02,1,open\n")
    assert total_counts(shop.ingest()) == (1, 1, 0)
    assert left_out(shop) == {"2024-01-02": (1, 0)}


def test_repeats_by_an_unknown_column_are_an_error(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path, deduplicate={"interactions": {"by": ["order_no"]}})
    shop.write("interactions.csv", ORDERS)
    with pytest.raises(SourceError, match="no column 'order_no'; write columns of"):
        shop.ingest()
    with pytest.raises(ValidationError):
        SourceSettings.model_validate({"deduplicate": {"interactions": {"by": []}}})


def test_a_condition_changes_the_fingerprint(tmp_path: Path) -> None:
    plain = SourceFolder(tmp_path).write("interactions.csv", ORDERS)
    fingerprints = {plain.source.fingerprint(INTERACTIONS)}
    for options in ({"where": {"interactions": "true"}}, {"ids": {"user_id": {"case": "lower"}}}):
        fingerprints.add(SourceFolder(tmp_path, **options).source.fingerprint(INTERACTIONS))
    assert len(fingerprints) == 3
