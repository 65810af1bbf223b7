"""What commands add to raw tables stays, whatever is ingested again."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest

from batch_predictions.serving.exports import AudienceError, add_campaign, read_item_ids
from batch_predictions.sources.manual_rows import add_manual_rows
from batch_predictions.tables import CAMPAIGN_EVENTS, INTERACTIONS, ITEMS, PROMOTIONS
from batch_predictions_tests.worlds.source_folders import World, totals

DAY = "2024-01-02"
STARTS, ENDS = dt.date(2024, 1, 5), dt.date(2024, 1, 20)
OFFERS = "campaign_id,kind,item_id,starts_on,ends_on\nspring,A,i1,2024-01-03,2024-01-31\n"
EVENTS = "campaign_id,user_id,item_id,event_type,date\nspring,u1,i1,redeemed,2024-01-02\n"


def listed(*users: str, day: str = DAY) -> pa.Table:
    """Rows of a list that was exported."""
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
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.write("interactions.csv", "user_id,item_id,occurred_at\nu1,i1,2024-01-02\n")
    made.write("items.csv", "item_id,title\ni1,One\ni2,Two\n")
    made.write("promotions.csv", OFFERS).write("campaign_events.csv", EVENTS)
    made.ingest(INTERACTIONS, [DAY])
    for table in (ITEMS, PROMOTIONS, CAMPAIGN_EVENTS):
        made.ingest(table, [DAY])
    return made


def campaigns(world: World) -> list[tuple[object, ...]]:
    return [
        tuple(row.values())
        for row in world.rows("select campaign_id, kind, item_id from raw.promotions order by all")
    ]


def events(world: World) -> list[tuple[object, ...]]:
    return [
        tuple(row.values())
        for row in world.rows(
            "select date::VARCHAR, campaign_id, user_id, event_type from raw.campaign_events "
            "order by all"
        )
    ]


SPRING = ("spring", "A", "i1")
REDEEMED = (DAY, "spring", "u1", "redeemed")
LISTED = [(DAY, "retention", user, "listed") for user in ("u1", "u2")]


def test_an_ad_hoc_campaign_is_there_at_once_and_survives_a_new_snapshot(world: World) -> None:
    add_campaign(world.warehouse, "own", ["i2", "i1", "i2"], STARTS, ENDS)
    own = [("own", "ad_hoc", "i1"), ("own", "ad_hoc", "i2")]
    assert campaigns(world) == [*own, SPRING]
    again = world.write("promotions.csv", OFFERS + "spring,A,i2,2024-01-03,2024-01-31\n").ingest(
        PROMOTIONS, ["2024-01-03"]
    )
    assert campaigns(world) == [*own, SPRING, ("spring", "A", "i2")]
    # The account of the source's rows stays what it was: 2 read, 2 accepted, 2 are our own.
    assert totals(again) == (2, 2, 0)
    assert [(each.added, each.written.rows) for each in again.values()] == [(2, 4)]


def test_a_campaign_added_again_replaces_itself(world: World) -> None:
    add_campaign(world.warehouse, "own", ["i1", "i2"], STARTS, ENDS)
    add_campaign(world.warehouse, "own", ["i2"], STARTS, ENDS)
    assert campaigns(world) == [("own", "ad_hoc", "i2"), SPRING]
    with pytest.raises(AudienceError, match="the source has a campaign spring"):
        add_campaign(world.warehouse, "spring", ["i2"], STARTS, ENDS)


def test_where_the_source_comes_to_have_the_same_row_the_sources_stands(world: World) -> None:
    add_campaign(world.warehouse, "own", ["i1"], STARTS, ENDS)
    world.write("promotions.csv", OFFERS + "own,B,i1,2024-01-03,2024-01-31\n")
    world.ingest(PROMOTIONS, ["2024-01-03"])
    assert campaigns(world) == [("own", "B", "i1"), SPRING]


def test_who_was_listed_stays_listed_when_the_day_is_ingested_again(world: World) -> None:
    add_manual_rows(world.warehouse, CAMPAIGN_EVENTS, "retention", listed("u1", "u2"))
    assert events(world) == [*LISTED, REDEEMED]
    world.write("campaign_events.csv", EVENTS + "spring,u3,i1,redeemed,2024-01-02\n")
    again = world.ingest(CAMPAIGN_EVENTS, [DAY])
    assert events(world) == [*LISTED, REDEEMED, (DAY, "spring", "u3", "redeemed")]
    assert again[DAY].added == 2
    unchanged = world.ingest(CAMPAIGN_EVENTS, [DAY])
    assert not unchanged[DAY].written.changed


def test_a_list_recorded_again_is_counted_once(world: World) -> None:
    for users in (("u1", "u2", "u3"), ("u1", "u2"), ("u1", "u2")):
        add_manual_rows(world.warehouse, CAMPAIGN_EVENTS, "retention", listed(*users))
    assert events(world) == [*LISTED, REDEEMED]


def test_a_day_that_was_not_ingested_yet_gets_its_rows_then(world: World) -> None:
    add_manual_rows(world.warehouse, CAMPAIGN_EVENTS, "later", listed("u9", day="2024-01-04"))
    assert events(world) == [REDEEMED]
    world.ingest(CAMPAIGN_EVENTS, ["2024-01-04"])
    assert ("2024-01-04", "retention", "u9", "listed") in events(world)


def test_a_source_without_campaigns_takes_additions_too(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write("interactions.csv", "user_id,item_id,occurred_at\nu1,i1,2024-01-02\n")
    for table in (INTERACTIONS, PROMOTIONS, CAMPAIGN_EVENTS):
        world.ingest(table, [DAY])
    add_campaign(world.warehouse, "own", ["i1"], STARTS, ENDS)
    add_manual_rows(world.warehouse, CAMPAIGN_EVENTS, "retention", listed("u1", "u2"))
    for table in (PROMOTIONS, CAMPAIGN_EVENTS):
        world.ingest(table, [DAY])
    assert campaigns(world) == [("own", "ad_hoc", "i1")] and events(world) == LISTED


def test_items_are_read_from_a_text_or_a_csv(tmp_path: Path) -> None:
    text, table = tmp_path / "items.txt", tmp_path / "items.csv"
    text.write_text("i1\n\n i2 \n")
    table.write_text('item_id,title\n"i1",One\ni2,Two\n')
    assert read_item_ids(text) == read_item_ids(table) == ["i1", "i2"]
