"""A publisher is killed again and again while readers look predictions up."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.release.publish import publish
from batch_predictions.serving.release.release_pruning import is_dead, register_publisher
from batch_predictions.serving.release.release_records import releases
from batch_predictions.serving.store.store import CURRENT, RELEASES, store_url
from batch_predictions.settings import Settings
from batch_predictions_tests.worlds.serving import DAY, TABLES, ServingWorld, open_world

pytestmark = pytest.mark.slow

KILLS = 8
USERS = 400
K = 6


def publish_forever(home: Path, first: int) -> None:
    """Publishes release after release, of the same day and of the next ones."""
    world = open_world(home)
    n = first
    while True:
        n += 1
        day = DAY + dt.timedelta(days=n // 3)
        world.predict(day, tag=f"v{n}x", users=USERS, k=K)
        now = dt.datetime.now(dt.UTC)
        publish(world.store, world.warehouse, day, TABLES, keep=2, now=now)


def find_problem(answer: dict[str, Any], contents: dict[str, str]) -> str | None:
    """Describes an answer that is incomplete or mixes two contents; None if it is right."""
    tag = answer["model_version"].partition("-")[2]
    items = answer["items"]
    unexpected = [
        item
        for item in items
        if not item["item_id"].startswith(tag) or not item["title"].endswith(item["item_id"])
    ]
    ranks = [item["rank"] for item in items]
    if unexpected or ranks != list(range(1, K + 1)):
        return f"{tag}: {answer}"
    if contents.setdefault(answer["release_id"], tag) != tag:
        return f"{answer['release_id']} was {contents[answer['release_id']]} and is {tag}"
    return None


class Reader(threading.Thread):
    """Looks users up until it is stopped, and collects problems."""

    def __init__(self, settings: Settings, contents: dict[str, str]) -> None:
        super().__init__()
        self.settings = settings
        self.contents = contents
        self.stopped = threading.Event()
        self.problems: list[str] = []
        self.reads = 0
        self.ended = threading.Semaphore(0)
        """Counts reads that have ended."""

    def run(self) -> None:
        with Lookup(self.settings) as lookup:
            while not self.stopped.is_set():
                user = f"u{self.reads % (USERS + 50)}"  # the last 50 are unknown users
                try:
                    problem = find_problem(lookup.recommendations(user), self.contents)
                    rows = len(lookup.rows("recommendations", user_id="u7"))
                    problem = problem or (None if rows == K else f"{rows} rows of u7")
                except Exception as error:  # every error is a problem
                    problem = repr(error)
                if problem:
                    self.problems.append(problem)
                self.reads += 2
                self.ended.release()

    def wait(self, reads: int) -> None:
        """Blocks for a number of reads, which all begin from now on."""
        while self.ended.acquire(blocking=False):
            pass
        for _ in range(reads + 1):  # One may have begun before.
            self.ended.acquire()


def test_readers_see_complete_releases_while_publishers_are_killed(tmp_path: Path) -> None:
    world = open_world(tmp_path / "home")
    world.predict(tag="v0x", users=USERS, k=K)
    world.publish()
    contents: dict[str, str] = {}
    readers = [Reader(world.settings, contents) for _ in range(2)]
    for reader in readers:
        reader.start()
    readers[0].wait(1)  # The first release is served: whatever is new from now on was published.
    # The fork server imports the modules once, for all publishers.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["batch_predictions.serving.release.publish"])
    try:
        for kill in range(KILLS):
            arguments = (world.settings.home, 30 * kill)
            publisher = context.Process(target=publish_forever, args=arguments)
            publisher.start()
            served = len(contents)
            while len(contents) == served:
                assert publisher.is_alive()
                readers[0].wait(1)
            # Each kill hits another point of the next publish: the reader's pace is the clock.
            readers[0].wait(10 * kill)
            assert publisher.pid
            os.kill(publisher.pid, signal.SIGKILL)
            publisher.join()
    finally:
        for reader in readers:
            reader.stopped.set()
            reader.join()
    problems = [problem for reader in readers for problem in reader.problems]
    assert not problems, problems[:3]
    assert all(reader.reads > 100 for reader in readers)
    assert len(contents) > KILLS
    # The next publish removes what the killed processes left.
    world.predict(DAY + dt.timedelta(days=999), tag="last", users=USERS, k=K)
    world.publish(DAY + dt.timedelta(days=999), keep=2)
    remaining = releases(world.store)
    assert [release.status for release in remaining] == ["ready"] * len(remaining)
    assert len(remaining) <= 3
    with world.store.read() as db:
        for table in ("recommendations", "demographic_recommendations", "items", "users"):
            rows = db.exec_driver_sql(f"select distinct release_id from {table}").scalars().all()
            assert set(rows) <= {release.release_id for release in remaining}


def test_a_builder_is_dead_as_soon_as_its_process_is_gone(world: ServingWorld) -> None:
    def is_dead_now(builder: str) -> bool:
        with world.store.write() as db:
            return is_dead(world.store, db, builder)

    with register_publisher(world.store) as builder:
        assert not is_dead_now(builder)
        # A process of another host that builds, whatever its number.
        with register_publisher(world.store) as neighbour:
            script = (
                "from batch_predictions.serving.store.store import Store\n"
                "from batch_predictions.serving.release.release_pruning import is_dead\n"
                f"store = Store({store_url(world.settings)!r})\n"
                f"with store.write() as db: print(is_dead(store, db, {neighbour!r}))"
            )
            assert run_python(script) == "False"
        assert is_dead_now(neighbour)
    assert is_dead_now(builder) and is_dead_now("another-host-1-1-0a0a0a0a")


def run_python(script: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def test_a_killed_publisher_of_another_host_blocks_nothing(world: ServingWorld) -> None:
    world.predict(DAY, tag="first", users=USERS, k=K)
    released = world.publish(DAY)
    # As a publisher of another host leaves it when it is killed just now.
    with world.store.write() as db:
        record = {"status": "building", "builder": "pod-7-1-1-0a0a0a0a"}
        is_release = RELEASES.c.release_id == released.release_id
        db.execute(RELEASES.update().where(is_release).values(record))
        db.execute(CURRENT.delete())
    assert world.publish(DAY).status == "ready"
