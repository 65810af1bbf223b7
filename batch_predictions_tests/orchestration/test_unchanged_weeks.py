"""A night predicts its week again only if something that the weekly tables read is new."""

from __future__ import annotations

import datetime as dt
import math

import pytest

from batch_predictions.planning import unchanged
from batch_predictions.planning.run_plan import RunPlan
from batch_predictions.planning.unchanged import (
    are_weeks_unchanged,
    is_night_unchanged,
    record_night,
    record_weeks,
    record_weeks_of_run,
)
from batch_predictions.settings import FallbackSettings, Settings
from batch_predictions.tables import ITEM_SENTIMENTS, ITEM_STATE, ITEMS, SEQUENCE_STATES
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.table_rows import write_rows

MONDAY, SUNDAY = "2024-03-04", "2024-03-10"
PLAN = RunPlan(dt.date(2024, 3, 12), dt.date(2024, 3, 12), [dt.date(2024, 3, 4)], [], [])
READS = unchanged.weekly_reads()
STATE = (
    "select 'i' || i as item_id, 'a' as title, 'c' as category, 1.0 as price, "
    "false as is_excluded, true as available from range($n) as r(i)"
)


@pytest.fixture(autouse=True)
def weekly_reads(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What the weekly tables read: a daily table among it."""
    reads = {"raw.reviews", ITEM_STATE.qualified}
    monkeypatch.setattr(unchanged, "weekly_reads", lambda: reads)
    return reads


@pytest.fixture
def predicted(settings: Settings, warehouse: Warehouse) -> Warehouse:
    """A warehouse whose week is predicted."""
    write_state(warehouse, SUNDAY, 1)
    write_rows(warehouse, ITEM_SENTIMENTS, [], dt.date.fromisoformat(MONDAY))
    record_weeks(settings, PLAN, warehouse)
    return warehouse


def write_state(warehouse: Warehouse, day: str, items: int) -> None:
    warehouse.replace_partition(ITEM_STATE, day, STATE, {"n": items})


def test_weeks_that_were_never_predicted_are_not_unchanged(
    settings: Settings, warehouse: Warehouse
) -> None:
    assert not are_weeks_unchanged(settings, PLAN, warehouse)


def test_rows_after_the_week_change_nothing(settings: Settings, predicted: Warehouse) -> None:
    assert are_weeks_unchanged(settings, PLAN, predicted)
    write_state(predicted, "2024-03-11", 3)
    assert are_weeks_unchanged(settings, PLAN, predicted)


def test_rows_of_the_week_and_snapshots_count(settings: Settings, predicted: Warehouse) -> None:
    write_state(predicted, SUNDAY, 2)
    assert not are_weeks_unchanged(settings, PLAN, predicted)
    record_weeks(settings, PLAN, predicted)
    write_rows(predicted, ITEMS, [])
    assert not are_weeks_unchanged(settings, PLAN, predicted)


def test_what_a_sunday_makes_after_its_week_counts_only_where_it_is_read(
    settings: Settings, predicted: Warehouse, weekly_reads: set[str]
) -> None:
    weekly_reads.remove(ITEM_STATE.qualified)
    record_weeks(settings, PLAN, predicted)
    write_state(predicted, SUNDAY, 2)
    assert are_weeks_unchanged(settings, PLAN, predicted)
    weekly_reads.add(ITEM_STATE.qualified)
    assert not are_weeks_unchanged(settings, PLAN, predicted)


def test_the_platforms_weekly_tables_read_no_daily_ones() -> None:
    assert {"raw.reviews", "predictions.review_sentiments"} == READS


def test_settings_other_weeks_and_missing_tables_count(
    settings: Settings, predicted: Warehouse
) -> None:
    other = settings.model_copy(update={"fallback": FallbackSettings(k=19)})
    assert not are_weeks_unchanged(other, PLAN, predicted)
    next_week = RunPlan(PLAN.first, PLAN.last, [dt.date(2024, 3, 11)], [], [])
    assert not are_weeks_unchanged(settings, next_week, predicted)
    predicted.path(ITEM_SENTIMENTS, MONDAY).unlink()
    assert not are_weeks_unchanged(settings, PLAN, predicted)


def test_a_run_is_recorded_unless_a_file_has_changed_since(
    settings: Settings, predicted: Warehouse
) -> None:
    write_state(predicted, SUNDAY, 2)
    record_weeks_of_run(settings, PLAN, predicted, 0.0, 0.0)
    assert not are_weeks_unchanged(settings, PLAN, predicted)
    record_weeks_of_run(settings, PLAN, predicted, math.inf, math.inf)
    assert are_weeks_unchanged(settings, PLAN, predicted)


def test_rows_of_the_plans_days_and_weeks_change_a_night(
    settings: Settings, predicted: Warehouse
) -> None:
    def record() -> bool:
        record_night(settings, PLAN, predicted, math.inf, math.inf)
        return is_night_unchanged(settings, PLAN, predicted)

    assert record()
    write_state(predicted, "2024-03-11", 3)
    assert is_night_unchanged(settings, PLAN, predicted)
    # They only save work, and are soon removed.
    write_rows(predicted, SEQUENCE_STATES, [], PLAN.last)
    assert is_night_unchanged(settings, PLAN, predicted)
    write_state(predicted, str(PLAN.last), 3)
    assert not is_night_unchanged(settings, PLAN, predicted)
    assert record()
    predicted.path(ITEM_SENTIMENTS, MONDAY).unlink()
    assert not is_night_unchanged(settings, PLAN, predicted)
