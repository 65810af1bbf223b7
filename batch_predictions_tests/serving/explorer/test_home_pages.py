"""Pages about the home itself: made by `batch-predictions report` when somebody looks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import Request

from batch_predictions.serving.explorer import home_pages
from batch_predictions.serving.explorer.home_pages import HomePages
from batch_predictions.serving.explorer.rendering import HOME_PAGES
from batch_predictions.serving.http.problems import ProblemError
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


def test_no_process_is_started_for_a_name_that_is_no_model(
    client: Client, world: ServingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    async def make(self: HomePages, name: str) -> list[dict[str, object]]:
        made.append(name)
        return []

    monkeypatch.setattr(HomePages, "_make", make)
    (world.settings.home / "models" / "churn").mkdir(parents=True)
    reply = client.get("/explorer/models/no-such-model")
    assert reply.status == 404 and b"There is no model no-such-model" in reply.body
    assert client.get("/explorer/models/..").status == 404 and made == []
    assert client.get("/explorer/models/churn").status == 200 and made == ["models/churn"]


class Browser:
    """A client that asks for a page of `HomePages`, and may leave."""

    def __init__(self, pages: HomePages, name: str) -> None:
        self._left = asyncio.Event()
        request = Request({"type": "http"}, self._receive)
        self.answer = asyncio.create_task(pages.get(name, request))

    async def _receive(self) -> dict[str, str]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    def leave(self) -> None:
        self._left.set()

    async def status(self) -> int:
        """200, or the status of the problem."""
        try:
            await self.answer
        except ProblemError as problem:
            return problem.type.status
        return 200


async def let_others_work() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_page_that_nobody_waits_for_is_not_made_and_the_next_does_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, cancelled = [], []
    finish = {name: asyncio.Event() for name in HOME_PAGES}

    async def make(self: HomePages, name: str) -> list[dict[str, object]]:
        begun.append(name)
        try:
            await finish[name].wait()
        except asyncio.CancelledError:
            cancelled.append(name)
            raise
        return []

    async def use() -> None:
        pages = HomePages(tmp_path)
        first, second = Browser(pages, "quality"), Browser(pages, "quality")
        waiting = Browser(pages, "data")
        await let_others_work()
        assert begun == ["quality"]
        # One of both has left: the other one still waits.
        first.leave()
        assert await first.status() == 503 and cancelled == []
        second.leave()
        assert await second.status() == 503
        await let_others_work()
        assert cancelled == ["quality"] and begun == ["quality", "data"]
        finish["data"].set()
        assert await waiting.status() == 200
        # It is kept, and who has left a queue takes no turn in it.
        assert await Browser(pages, "data").status() == 200 and begun == ["quality", "data"]
        working, left = Browser(pages, "quality"), Browser(pages, "operations")
        await let_others_work()
        left.leave()
        await left.status()
        finish["quality"].set()
        assert await working.status() == 200 and begun[2:] == ["quality"]

    monkeypatch.setattr(HomePages, "_make", make)
    asyncio.run(use())


def test_the_queue_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = asyncio.Event()

    async def make(self: HomePages, name: str) -> list[dict[str, object]]:
        await finish.wait()
        return []

    async def use() -> None:
        pages = HomePages(tmp_path)
        names = [f"models/m{number}" for number in range(home_pages.MAX_MAKING)]
        browsers = [Browser(pages, name) for name in (*names, *names)]
        await let_others_work()
        late = Browser(pages, "models/late")
        with pytest.raises(ProblemError) as problem:
            await late.answer
        assert problem.value.type.status == 503
        assert (b"retry-after", b"5") in problem.value.raw_headers
        finish.set()
        assert {await browser.status() for browser in browsers} == {200}
        assert await Browser(pages, "models/late").status() == 200

    monkeypatch.setattr(HomePages, "_make", make)
    asyncio.run(use())


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
