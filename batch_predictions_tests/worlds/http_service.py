"""The HTTP service on a socket, in a thread of the test's process or in a process of its own."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import uvicorn

from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.release.context_tables import ContextChoice
from batch_predictions.serving.server.http_app import make_app
from batch_predictions.serving.server.protocol import HttpProtocol
from batch_predictions.settings import Settings
from batch_predictions.tables import (
    ASPECTS,
    CHURN_SCORES,
    DEMAND_FORECASTS,
    ITEM_SENTIMENTS,
    LEAD_TIME_DEMAND,
    PROMOTION_AUDIENCE,
    REPLENISHMENT_ORDERS,
    RETENTION_AUDIENCE,
    REVIEW_SENTIMENTS,
    REVIEWS,
    Table,
)
from batch_predictions_tests.worlds.serving import DAY, ServingWorld
from batch_predictions_tests.worlds.table_rows import write_events

WEEK = "2024-02-26"
"""The week that ends on DAY."""
AUDIENCE_TABLES = (CHURN_SCORES, RETENTION_AUDIENCE, PROMOTION_AUDIENCE)
ITEM_TABLES = (
    ITEM_SENTIMENTS,
    ASPECTS,
    REVIEW_SENTIMENTS,
    DEMAND_FORECASTS,
    LEAD_TIME_DEMAND,
    REPLENISHMENT_ORDERS,
)
ALL_TABLES = (*AUDIENCE_TABLES, *ITEM_TABLES)
CONTEXT = ContextChoice(history_items=5, event_types=("purchase", "view"), quotes="all")


@dataclass(frozen=True)
class Reply:
    """An answer: its status, headers by lower-case name, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """Sends requests to an address, each on a connection of its own."""

    port: int
    service: PredictionService | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **parameters: Any,
    ) -> Reply:
        """The answer to a request; a body that is no text is sent as JSON."""
        query = f"?{urlencode(parameters, doseq=True)}" if parameters else ""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            sent = dict(headers or {})
            if body is not None and not isinstance(body, bytes):
                body, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
            connection.request(method, path + query, body, sent)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, names, response.read())
        finally:
            connection.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None, **parameters: Any) -> Reply:
        """The answer to a GET."""
        return self.send("GET", path, None, headers, **parameters)

    def list_of(self, user_id: str, **parameters: Any) -> dict[str, Any]:
        """The recommendations of a user, from an answer that is right."""
        reply = self.get(f"/v1/recommendations/{quote(user_id, safe='')}", **parameters)
        assert reply.status == 200, reply.body
        answer: dict[str, Any] = reply.json
        return answer

    def refresh(self) -> None:
        """Lets the service read the pointer now."""
        assert self.service is not None
        self.service.watcher.refresh()


@contextmanager
def running_service(settings: Settings, app: Any = None) -> Iterator[Client]:
    """The service in a thread."""
    service = PredictionService(settings)
    config = uvicorn.Config(
        app or make_app(service),
        port=0,
        log_level="error",
        lifespan="on",
        http=HttpProtocol,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the service has not started"
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Client(port, service)
    finally:
        server.should_exit = True
        thread.join(30)


@contextmanager
def serve_process(
    home: Path, *arguments: str, **variables: str
) -> Iterator[tuple[Client, subprocess.Popen[str]]]:
    """`batch-predictions serve` in a process of its own."""
    command = [sys.executable, "-m", "batch_predictions.cli", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(
        command,
        env={**os.environ, "BATCH_PREDICTIONS_HOME": str(home), **variables},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        port = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert port, line + (process.stderr.read() if process.poll() is not None else "")
        client = Client(int(port[1]))
        while True:
            try:
                client.get("/healthz")
                break
            except (ConnectionError, TimeoutError):
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.02)
        yield client, process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)
        assert process.stderr is not None
        process.stderr.close()


def predict_all(world: ServingWorld) -> None:
    """Writes a few rows of every table that routes read: users u0 and on, items a1 and on."""
    world.predict()
    _predict_audiences(world)
    _predict_items(world)


def publish_all(world: ServingWorld, *more: Table) -> None:
    """Publishes rows of all tables, and of more of them, with histories and quotes."""
    predict_all(world)
    write_raw_context(world)
    world.publish(DAY, *ALL_TABLES, *more, context=CONTEXT)


def write_raw_context(world: ServingWorld) -> None:
    """Writes what u1 did on DAY and the day before, and the text of the review r1."""
    replace, day = world.warehouse.replace_partition, DAY.isoformat()
    events = [(DAY - dt.timedelta(days=1), "z9", "view"), (DAY, "a2", "purchase")]
    names = "date item_id event_type"
    write_events(world.warehouse, names, events, user_id="u1", quantity=1.0, amount=2.0)
    replace(
        REVIEWS,
        day,
        "select 'r1' as review_id, 'u2' as user_id, 'a1' as item_id, 5.0 as rating, "
        "'So ripe & soft!' as text, null::TIMESTAMP as written_at, null as label, "
        "'en' as language, false as simulated",
    )


def _predict_audiences(world: ServingWorld) -> None:
    day = DAY.isoformat()
    replace = world.warehouse.replace_partition
    replace(
        CHURN_SCORES,
        day,
        "select 'u' || u as user_id, 0.1 * u as churn_probability, u as days_inactive, "
        "'churn-1' as model_version from range(3) as a(u)",
    )
    replace(
        RETENTION_AUDIENCE,
        day,
        "select r as rank, 'u' || r as user_id, 0.9 - r / 100 as churn_probability, "
        "100.0 - r as expected_value, ['a1', 'a2'] as offer_item_ids, '=1+1' as reason, "
        "r % 5 = 0 as held_out, 'rules-2' as model_version, 30 as days_inactive, "
        "50.0 as margin_at_risk from range(1, 26) as a(r)",
    )
    replace(
        PROMOTION_AUDIENCE,
        day,
        "select c as campaign_id, r as rank, 'u' || r as user_id, 9.0 - r as score, "
        "['a1'] as item_ids, r = 3 as held_out, 'rules-1' as model_version, 'ad_hoc' as kind, "
        "date '2024-03-01' as starts_on, date '2024-03-09' as ends_on, 2 as own_items "
        "from (values ('spring'), ('a/b 50%')) as c(c), range(1, 5) as a(r)",
    )


def _predict_items(world: ServingWorld) -> None:
    day = DAY.isoformat()
    replace = world.warehouse.replace_partition
    replace(
        ITEM_SENTIMENTS,
        WEEK,
        "select 'a1' as item_id, 4 as reviews, 0.2 as share_negative, 0.2 as share_neutral, "
        "0.6 as share_positive, 0.4 as net_sentiment, 0.1 as net_lower, 0.6 as net_upper, "
        "0.1 as change, ['r1'] as example_review_ids, false as simulated, "
        "'sentiment-1' as model_version, 3 as reviews_before, null as change_p, false as changed, "
        "0.2 as corrected_negative, 0.2 as corrected_neutral, 0.6 as corrected_positive, "
        "0 as reviews_not_scored, null as not_scored",
    )
    replace(
        ASPECTS,
        WEEK,
        "select 'a1' as item_id, t as term, 'up' as direction, 1.5 as log_odds, 2 as reviews, "
        "'rules-1' as model_version, 2.0 as z, false as simulated from (values ('ripe'), ('soft')) "
        "as a(t)",
    )
    replace(
        REVIEW_SENTIMENTS,
        WEEK,
        "select 'r1' as review_id, 'a1' as item_id, 'positive' as sentiment, 0.1 as p_negative, "
        "0.1 as p_neutral, 0.8 as p_positive, false as simulated, 'sentiment-1' as model_version, "
        "'en' as language",
    )
    quantiles = ", ".join(f"{q}::DOUBLE / 10 as q{q:02}" for q in (5, 10, 25, 50, 75, 90, 95))
    replace(
        DEMAND_FORECASTS,
        day,
        "select i as item_id, l as location, date '2024-03-03' + d::INTEGER as target_date, "
        f"5.0 as mean, {quantiles}, 'demand-1' as model_version, 'mean28' as method from "
        "(values ('a1'), ('category:things')) as a(i), (values ('all'), ('Rome')) as b(l), "
        "range(1, 4) as c(d)",
    )
    replace(
        LEAD_TIME_DEMAND,
        day,
        "select 'a1' as item_id, 'all' as location, 3 as days, 15.0 as mean, 15.0 as q50, "
        "20.0 as q90, 22.0 as q95, 25.0 as q99, 'demand-1' as model_version, 0.95 as level, "
        "22.0 as q_level",
    )
    replace(
        REPLENISHMENT_ORDERS,
        day,
        "select 'a' || i as item_id, 'all' as location, case when i < 5 then 3.0 end as on_hand, "
        "4.0 as reorder_point, 10.0 + i as order_up_to, 1.0 as safety_stock, "
        "case when i < 5 then 7.0 + i end as order_quantity, 0.95 as service_level, "
        "'rules-2' as model_version, 0.0 as on_order, 3 as lead_time_days, 4 as review_days, "
        "'demand-1' as forecast_version, false as simulated from range(1, 8) as a(i)",
    )
