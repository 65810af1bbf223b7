"""One answer is of one release, whatever is published, rolled back or removed meanwhile."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from batch_predictions.serving.http.current_release import (
    BoundedCache,
    CurrentRelease,
    ReleaseWatcher,
)
from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.lookup.item_lookup import item_sentiment
from batch_predictions.serving.release.release_records import rollback
from batch_predictions.serving.store.pointer import NoReleaseError
from batch_predictions.serving.store.snapshot import ReadStore, ServedRelease
from batch_predictions.serving.store.store import CURRENT
from batch_predictions.settings import HttpSettings, ServingSettings, Settings
from batch_predictions.tables import RETENTION_AUDIENCE
from batch_predictions_tests.worlds.http_service import Client, publish_all, running_service
from batch_predictions_tests.worlds.postgres import require_psycopg
from batch_predictions_tests.worlds.serving import DAY, ServingWorld

NEXT = DAY + dt.timedelta(days=1)


def problem_with(answer: dict[str, Any]) -> str | None:
    """What is mixed in an answer; values of a release have a tag of its own."""
    day = (dt.date.fromisoformat(answer["as_of"]) - DAY).days
    tag = f"v{day}x"
    whole = (
        answer["release_id"].startswith(answer["as_of"])
        and answer["model_version"].endswith(tag)
        and all(item["item_id"].startswith(tag) for item in answer["items"])
        and all(item["title"].startswith(f"Title {tag}") for item in answer["items"])
    )
    return None if whole else str(answer)


def check_until(client: Client, stop: threading.Event, problems: list[str], seen: set[str]) -> None:
    """Asks for lists and batches, and collects what is wrong."""
    number = 0
    while not stop.is_set():
        number += 1
        if number % 5:
            reply = client.get(f"/v1/recommendations/u{number % 9}", k=number % 7 + 1)
            answers = [reply.json]
        else:
            users = [{"user_id": f"u{n}"} for n in range(12)]
            reply = client.send("POST", "/v1/recommendations:batch", {"users": users, "k": 6})
            answers = [reply.json, *reply.json.get("answers", [])]
        if reply.status != 200:
            problems.append(str(reply.json))
            return
        releases = {answer["release_id"] for answer in answers}
        seen |= releases
        problems += [f"{releases}"] * (len(releases) != 1)
        problems += [p for answer in answers if "items" in answer and (p := problem_with(answer))]


@pytest.mark.slow
def test_swaps_fail_and_mix_nothing(world: ServingWorld) -> None:
    world.predict(DAY, "v0x", users=6)
    world.publish(DAY)
    problems: list[str] = []
    seen: set[str] = set()
    stop = threading.Event()
    with running_service(world.settings) as client:
        readers = [
            threading.Thread(target=check_until, args=(client, stop, problems, seen))
            for _ in range(3)
        ]
        for reader in readers:
            reader.start()
        for n in range(1, 8):
            day = DAY + dt.timedelta(days=n)
            world.predict(day, f"v{n}x", users=6)
            newest = world.publish(day, keep=2)
            back = rollback(world.store)
            rollback(world.store, newest.release_id)
            assert back.moved
        stop.set()
        for reader in readers:
            reader.join()
    assert not problems, problems[:3]
    assert len(seen) > 2


def test_a_release_is_served_soon_after_it_is_published_and_after_a_roll_back(
    world: ServingWorld,
) -> None:
    first = world.release()
    with running_service(world.settings) as client:
        assert client.list_of("u1")["release_id"] == first.release_id
        second = world.release(NEXT, "b")
        _wait_for(client, second.release_id)
        rollback(world.store)
        _wait_for(client, first.release_id)


def _wait_for(client: Client, release_id: str) -> None:
    """Waits until a cached list is of a release; the watcher is not told."""
    deadline = time.monotonic() + 60
    while client.list_of("u1", k=2)["release_id"] != release_id:
        assert time.monotonic() < deadline, "the release is not served"
        time.sleep(0.01)


def test_whatever_is_kept_is_kept_by_the_pointer_s_version_too(world: ServingWorld) -> None:
    """A store that changes rows of a release, such as an erasure, moves the version: it counts."""
    world.release()
    with running_service(world.settings) as client:
        client.list_of("u1", k=2)
        assert client.service is not None
        before = client.service.watcher.current
        assert before is not None and len(before.answers) == 1
        with world.store.write() as db:
            db.execute(sa.update(CURRENT).values(version=CURRENT.c.version + 1))
        client.refresh()
        after = client.service.watcher.current
        assert after is not None and after.identity != before.identity
        assert len(after.answers) == 0


def test_without_a_release_lookups_say_what_to_run(world: ServingWorld) -> None:
    with running_service(world.settings) as client:
        assert client.get("/healthz").json == {"status": "ok"}
        for path in ("/readyz", "/v1/recommendations/u1", "/v1/orders", "/v1/releases"):
            reply = client.get(path)
            assert reply.status == 503 and reply.json["type"] == "/problems/no-release", path
            assert "batch-predictions run" in reply.json["detail"]
            assert reply.headers["content-type"] == "application/problem+json"
            assert reply.headers["retry-after"] == "1"
        assert "batch_predictions_release_age_seconds" not in client.get("/metrics").body.decode()
        world.release()
        assert client.list_of("u1")["source"] == "personal"
        client.refresh()
        assert client.get("/readyz").json["status"] == "ready"


def test_an_old_release_is_not_ready_but_answers(world: ServingWorld) -> None:
    release = world.release()
    settings = Settings(
        home=world.settings.home,
        serving=world.settings.serving,
        http=HttpSettings(max_age_hours=48),
    )
    with running_service(settings) as client:
        reply = client.get("/readyz")
        assert reply.status == 503 and reply.json["type"] == "/problems/release-too-old"
        assert release.release_id in reply.json["detail"]
        assert client.list_of("u1")["source"] == "personal"
    with running_service(world.settings) as client:
        assert client.get("/readyz").json["release_id"] == release.release_id


def test_pages_are_all_of_the_first_one_s_release(world: ServingWorld) -> None:
    publish_all(world)
    with running_service(world.settings) as client:
        first = client.get("/v1/audiences/retention", limit=8).json
        orders = client.get("/v1/orders", limit=3).json
        world.predict(NEXT, "b")
        world.warehouse.replace_partition(
            RETENTION_AUDIENCE,
            NEXT.isoformat(),
            "select * exclude (date) from predictions.retention_audience where rank < 3",
        )
        world.publish(NEXT, RETENTION_AUDIENCE)
        client.refresh()
        assert len(client.get("/v1/audiences/retention").json["rows"]) == 2
        rows, page = first["rows"], first
        while token := page["next_page_token"]:
            page = client.get("/v1/audiences/retention", limit=8, page_token=token).json
            assert page["release_id"] == first["release_id"]
            rows += page["rows"]
        assert [row["rank"] for row in rows] == [r for r in range(1, 26) if r % 5]
        later = client.get("/v1/orders", limit=3, page_token=orders["next_page_token"]).json
        assert later["release_id"] == first["release_id"] and len(later["rows"]) == 3
        # Two releases later it has been removed.
        for n in (2, 3):
            world.release(DAY + dt.timedelta(days=n), f"c{n}")
            world.publish(DAY + dt.timedelta(days=n), keep=2)
        token = first["next_page_token"]
        reply = client.get("/v1/audiences/retention", limit=8, page_token=token)
        assert (reply.status, reply.json["type"]) == (410, "/problems/release-removed")
        assert "first page" in reply.json["what_to_do"]


def test_several_lookups_of_one_answer_are_of_one_snapshot(
    world: ServingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_all(world)
    opened = []
    original = ReadStore.snapshot

    def count(store: ReadStore, release_id: str | None = None) -> Any:
        opened.append(1)
        return original(store, release_id)

    monkeypatch.setattr(ReadStore, "snapshot", count)
    with Lookup(world.settings) as lookup:
        answer = item_sentiment(lookup, "a1")
    assert len(answer["aspects"]) == 2 and len(answer["examples"]) == 1
    assert len(opened) == 1


def test_a_store_that_cannot_be_read_is_no_fault_and_its_path_stays_here(tmp_path: Path) -> None:
    (tmp_path / "serving.sqlite").write_bytes(b"this is no database" * 200)
    with running_service(Settings(home=tmp_path)) as client:
        for path in ("/readyz", "/v1/recommendations/u1", "/v1/orders"):
            reply = client.get(path)
            assert (reply.status, reply.json["type"]) == (503, "/problems/store-unavailable"), path
            assert str(tmp_path) not in reply.body.decode()


def test_a_server_that_does_not_answer_is_no_fault_and_names_no_password() -> None:
    require_psycopg()
    url = "postgresql+psycopg://walter:s3cret-word@127.0.0.1:9/none"
    settings = Settings(serving=ServingSettings(url=url))
    with running_service(settings) as client:
        for path in ("/readyz", "/v1/recommendations/u1", "/v1/orders"):
            reply = client.get(path)
            assert reply.status == 503, reply.body
            assert reply.json["type"] == "/problems/store-unavailable"
            assert b"s3cret" not in reply.body and b"walter" not in reply.body
        assert client.get("/healthz").status == 200
        metrics = client.get("/metrics").body.decode()
        assert "batch_predictions_store_reachable 0.0" in metrics and "s3cret" not in metrics


def test_a_page_of_an_older_release_does_not_make_it_the_current_one() -> None:
    """Its snapshot has the pointer's newest version, which the watcher may not know yet."""

    def served(name: str, version: int) -> ServedRelease:
        return ServedRelease(name, DAY, version, {})

    watcher = ReleaseWatcher(None, lambda served: CurrentRelease(served, ZoneInfo("UTC"), 0, 0))  # type: ignore[arg-type]
    assert watcher.release_of(served("b", 2)) is watcher.current
    page = watcher.release_of(served("a", 3), is_pointed_to=False)
    assert page.served.release_id == "a" and watcher.current is not page
    assert watcher.release_of(served("b", 1)) is not watcher.current  # an older snapshot
    assert watcher.current is not None and watcher.current.identity == ("b", 2)
    assert watcher.release_of(served("c", 3)) is watcher.current
    assert watcher.current.identity == ("c", 3)


def test_a_service_without_a_release_says_once_what_to_do(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    served: list[ServedRelease] = []

    def read(query: Callable[[None, ServedRelease], ServedRelease]) -> ServedRelease:
        if not served:
            raise NoReleaseError(f"the folder {tmp_path}", "batch-predictions releases export")
        return query(None, served[-1])

    source = SimpleNamespace(read=read)
    watcher = ReleaseWatcher(source, lambda served: CurrentRelease(served, ZoneInfo("UTC"), 0, 0))

    def warnings() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    for _ in range(3):
        watcher.refresh()
    expected = (
        f"nothing has been released to the folder {tmp_path} yet: "
        "run `batch-predictions releases export` first"
    )
    assert warnings() == [expected] and watcher.is_reachable
    served.append(ServedRelease("a", DAY, 1, {}))
    watcher.refresh()
    assert watcher.require().served.release_id == "a"
    served.clear()
    watcher.refresh()
    assert warnings() == [expected] * 2


def test_memory_keeps_what_was_used_last() -> None:
    cache: BoundedCache[int] = BoundedCache(10)
    for key in "abc":
        cache.put(key, ord(key), 3)
    assert cache.get("a") == 97
    cache.put("d", 100, 3)
    assert [cache.get(key) for key in "abcd"] == [97, None, 99, 100]
    cache.put("a", 1, 9)
    assert [cache.get(key) for key in "acd"] == [1, None, None]
    cache.put("huge", 2, 11)
    assert len(cache) == 1 and cache.get("huge") is None


def test_memory_is_cleared_beside_further_use() -> None:
    cache: BoundedCache[int] = BoundedCache(10_000)
    for key in range(1_000):
        cache.put(key, key, 1)
    clearing = threading.Thread(target=cache.clear)
    clearing.start()
    while len(cache) == 1_000:
        time.sleep(0.0001)
    cache.put("late", 1, 1)
    clearing.join()
    assert len(cache) <= 1
    for key in range(10_000):  # All bytes are free again.
        cache.put(key, key, 1)
    assert len(cache) == 10_000


def test_the_memory_of_a_replaced_release_is_freed_by_the_next_refresh() -> None:
    served = ServedRelease("a", DAY, 1, {})
    source = SimpleNamespace(read=lambda query: query(None, served))
    zone = ZoneInfo("UTC")
    watcher = ReleaseWatcher(source, lambda served: CurrentRelease(served, zone, 8_000, 0))
    watcher.refresh()
    first = watcher.require()
    first.answers.put("path", "answer", 10)
    first.lists.put("segment", "list", 10)
    served = ServedRelease("b", DAY, 2, {})
    watcher.refresh()
    # Requests that have begun with it still find their answers.
    assert watcher.require().identity == ("b", 2) and first.answers.get("path") == "answer"
    watcher.refresh()
    assert len(first.answers) == len(first.lists) == 0
    assert watcher.require().identity == ("b", 2)
