"""A user who signs up during the day is served by id from the sensor's next tick on."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.core.home import read_state
from batch_predictions.orchestration.sensors import sign_ups
from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.release.publish import publish
from batch_predictions.serving.store.store import Store
from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.sources.ingest import ingest
from batch_predictions.sources.source_registry import build_source
from batch_predictions.tables import (
    DEMOGRAPHIC_RECOMMENDATIONS,
    ITEM_STATE,
    RECOMMENDATIONS,
    USER_SEGMENTS,
    USERS,
)
from batch_predictions.warehouse import Warehouse

DAY = "2024-01-07"


def _users(folder: Path, *ids: str) -> None:
    rows = [{"user_id": user, "age": 40, "gender": "f", "location": "north"} for user in ids]
    pq.write_table(pa.Table.from_pylist(rows), folder / "users.parquet")


def _tick(settings: Settings, warehouse: Warehouse, cursor: str | None) -> dg.SensorResult:
    resources = {"warehouse": warehouse, "settings": settings}
    with dg.build_sensor_context(cursor=cursor, resources=resources) as context:
        answer = sign_ups(context)
    assert isinstance(answer, dg.SensorResult)
    return answer


def test_a_sign_up_is_looked_up_by_id(settings: Settings, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "interactions.csv").write_text("user_id,item_id,date\nu1,i1,2024-01-07\n")
    _users(shop, "u1")
    settings.source = SourceSettings(kind="files", path=shop)
    warehouse = Warehouse.of(settings)
    state = read_state(settings.home)
    assert state is not None
    ingest(warehouse, build_source(settings.source, state), USERS, [DAY], state)
    assert "no release" in str(_tick(settings, warehouse, None).skip_reason)
    _release(settings, warehouse)

    first = _tick(settings, warehouse, None)
    assert "no new sign-ups" in str(first.skip_reason)
    with Lookup(settings) as lookup:
        assert lookup.recommendations("newcomer")["source"] == "popular"
    _users(shop, "u1", "newcomer")
    second = _tick(settings, warehouse, first.cursor)
    assert "1 sign-ups added" in str(second.skip_reason)
    with Lookup(settings) as lookup:
        answer = lookup.recommendations("newcomer")
        assert answer["source"] == "demographic"
        assert answer["segment"] == {"level": "age", "age_bracket": "35-44"}
    third = _tick(settings, warehouse, second.cursor)
    assert "no new sign-ups" in str(third.skip_reason) and third.cursor == second.cursor


def _release(settings: Settings, warehouse: Warehouse) -> None:
    """A release of one user's list, one of the 35 to 44 year olds and one of everyone's."""
    warehouse.replace_partition(
        RECOMMENDATIONS,
        DAY,
        "select 'u1' as user_id, 1 as rank, 'i1' as item_id, 1.0 as score, 'trending' as reason, "
        "'m' as model_version",
    )
    warehouse.replace_partition(
        DEMOGRAPHIC_RECOMMENDATIONS,
        DAY,
        "select unnest(['age', 'everyone']) as segment_level, "
        "unnest(['35-44', null]) as age_bracket, null as gender, null as location, 1 as rank, "
        "'i1' as item_id, 1.0 as score, 9 as support, 'm' as model_version",
    )
    warehouse.replace_partition(
        USER_SEGMENTS,
        DAY,
        "select 'u1' as user_id, '35-44' as age_bracket, 'f' as gender, 'north' as location",
    )
    warehouse.replace_partition(
        ITEM_STATE,
        DAY,
        "select 'i1' as item_id, 'one' as title, 'c' as category, 1.0 as price, "
        "false as is_excluded, true as available",
    )
    store = Store.of(settings)
    publish(
        store,
        warehouse,
        dt.date.fromisoformat(DAY),
        [RECOMMENDATIONS, DEMOGRAPHIC_RECOMMENDATIONS],
        keep=2,
        now=dt.datetime(2024, 1, 8),
    )
    store.close()
