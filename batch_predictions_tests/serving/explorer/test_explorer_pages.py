"""Pages of users, items and audiences: what they show, of one release, with everything escaped."""

from __future__ import annotations

import datetime as dt
import html
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from batch_predictions.serving.release.publish import publish
from batch_predictions.serving.store.store import columns_of, key_of
from batch_predictions.settings import HttpSettings, Settings
from batch_predictions.tables import ITEM_STATE, RECOMMENDATIONS, RETENTION_AUDIENCE
from batch_predictions_tests.worlds.http_service import (
    AUDIENCE_TABLES,
    ITEM_TABLES,
    Client,
    predict_all,
    publish_all,
    running_service,
)
from batch_predictions_tests.worlds.postgres import BACKENDS
from batch_predictions_tests.worlds.serving import DAY, NOW, ServingWorld, open_world

HOSTILE = "<script>alert('x')</script>\"&"


@pytest.fixture(scope="module", params=BACKENDS)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServingWorld]:
    """A release of every table; tests only read."""
    url = request.param()
    shop = open_world(tmp_path_factory.mktemp("explorer") / "home", url)
    publish_all(shop)
    yield shop
    shop.store.close()


@pytest.fixture(scope="module")
def client(world: ServingWorld) -> Iterator[Client]:
    """A service of every table; tests only read."""
    with running_service(world.settings) as client:
        yield client


def text_of(client: Client, path: str, status: int = 200, **parameters: Any) -> str:
    """The visible words of a page."""
    reply = client.get(f"/explorer{path}", **parameters)
    assert reply.status == status, reply.body
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    page = reply.body.decode()
    assert "<script" not in page and " style=" not in page and "<style" not in page
    assert not re.search(r"""(?:src|href|action)=["'](?!/|data:,)""", page)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_the_first_page_says_what_is_served_and_has_examples(client: Client) -> None:
    text = text_of(client, "")
    assert "2024-03-03" in text and "These predictions are old" in text
    assert "retention_audience 25 2024-03-03 Inactive customers to win back" in text
    page = client.get("/explorer/").body.decode()
    for address in ("users/u1", "items/a1", "campaigns/spring", "campaigns/a%2Fb%2050%25"):
        assert f'href="/explorer/{address}"' in page, address
        assert client.get(f"/explorer/{address}").status == 200
    assert 'href="/explorer/retention"' in page and 'href="/openapi.json"' in page


def test_a_release_is_old_after_the_age_of_the_setting(world: ServingWorld) -> None:
    hours = 24.0 * 365 * 1000
    settings = Settings(
        home=world.settings.home,
        serving=world.settings.serving,
        http=HttpSettings(max_age_hours=hours),
    )
    with running_service(settings) as client:
        assert "These predictions are old" not in text_of(client, "")


def test_a_user_of_a_release_without_segments_has_a_page(tmp_path: Path) -> None:
    shop = open_world(tmp_path / "home")
    shop.predict()
    publish(shop.store, shop.warehouse, DAY, [RECOMMENDATIONS], keep=1, now=NOW)
    with running_service(shop.settings) as client:
        assert "personal Ranked for this user" in text_of(client, "/users/u1")
        assert "404" in text_of(client, "/users/nobody", 404)
    shop.store.close()


def test_a_known_user_has_a_list_with_reasons_and_what_else_is_predicted(client: Client) -> None:
    text = text_of(client, "/users/u1")
    assert "personal Ranked for this user" in text
    assert "2 Title a3 a3 · things 0.5 in demand lately" in text
    assert "10% The probability that this customer buys nothing" in text
    assert "1 day earlier" in text
    assert "Campaign spring Rank 1, score 8.00, 2024-03-01 to 2024-03-09" in text
    assert "To offer: Title a1 , Title a2" in text
    assert "What would they get" not in text  # a personal list does not depend on attributes


def test_a_users_history_is_beside_the_list_and_items_in_both_are_marked(client: Client) -> None:
    text = text_of(client, "/users/u1")
    assert "1 Title a2 a2 · things in the history 1" in text
    assert "2024-03-03 Title a2 a2 · things recommended purchase 2024-03-02 z9 z9 view" in text
    assert text.count("in the history") == text.count(" recommended ") == 1
    page = client.get("/explorer/users/u1").body.decode()
    assert "<h2>History</h2>" in page and 'href="/explorer/items/z9"' in page
    assert client.get("/explorer/items/z9").status == 200
    text = text_of(client, "/users/u2")
    assert "No event of this user in the days that releases keep" in text


def test_a_release_without_histories_and_quotes_says_nothing_of_them(tmp_path: Path) -> None:
    shop = open_world(tmp_path / "home")
    predict_all(shop)
    shop.publish(DAY, *ITEM_TABLES)
    with running_service(shop.settings) as client:
        assert "history" not in text_of(client, "/users/u1").casefold()
        text = text_of(client, "/items/a1")
        assert "Example reviews r1 positive" in text and "people wrote" not in text
    shop.store.close()


def test_somebody_who_is_held_out_is_not_to_be_contacted(client: Client) -> None:
    assert "Held out: do not contact" in text_of(client, "/users/u5")
    assert "Held out: do not contact" not in text_of(client, "/users/u1")


def test_an_unknown_user_has_the_fallback_and_a_form(client: Client) -> None:
    text = text_of(client, "/users/nobody")
    assert "The release does not know this user" in text
    assert "no segment is known for them" in text and "popular with everybody" in text
    page = client.get("/explorer/users/nobody").body.decode()
    assert '<option value="35-44">' in page and '<option value="Berlin">' in page
    assert '<option value="unknown">' not in page
    given = {"age_bracket": "29", "gender": "", "location": " Berlin "}
    text = text_of(client, "/users/nobody", 200, **given)
    assert "popular with people of age bracket 25-34, location Berlin" in text
    page = client.get("/explorer/users/nobody", None, **given).body.decode()
    assert 'value="29"' in page
    assert "Age bracket 25-34 Gender F Location Berlin" in text_of(client, "/users/ann")


def test_an_item_has_forecast_order_and_sentiment(client: Client) -> None:
    text = text_of(client, "/items/a1")
    assert "Title a1" in text and "Item a1 · things" in text
    assert "Expected units per day from 2024-03-04 to 2024-03-06" in text
    assert "In the next 3 days: 15 units expected, and with a probability of 95% at most 22" in text
    assert "Order now 8" in text and "On hand 3" in text and "Reorder point 4" in text
    assert "negative 20%" in text and "positive 60%" in text
    assert "Net sentiment +0.40 , 95% interval +0.10 to +0.60" in text
    assert "+0.10 (too few reviews to test, 3 earlier reviews)" in text
    assert "What people wrote So ripe & soft! positive rated 5, 2024-03-03" in text
    assert "Example reviews" not in text  # its quote is shown
    page = client.get("/explorer/items/a1").body.decode()
    assert page.count("<polygon") == 3 and 'role="img"' in page
    assert 'href="/explorer/items/a1?location=all" aria-current="true"' in page
    assert ", Rome" in text_of(client, "/items/a1", location="Rome")


def test_an_item_of_which_little_is_known_says_so(client: Client) -> None:
    text = text_of(client, "/items/a7")
    assert "no forecast" in text and "no scored review" in text
    assert "The stock on hand is not known" in text and "Order now –" in text
    assert "category:things" in text_of(client, f"/items/{quote('category:things', safe='')}")
    text = text_of(client, "/items/nope", 404)
    assert "does not know the item nope" in text and "What to do" in text


def test_columns_may_be_empty_or_absent_in_older_releases(tmp_path: Path) -> None:
    shop = open_world(tmp_path / "home")
    publish_all(shop)
    shop.store.close()
    with sqlite3.connect(tmp_path / "home" / "serving.sqlite") as db:
        for table in (*AUDIENCE_TABLES, *ITEM_TABLES):
            kept = {*key_of(table), "user_id", "item_id", "held_out", "log_odds"}
            columns = [name for name in columns_of(table) if name not in kept]
            db.execute(f"update {table.name} set " + ", ".join(f"{c} = null" for c in columns))
        [manifest] = db.execute("select manifest from releases").fetchone()
        manifest = json.loads(manifest)
        for name in ("level", "q_level"):
            del manifest["tables"]["lead_time_demand"]["columns"][name]
        db.execute("update releases set manifest = ?", (json.dumps(manifest),))
    with running_service(shop.settings) as client:
        for path in ("", "/users/u1", "/items/a1", "/retention", "/campaigns/spring"):
            assert not re.search(r"\bNone\b|Undefined", text_of(client, path)), path
        assert "In the next 3 days: – units expected." in text_of(client, "/items/a1")


def test_audiences_come_in_pages_of_one_release(tmp_path: Path) -> None:
    shop = open_world(tmp_path / "home")
    _publish_large_audience(shop, DAY)
    with running_service(shop.settings) as client:
        first = client.get("/explorer/retention").body.decode()
        assert first.count('href="/explorer/users/') == 50
        assert 'href="/v1/audiences/retention?format=csv"' in first
        [following] = re.findall(r'rel="next" href="([^"]+)"', first)
        shop.predict(DAY + dt.timedelta(days=1), "b")
        release_id = shop.publish(DAY + dt.timedelta(days=1)).release_id
        client.refresh()
        assert release_id in client.get("/explorer").body.decode()
        second = client.get(following).body.decode()
        assert release_id not in second and DAY.isoformat() in second
        assert second.count('href="/explorer/users/') == 14 and 'rel="next"' not in second
        assert "First page" in second
        assert client.get("/explorer/retention").status == 404  # the new release has none
        later = DAY + dt.timedelta(days=2)
        shop.predict(later)
        shop.publish(later, keep=1)
        text = text_of(client, following.removeprefix("/explorer"), 410)
        assert "has been removed" in text
    shop.store.close()


def _publish_large_audience(shop: ServingWorld, day: dt.date) -> None:
    shop.predict(day)
    shop.warehouse.replace_partition(
        RETENTION_AUDIENCE,
        day.isoformat(),
        "select r as rank, 'u' || r as user_id, 0.5 as churn_probability, 9.0 as expected_value, "
        "['a1'] as offer_item_ids, 'because' as reason, r % 5 = 0 as held_out, "
        "'rules-2' as model_version, 30 as days_inactive, 50.0 as margin_at_risk "
        "from range(1, 81) as a(r)",
    )
    shop.publish(day, RETENTION_AUDIENCE)


def test_a_campaign_has_its_audience(client: Client) -> None:
    text = text_of(client, f"/campaigns/{quote('a/b 50%', safe='')}")
    assert "Campaign a/b 50%" in text and "from 2024-03-01 to 2024-03-09" in text
    assert "1 u1 8.00 Title a1 2 u2 7.00 Title a1 4 u4 5.00" in text  # u3 is held out
    page = client.get(f"/explorer/campaigns/{quote('a/b 50%', safe='')}").body.decode()
    [csv] = re.findall(r'class="button" href="([^"]+)"', page)
    assert client.get(csv).headers["content-type"] == "text/csv; charset=utf-8"
    assert "neither live nor about to start" in text_of(client, "/campaigns/summer", 404)
    assert HOSTILE in text_of(client, f"/campaigns/{quote(HOSTILE, safe='')}", 404)


def test_search_finds_ids_and_titles(client: Client) -> None:
    def location(text: str) -> str:
        reply = client.get("/explorer/search", q=text)
        assert reply.status == 303, reply.body
        return reply.headers["location"]

    assert location(" u1 ") == "/explorer/users/u1"
    assert location("bob") == "/explorer/users/bob"
    assert location("a1") == "/explorer/items/a1"
    assert location("a/b 50%") == "/explorer/campaigns/a%2Fb%2050%25"
    assert location("") == "/explorer"
    text = text_of(client, "/search", q="title A2")
    assert "No user, item or campaign" in text and "Title a2 a2" in text
    assert "Title" not in text_of(client, "/search", q="%").replace("in their title", "")


def test_what_users_and_shops_write_is_escaped(tmp_path: Path) -> None:
    shop = open_world(tmp_path / "home")
    shop.predict()
    replace = shop.warehouse.replace_partition
    replace(
        ITEM_STATE,
        DAY.isoformat(),
        "select 'a' || i as item_id, $title || i as title, 'things' as category, 1.0 as price, "
        "false as is_excluded, true as available from range(40) as a(i)",
        {"title": HOSTILE},
    )
    replace(
        RECOMMENDATIONS,
        DAY.isoformat(),
        "select u as user_id, 1 as rank, 'a1' as item_id, 1.0 as score, r as reason, 'm' as "
        "model_version from (values ($id, 'because_you_liked:a2'), ('u2', $id)) as a(u, r)",
        {"id": HOSTILE},
    )
    shop.publish()
    with running_service(shop.settings) as client:
        address = quote(HOSTILE, safe="")
        text = text_of(client, f"/users/{address}")
        assert f"User {HOSTILE}" in text and f"because they liked {HOSTILE}2" in text
        assert HOSTILE in text_of(client, "/users/u2") and HOSTILE in text_of(client, "/items/a1")
        assert HOSTILE in text_of(client, f"/items/{address}", 404)
        given = dict.fromkeys(("age_bracket", "gender", "location"), HOSTILE)
        text_of(client, "/users/nobody", 200, **given)
        assert HOSTILE in text_of(client, "/search", q=f"x{HOSTILE}")
        reply = client.get("/explorer/search", q=HOSTILE)
        assert reply.headers["location"] == f"/explorer/users/{address}"
    shop.store.close()


def test_a_page_of_an_id_that_no_store_can_hold_is_a_friendly_error(client: Client) -> None:
    for path in ("/users/%00", "/users/", f"/items/{'x' * 600}", "/retention?page_token=x"):
        assert "What to do" in text_of(client, path, 422), path
    assert "What to do" in text_of(client, "/nope", 404)


def test_every_page_is_of_one_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release is published after the first read of each page."""
    from batch_predictions.serving.explorer import explorer_pages, reads

    shop = open_world(tmp_path / "home")
    shop.release(DAY, "v0x")
    day = DAY

    def publishing_first(function: Any) -> Any:
        def read(*arguments: Any) -> Any:
            nonlocal day
            day += dt.timedelta(days=1)
            shop.release(day, f"v{(day - DAY).days}x")
            return function(*arguments)

        return read

    monkeypatch.setattr(explorer_pages, "read_choices", publishing_first(reads.read_choices))
    monkeypatch.setattr(reads, "read_titles", publishing_first(reads.read_titles))
    with running_service(shop.settings) as client:
        for n, path in enumerate(("/users/nobody", "", "/users/nobody", "")):
            text = text_of(client, path)
            assert f"v{n}x" in text and f"v{n + 1}x" not in text, path
            expected = (DAY + dt.timedelta(days=n)).isoformat()
            assert set(re.findall(r"2024-03-\d\d", text)) == {expected}
            client.refresh()
    assert (day - DAY).days == 4
    shop.store.close()
