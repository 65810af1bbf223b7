"""Predictive queries on the pages of users and items: every released row, with its reason."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import pytest

from batch_predictions.predictions.query_predictions import query_table
from batch_predictions.settings import Settings
from batch_predictions.settings.predictive_query import PredictiveQuery
from batch_predictions.tables.discovery import declare_of_settings
from batch_predictions_tests.worlds.http_service import Client, publish_all, running_service
from batch_predictions_tests.worlds.serving import DAY, open_world

QUESTIONS = {
    "spend": "sum(amount) of purchase for user in 28 days",
    "next_items": "top(2, item_id) of purchase for user in 14 days",
    "by_category": "count(*) > 0 of purchase for user x category in 7 days",
    "demand_of_items": "count(*) of purchase for item in 7 days",
    "of_locations": "count(*) of purchase for location in 7 days",
}
ROWS = {
    "spend": "select 'u1' as user_id, 12345.678 as value, 7.125 as lower, 20000.0 as upper, "
    "'purchases in 28 days: 3 (raises it)' as reason",
    "next_items": "select 'u1' as user_id, r::INTEGER as rank, 'a' || r as item_id, "
    "0.5 / r as probability, null as reason from range(1, 3) as a(r)",
    "by_category": "select u as user_id, 'c' || printf('%02d', c) as category, 0.25 as "
    "probability, '<b>why</b>' as reason from (values ('u1'), ('u2')) as a(u), range(30) as b(c) "
    "where u = 'u1' or c = 0",
    "demand_of_items": "select i as item_id, 1.23456 as value, 0.0 as lower, 3.0 as upper, "
    "null as reason from (values ('a1'), ('unlisted')) as a(i)",
    "of_locations": "select 'Rome' as location, 9.0 as value, 8.0 as lower, 10.0 as upper, "
    "null as reason",
}


QUERIES = {
    name: PredictiveQuery.from_question(question, name) for name, question in QUESTIONS.items()
}
TABLES = [query_table(query) for query in QUERIES.values()]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A service with predictive queries; tests only read."""
    world = open_world(tmp_path_factory.mktemp("own") / "home")
    declare_of_settings(TABLES)
    for table in TABLES:
        sql = f"select *, 'query-1' as model_version from ({ROWS[table.name]})"
        world.warehouse.replace_partition(table, DAY.isoformat(), sql)
    publish_all(world, *TABLES)
    declare_of_settings(())  # `serve` loads the settings, and not what they declare.
    settings = Settings(home=world.settings.home, predictions=QUERIES)
    with running_service(settings) as client:
        yield client
    world.store.close()


def section(client: Client, path: str) -> str:
    """The words of the section of own predictions; empty where the page has none."""
    reply = client.get(f"/explorer{path}")
    assert reply.status == 200, reply.body
    own = reply.body.decode().partition("Predictions of your own")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", own)).split())


def test_the_page_of_a_user_has_every_query_over_users(client: Client) -> None:
    text = section(client, "/users/u1")
    assert "spend sum(amount) of purchase for user in 28 days value lower upper reason" in text
    assert "reason 12,346 7.125 20,000 purchases in 28 days: 3 (raises it)" in text
    assert (
        "for user in 14 days rank item_id probability reason 1 Title a1 50% – 2 Title a2 25% –"
        in text
    )
    assert (
        "user x category in 7 days category probability reason c00 25% <b>why</b> c01 25%" in text
    )
    assert "c19" in text and "c20" not in text and "The first 20 rows." in text
    assert "model_version" not in text and "query-1" not in text
    for other in ("demand_of_items", "of_locations", "churn_scores", "recommendations"):
        assert other not in text


def test_the_rows_of_a_query_link_to_all_of_them_and_to_items(client: Client) -> None:
    page = client.get("/explorer/users/u1").body.decode()
    own = page.partition("Predictions of your own")[2]
    assert 'href="/explorer/items/a1"' in own
    for address in re.findall(r'href="(/v1/[^"]+)"', own):
        assert client.get(address).status == 200
    assert len(client.get("/v1/predictions/by_category/u1").json["rows"]) == 30


def test_a_user_has_only_the_tables_with_rows_of_theirs(client: Client) -> None:
    text = section(client, "/users/u2")
    assert "by_category" in text and "spend" not in text and "The first" not in text
    assert section(client, "/users/nobody") == ""


def test_the_page_of_an_item_has_every_query_over_items(client: Client) -> None:
    text = section(client, "/items/a1")
    assert "for item in 7 days value lower upper reason 1.235 0 3 –" in text
    assert "spend" not in text and "aspects" not in text and "review_quotes" not in text
    # The item is in no other table.
    assert section(client, "/items/unlisted").startswith("demand_of_items")
    assert section(client, "/items/a7") == ""
