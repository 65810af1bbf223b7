"""The other subjects: users, audiences, items, orders, tables of plugins, releases, metrics."""

from __future__ import annotations

import csv
import io
import itertools
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from batch_predictions.serving.http import answers
from batch_predictions.serving.http.recommendation_answers import release_id_of
from batch_predictions.serving.http.routes import user_routes
from batch_predictions.tables import RETENTION_AUDIENCE, TABLES, Table
from batch_predictions.tables.base import columns, declare
from batch_predictions_tests.worlds.http_service import (
    AUDIENCE_TABLES,
    Client,
    predict_all,
    publish_all,
    running_service,
)
from batch_predictions_tests.worlds.postgres import BACKENDS
from batch_predictions_tests.worlds.serving import DAY, open_world

GIFTS = Table(
    "predictions",
    "gifts_of_a_plugin",
    "Gifts of a plugin.",
    columns("""
    date DATE: as of the end of this day
    user_id VARCHAR: user
    occasion VARCHAR: occasion
    wrapped_on TIMESTAMP: when
    colours VARCHAR[]: colours
    price DOUBLE: price
    is_fragile BOOLEAN: whether it breaks
    day DATE: day of the occasion
    model_version VARCHAR: model
"""),
    key=("user_id", "occasion", "day"),
)
ENVELOPE = {
    "release_id",
    "as_of",
    "age_seconds",
    "source",
    "model_version",
    "recommendation_id",
}


@pytest.fixture(scope="module", params=BACKENDS)
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """A service of every table, with one of a plugin; tests only read."""
    url = request.param()
    declare(GIFTS)
    world = open_world(tmp_path_factory.mktemp("http") / "home", url)
    world.warehouse.replace_partition(
        GIFTS,
        DAY.isoformat(),
        "select 'u' || u as user_id, o as occasion, timestamp '2024-03-03 10:20:30' as wrapped_on, "
        "['red', 'blue'] as colours, 9.5 as price, true as is_fragile, "
        "date '2024-05-01' + d::INTEGER as day, 'gifts-1' as model_version from range(2) as a(u), "
        "(values ('birthday'), ('new year')) as b(o), range(3) as c(d)",
    )
    publish_all(world, GIFTS)
    with running_service(world.settings) as client:
        yield client
    world.store.close()
    del TABLES[GIFTS.qualified]


def answer(client: Client, path: str, **parameters: Any) -> dict[str, Any]:
    reply = client.get(path, **parameters)
    assert reply.status == 200, reply.body
    content: dict[str, Any] = reply.json
    assert set(content) >= ENVELOPE
    assert release_id_of(content["recommendation_id"]) == content["release_id"]
    assert content["as_of"] == "2024-03-03"
    return content


def test_a_user_has_everything_that_is_predicted_of_them(client: Client) -> None:
    content = answer(client, "/v1/users/u1")
    assert content["user_id"] == "u1"
    assert content["recommendations"]["source"] == "personal"
    assert set(content["predictions"]) == {
        *(table.name for table in AUDIENCE_TABLES),
        "gifts_of_a_plugin",
    }
    assert content["predictions"]["churn_scores"][0]["churn_probability"] == pytest.approx(0.1)
    assert [row["campaign_id"] for row in content["predictions"]["promotion_audience"]] == [
        "a/b 50%",
        "spring",
    ]
    assert content["attributes"]["gender"] == "unknown"
    assert content["history"] == [
        {
            "position": 1,
            "item_id": "a2",
            "title": "Title a2",
            "category": "things",
            "last_on": "2024-03-03",
            "events": 1,
            "event_types": ["purchase"],
        },
        {
            "position": 2,
            "item_id": "z9",
            "title": "z9",
            "category": None,
            "last_on": "2024-03-02",
            "events": 1,
            "event_types": ["view"],
        },
    ]
    assert "user_history" not in content["predictions"]
    rows = answer(client, "/v1/predictions/user_history/u1")["rows"]
    assert [row["item_id"] for row in rows] == ["a2", "z9"]
    ann = answer(client, "/v1/users/ann")
    assert ann["history"] == []
    assert ann["attributes"] == {
        "age_bracket": "25-34",
        "gender": "F",
        "location": "Berlin",
        "signed_up_on": None,
    }
    nobody = answer(client, "/v1/users/nobody")
    assert nobody["attributes"] is None and nobody["predictions"] == {}
    assert nobody["recommendations"]["source"] == "popular"


def test_one_answer_has_one_age(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(ticks_before := int(time.time()))
    clock = SimpleNamespace(time=lambda: next(ticks))
    for module in (answers, user_routes):
        monkeypatch.setattr(module, "time", clock)
    content = answer(client, "/v1/users/u1")
    assert next(ticks) > ticks_before, "the answer has asked the clock"
    assert content["recommendations"]["age_seconds"] == content["age_seconds"]


def walk(client: Client, path: str, **parameters: Any) -> list[dict[str, Any]]:
    """Rows of all pages."""
    page = answer(client, path, **parameters)
    rows: list[dict[str, Any]] = page["rows"]
    while token := page["next_page_token"]:
        page = answer(client, path, page_token=token, **parameters)
        assert 1 <= len(page["rows"]) <= parameters["limit"]
        rows = rows + page["rows"]
    return rows


@pytest.mark.parametrize("limit", [1, 4, 5, 19, 20, 100])
def test_an_audience_comes_in_pages_without_those_who_are_held_out(
    client: Client, limit: int
) -> None:
    rows = walk(client, "/v1/audiences/retention", limit=limit)
    assert [row["rank"] for row in rows] == [r for r in range(1, 26) if r % 5]
    assert rows[0]["offer_item_ids"] == ["a1", "a2"]
    rows = walk(client, "/v1/audiences/retention", limit=limit, with_held_out="true")
    assert [row["rank"] for row in rows] == list(range(1, 26))


def test_an_audience_of_a_campaign(client: Client) -> None:
    rows = walk(client, "/v1/audiences/promotions/spring", limit=2)
    assert [row["user_id"] for row in rows] == ["u1", "u2", "u4"]
    page = answer(client, f"/v1/audiences/promotions/{quote('a/b 50%', safe='')}")
    assert page["campaign_id"] == "a/b 50%" and len(page["rows"]) == 3
    assert page["source"] == "promotion_audience" and page["model_version"] == "rules-1"
    assert page["rows"][0]["starts_on"] == "2024-03-01"
    reply = client.get("/v1/audiences/promotions/summer")
    assert (reply.status, reply.json["type"]) == (404, "/problems/not-predicted")


def test_an_audience_as_csv_has_all_rows_and_runs_no_formula(client: Client) -> None:
    for headers, parameters in (({}, {"format": "csv"}), ({"Accept": "text/csv"}, {})):
        reply = client.get("/v1/audiences/retention", headers, limit=1, **parameters)
        assert reply.headers["content-type"] == "text/csv; charset=utf-8"
        assert reply.headers["x-as-of"] == "2024-03-03"
        assert "retention_audience_2024-03-03.csv" in reply.headers["content-disposition"]
        rows = list(csv.DictReader(io.StringIO(reply.body.decode())))
        assert [row["user_id"] for row in rows] == [f"u{r}" for r in range(1, 26) if r % 5]
        assert rows[0]["offer_item_ids"] == "a1 a2" and rows[0]["reason"] == "'=1+1"
    both = {"Accept": "text/csv", "If-None-Match": "*"}
    assert client.get("/v1/audiences/retention", both, format="json").status == 304
    reply = client.get("/v1/audiences/promotions/none", format="csv")
    assert (reply.status, reply.headers["content-type"]) == (404, "application/problem+json")


def test_a_long_csv_is_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batch_predictions.serving.http.answers.CHUNK_ROWS", 4)
    world = open_world(tmp_path / "home")
    predict_all(world)
    world.publish(DAY, RETENTION_AUDIENCE)
    with running_service(world.settings) as client:
        reply = client.get("/v1/audiences/retention", format="csv")
    rows = list(csv.DictReader(io.StringIO(reply.body.decode())))
    assert [int(row["rank"]) for row in rows] == [r for r in range(1, 26) if r % 5]
    world.store.close()


def test_page_tokens_of_elsewhere_are_refused(client: Client) -> None:
    page = answer(client, "/v1/audiences/retention", limit=2)
    token = page["next_page_token"]
    wrong = [
        ("/v1/audiences/promotions/spring", {"page_token": token}),
        ("/v1/audiences/retention", {"page_token": token, "with_held_out": "true"}),
        ("/v1/audiences/retention", {"page_token": token[:-4]}),
        ("/v1/audiences/retention", {"page_token": "x"}),
        ("/v1/audiences/retention", {"page_token": "ü"}),
        ("/v1/orders", {"page_token": token}),
        ("/v1/predictions/churn_scores/u1", {"page_token": token}),
    ]
    for path, parameters in wrong:
        reply = client.get(path, **parameters)
        assert (reply.status, reply.json["type"]) == (422, "/problems/wrong-page-token"), path


def test_an_item_s_sentiment_and_forecast(client: Client) -> None:
    content = answer(client, "/v1/items/a1/sentiment")
    assert content["week"] == "2024-02-26" and content["sentiment"]["net_sentiment"] == 0.4
    assert [aspect["term"] for aspect in content["aspects"]] == ["ripe", "soft"]
    assert content["examples"][0]["review_id"] == "r1" and content["model_version"] == "sentiment-1"
    assert content["quotes"] == [
        {
            "review_id": "r1",
            "text": "So ripe & soft!",
            "rating": 5.0,
            "sentiment": "positive",
            "written_on": "2024-03-03",
            "simulated": False,
        }
    ]
    content = answer(client, "/v1/items/a1/forecast")
    assert len(content["forecasts"]) == 6 and content["forecasts"][0]["target_date"] == "2024-03-04"
    assert content["lead_time_demand"][0]["days"] == 3
    content = answer(client, "/v1/items/category:things/forecast", location="Rome")
    assert {row["location"] for row in content["forecasts"]} == {"Rome"}
    for path in ("/v1/items/zz/sentiment", "/v1/items/zz/forecast"):
        reply = client.get(path)
        assert (reply.status, reply.json["type"]) == (404, "/problems/not-predicted")


def test_orders_come_largest_first_and_in_pages(client: Client) -> None:
    rows = walk(client, "/v1/orders", limit=3)
    assert [row["item_id"] for row in rows] == ["a4", "a3", "a2", "a1", "a7", "a6", "a5"]
    assert rows[-1]["order_quantity"] is None
    assert [row["item_id"] for row in walk(client, "/v1/orders", limit=9, item_id="a3")] == ["a3"]


def test_a_table_of_a_plugin_by_its_key(client: Client) -> None:
    tables = {table["table"]: table for table in answer(client, "/v1/predictions")["tables"]}
    assert tables["gifts_of_a_plugin"]["key"] == ["user_id", "occasion", "day"]
    assert tables["gifts_of_a_plugin"]["rows"] == 12
    path = "/v1/predictions/gifts_of_a_plugin/u1"
    rows = walk(client, path, limit=4)
    assert [(row["occasion"], row["day"]) for row in rows] == [
        (occasion, f"2024-05-0{n}") for occasion in ("birthday", "new year") for n in (1, 2, 3)
    ]
    assert rows[0]["colours"] == ["red", "blue"] and rows[0]["is_fragile"] is True
    assert rows[0]["wrapped_on"] == "2024-03-03T10:20:30Z"
    content = answer(client, path, occasion="new year", day="2024-05-02", is_fragile="true")
    assert len(content["rows"]) == 1 and content["model_version"] == "gifts-1"


@pytest.mark.parametrize(
    ("path", "parameters", "status", "kind"),
    [
        ("nope/u1", {}, 404, "not-published"),
        ("gifts_of_a_plugin/u1", {"nope": "1"}, 404, "not-published"),
        ("gifts_of_a_plugin/u9", {}, 404, "not-predicted"),
        ("gifts_of_a_plugin/u1", {"day": "soon"}, 422, "wrong-request"),
        ("gifts_of_a_plugin/u1", {"price": "1e999"}, 404, "not-predicted"),
        ("gifts_of_a_plugin/u1", {"occasion": ["a", "b"]}, 422, "wrong-request"),
        ("gifts_of_a_plugin/u1", {"occasion": "a\0"}, 422, "wrong-request"),
        ("gifts_of_a_plugin/u1", {"limit": "0"}, 422, "wrong-request"),
        ("churn_scores/u1", {"days_inactive": str(2**70)}, 422, "wrong-request"),
        ("retention_audience/one", {}, 422, "wrong-request"),
    ],
)
def test_what_a_table_does_not_have(
    client: Client, path: str, parameters: dict[str, Any], status: int, kind: str
) -> None:
    reply = client.get(f"/v1/predictions/{path}", **parameters)
    assert (reply.status, reply.json["type"]) == (status, f"/problems/{kind}"), reply.body
    assert reply.json["what_to_do"]


def test_releases_are_listed(client: Client) -> None:
    content = answer(client, "/v1/releases")
    [release] = content["releases"]
    assert release["current"] is True and release["rows"]["retention_audience"] == 25
    assert release["created_at"] == "2024-03-04T05:00:00Z"


def test_unknown_addresses_and_methods_are_problems(client: Client) -> None:
    for method, path, status in (
        ("GET", "/", 404),
        ("GET", "/v1/recommendation/u1", 404),
        ("GET", "/docs", 404),
        ("DELETE", "/v1/orders", 405),
        ("PUT", "/v1/orders", 405),
        ("POST", "/v1/orders", 405),
    ):
        reply = client.send(method, path)
        assert reply.status == status, path
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json["what_to_do"]
    assert client.send("PUT", "/v1/orders").headers["allow"] == "GET"


def test_every_kind_of_problem_explains_itself(client: Client) -> None:
    problem = client.get("/v1/recommendations/u1", k=0).json
    explained = client.get(problem["type"]).json
    assert explained["title"] == problem["title"] and explained["status"] == problem["status"]
    assert client.get("/problems/none").status == 404


@pytest.mark.parametrize("path", ["/healthz", "/v1/recommendations/u1", "/v1/orders", "/nope"])
def test_head_is_get_without_a_body(client: Client, path: str) -> None:
    get, head = client.get(path), client.send("HEAD", path)
    assert (head.status, head.body) == (get.status, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


def metrics(client: Client) -> dict[str, float]:
    """Values by name and labels."""
    text = client.get("/metrics").body.decode()
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def test_metrics_count_requests_and_lists_by_source(client: Client) -> None:
    before = metrics(client)
    for user in ("u1", "u1", "ann", "nobody"):
        client.list_of(user, k=2)
    client.get("/v1/recommendations/u1", k=0)
    users = [{"user_id": "u1"}, {"user_id": "nobody"}]
    client.send("POST", "/v1/recommendations:batch", {"users": users})
    after = metrics(client)
    route = 'route="/v1/recommendations/{user_id}"'
    requests = "batch_predictions_http_requests_total"
    lists = "batch_predictions_recommendation_lists_total"
    counts = {
        f'{requests}{{method="GET",{route},status="200"}}': 4,
        f'{requests}{{method="GET",{route},status="422"}}': 1,
        f"batch_predictions_http_request_seconds_count{{{route}}}": 5,
        f'{lists}{{source="personal"}}': 3,
        f'{lists}{{source="demographic"}}': 1,
        f'{lists}{{source="popular"}}': 2,
    }
    assert {name: after[name] - before.get(name, 0) for name in counts} == counts
    assert after["batch_predictions_release_age_seconds"] > 0
    assert after['batch_predictions_release_rows{table="retention_audience"}'] == 25
    assert after["batch_predictions_store_reachable"] == 1


@pytest.mark.parametrize(
    "address",
    [
        "/v1/recommendations/%ff",
        "/v1/recommendations/a%fe",
        "/v1/recommendations/%C3",
        "/v1/recommendations/%C3?%A9=1",
        "/v1/users/%ED%A0%80",
        "/v1/items/%ff/forecast",
        "/v1/recommendations/u1?exclude=%ff",
        "/v1/recommendations/u1?%ff=1",
        "/v1/orders?location=a%fe",
        "/v1/predictions/churn_scores/%ff",
        "/nowhere/%ff",
    ],
)
def test_an_address_that_is_no_utf_8_is_refused(client: Client, address: str) -> None:
    """Its bytes would all be replaced by the same character, so that two keys were one."""
    for method in ("GET", "PUT", "DELETE"):
        reply = client.send(method, address)
        assert (reply.status, reply.json["type"]) == (400, "/problems/wrong-encoding"), method
        assert "percent-encode" in reply.json["what_to_do"]


def test_bytes_of_a_query_that_are_not_percent_encoded_are_refused(client: Client) -> None:
    """They would be read as Latin-1, and so as other characters than those of UTF-8."""
    with socket.create_connection(("127.0.0.1", client.port), 60) as connection:
        line = "GET /v1/recommendations/u1?exclude=é HTTP/1.1\r\nConnection: close\r\n\r\n"
        connection.sendall(line.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    for user in ("é", "\N{REPLACEMENT CHARACTER}", "名"):
        assert client.list_of(user, exclude=[user], location="é")["user_id"] == user


def test_a_client_that_offers_http_2_is_answered_by_http_1(client: Client) -> None:
    """As Java's HttpClient does; the body counts, even where it looks like such an offer."""
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEA"}
    users = [{"user_id": "Upgrade: h2c\\r\\n"}, {"user_id": "u1"}]
    reply = client.send("POST", "/v1/recommendations:batch", {"users": users}, offer)
    assert reply.status == 200 and reply.json["answers"][0]["user_id"] == users[0]["user_id"]
    assert client.get("/v1/recommendations/u1", offer).status == 200
