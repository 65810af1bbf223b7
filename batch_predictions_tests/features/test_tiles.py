"""Features from tiles have the rows of direct SQL over all raw days, whatever happened before."""

from __future__ import annotations

import datetime as dt
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from batch_predictions.features.sql.queries import sql, user_item_days, user_item_history
from batch_predictions.features.tiles.base import TILES
from batch_predictions.features.tiles.building import is_current, remove_old_tiles, write_tile
from batch_predictions.features.tiles.tile_fingerprints import RawDays, last_month_end, month_end
from batch_predictions.settings import Settings
from batch_predictions.sources.validation.event_types import DEFAULT_EVENTS, resolve_event_types
from batch_predictions.tables import CAMPAIGN_EVENTS, INTERACTIONS, USER_TOTALS, USERS
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.integrity import find_damaged
from batch_predictions_tests.worlds.direct_sql import direct_sql
from batch_predictions_tests.worlds.home_state import copy_home
from batch_predictions_tests.worlds.properties import ONE_FIXTURE_FOR_ALL
from batch_predictions_tests.worlds.sales import write_items, write_promotions
from batch_predictions_tests.worlds.table_rows import write_events

FIRST = dt.date(2024, 1, 25)
"""The days from here include the ends of two months, and a leap day."""
DAYS = 45
NIGHTS = [FIRST + dt.timedelta(days=DAYS - n) for n in (3, 2)]
FEATURES = (
    "user_activity",
    "item_activity",
    "user_segments",
    "item_state",
    "demand",
)
HISTORIES = "user_item_days"
BOUND: dict[str, Any] = {
    **resolve_event_types({}, DEFAULT_EVENTS, exclude_seen=True).parameters(),
    **{f"exclude_{name}": [] for name in ("category", "subcategory", "brand", "attributes")},
    "location_from_interactions": True,
    "levels": ["item", "item_location", "category"],
    "max_series": 3,
    "horizon": 7,
    "history_days": 33,
    "event_types": ["purchase"],
    "outlier_factor": 2.0,
    "known_weeks": [],
}
CHANGES: Sequence[Mapping[str, Any]] = (
    {},
    {"target_types": ["view"], "seen_types": []},
    {"type_weights": [2.0 + n for n in range(len(BOUND["type_weights"]))]},
    {"return_types": []},
    {"exclude_category": ["fuel"]},
    {"history_days": 14, "outlier_factor": 0.0, "levels": ["category"]},
    {"location_from_interactions": False, "event_types": ["purchase", "cart"]},
)
"""Parameters that settings may change from one night to the next."""

EVENT = st.tuples(
    st.sampled_from(["ann", "bob", "cat", "dan"]),
    st.sampled_from(["a", "b", "c", "d"]),
    st.sampled_from(["purchase", "purchase", "view", "return", "cart", "rating", "other", None]),
    # Sums of quarters are exact in any order.
    st.sampled_from([None, 1.0, 1.0, 2.0, 0.5, 9.0, 40.0, -1.0, 0.0]),
    st.sampled_from([None, 0.25, 1.5, 7.75, 20.0, -1.5]),
    st.sampled_from([None, "", "Bonn", "Oslo"]),
)
ITEM = st.fixed_dictionaries(
    {}, optional={"category": st.sampled_from(["food", "fuel"]), "title": st.just("")}
)
STEP = st.one_of(
    st.tuples(st.just("day"), st.integers(0, DAYS - 1), st.lists(EVENT, max_size=8)),
    st.tuples(st.just("night"), st.integers(0, DAYS - 1), st.sampled_from(range(len(CHANGES)))),
    st.tuples(st.just("night"), st.integers(DAYS // 2, DAYS - 1), st.just(0)),
    st.tuples(st.just("items"), st.just(0), st.lists(ITEM, min_size=1, max_size=4)),
    st.tuples(st.just("removed"), st.integers(0, DAYS - 1), st.just(0)),
)
"""A day that arrives late or corrected, a night as of a day by some settings, another catalogue."""


def day_at(number: int) -> dt.date:
    """The day of a number."""
    return FIRST + dt.timedelta(days=number)


Events = Sequence[tuple[Any, ...]]


def write_days(warehouse: Warehouse, days: Mapping[dt.date, Events]) -> None:
    """Replaces days of raw.interactions."""
    rows = [
        (*event, day, dt.datetime.combine(day, dt.time(hour=number)) if number % 3 else None)
        for day, events in days.items()
        for number, event in enumerate(events)
    ]
    names = "user_id item_id event_type quantity amount location date occurred_at"
    write_events(warehouse, names, rows, *days)


def write_day(warehouse: Warehouse, day: dt.date, events: Events) -> None:
    """Replaces a day of raw.interactions."""
    write_days(warehouse, {day: events})


def open_world(home: Path) -> Warehouse:
    """A warehouse with a user, items, a promotion and coupons, and no interactions."""
    warehouse = Warehouse.of(Settings(home=home))
    warehouse.replace_partition(
        USERS,
        None,
        "select 'eve' as user_id, date '2024-02-01' as signed_up_on, '25-34' as age_bracket, "
        "null::VARCHAR as gender, 'Rome' as location, map {}::MAP(VARCHAR, VARCHAR) as attributes",
    )
    warehouse.replace_partition(
        CAMPAIGN_EVENTS,
        day_at(9).isoformat(),
        "select 'c' as campaign_id, 'ann' as user_id, 'a' as item_id, 'redeemed' as event_type",
    )
    write_catalogue(warehouse, [{"category": "food"}, {"category": "fuel"}])
    monday = dt.date(2024, 2, 5)
    promotion = {"item": "a", "starts": monday, "ends": monday + dt.timedelta(days=3)}
    shop = {"item": "b", "location": "Bonn", "starts": monday, "ends": monday, "display": "x"}
    write_promotions(warehouse, [monday], promotion, shop)
    return warehouse


def write_catalogue(warehouse: Warehouse, items: Sequence[Mapping[str, Any]]) -> None:
    """Replaces raw.items: a, b and so on."""
    write_items(warehouse, *({"item_id": "abcd"[n], **item} for n, item in enumerate(items)))


def make_tiles(
    warehouse: Warehouse, days: Sequence[dt.date], bound: Mapping[str, Any]
) -> dict[str, list[str]]:
    """Makes all tiles as of some days; by tile, the other spans that were made."""
    keys = [day.isoformat() for day in days]
    others = {}
    for name, tile in TILES.items():
        raw_days = RawDays(warehouse, bound, max(days))
        results, others[name] = write_tile(raw_days, tile, keys)
        assert sorted(results) == sorted(keys)
        assert is_current(RawDays(warehouse, bound, max(days)), tile, max(keys))
    return others


def assert_equal_rows(warehouse: Warehouse, day: dt.date, bound: Mapping[str, Any]) -> None:
    """All features of a day, and the histories, have the rows of direct SQL over raw days."""
    values = {**bound, "date": day}
    state = "select * from ({})"
    pairs = {name: (sql(name, tiles=True), sql(name), direct_sql(name)) for name in FEATURES}
    pairs[HISTORIES] = (
        user_item_history(state.format(sql("item_state", tiles=True))),
        user_item_days(sql("item_state")),
        user_item_days(direct_sql("item_state")),
    )
    for name, tile in TILES.items():
        if tile.kind == "running":
            written = f"select * exclude (date) from {name} where date = $date"
            raw = sql(f"raw/{tile.table.name}")
            assert rows_of(warehouse, written, values) == rows_of(warehouse, raw, values), name
    for name, (from_tiles, from_raw, direct) in pairs.items():
        expected = rows_of(warehouse, direct, values)
        assert rows_of(warehouse, from_tiles, values) == expected, (name, day)
        assert rows_of(warehouse, from_raw, values) == expected, (name, day)


def rows_of(
    warehouse: Warehouse, query: str, values: Mapping[str, Any]
) -> list[tuple[tuple[str, str], ...]]:
    """The rows of a query in an order of their own, as text, with names of columns."""
    rows = warehouse.query(query, values).to_pylist()
    return sorted(tuple(sorted((name, repr(v)) for name, v in row.items())) for row in rows)


@pytest.mark.slow
@budget(max_examples=6, deadline=None, suppress_health_check=ONE_FIXTURE_FOR_ALL)
@given(
    history=st.lists(
        st.tuples(st.integers(0, DAYS - 1), st.lists(EVENT, max_size=6)), min_size=4, max_size=20
    ),
    steps=st.lists(STEP, min_size=2, max_size=8),
)
def test_features_from_tiles_have_the_rows_of_direct_sql(
    tmp_path_factory: pytest.TempPathFactory,
    history: list[tuple[int, list[tuple[Any, ...]]]],
    steps: list[tuple[str, int, Any]],
) -> None:
    warehouse = open_world(tmp_path_factory.mktemp("home"))
    write_days(warehouse, {day_at(number): events for number, events in history})
    for kind, number, value in [*steps, ("night", DAYS - 1, 0)]:
        day = day_at(number)
        if kind == "day":
            write_day(warehouse, day, value)
        elif kind == "items":
            write_catalogue(warehouse, value)
        elif kind == "removed":
            warehouse.remove_partition(INTERACTIONS, day.isoformat())
        else:
            known = [dt.date(2024, 2, 5)] if number % 2 else []
            bound = {**BOUND, "known_weeks": known, **CHANGES[value]}
            make_tiles(warehouse, [day], bound)
            assert_equal_rows(warehouse, day, bound)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Homes with purchases on every day: without tiles, and with those of two nights."""
    home = tmp_path_factory.mktemp("tiles") / "raw"
    warehouse = open_world(home)
    days = {
        day_at(number): [
            ("ann", "abcd"[number % 4], "purchase", 1.0, 2.0, "Bonn"),
            ("bob", "a", "view", None, None, None),
        ]
        for number in range(DAYS)
    }
    write_days(warehouse, days)
    made = copy_home(home, home.with_name("made"))
    make_tiles(Warehouse.of(Settings(home=made)), NIGHTS, BOUND)
    return {"raw": home, "made": made}


@pytest.fixture
def world(templates: Mapping[str, Path], tmp_path: Path) -> Warehouse:
    """A world with purchases on every day."""
    return Warehouse.of(Settings(home=copy_home(templates["raw"], tmp_path / "home")))


@pytest.fixture
def made(templates: Mapping[str, Path], tmp_path: Path) -> Warehouse:
    """A world with purchases on every day, and the tiles of NIGHTS."""
    return Warehouse.of(Settings(home=copy_home(templates["made"], tmp_path / "home")))


def test_a_night_makes_only_what_is_new(world: Warehouse) -> None:
    others = make_tiles(world, [day_at(DAYS - 2)], BOUND)
    assert others["tiles.user_items"] == [
        "the month to 2024-01-31",
        "the month to 2024-02-29",
        *(f"the day to {day_at(n)}" for n in range(36, DAYS - 2)),
    ]
    assert not any(others[name] for name, tile in TILES.items() if tile.kind == "running")
    files = files_of(world)
    others = make_tiles(world, [day_at(DAYS - 1)], BOUND)
    assert not any(others.values())
    assert {path: files_of(world)[path] for path in files} == files
    assert len(files_of(world)) == len(files) + len(TILES)
    # Nothing is new: nothing is written.
    files = files_of(world)
    make_tiles(world, [day_at(DAYS - 1)], BOUND)
    assert files_of(world) == files


def test_a_night_at_the_end_of_a_month_without_days_is_complete_at_once(tmp_path: Path) -> None:
    warehouse = open_world(tmp_path / "home")
    event = ("ann", "a", "purchase", 1.0, 2.0, "Bonn")
    write_day(warehouse, day_at(13), [event])
    # January ends before the first day of interactions; `make_tiles` asserts that all is current.
    january = dt.date(2024, 1, 31)
    assert january < day_at(13)
    others = make_tiles(warehouse, [january], BOUND)
    assert others["tiles.user_items"] == ["the month to 2024-01-31"]
    assert_equal_rows(warehouse, january, BOUND)
    files = files_of(warehouse)
    make_tiles(warehouse, [january], BOUND)
    assert files_of(warehouse) == files


def files_of(warehouse: Warehouse) -> dict[str, int]:
    """Inode by name of all files of tiles: a file that is written again has another."""
    folder = warehouse.folder / "tiles"
    return {str(path): path.stat().st_ino for path in folder.rglob("*.parquet")}


def test_a_corrected_day_makes_its_own_spans_and_the_totals_again(made: Warehouse) -> None:
    last = NIGHTS[-1]
    write_day(made, dt.date(2024, 2, 10), [("cat", "b", "purchase", 1.0, 4.0, "Oslo")])
    raw_days = RawDays(made, BOUND, last)
    assert not any(is_current(raw_days, tile, last.isoformat()) for tile in TILES.values())
    others = make_tiles(made, [last], BOUND)
    assert others["tiles.user_items"] == ["the month to 2024-02-29"]
    assert others["tiles.daily_sales"] == ["the month to 2024-02-29"]
    assert_equal_rows(made, last, BOUND)


@pytest.mark.slow
def test_another_catalogue_makes_the_sales_of_its_items_again(made: Warehouse) -> None:
    # Item b has another category; e was never sold, and makes nothing.
    write_catalogue(made, [{"category": "food"}, {"category": "food"}])
    others = make_tiles(made, [day_at(DAYS - 1)], BOUND)
    assert "the month to 2024-02-29" in others["tiles.daily_sales"]
    assert not others["tiles.user_items"]
    assert_equal_rows(made, day_at(DAYS - 1), BOUND)
    write_items(made, *({"item_id": name, "category": "food"} for name in "abe"))
    bound = {**BOUND, "exclude_category": ["fuel"]}
    make_tiles(made, [day_at(DAYS - 1)], bound)
    assert not make_tiles(made, [day_at(DAYS - 1)], bound)["tiles.daily_sales"]
    assert_equal_rows(made, day_at(DAYS - 1), bound)


@pytest.mark.slow
def test_lines_leave_the_history_and_change_the_cap_of_older_days(warehouse: Warehouse) -> None:
    """Large lines make the typical line, and with it the cap of others, smaller when they leave."""
    days = {}
    for number in range(DAYS):
        quantity = 4.0 if number < 12 else 1.0
        extra = [("bob", "a", "purchase", 9.0, 9.0, None)] if number == 20 else []
        event = ("ann", "a", "purchase", quantity, 2.0, "Bonn")
        days[day_at(number)] = [event, *extra]
    write_days(warehouse, days)
    bound = {**BOUND, "history_days": 20}
    units = []
    for number in (18, 20, 21, 26, 36, 42):
        make_tiles(warehouse, [day_at(number)], bound)
        assert_equal_rows(warehouse, day_at(number), bound)
        rows = warehouse.query(sql("demand", tiles=True), {**bound, "date": day_at(number)})
        units.append(max(map(max, rows["units"].to_pylist())))
    # 1 + 9, of which the cap leaves 8, then 2.
    assert units == [4.0, 9.0, 9.0, 3.0, 3.0, 1.0]


def test_a_file_with_the_same_rows_and_another_time_is_current(made: Warehouse) -> None:
    for key in made.partitions(INTERACTIONS):
        path = made.path(INTERACTIONS, key)
        shutil.copy(path, path.with_name("copy"))
        path.with_name("copy").replace(path)
    raw_days = RawDays(made, BOUND, NIGHTS[-1])
    assert all(is_current(raw_days, tile, NIGHTS[-1].isoformat()) for tile in TILES.values())


def test_totals_that_a_correction_outdated_are_no_base(made: Warehouse) -> None:
    path = made.path(USER_TOTALS, day_at(DAYS - 2).isoformat())
    write_day(made, day_at(DAYS - 2), [])
    assert pq.read_metadata(path).num_rows
    make_tiles(made, [day_at(DAYS - 1)], BOUND)
    assert_equal_rows(made, day_at(DAYS - 1), BOUND)


def test_lost_files_are_made_again(made: Warehouse) -> None:
    for number, path in enumerate(sorted((made.folder / "tiles").rglob("*.parquet"))):
        if number % 3:
            path.write_bytes(b"PAR1")
    damaged = find_damaged(made)
    assert damaged
    for file in damaged:
        file.path.unlink()
    make_tiles(made, NIGHTS, BOUND)
    assert_equal_rows(made, NIGHTS[-1], BOUND)


@pytest.mark.slow
def test_tiles_of_old_days_are_removed_unless_they_were_just_written(world: Warehouse) -> None:
    days = [day_at(n) for n in (0, 6, 7, 10, 36, DAYS - 1)]
    make_tiles(world, days, BOUND)
    files = files_of(world)
    now = time.time()
    assert remove_old_tiles(world, now) == 0
    removed = remove_old_tiles(world, now + 8 * 86_400)
    kept = files_of(world)
    assert len(kept) == len(files) - removed and {*kept} <= {*files}
    totals = [day.isoformat() for day in days if day not in (day_at(0), day_at(7))]
    assert world.partitions(USER_TOTALS) == totals
    # 2024-01-31 ended a month: its span of a day is gone, that of the month is not.
    spans = [path for path in kept if "user_items/date=2024-01" in path]
    assert [Path(path).parts[-3:-1] for path in spans] == [("date=2024-01-31", "span=month")]
    # What is missing is made again, as of any day.
    make_tiles(world, days, BOUND)
    assert {*files_of(world)} == {*files}
    assert_equal_rows(world, day_at(7), BOUND)


def test_ends_of_months() -> None:
    assert month_end(dt.date(2024, 2, 1)) == dt.date(2024, 2, 29)
    assert month_end(dt.date(2023, 12, 31)) == dt.date(2023, 12, 31)
    assert last_month_end(dt.date(2024, 3, 1)) == dt.date(2024, 2, 29)
    assert last_month_end(dt.date(2024, 2, 29)) == dt.date(2024, 2, 29)
