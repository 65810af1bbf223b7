"""Features on tiny worlds whose right answers can be counted on fingers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from batch_predictions.features.assets import tile_asset
from batch_predictions.features.declared_features import PLOTS
from batch_predictions.features.sql.queries import parameters, sql
from batch_predictions.features.tiles.base import TILES
from batch_predictions.settings import DuckDBSettings, Settings, SourceSettings
from batch_predictions.sources.validation.event_types import DEFAULT_EVENTS, resolve_event_types
from batch_predictions.tables import (
    INTERACTIONS,
    ITEM_ACTIVITY,
    ITEM_STATE,
    USER_ACTIVITY,
    USER_SEGMENTS,
    USERS,
    Table,
)
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions_tests.worlds import table_rows
from batch_predictions_tests.worlds.home import PARTITIONS, features_asset, materialize
from batch_predictions_tests.worlds.properties import ONE_FIXTURE_FOR_ALL
from batch_predictions_tests.worlds.sales import write_items
from batch_predictions_tests.worlds.table_rows import named_rows, write_rows

DAY = dt.date(2024, 3, 31)
FEATURES = (USER_ACTIVITY, ITEM_ACTIVITY, USER_SEGMENTS, ITEM_STATE)
BOUND: dict[str, Any] = {
    **resolve_event_types({}, DEFAULT_EVENTS).parameters(),
    "exclude_category": [],
    "exclude_subcategory": [],
    "exclude_brand": [],
    "exclude_attributes": [],
    "location_from_interactions": True,
}
Event = tuple[int, str, str, float, str | None]
"""Days before DAY, user, item, amount, location."""


def write_events(warehouse: Warehouse, events: Sequence[Event]) -> None:
    """Writes interactions; every day with events is replaced."""
    rows = [(DAY - dt.timedelta(days=ago), *event) for ago, *event in events]
    table_rows.write_events(warehouse, "date user_id item_id amount location", rows, quantity=2.0)


def write_no_events(warehouse: Warehouse, day: str) -> None:
    """Writes the partition of a day on which nothing happened."""
    write_rows(warehouse, INTERACTIONS, [], as_date(day))


def write_users(
    warehouse: Warehouse, *users: tuple[str, dt.date | None, str | None, str | None]
) -> None:
    """Writes users: id, day of sign-up, age bracket, location."""
    names = "user_id signed_up_on age_bracket location"
    write_rows(warehouse, USERS, named_rows(names, users))


def compute(warehouse: Warehouse, table: Table, day: dt.date = DAY, **bound: Any) -> dict[str, Any]:
    """A day's features by user or item, null columns included."""
    query = sql(table.name)
    warehouse.replace_partition(table, day.isoformat(), query, {**BOUND, **bound, "date": day})
    rows = warehouse.query(
        f"select * exclude (date) from {table.qualified} where date = $date", {"date": day}
    ).to_pylist()
    return {row.pop(table.key[0]): row for row in rows}


def test_user_activity_counts_windows_that_include_the_day(
    warehouse: Warehouse,
) -> None:
    events: list[Event] = [
        (0, "ann", "a", 1.0, None),
        (0, "ann", "b", 2.0, None),
        (6, "ann", "a", 4.0, None),
        (7, "ann", "a", 8.0, None),
        (27, "ann", "c", 16.0, None),
        (28, "ann", "a", 32.0, None),
        (83, "ann", "a", 64.0, None),
        (84, "ann", "d", 128.0, None),
        (7, "bob", "a", 5.0, None),
    ]
    write_events(warehouse, events)
    names = (
        "first_date last_date days_inactive events items active_days_7d active_days_28d "
        "active_days_84d events_7d events_28d events_84d spend_7d spend_28d spend_84d"
    )
    first, week_ago = DAY - dt.timedelta(days=84), DAY - dt.timedelta(days=7)
    ann = (first, DAY, 0, 8, 4, 2, 4, 6, 3, 5, 7, 7.0, 31.0, 127.0)
    bob = (week_ago, week_ago, 7, 1, 1, 0, 1, 1, 0, 1, 1, 0.0, 5.0, 5.0)
    rows = compute(warehouse, USER_ACTIVITY)
    assert rows == dict(zip(("ann", "bob"), named_rows(names, [ann, bob]), strict=True))


def test_demand_counts_different_users_and_forgets_after_84_days(warehouse: Warehouse) -> None:
    events: list[Event] = [
        (0, "ann", "a", 1.0, None),
        (1, "ann", "a", 2.0, None),
        (10, "bob", "a", 4.0, None),
        (40, "cat", "a", 8.0, None),
        (84, "ann", "old", 1.0, None),
    ]
    write_events(warehouse, events)
    names = (
        "last_date users_7d users_28d users_84d events_7d events_28d events_84d quantity_28d "
        "amount_28d buyers_28d buyers_84d"
    )
    [expected] = named_rows(names, [(DAY, 1, 2, 3, 2, 3, 4, 6.0, 7.0, 2, 3)])
    assert compute(warehouse, ITEM_ACTIVITY) == {"a": expected}


def test_a_demographic_that_is_not_given_is_unknown_and_no_user_is_lost(
    warehouse: Warehouse,
) -> None:
    write_users(
        warehouse,
        ("ann", dt.date(2024, 1, 1), "25-34", "Rome"),
        ("bob", None, None, None),
    )
    write_events(warehouse, [(3, "unknown", "a", 1.0, None)])
    unknown = {"age_bracket": "unknown", "gender": "unknown", "location": "unknown"}
    assert compute(warehouse, USER_SEGMENTS) == {
        "ann": {**unknown, "age_bracket": "25-34", "location": "Rome"},
        "bob": unknown,
        "unknown": unknown,
    }


def test_users_are_present_from_the_day_they_signed_up(
    warehouse: Warehouse,
) -> None:
    tomorrow = DAY + dt.timedelta(days=1)
    write_users(warehouse, ("today", DAY, "25-34", None), ("tomorrow", tomorrow, "25-34", None))
    assert set(compute(warehouse, USER_SEGMENTS)) == {"today"}
    assert set(compute(warehouse, USER_SEGMENTS, tomorrow)) == {"today", "tomorrow"}


def test_attributes_are_unknown_before_the_sign_up(
    warehouse: Warehouse,
) -> None:
    write_users(warehouse, ("ann", DAY + dt.timedelta(days=1), "25-34", "Rome"))
    write_events(warehouse, [(0, "ann", "a", 1.0, None)])
    assert compute(warehouse, USER_SEGMENTS)["ann"]["age_bracket"] == "unknown"


def test_a_user_is_placed_where_they_bought_most_and_ties_go_by_name(
    warehouse: Warehouse,
) -> None:
    write_users(warehouse, ("given", None, None, "Rome"))
    events: list[Event] = [
        (0, "most", "a", 1.0, "Oslo"),
        (1, "most", "b", 1.0, "Oslo"),
        (2, "most", "c", 1.0, "Bonn"),
        (3, "tied", "a", 1.0, "Oslo"),
        (4, "tied", "b", 1.0, "Bonn"),
        (5, "tied", "b", 1.0, None),
        (5, "tied", "c", 1.0, None),
        (6, "given", "b", 1.0, "Bonn"),
    ]
    write_events(warehouse, events)
    locations = {user: row["location"] for user, row in compute(warehouse, USER_SEGMENTS).items()}
    assert locations == {"most": "Oslo", "tied": "Bonn", "given": "Rome"}
    off = compute(warehouse, USER_SEGMENTS, location_from_interactions=False)
    assert {user: row["location"] for user, row in off.items()} == {
        "most": "unknown",
        "tied": "unknown",
        "given": "Rome",
    }


def test_items_of_catalogue_and_events_get_defaults(
    warehouse: Warehouse,
) -> None:
    write_items(
        warehouse,
        {"item_id": "full", "title": "Tea", "category": "drinks", "price": 3.0, "available": True},
        {"item_id": "bare", "title": ""},
    )
    events: list[Event] = [
        (0, "ann", "bought", 2.0, None),
        (27, "ann", "bought", 6.0, None),
        (28, "ann", "bought", 100.0, None),
        (1, "ann", "full", 100.0, None),
        (50, "ann", "once", 4.0, None),
    ]
    write_events(warehouse, events)
    rows = compute(warehouse, ITEM_STATE)
    assert not any(row.pop("is_excluded") for row in rows.values())
    assert rows == {
        "full": {"title": "Tea", "category": "drinks", "price": 3.0, "available": True},
        "bare": {"title": "bare", "category": "unknown", "price": None, "available": True},
        # The median price per unit, of 2 units each, in the last 28 days.
        "bought": {"title": "bought", "category": "unknown", "price": 2.0, "available": True},
        "once": {"title": "once", "category": "unknown", "price": None, "available": True},
    }


def test_items_that_are_unavailable_or_excluded_may_not_be_offered(warehouse: Warehouse) -> None:
    write_items(
        warehouse,
        {"item_id": "gone", "available": False},
        {"item_id": "fuel", "category": "FUEL", "available": True},
        {"item_id": "coupon", "subcategory": "COUPON", "brand": "house"},
        {"item_id": "cheap", "brand": "cheap"},
        {"item_id": "draft", "attributes": {"Status": "draft", "colour": "red"}},
        {
            "item_id": "good",
            "category": "food",
            "subcategory": "bread",
            "brand": "house",
            "attributes": {"Status": "active"},
        },
    )
    excluded = {
        "exclude_category": ["FUEL", "TOYS"],
        "exclude_subcategory": ["COUPON"],
        "exclude_brand": ["cheap"],
        "exclude_attributes": ["Status\x1fdraft"],
    }

    def items_where(column: str, **bound: Any) -> set[str]:
        rows = compute(warehouse, ITEM_STATE, **bound)
        return {item for item, row in rows.items() if row[column]}

    assert items_where("available", **excluded) == {"good"}
    assert items_where("is_excluded", **excluded) == {"fuel", "coupon", "cheap", "draft"}
    assert items_where("available") == {"fuel", "coupon", "cheap", "draft", "good"}


@pytest.mark.parametrize("table", FEATURES, ids=lambda table: table.name)
def test_a_day_without_rows_is_a_valid_partition(warehouse: Warehouse, table: Table) -> None:
    assert compute(warehouse, table) == {}
    assert warehouse.partitions(table) == [DAY.isoformat()]
    assert PLOTS[table.name](warehouse, DAY.isoformat()) is None


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 100),
        st.sampled_from(["ann", "bob", "cat"]),
        st.sampled_from(["a", "b", "c"]),
        st.floats(0.01, 99, allow_nan=False),
        st.sampled_from([None, "Bonn", "Oslo"]),
    ),
    max_size=12,
)


@budget(max_examples=4, deadline=None, suppress_health_check=ONE_FIXTURE_FOR_ALL)
@given(earlier=EVENTS, later=EVENTS)
def test_later_events_do_not_change_an_earlier_day(
    tmp_path_factory: pytest.TempPathFactory, earlier: list[Event], later: list[Event]
) -> None:
    warehouse = Warehouse.of(Settings(home=tmp_path_factory.mktemp("home")))
    write_events(warehouse, earlier)
    features_before = {table: compute(warehouse, table) for table in FEATURES}
    # Every later event is at least one day later.
    write_events(warehouse, [(-1 - ago, *event) for ago, *event in later])  # type: ignore[misc]
    assert {table: compute(warehouse, table) for table in FEATURES} == features_before


def test_the_bytes_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    rows = """select date '2024-03-31' as date, i::VARCHAR as event_id,
        (hash(i) % 50)::VARCHAR as user_id, (hash(i + 1) % 40)::VARCHAR as item_id,
        'purchase' as event_type, 1 + (hash(i + 2) % 1000) / 7.0 as quantity,
        (hash(i + 3) % 100000) / 9.7 as amount,
        'place ' || (hash(i + 4) % 5)::VARCHAR as location, null as occurred_at
        from range(250_000) as r(i)"""
    results = []
    for threads in (1, 2):
        settings = Settings(home=tmp_path / str(threads), duckdb=DuckDBSettings(threads=threads))
        warehouse = Warehouse.of(settings)
        warehouse.replace_partition(INTERACTIONS, DAY.isoformat(), rows)
        bound = {**BOUND, "date": DAY}
        results.append(
            [
                warehouse.replace_partition(
                    table, DAY.isoformat(), sql(table.name), bound
                ).path.read_bytes()
                for table in FEATURES
            ]
        )
    assert results[0] == results[1]


def excluding(settings: Settings, **excluded: list[str]) -> Settings:
    source = SourceSettings(kind="files", path=settings.home, exclude_items=excluded)
    return settings.model_copy(update={"source": source})


def test_excluded_items_follow_the_settings(settings: Settings) -> None:
    bound = parameters(excluding(settings, category=["FUEL"]))
    assert bound["exclude_category"] == ["FUEL"] and bound["exclude_brand"] == []
    assert bound["location_from_interactions"] is True
    bound = parameters(excluding(settings, Status=["draft", "archived"]))
    assert bound["exclude_attributes"] == ["Status\x1fdraft", "Status\x1farchived"]


def test_a_day_without_any_upstream_is_not_taken_for_an_empty_one(
    warehouse: Warehouse, settings: Settings
) -> None:
    day = DAY.isoformat()

    asset = features_asset("user_activity")
    result = materialize([asset], settings, day)
    assert not result.success and warehouse.partitions(USER_ACTIVITY) == []
    [failure] = [e for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
    assert "no partition of raw/interactions" in str(failure.step_failure_data)
    write_no_events(warehouse, day)
    assert materialize([asset], settings, day).success
    assert warehouse.value("select count(*) from features.user_activity") == 0


def test_the_assets_write_every_day_of_a_range_and_show_it(
    warehouse: Warehouse, settings: Settings
) -> None:
    write_items(
        warehouse, {"item_id": "f", "category": "FUEL"}, {"item_id": "a", "category": "food"}
    )
    write_users(warehouse, ("ann", DAY, "25-34", "Rome"))
    write_events(warehouse, [(0, "ann", "a", 1.0, None), (2, "bob", "a", 2.0, None)])
    features = [features_asset(table.name) for table in FEATURES]
    days = [(DAY - dt.timedelta(days=ago)).isoformat() for ago in (3, 2, 1, 0)]
    write_no_events(warehouse, days[0])
    with dg.DagsterInstance.ephemeral() as instance:
        excluded = excluding(settings, category=["FUEL"])
        assert materialize(features, excluded, *days, instance=instance).success
        events = instance.fetch_materializations(
            features_asset("user_segments").key, limit=9
        ).records
    for table in FEATURES:
        assert warehouse.partitions(table) == days
    materializations = {event.partition_key: event.asset_materialization for event in events}
    counts = {
        day: materialization.metadata["dagster/partition_row_count"].value
        for day, materialization in materializations.items()
        if materialization
    }
    assert counts == dict(zip(days, (0, 1, 1, 2), strict=True))
    newest = next(event for event in events if event.partition_key == days[-1])
    assert newest.asset_materialization
    assert {"preview", "plot"} <= set(newest.asset_materialization.metadata)
    offered = warehouse.query(
        "select item_id from features.item_state where date = $date and available",
        {"date": as_date(days[-1])},
    )
    assert offered["item_id"].to_pylist() == ["a"]


@pytest.mark.parametrize(
    ("asset", "upstream"),
    [
        (features_asset("user_activity"), "raw/interactions tiles/user_items tiles/user_totals"),
        (features_asset("user_segments"), "raw/users tiles/user_locations tiles/user_totals"),
        (features_asset("item_state"), "raw/interactions raw/items tiles/item_totals"),
        (tile_asset(TILES["tiles.user_totals"], PARTITIONS), "tiles/user_items"),
        (
            tile_asset(TILES["tiles.daily_sales"], PARTITIONS),
            "raw/interactions raw/items tiles/item_quantities tiles/largest_quantities",
        ),
    ],
    ids=lambda value: value.key.to_user_string() if isinstance(value, dg.AssetsDefinition) else "",
)
def test_the_lineage_is_read_from_the_query(asset: dg.AssetsDefinition, upstream: str) -> None:
    keys = {key.to_user_string() for key in asset.asset_deps[asset.key]}
    assert keys == set(upstream.split())
