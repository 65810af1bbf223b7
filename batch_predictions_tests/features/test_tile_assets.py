"""Tiles as assets: made before features, again after a correction, and never read outdated."""

from __future__ import annotations

import datetime as dt

import dagster as dg
import pytest

from batch_predictions.features.assets import feature_asset, tile_asset
from batch_predictions.features.base import FeatureTable
from batch_predictions.features.sql.queries import demand_parameters
from batch_predictions.features.tiles.base import TILES
from batch_predictions.features.tiles.building import tile_problems
from batch_predictions.settings import Settings
from batch_predictions.tables import INTERACTIONS, TABLES, USER_ACTIVITY, USER_ITEMS, USER_TOTALS
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions_tests.features.test_tiles import FEATURES, rows_of, write_day, write_days
from batch_predictions_tests.worlds.direct_sql import direct_sql
from batch_predictions_tests.worlds.home import PARTITIONS, features_asset, materialize
from batch_predictions_tests.worlds.sales import write_items

DAYS = [f"2024-01-{day:02}" for day in range(27, 32)] + ["2024-02-01", "2024-02-02"]
TILE_ASSETS = [tile_asset(tile, PARTITIONS) for tile in TILES.values()]
USER_TILES = [
    tile_asset(TILES[f"tiles.{name}"], PARTITIONS) for name in ("user_items", "user_totals")
]
FEATURE_ASSETS = [features_asset(name) for name in FEATURES]


@pytest.fixture
def world(warehouse: Warehouse) -> Warehouse:
    """A warehouse with a purchase on every day."""
    write_items(warehouse, {"item_id": "a", "category": "food"})
    days = {
        as_date(day): [("ann", "ab"[number % 2], "purchase", 1.0, 2.5, "Bonn")]
        for number, day in enumerate(DAYS)
    }
    write_days(warehouse, days)
    return warehouse


def assert_features_equal_direct_sql(warehouse: Warehouse, settings: Settings, day: str) -> None:
    """The written features have the rows of direct SQL."""
    bound = {**demand_parameters(warehouse, settings), "date": as_date(day)}
    for name in FEATURES:
        written = f"select * from features.{name} where date = $date"
        assert rows_of(warehouse, written, bound) == rows_of(warehouse, direct_sql(name), bound)


def logged(result: dg.ExecuteInProcessResult, text: str) -> bool:
    """Whether an event of a run has a text."""
    return any(text in str(event) for event in result.all_events)


@pytest.mark.slow
def test_a_range_of_days_has_tiles_and_features(world: Warehouse, settings: Settings) -> None:
    result = materialize([*TILE_ASSETS, *FEATURE_ASSETS], settings, DAYS[3], DAYS[-1])
    assert result.success
    steps = [event.step_key for event in result.get_step_success_events()]
    assert steps.index("tiles__user_totals") < steps.index("features__user_activity")
    for day in DAYS[3:]:
        assert_features_equal_direct_sql(world, settings, day)
    assert world.partitions(USER_TOTALS) == DAYS[3:]
    spans = world.query("select distinct date::VARCHAR as d, span from tiles.user_items order by 1")
    assert {*zip(spans["d"].to_pylist(), spans["span"].to_pylist(), strict=True)} == {
        ("2024-01-31", "month"),
        *((day, "day") for day in DAYS),
    }


def test_features_of_a_night_read_no_raw_day_of_long_ago(
    world: Warehouse, settings: Settings
) -> None:
    """What is read of history comes from tiles: a changed total is in the features."""
    assert materialize(USER_TILES, settings, DAYS[-1]).success
    rows = world.query(
        "select user_id, first_date, last_date, 1000 as events, items from "
        "tiles.user_totals where date = $date",
        {"date": as_date(DAYS[-1])},
    )
    fingerprint = world.metadata(USER_TOTALS, DAYS[-1])
    world.replace_partition(USER_TOTALS, DAYS[-1], rows, metadata=fingerprint)
    assert materialize([features_asset("user_activity")], settings, DAYS[-1]).success
    assert world.value("select events from features.user_activity") == 1000


def test_a_correction_is_in_the_next_nights_features(world: Warehouse, settings: Settings) -> None:
    assert materialize([*TILE_ASSETS, *FEATURE_ASSETS], settings, DAYS[-2]).success
    write_day(world, as_date(DAYS[0]), [("bob", "b", "purchase", 4.0, 9.0, "Oslo")] * 2)
    assert materialize([*TILE_ASSETS, *FEATURE_ASSETS], settings, DAYS[-1]).success
    assert_features_equal_direct_sql(world, settings, DAYS[-1])
    assert world.value("select count(*) from features.user_activity where user_id = 'bob'") == 1


@pytest.mark.slow
def test_features_without_tiles_are_computed_from_raw_tables(
    world: Warehouse, settings: Settings
) -> None:
    assert materialize(FEATURE_ASSETS, settings, DAYS[-1]).success
    assert_features_equal_direct_sql(world, settings, DAYS[-1])
    assert materialize(TILE_ASSETS, settings, DAYS[-1]).success
    write_day(world, as_date(DAYS[1]), [])
    assert materialize(FEATURE_ASSETS, settings, DAYS[-1]).success
    assert_features_equal_direct_sql(world, settings, DAYS[-1])


def test_a_given_query_does_not_read_a_tile_that_is_not_made(
    world: Warehouse, settings: Settings
) -> None:
    query = """select date, user_id, first_date, last_date, 0 as days_inactive, events, items,
        0 as active_days_7d, 0 as active_days_28d, 0 as active_days_84d, 0 as events_7d,
        0 as events_28d, 0 as events_84d, 0.0 as spend_7d, 0.0 as spend_28d, 0.0 as spend_84d
        from tiles.user_totals where date = $date"""
    asset = feature_asset(FeatureTable(USER_ACTIVITY, query=query), PARTITIONS, settings)
    result = materialize([asset], settings, DAYS[-1])
    assert not result.success
    assert logged(result, f"tiles/user_totals of {DAYS[-1]} is missing")
    assert materialize([*USER_TILES, asset], settings, DAYS[-1]).success
    assert world.value("select count(*) from features.user_activity") > 0


def test_settings_that_a_tile_depends_on_outdate_it(world: Warehouse, settings: Settings) -> None:
    day = [DAYS[-1]]
    assert materialize(TILE_ASSETS, settings, *day).success
    assert tile_problems(world, settings, TABLES, day) == []
    other = settings.model_copy(
        update={"demand": settings.demand.model_copy(update={"event_types": ["view"]})}
    )
    [problem] = tile_problems(world, other, TABLES, day)
    assert problem.startswith(f"tiles/daily_sales of {DAYS[-1]} is missing, or was made from other")
    assert materialize(TILE_ASSETS, other, *day).success
    assert tile_problems(world, other, TABLES, day) == []


def test_a_tile_without_its_upstream_tile_says_what_to_do(
    world: Warehouse, settings: Settings
) -> None:
    result = materialize([tile_asset(TILES["tiles.user_totals"], PARTITIONS)], settings, DAYS[-1])
    assert not result.success
    assert logged(result, f"tiles/user_items of {DAYS[-1]} is missing")
    assert world.partitions(USER_ITEMS) == []


def test_a_tile_without_any_raw_day_is_not_taken_for_an_empty_one(
    warehouse: Warehouse, settings: Settings
) -> None:
    result = materialize(USER_TILES[:1], settings, DAYS[-1])
    assert not result.success
    assert logged(result, "no partition of raw/interactions up to that day")
    write_day(warehouse, as_date(DAYS[-1]), [])
    assert materialize(USER_TILES, settings, DAYS[-1]).success
    assert warehouse.value("select count(*) from tiles.user_items") == 0


def test_the_rows_of_a_raw_day_that_is_removed_leave_the_tiles(
    world: Warehouse, settings: Settings
) -> None:
    assert materialize(USER_TILES, settings, DAYS[-1]).success
    world.remove_partition(INTERACTIONS, DAYS[2])
    assert tile_problems(world, settings, ["tiles.user_items"], [DAYS[-1]])
    assert materialize(USER_TILES, settings, DAYS[-1]).success
    last = as_date(DAYS[-1]) - dt.timedelta(days=1)
    assert tile_problems(world, settings, ["tiles.user_items"], [last.isoformat()]) == []
