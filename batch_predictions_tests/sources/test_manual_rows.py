"""Rows that commands add to raw tables survive later ingests."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest

from batch_predictions.serving.exports import AudienceError, add_campaign, read_item_ids
from batch_predictions.sources.manual_rows import add_manual_rows
from batch_predictions.tables import CAMPAIGN_EVENTS, INTERACTIONS, ITEMS, PROMOTIONS
from batch_predictions_tests.worlds.source_folders import SourceFolder, total_counts

DAY = "2024-01-02"
STARTS, ENDS = dt.date(2024, 1, 5), dt.date(2024, 1, 20)
OFFERS = "campaign_id,kind,item_id,starts_on,ends_on\nspring,A,i1,2024-01-03,2024-01-31\n"
EVENTS = "campaign_id,user_id,item_id,event_type,date\nspring,u1,i1,redeemed,2024-01-02\n"


def listed_rows(*users: str, day: str = DAY) -> pa.Table:
    """Campaign events of an exported list."""
    rows = [
        {
            "date": dt.date.fromisoformat(day),
            "campaign_id": "retention",
            "user_id": user,
            "item_id": None,
            "event_type": "listed",
        }
        for user in users
    ]
    names = ("campaign_id", "user_id", "item_id", "event_type")
    schema = pa.schema([("date", pa.date32()), *((name, pa.string()) for name in names)])
    return pa.Table.from_pylist(rows, schema)


@pytest.fixture
def shop(tmp_path: Path) -> SourceFolder:
    folder = SourceFolder(tmp_path)
    folder.write("interactions.csv", "user_id,item_id,occurred_at\nu1,i1,2024-01-02\n")
    folder.write("items.csv", "item_id,title\ni1,One\ni2,Two\n")
    folder.write("promotions.csv", OFFERS).write("campaign_events.csv", EVENTS)
    for table in (INTERACTIONS, ITEMS, PROMOTIONS, CAMPAIGN_EVENTS):
        folder.ingest(table, [DAY])
    return folder


def campaigns(shop: SourceFolder) -> list[tuple[object, ...]]:
    return [
        tuple(row.values())
        for row in shop.rows("select campaign_id, kind, item_id from raw.promotions order by all")
    ]


def events(shop: SourceFolder) -> list[tuple[object, ...]]:
    return [
        tuple(row.values())
        for row in shop.rows(
            "select date::VARCHAR, campaign_id, user_id, event_type from raw.campaign_events "
            "order by all"
        )
    ]


SPRING = ("spring", "A", "i1")
REDEEMED_EVENT = (DAY, "spring", "u1", "redeemed")
LISTED_EVENTS = [(DAY, "retention", user, "listed") for user in ("u1", "u2")]


def test_an_ad_hoc_campaign_survives_a_new_snapshot(
    shop: SourceFolder,
) -> None:
    add_campaign(shop.warehouse, "ad hoc", ["i2", "i1", "i2"], STARTS, ENDS)
    added = [("ad hoc", "ad_hoc", "i1"), ("ad hoc", "ad_hoc", "i2")]
    assert campaigns(shop) == [*added, SPRING]
    shop.write("promotions.csv", OFFERS + "spring,A,i2,2024-01-03,2024-01-31\n")
    results = shop.ingest(PROMOTIONS, ["2024-01-03"])
    assert campaigns(shop) == [*added, SPRING, ("spring", "A", "i2")]
    # Added rows are not counted among those of the source.
    assert total_counts(results) == (2, 2, 0)
    assert [(result.manual_rows, result.write_result.rows) for result in results.values()] == [
        (2, 4)
    ]


def test_a_campaign_replaces_an_earlier_one_of_the_same_name(shop: SourceFolder) -> None:
    add_campaign(shop.warehouse, "ad hoc", ["i1", "i2"], STARTS, ENDS)
    add_campaign(shop.warehouse, "ad hoc", ["i2"], STARTS, ENDS)
    assert campaigns(shop) == [("ad hoc", "ad_hoc", "i2"), SPRING]
    with pytest.raises(AudienceError, match="the source has a campaign spring"):
        add_campaign(shop.warehouse, "spring", ["i2"], STARTS, ENDS)


def test_a_row_of_the_source_replaces_an_added_row_with_the_same_key(shop: SourceFolder) -> None:
    add_campaign(shop.warehouse, "ad hoc", ["i1"], STARTS, ENDS)
    shop.write("promotions.csv", OFFERS + "ad hoc,B,i1,2024-01-03,2024-01-31\n")
    shop.ingest(PROMOTIONS, ["2024-01-03"])
    assert campaigns(shop) == [("ad hoc", "B", "i1"), SPRING]


def test_added_events_survive_a_new_ingest_of_their_day(shop: SourceFolder) -> None:
    add_manual_rows(shop.warehouse, CAMPAIGN_EVENTS, "retention", listed_rows("u1", "u2"))
    assert events(shop) == [*LISTED_EVENTS, REDEEMED_EVENT]
    shop.write("campaign_events.csv", EVENTS + "spring,u3,i1,redeemed,2024-01-02\n")
    results = shop.ingest(CAMPAIGN_EVENTS, [DAY])
    assert events(shop) == [*LISTED_EVENTS, REDEEMED_EVENT, (DAY, "spring", "u3", "redeemed")]
    assert results[DAY].manual_rows == 2
    unchanged = shop.ingest(CAMPAIGN_EVENTS, [DAY])
    assert not unchanged[DAY].write_result.changed


def test_a_list_replaces_an_earlier_one_of_the_same_name(shop: SourceFolder) -> None:
    for users in (("u1", "u2", "u3"), ("u1", "u2"), ("u1", "u2")):
        add_manual_rows(shop.warehouse, CAMPAIGN_EVENTS, "retention", listed_rows(*users))
    assert events(shop) == [*LISTED_EVENTS, REDEEMED_EVENT]


def test_added_rows_of_a_later_day_are_written_when_it_is_ingested(shop: SourceFolder) -> None:
    add_manual_rows(shop.warehouse, CAMPAIGN_EVENTS, "later", listed_rows("u9", day="2024-01-04"))
    assert events(shop) == [REDEEMED_EVENT]
    shop.ingest(CAMPAIGN_EVENTS, ["2024-01-04"])
    assert ("2024-01-04", "retention", "u9", "listed") in events(shop)


def test_rows_are_added_to_tables_that_the_source_does_not_have(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    shop.write("interactions.csv", "user_id,item_id,occurred_at\nu1,i1,2024-01-02\n")
    for table in (INTERACTIONS, PROMOTIONS, CAMPAIGN_EVENTS):
        shop.ingest(table, [DAY])
    add_campaign(shop.warehouse, "ad hoc", ["i1"], STARTS, ENDS)
    add_manual_rows(shop.warehouse, CAMPAIGN_EVENTS, "retention", listed_rows("u1", "u2"))
    for table in (PROMOTIONS, CAMPAIGN_EVENTS):
        shop.ingest(table, [DAY])
    assert campaigns(shop) == [("ad hoc", "ad_hoc", "i1")] and events(shop) == LISTED_EVENTS


def test_item_ids_are_read_from_text_and_csv(tmp_path: Path) -> None:
    text_file, csv_file = tmp_path / "items.txt", tmp_path / "items.csv"
    text_file.write_text("i1\n\n i2 \n")
    csv_file.write_text('item_id,title\n"i1",One\ni2,Two\n')
    assert read_item_ids(text_file) == read_item_ids(csv_file) == ["i1", "i2"]
