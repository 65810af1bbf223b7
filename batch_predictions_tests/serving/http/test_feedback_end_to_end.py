"""From a served list to its click rate: shown, clicked, posted, ingested, measured."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import dagster as dg
import pytest

from batch_predictions.core.home import write_state
from batch_predictions.evaluation.assets import realized_metrics_asset
from batch_predictions.evaluation.realized_metric import RealizedMetric
from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.tables.discovery import instances
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.home import PARTITIONS, materialize, raw_asset
from batch_predictions_tests.worlds.home_state import STATE
from batch_predictions_tests.worlds.http_service import Client, running_service
from batch_predictions_tests.worlds.serving import DAY, open_world

pytestmark = pytest.mark.slow

USERS = 40
SHOWN = DAY + dt.timedelta(days=1)
MEASURED = SHOWN + dt.timedelta(days=1)


def use_shop(client: Client) -> None:
    """Every user is shown three items, and every fourth one clicks the second on the next day."""
    events = []
    for number in range(USERS):
        answer = client.list_of(f"u{number}", k=3)
        for item in answer["items"]:
            shown = {
                "user_id": answer["user_id"],
                "item_id": item["item_id"],
                "recommendation_id": answer["recommendation_id"],
                "source": item["source"],
                "rank": item["rank"],
            }
            name = f"{number}-{item['rank']}"
            events.append(
                {
                    **shown,
                    "event_id": f"i{name}",
                    "event_type": "impression",
                    "occurred_at": f"{SHOWN}T10:00:00Z",
                }
            )
            if item["rank"] == 2 and number % 4 == 0:
                events.append(
                    {
                        **shown,
                        "event_id": f"c{name}",
                        "event_type": "click",
                        "occurred_at": f"{MEASURED}T00:30:00Z",
                    }
                )
    for _ in range(2):  # at least once
        reply = client.send("POST", "/v1/events", {"events": events})
        assert reply.status == 200, reply.body


def test_what_users_did_with_lists_comes_back_as_rates(tmp_path: Path) -> None:
    world = open_world(tmp_path / "home")
    write_state(world.settings.home, STATE)
    # The first half of the users has personal lists.
    world.predict(users=USERS // 2)
    world.publish()
    source = tmp_path / "source"
    source.mkdir()
    (source / "interactions.csv").write_text("user_id,item_id,occurred_at\nu1,a2,2024-03-05\n")
    with running_service(world.settings) as client:
        use_shop(client)
        reply = client.send("PUT", "/v1/users/new", {"gender": "F", "location": "Berlin"})
        assert reply.status == 200
        assert client.list_of("new")["segment"]["level"] == "gender_location"
    world.store.close()
    settings = Settings(home=world.settings.home, source=SourceSettings(kind="files", path=source))
    names = ("interactions", "users", "feedback")
    metrics = realized_metrics_asset(instances(RealizedMetric, "evaluation/*.py"), PARTITIONS)
    with dg.DagsterInstance.ephemeral() as instance:
        for day in (str(SHOWN), str(MEASURED)):
            result = materialize(
                [*map(raw_asset, names), metrics], settings, day, instance=instance
            )
            assert result.success
            assert all(check.passed for check in result.get_asset_check_evaluations())
        [record] = instance.fetch_materializations(
            dg.AssetKey(["evaluation", "realized_metrics"]), limit=1
        ).records
        materialization = record.asset_materialization
        assert materialization and "clicks_over_time" in materialization.metadata
    warehouse = Warehouse.of(settings)
    counts = warehouse.query(
        "select event_type, count(*) as n from raw.feedback group by 1 order by 1"
    ).to_pylist()
    assert counts == [
        {"event_type": "click", "n": USERS // 4},
        {"event_type": "impression", "n": 3 * USERS},
    ]
    assert warehouse.value("select gender from raw.users where user_id = 'new'") == "F"
    rows = warehouse.query(
        "select metric, value, n from evaluation.realized_metrics "
        "where date = $date and model = 'recommender'",
        {"date": MEASURED},
    ).to_pylist()
    values = {row["metric"]: (row["value"], row["n"]) for row in rows}
    assert values["click_rate"] == (0.25 / 3, 3 * USERS)
    assert values["click_rate:position=2"] == (0.25, USERS)
    assert values["click_rate:source=personal"] == (0.25 / 3, 3 * USERS // 2)
    assert values["click_rate:source=popular"] == (0.25 / 3, 3 * USERS // 2)
    assert values["click_rate:model_version=als-a"] == (0.25 / 3, 3 * USERS // 2)
    assert values["click_rate:reason=trending"] == (0.25 / 3, 3 * USERS // 2)
    assert values["lists_clicked"] == (0.25, USERS)
    assert values["reactions_without_impression"][0] == 0
