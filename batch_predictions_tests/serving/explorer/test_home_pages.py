"""Pages about the home itself: made by `batch-predictions report` when somebody looks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_predictions.serving.explorer import home_pages
from batch_predictions.serving.explorer.home_pages import HomePages
from batch_predictions.serving.explorer.rendering import HOME_PAGES
from batch_predictions.settings import HttpSettings, Settings
from batch_predictions_tests.worlds.http_service import Client, publish_all, running_service
from batch_predictions_tests.worlds.serving import ServingWorld, open_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingWorld]:
    """A release without a warehouse of raw rows."""
    shop = open_world(tmp_path_factory.mktemp("pages") / "home", None)
    publish_all(shop)
    yield shop
    shop.store.close()


@pytest.fixture(scope="module")
def client(world: ServingWorld) -> Iterator[Client]:
    with running_service(world.settings) as client:
        yield client


def test_a_page_is_made_when_somebody_looks_and_is_kept(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = client.get("/explorer/quality")
    page = reply.body.decode()
    assert reply.status == 200
    assert "<h1>Quality</h1>" in page and "No model serves yet" in page
    assert '<a href="/explorer/quality" aria-current="page">Quality</a>' in page
    assert "default-src 'none'" in reply.headers["content-security-policy"]

    async def fail(self: HomePages, name: str) -> None:
        raise AssertionError(f"{name} is made again")

    monkeypatch.setattr(HomePages, "_make", fail)
    assert client.get("/explorer/quality").body == reply.body


def test_operations_names_what_needs_attention(client: Client) -> None:
    page = client.get("/explorer/operations").body.decode()
    assert "has no run yet: <code>batch-predictions run</code> makes the first" in page


def test_a_page_that_cannot_be_made_says_why(client: Client) -> None:
    reply = client.get("/explorer/report")
    assert reply.status == 503
    assert b"has no rows: <code>batch-predictions run</code> first" in reply.body


def test_a_page_that_takes_too_long_is_given_up(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_pages, "TIMEOUT_SECONDS", 0.01)
    reply = client.get("/explorer/data")
    assert reply.status == 503 and b"The page took more than" in reply.body


def test_every_page_is_one_of_the_report(client: Client) -> None:
    from batch_predictions.operations.report.report_pages import PAGES

    assert [*HOME_PAGES] == [*PAGES]
    first = client.get("/explorer").body.decode()
    for name in PAGES:
        assert f'<a href="/explorer/{name}">' in first


def test_where_release_files_are_served_there_is_no_home(
    world: ServingWorld, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path, http=HttpSettings(release_dir=str(tmp_path / "releases")))
    with running_service(settings) as client:
        reply = client.get("/explorer/quality")
        assert reply.status == 404 and b"has no home" in reply.body
        assert b'href="/explorer/quality"' not in reply.body
