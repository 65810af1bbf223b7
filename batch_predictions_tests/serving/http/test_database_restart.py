"""A PostgreSQL that dies under load: what fails says so, ends by itself, and loses nothing."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.settings import ServingSettings, Settings
from batch_predictions_tests.serving.http.test_writes import event, stored_events
from batch_predictions_tests.worlds.http_service import Client, Reply, serve_process
from batch_predictions_tests.worlds.own_postgres import own_postgres
from batch_predictions_tests.worlds.serving import open_world

pytestmark = pytest.mark.slow

ENOUGH = 15
"""Answers of each thread before the server dies, and again after it is back."""


@dataclass
class Load:
    """What the threads have seen so far.

    Attributes:
        answered: ids of events of which an answer said that they are stored.
        sent: ids of all events.
        statuses: of all answers.
        successes: answers of 200 by thread, since the last `restart_counting`.
    """

    client: Client
    answered: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    statuses: set[int] = field(default_factory=set)
    successes: dict[str, int] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)

    def look_up(self, name: str) -> None:
        """Looks the list of a user up until it is over."""
        while not self.over.is_set():
            reply = self._send("GET", f"/v1/recommendations/{name}")
            if reply is None or reply.status != 200:
                continue
            assert reply.json["source"] == "personal" and reply.json["items"]
            self._count(name)

    def post(self, name: str) -> None:
        """Posts two events at a time, each as often as it takes."""
        number = 0
        while not self.over.is_set():
            ids = [f"{name}-{number}-{n}" for n in range(2)]
            self.sent.update(ids)
            body = {"events": [event(event_id) for event_id in ids]}
            reply = self._send("POST", "/v1/events", body)
            if reply is None or reply.status != 200:
                continue
            assert reply.json["accepted"] + reply.json["duplicates"] == 2
            self.answered.update(ids)
            number += 1
            self._count(name)

    def _send(self, method: str, path: str, body: Any = None) -> Reply | None:
        try:
            reply = self.client.send(method, path, body)
        except (OSError, HTTPException):
            return None
        self.statuses.add(reply.status)
        if reply.status != 200:
            assert reply.headers["content-type"] == "application/problem+json"
            time.sleep(0.02)
        return reply

    def _count(self, name: str) -> None:
        self.successes[name] = self.successes.get(name, 0) + 1

    def wait_for(self, threads: int) -> None:
        """Waits until every thread has enough answers from now on."""
        self.successes = {}
        deadline = time.monotonic() + 120
        while len(self.successes) < threads or min(self.successes.values()) < ENOUGH:
            assert time.monotonic() < deadline, f"no answers: {self.successes}, {self.statuses}"
            time.sleep(0.02)


def test_a_server_that_dies_and_comes_back_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_postgres(monkeypatch) as (url, database):
        world = open_world(tmp_path / "home", url)
        world.release()
        world.store.close()
        home, variables = world.settings.home, {"BATCH_PREDICTIONS_SERVING__URL": url}
        # Without memory for answers, so that every lookup asks the database.
        variables["BATCH_PREDICTIONS_HTTP__CACHE_MB"] = "0"
        with serve_process(home, **variables) as (client, _), ThreadPoolExecutor(4) as pool:
            load = Load(client)
            running = [
                *(pool.submit(load.look_up, user) for user in ("u0", "u1")),
                *(pool.submit(load.post, name) for name in ("a", "b")),
            ]
            try:
                for _ in range(2):
                    load.wait_for(threads=4)
                    database.stop()
                    reply = client.get("/v1/recommendations/u2")
                    assert reply.status == 503, reply.body
                    database.start()
                load.wait_for(threads=4)
            finally:
                load.over.set()
            for future in running:
                future.result()
            assert load.statuses == {200, 503}
            assert client.list_of("u2")["source"] == "personal"
        stored = stored_events(Settings(home=home, serving=ServingSettings(url=url)))
        ids = [row["event_id"] for row in stored]
        assert len(ids) == len({*ids}) and load.answered <= {*ids} <= load.sent
