"""Sign-ups and events: what is stored, what is refused, and what survives a kill, once."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from batch_predictions.core.home import State, write_state
from batch_predictions.serving.http import posting
from batch_predictions.serving.lookup import Lookup
from batch_predictions.settings import HttpSettings, IdRule, ServingSettings, Settings
from batch_predictions.sources.posted_rows.posted_schema import POSTED_EVENTS, posted_url
from batch_predictions.sources.posted_rows.reader import PostedRows
from batch_predictions_tests.worlds.http_service import Client, running_service, serve_process
from batch_predictions_tests.worlds.serving import DAY, ServingWorld, open_world

READ, WRITE = "read-0123456789abcdef0", "write-0123456789abcdef"
ANN = {"age_bracket": "27", "gender": "F", "location": "Berlin"}
ALL_TIME = (dt.datetime(1970, 1, 1), dt.datetime(2100, 1, 1))


def event(event_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "event_type": "click",
        "user_id": "u1",
        "item_id": "a1",
        "occurred_at": "2024-03-04T09:30:00+02:00",
        **changes,
    }


def post(client: Client, *events: Any) -> dict[str, Any]:
    """The answer to events of which at least one is valid."""
    reply = client.send("POST", "/v1/events", {"events": list(events)})
    assert reply.status == 200, reply.body
    answer: dict[str, Any] = reply.json
    return answer


def sign_up(client: Client, user: str, **attributes: Any) -> dict[str, Any]:
    reply = client.send("PUT", f"/v1/users/{user}", attributes)
    assert reply.status == 200, reply.body
    answer: dict[str, Any] = reply.json
    return answer


def stored_events(settings: Settings) -> list[dict[str, Any]]:
    """The stored events, in the order in which they were stored."""
    batches = PostedRows.of(settings).events(*ALL_TIME)
    return [row for batch in batches for row in batch.to_pylist()]


def test_the_next_lookup_of_a_sign_up_is_demographic(world: ServingWorld) -> None:
    world.release()
    with running_service(world.settings) as client, Lookup(world.settings) as lookup:
        before = client.get("/v1/recommendations/new")
        assert before.json["source"] == lookup.recommendations("new")["source"] == "popular"
        assert sign_up(client, "new", **ANN) == {
            "user_id": "new",
            **ANN,
            "age_bracket": "25-34",
            "signed_up_on": None,
        }
        after = client.get("/v1/recommendations/new", {"if-none-match": before.headers["etag"]})
        assert after.status == 200 and after.json["segment"]["level"] == "age_gender_location"
        assert lookup.recommendations("new")["source"] == "demographic"
        assert client.get("/v1/users/new").json["attributes"]["location"] == "Berlin"
        # The second request replaces the first: the location is not known any more.
        sign_up(client, "new", age_bracket="25-34", gender="F")
        assert client.list_of("new")["segment"]["level"] == "age_gender"
        assert client.get("/v1/users/new").json["attributes"]["location"] == "unknown"
    with running_service(world.settings) as client:
        assert client.list_of("new")["segment"]["level"] == "age_gender", "after a restart"


def test_a_sign_up_wins_over_the_release_until_there_is_one_of_a_later_day(
    world: ServingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.release()
    with running_service(world.settings) as client:
        monkeypatch.setattr(posting, "utc_now", lambda: dt.datetime(2024, 3, 4, 9, tzinfo=dt.UTC))
        sign_up(client, "ann", age_bracket="35-44", gender="M", location="Rome")
        sign_up(client, "bob", age_bracket="35-44")
        assert client.list_of("ann")["segment"]["location"] == "Rome"
        # The release of the day of the request knows ann by the source: its row wins. Of bob it
        # knows nothing: what was posted is filled in.
        world.release(DAY + dt.timedelta(days=1), "b")
        client.refresh()
        assert client.list_of("ann")["segment"]["location"] == "Berlin"
        assert client.list_of("bob")["segment"] == {"level": "age", "age_bracket": "35-44"}


def test_a_sign_up_that_is_wrong_says_what_to_do(world: ServingWorld) -> None:
    world.release()
    with running_service(world.settings) as client:
        for body, where in (
            ({"age_bracket": "young"}, "body.age_bracket"),
            ({"age_bracket": "150"}, "body.age_bracket"),
            ({"signed_up_on": "2999-01-01"}, "body.signed_up_on"),
            ({"age": "35"}, "body.age"),
            ({"gender": "a\x00b"}, "body.gender"),
        ):
            reply = client.send("PUT", "/v1/users/new", body)
            assert reply.status == 422 and reply.json["errors"][0]["where"] == where
        assert client.list_of("new")["source"] == "popular"


def test_events_count_once_and_name_their_release(world: ServingWorld) -> None:
    with running_service(world.settings) as client:
        assert post(client, event("before-any-release"))["accepted"] == 1
    release = world.release()
    with running_service(world.settings) as client:
        shown = client.list_of("u1")["recommendation_id"]
        first = event("e1", recommendation_id=shown, source="personal", rank=2, bucket="b")
        assert post(client, first, event("e2"), first) == {
            "accepted": 2,
            "duplicates": 1,
            "refused": [],
        }
        # The first one counts.
        assert post(client, event("e1", item_id="other"), event("e3"))["duplicates"] == 1
    rows = stored_events(world.settings)
    assert [row["event_id"] for row in rows] == ["before-any-release", "e1", "e2", "e3"]
    received = rows[1].pop("received_at")
    assert abs((dt.datetime.now(dt.UTC).replace(tzinfo=None) - received).total_seconds()) < 3600
    assert rows[1] == {
        "number": rows[1]["number"],
        **first,
        "occurred_at": dt.datetime(2024, 3, 4, 7, 30),
        "release_id": release.release_id,
    }


def test_an_invalid_event_is_refused_with_its_reason_and_the_others_are_kept(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    write_state(
        home,
        State(
            source_kind="files",
            timezone="America/New_York",
            first_day=dt.date(2024, 3, 1),
            default_date=dt.date(2024, 3, 1),
        ),
    )
    wrong = {
        "event_type": event("w1", event_type="seen"),
        "user_id": {k: v for k, v in event("w2").items() if k != "user_id"},
        "item_id": event("w3", item_id="a\nb"),
        "rank": event("w4", rank=0),
        "occurred_at": event("w5", occurred_at="2024-03-04T09:30:00"),
        "source": event("w6", source="magic"),
        "price": event("w7", price=3),
        "release_id": event(
            "w8",
            release_id="2024-03-02-00000000",
            recommendation_id="2024-03-03-00000000-" + "0" * 24,
        ),
    }
    times = {
        "future": event("t1", occurred_at="2999-01-01T00:00:00Z"),
        "before the first day": event("t2", occurred_at="2024-03-01T04:59:59Z"),
        "far": event("t3", occurred_at="0001-01-01T00:00:00+14:00"),
    }
    with running_service(Settings(home=home)) as client:
        answer = post(
            client,
            event("ok"),
            *wrong.values(),
            7,
            *times.values(),
            event("first", occurred_at="2024-03-01T05:00:00Z"),
        )
        assert answer["accepted"] == 2 and answer["duplicates"] == 0
        refused = answer["refused"]
        assert [entry["index"] for entry in refused] == list(range(1, 13))
        assert [e["errors"][0]["where"] for e in refused[: len(wrong)]] == list(wrong)
        assert refused[8]["event_id"] is None and refused[0]["event_id"] == "w1"
        assert {e["errors"][0]["where"] for e in refused[9:]} == {"occurred_at"}
        reply = client.send("POST", "/v1/events", {"events": [wrong["rank"]]})
        assert reply.status == 422 and reply.json["errors"][0]["where"] == "body.events.0.rank"
        too_many = {"events": [event(f"m{n}") for n in range(1_001)]}
        assert client.send("POST", "/v1/events", too_many).status == 422
        metrics = client.get("/metrics").body.decode()
        assert 'events_total{outcome="refused"} 13.0' in metrics
    assert [row["event_id"] for row in stored_events(Settings(home=home))] == ["ok", "first"]


def test_a_body_is_bounded_and_needs_a_key_that_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCH_PREDICTIONS_HTTP_READ_KEYS", READ)
    monkeypatch.setenv("BATCH_PREDICTIONS_HTTP_WRITE_KEYS", WRITE)
    settings = Settings(home=tmp_path / "home", http=HttpSettings(max_body_kb=4))
    body = {"events": [event("e1")]}
    with running_service(settings) as client:
        for method, path, sent in (("POST", "/v1/events", body), ("PUT", "/v1/users/u", ANN)):
            for key, status in ((None, 401), (READ, 403), (WRITE, 200)):
                headers = {"X-API-Key": key} if key else {}
                assert client.send(method, path, sent, headers).status == status
        large = {"events": [event(f"e{n}") for n in range(100)]}
        reply = client.send("POST", "/v1/events", large, {"X-API-Key": WRITE})
        assert reply.status == 413 and "max_body_kb" in reply.json["what_to_do"]
    assert len(stored_events(settings)) == 1


def test_a_page_of_another_site_cannot_make_a_browser_post(tmp_path: Path) -> None:
    """Without asking first, browsers send texts and forms, but no JSON."""
    with running_service(Settings(home=tmp_path / "home")) as client:
        body = json.dumps({"events": [event("e1")]}).encode()
        for kind in (None, "text/plain", "application/x-www-form-urlencoded"):
            headers = {"Content-Type": kind} if kind else {}
            assert client.send("POST", "/v1/events", body, headers).status == 422
        asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        reply = client.send("OPTIONS", "/v1/events", None, asked)
        assert reply.status >= 400 and "access-control-allow-origin" not in reply.headers
    assert stored_events(Settings(home=tmp_path / "home")) == []


def test_ids_are_written_as_the_source_writes_them(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    settings.source.ids = {"user_id": IdRule(case="upper")}
    with running_service(settings) as client:
        assert sign_up(client, "new")["user_id"] == "NEW"
        post(client, event("e1", user_id="u1"))
    assert stored_events(settings)[0]["user_id"] == "U1"


@pytest.fixture
def place(database_url: str | None, tmp_path: Path) -> Iterator[tuple[Path, str | None]]:
    """A home with a release, and the URL of its store if it is PostgreSQL."""
    world = open_world(tmp_path / "home", database_url)
    world.release()
    yield world.settings.home, database_url
    world.store.close()


@pytest.mark.slow
def test_what_was_answered_before_a_kill_is_there_once(place: tuple[Path, str | None]) -> None:
    """Clients of two workers send each event twice, and again if they got no answer."""
    home, url = place
    variables = {"BATCH_PREDICTIONS_SERVING__URL": url} if url else {}
    answered: set[str] = set()
    unanswered: dict[str, Any] = {}
    enough, lock = threading.Event(), threading.Lock()

    def send_until_killed(client: Client, thread: int) -> None:
        for number in range(100_000):
            events = [event(f"t{thread}-{number}-{n}") for n in range(3)]
            ids = [e["event_id"] for e in events]
            try:
                assert client.list_of("u1")["source"] == "personal", "lookups go on"
                assert post(client, *events)["accepted"] == 3
                assert post(client, *events)["duplicates"] == 3
            except (OSError, HTTPException):
                with lock:
                    unanswered.update(zip(ids, events, strict=True))
                return
            with lock:
                answered.update(ids)
                if len(answered) > 400:
                    enough.set()

    with serve_process(home, "--workers", "2", **variables) as (client, process):
        sign_up(client, "new", **ANN)
        with ThreadPoolExecutor(4) as pool:
            # The same events at the same time, to both workers: each counts once.
            same = [event(f"same-{n}") for n in range(100)]
            replies = list(pool.map(lambda _: post(client, *same), range(8)))
            assert sum(reply["accepted"] for reply in replies) == 100
            assert sum(reply["duplicates"] for reply in replies) == 700
            answered.update(e["event_id"] for e in same)
            running = [pool.submit(send_until_killed, client, thread) for thread in range(4)]
            while not enough.wait(0.05):
                assert not any(future.done() for future in running)
            kill_tree(process.pid)
            for future in running:
                future.result()
    settings = Settings(home=home, serving=ServingSettings(url=url))
    ids = [row["event_id"] for row in stored_events(settings)]
    assert len(ids) == len(set(ids)) and answered <= set(ids) <= answered | set(unanswered)
    with serve_process(home, **variables) as (client, _):
        assert client.list_of("new")["source"] == "demographic"
        post(client, *unanswered.values())
    ids = [row["event_id"] for row in stored_events(settings)]
    assert len(ids) == len(set(ids)) and set(ids) == answered | set(unanswered)


def kill_tree(pid: int) -> None:
    """Kills a process and its children: the parent first, so that it replaces none."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    for number in (pid, *map(int, children)):
        os.kill(number, signal.SIGKILL)


def test_lookups_go_on_while_the_database_of_posted_rows_is_locked(tmp_path: Path) -> None:
    world = open_world(tmp_path / "home")
    world.release()
    with running_service(world.settings) as client:
        post(client, event("e1"))
        sign_up(client, "new", **ANN)
        file = tmp_path / "home" / "serving-posted.sqlite"
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("begin immediate")
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(post, client, event("e2"))
                for _ in range(50):
                    assert client.list_of("u1")["source"] == "personal"
                    assert client.list_of("new")["source"] == "demographic"
                assert not waiting.done()
                other.execute("rollback")
                assert waiting.result(60)["accepted"] == 1
    world.store.close()


def test_posts_share_transactions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path / "home")
    with running_service(settings) as client:
        post(client, event("first"))
        assert client.service is not None
        groups: list[int] = []
        write_group = client.service.writer._write_group
        begun, go = threading.Event(), threading.Event()

        def recorded(group: Any) -> None:
            begun.set()
            assert go.wait(60)
            groups.append(len(group))
            write_group(group)

        monkeypatch.setattr(client.service.writer, "_write_group", recorded)
        with ThreadPoolExecutor(20) as pool:
            posts = [pool.submit(post, client, event("e0"))]
            assert begun.wait(60)
            posts += [pool.submit(post, client, event(f"e{n}")) for n in range(1, 20)]
            deadline = time.monotonic() + 60
            while client.service.writer._waiting_rows < 20:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            go.set()
            assert all(future.result(60)["accepted"] == 1 for future in posts)
        assert groups == [1, 19]
    assert len(stored_events(settings)) == 21


def test_a_place_that_cannot_be_written_is_503_and_lookups_go_on(tmp_path: Path) -> None:
    world = open_world(tmp_path / "home")
    world.release()
    (tmp_path / "home" / "serving-posted.sqlite").mkdir()
    with running_service(world.settings) as client:
        reply = client.send("POST", "/v1/events", {"events": [event("e1")]})
        assert reply.status == 503 and reply.headers["retry-after"]
        assert reply.json["type"] == "/problems/writes-unavailable"
        assert client.list_of("u1")["source"] == "personal"
        assert client.list_of("nobody")["source"] == "popular"
        (tmp_path / "home" / "serving-posted.sqlite").rmdir()
        assert post(client, event("e1"))["accepted"] == 1, "the same request, again"
    world.store.close()


def test_lookups_go_on_where_the_posted_rows_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = open_world(tmp_path / "home")
    world.release()
    (tmp_path / "home" / "serving-posted.sqlite").write_bytes(b"no database " * 1000)
    with running_service(world.settings) as client:
        for _ in range(3):
            assert client.list_of("nobody")["source"] == "popular"
            assert client.list_of("ann")["source"] == "demographic"
        reply = client.send("PUT", "/v1/users/nobody", ANN)
        assert reply.status == 503 and "database" not in reply.body.decode()
    warnings = [r for r in caplog.records if "sign-ups that were posted" in r.message]
    assert len(warnings) == 1, "once a minute"
    world.store.close()


def test_rows_are_not_written_to_a_file_that_was_moved_away(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    file = tmp_path / "home" / "serving-posted.sqlite"
    with running_service(settings) as client:
        post(client, event("e1"))
        for suffix in ("", "-wal", "-shm"):
            moved = file.with_name(f"{file.name}{suffix}")
            moved.rename(tmp_path / moved.name)
        post(client, event("e2"))
    assert [row["event_id"] for row in stored_events(settings)] == ["e2"]


def test_commits_are_synchronous_and_more_rows_than_can_wait_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from batch_predictions.sources.posted_rows import writer

    settings = Settings(home=tmp_path / "home")
    with running_service(settings) as client:
        post(client, event("e1"))
        assert client.service is not None
        engine = client.service.writer._engine
        assert engine is not None
        with engine.connect() as db:
            assert db.exec_driver_sql("pragma synchronous").scalar() == 2
            assert db.exec_driver_sql("pragma journal_mode").scalar() == "wal"
            assert db.execute(sa.select(sa.func.count()).select_from(POSTED_EVENTS)).scalar() == 1
        monkeypatch.setattr(writer, "MAX_WAITING_ROWS", 1)
        body = {"events": [event("e2"), event("e3")]}
        reply = client.send("POST", "/v1/events", body)
        assert reply.status == 503 and reply.json["type"] == "/problems/writes-busy"


def test_the_url_is_beside_the_store_unless_it_is_set(tmp_path: Path) -> None:
    def url(**serving: str) -> str:
        return posted_url(Settings(home=tmp_path, serving=ServingSettings(**serving)))

    assert url() == f"sqlite:///{tmp_path}/serving-posted.sqlite"
    assert url(url=f"sqlite:///{tmp_path}/a/b.db") == f"sqlite:///{tmp_path}/a/b-posted.db"
    postgres = "postgresql+psycopg://u:secret@host/db"
    assert url(url=postgres) == postgres
    assert url(posted_url=postgres) == postgres
    with pytest.raises(ValueError, match=r"serving\.posted_url is not a URL") as caught:
        url(posted_url="secret")
    assert "secret" not in str(caught.value)
