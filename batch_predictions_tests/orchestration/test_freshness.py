"""Sources, predictions and the release are stale where no new day comes, despite backfills."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import dagster as dg
import pytest

from batch_predictions.core.home import State
from batch_predictions.orchestration import freshness
from batch_predictions.orchestration.freshness import (
    IS_FRESH,
    freshness_check,
    freshness_sensor,
    read_freshness,
)
from batch_predictions.serving.assets import RELEASE_KEY
from batch_predictions.settings import Settings
from batch_predictions.tables import CHURN_SCORES, INTERACTIONS, ITEM_SENTIMENTS, Table
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.home_state import STATE
from batch_predictions_tests.worlds.table_rows import write_rows

TODAY = dt.date(2024, 3, 6)
"""A Wednesday."""
CHURN = dg.AssetKey(["predictions", "churn_scores"])
KEYS = [dg.AssetKey(["raw", "interactions"]), CHURN, RELEASE_KEY, dg.AssetKey(["raw", "users"])]


def write(warehouse: Warehouse, table: Table, partition: str) -> None:
    write_rows(warehouse, table, [], dt.date.fromisoformat(partition))


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> State:
    monkeypatch.setattr(freshness, "current_date", lambda timezone: TODAY)
    return STATE


def told(settings: Settings, state: State, today: dt.date = TODAY) -> dict[str, tuple[str, bool]]:
    return {
        item.key.path[-1]: (str(item.newest), item.is_fresh)
        for item in read_freshness(settings, state, today)
    }


def test_the_newest_partition_decides(
    warehouse: Warehouse, settings: Settings, state: State
) -> None:
    write(warehouse, INTERACTIONS, "2024-03-05")
    write(warehouse, CHURN_SCORES, "2024-03-03")
    write(warehouse, ITEM_SENTIMENTS, "2024-02-26")
    assert told(settings, state) == {
        "interactions": ("2024-03-05", True),
        "churn_scores": ("2024-03-03", False),
        "item_sentiments": ("2024-02-26", True),
        "release": ("None", False),
    }
    write(warehouse, CHURN_SCORES, "2024-03-01")
    assert told(settings, state)["churn_scores"] == ("2024-03-03", False), (
        "an old day is backfilled"
    )
    write(warehouse, CHURN_SCORES, "2024-03-04")
    assert told(settings, state)["churn_scores"] == ("2024-03-04", True)
    # The week that ended on 3 March may be as late as a day.
    later = told(settings, state, TODAY + dt.timedelta(days=7))
    assert later["item_sentiments"] == ("2024-02-26", False)


def test_after_the_last_day_of_a_source_that_day_is_expected(
    warehouse: Warehouse, settings: Settings, state: State
) -> None:
    write(warehouse, CHURN_SCORES, "2024-02-10")
    ended = state.model_copy(update={"last_day": dt.date(2024, 2, 10)})
    assert told(settings, ended)["churn_scores"] == ("2024-02-10", True)


def test_the_sensor_reports_a_result_when_it_changes(
    warehouse: Warehouse, settings: Settings, state: State
) -> None:
    write(warehouse, CHURN_SCORES, "2024-03-05")
    sensor = freshness_sensor(KEYS)

    def evaluate(cursor: str | None) -> dg.SensorResult:
        context = dg.build_sensor_context(cursor=cursor, resources={"settings": settings})
        result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        return result

    first = evaluate(None)
    reported: Sequence[Any] = first.asset_events or []
    assert {(e.asset_key, e.check_name, e.passed) for e in reported} == {
        (CHURN, IS_FRESH, True),
        (RELEASE_KEY, IS_FRESH, False),
    }
    second = evaluate(first.cursor)
    assert not second.asset_events
    write(warehouse, CHURN_SCORES, "2024-03-06")
    (event,) = evaluate(second.cursor).asset_events or []
    assert isinstance(event, dg.AssetCheckEvaluation)
    assert (event.asset_key, event.passed) == (CHURN, True)
    assert "the newest is 2024-03-06; 2024-03-04 or later is expected" in (event.description or "")


def test_the_check_can_be_run(warehouse: Warehouse, settings: Settings, state: State) -> None:
    write(warehouse, CHURN_SCORES, "2024-03-01")
    check = freshness_check(KEYS)
    result = dg.materialize(
        [check],
        resources={"settings": settings},
        selection=dg.AssetSelection.checks(*check.check_keys),
    )
    results = {e.asset_key.path[-1]: e.passed for e in result.get_asset_check_evaluations()}
    assert results == {"interactions": True, "churn_scores": False, "release": False}
