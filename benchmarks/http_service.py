"""The HTTP service under load, beside the same lookup by a plain FastAPI handler.

    python benchmarks/http_service.py [--users 100000] [--asked N] [--k 20] [--seconds 8]
        [--connections 8] [--publisher-nice 0]

Needs wrk (Debian: apt-get install wrk), which runs on the same machine. One worker each, loopback,
keep-alive, random users, lists of 10 of k stored items. Rounds alternate between:

- `plain`: FastAPI's own route, SQLAlchemy's rows of pointer and list, a dict for FastAPI to write;
- `first_reads`: `batch-predictions serve` without memory for answers: each is read from the store;
- `service`: the same with its default memory, of which a warm round has filled what fits;
- `unknown_users`: the same, of users who have no list: attributes and the segment's list.

Then the next day is published while `service` is asked: `while_publishing`, in which every answer
of one more client is compared with the first one of the same release and user. Prints JSON.
"""

from __future__ import annotations

import argparse
import datetime as dt
import http.client
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import mean, median
from typing import Any

import sqlalchemy as sa
from common import log, machine, print_json
from serving_lookup import DAY, predict, release
from wrk import require_wrk, run_wrk

from batch_predictions.settings import Settings

ASKED = 10
SCRIPT = """
local users, prefix, seed = %d, "%s", %d
init = function() math.randomseed(seed) end
request = function()
  return wrk.format("GET", "/v1/recommendations/" .. prefix .. math.random(0, users - 1))
end
"""
"""For wrk: random users."""


def make_plain_app() -> Any:
    """The same lookup as most would write it: FastAPI and SQLAlchemy."""
    from fastapi import FastAPI

    from batch_predictions.serving.store.store import CURRENT, ITEMS, declared_table
    from batch_predictions.tables import RECOMMENDATIONS

    engine = sa.create_engine(f"sqlite:///{os.environ['BATCH_PREDICTIONS_HOME']}/serving.sqlite")
    lists = declared_table(RECOMMENDATIONS)
    same_item = sa.and_(
        ITEMS.c.release_id == lists.c.release_id, ITEMS.c.item_id == lists.c.item_id
    )
    app = FastAPI()

    @app.get("/v1/recommendations/{user_id}")
    def recommend(user_id: str, k: int = ASKED) -> dict[str, Any]:
        with engine.connect() as db:
            pointer = db.execute(sa.select(CURRENT.c.release_id, CURRENT.c.as_of)).one()
            rows = db.execute(
                sa.select(lists, ITEMS.c.title, ITEMS.c.category)
                .select_from(lists.outerjoin(ITEMS, same_item))
                .where(lists.c.release_id == pointer.release_id, lists.c.user_id == user_id)
                .order_by(lists.c.rank)
                .limit(k)
            ).all()
        names = ("rank", "item_id", "title", "score", "reason", "category")
        return {
            "user_id": user_id,
            "source": "personal",
            "release_id": pointer.release_id,
            "as_of": pointer.as_of.isoformat(),
            "model_version": rows[0].model_version,
            "items": [{name: getattr(row, name) for name in names} for row in rows],
        }

    return app


@contextmanager
def server(home: Path, command: list[str], port: int, **variables: str) -> Iterator[int]:
    """A server in a process of its own; its port."""
    environment = {**os.environ, "BATCH_PREDICTIONS_HOME": str(home), **variables}
    process = subprocess.Popen([sys.executable, *command], env=environment, stderr=sys.stderr)
    try:
        for _ in range(600):
            try:
                ask(port, "0")
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def plain_server(home: Path, port: int) -> Any:
    """The plain handler: uvicorn with httptools and uvloop."""
    folder = str(Path(__file__).parent)
    options = ["--http", "httptools", "--loop", "uvloop", "--no-access-log", "--factory"]
    command = ["-m", "uvicorn", "http_service:make_plain_app", "--app-dir", folder, *options]
    return server(home, [*command, "--log-level", "warning", "--port", str(port)], port)


def service_server(home: Path, port: int, cache_mb: int = 128) -> Any:
    """`batch-predictions serve` with one worker."""
    command = ["-m", "batch_predictions.cli", "serve", "--port", str(port)]
    return server(home, command, port, BATCH_PREDICTIONS_HTTP__CACHE_MB=str(cache_mb))


def ask(port: int, user: str) -> tuple[int, bytes]:
    """Status and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", f"/v1/recommendations/{user}")
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class Load:
    """Requests by wrk."""

    def __init__(self, folder: Path, users: int, connections: int) -> None:
        self._folder, self._users, self._connections, self._runs = folder, users, connections, 0

    def __call__(self, port: int, seconds: float, prefix: str = "") -> dict[str, float]:
        """Figures of a round."""
        self._runs += 1
        script = self._folder / f"load-{self._runs}.lua"
        return run_wrk(
            SCRIPT % (self._users, prefix, self._runs),
            script,
            port,
            connections=self._connections,
            seconds=seconds,
        )


def median_of(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The round of median throughput, with the failures of all."""
    middle = sorted(rounds, key=lambda figures: figures["per_second"])[len(rounds) // 2]
    return {**middle, "failed": sum(figures["failed"] for figures in rounds)}


def compare_answers(port: int, users: int, stop: threading.Event) -> dict[str, int]:
    """Asks until the event is set; every answer is to equal the first of its release and user."""
    first: dict[tuple[str, str], Any] = {}
    counts = {"answers": 0, "failed": 0, "mixed": 0}
    releases = set()
    while not stop.is_set():
        user = str(counts["answers"] * 7919 % min(users, 200))
        counts["answers"] += 1
        status, body = ask(port, user)
        if status != 200:
            counts["failed"] += 1
            continue
        answer = json.loads(body)
        releases.add(answer["release_id"])
        content = (answer["as_of"], answer["recommendation_id"], answer["items"])
        counts["mixed"] += first.setdefault((answer["release_id"], user), content) != content
        time.sleep(0.01)  # It shall not take the core that the service needs.
    return {**counts, "releases": len(releases)}


def in_another_process(function: Callable[..., Any], *arguments: Any) -> None:
    """Calls a function in a process of its own, so that this one's memory stays small."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0


def publish_at_priority(settings: Settings, day: dt.date, nice: int) -> None:
    """Publishes a day in this process, whose priority is lowered first."""
    os.nice(nice)
    release(settings, day)


def publish_under_load(settings: Settings, port: int, load: Load, args: Any) -> dict[str, Any]:
    """Load while the next day, which is predicted already, is published and swapped."""
    next_day = DAY.replace(day=DAY.day + 1)
    in_another_process(predict, settings, next_day, args.users, args.k)
    stop = threading.Event()
    compared: dict[str, int] = {}
    checker = threading.Thread(
        target=lambda: compared.update(compare_answers(port, args.asked, stop))
    )
    context = multiprocessing.get_context("spawn")
    publisher = context.Process(
        target=publish_at_priority, args=(settings, next_day, args.publisher_nice)
    )
    checker.start()
    start = time.perf_counter()
    publisher.start()
    rounds: list[dict[str, float]] = []
    while publisher.is_alive() or len(rounds) < 2:
        rounds.append(load(port, 3))
        log("while publishing", rounds[-1])
    publisher.join()
    seconds = round(time.perf_counter() - start, 1)
    rounds.append(load(port, 3))
    stop.set()
    checker.join()
    p99s = [figures["p99_ms"] for figures in rounds]
    return {
        "publish_seconds_with_load": seconds,
        "median": median_of(rounds),
        "per_second": round(mean(figures["per_second"] for figures in rounds)),
        "per_second_at_least": min(figures["per_second"] for figures in rounds),
        "p99_ms_of_rounds": {"median": median(p99s), "worst": max(p99s)},
        "compared": compared,
    }


def measure(settings: Settings, args: Any) -> dict[str, Any]:
    """All figures."""
    in_another_process(predict, settings, DAY, args.users, args.k)
    published = release(settings, DAY)
    log("published", published)
    load = Load(settings.home, args.asked, args.connections)
    with ExitStack() as stack:
        plain = stack.enter_context(plain_server(settings.home, args.port))
        first_reads = stack.enter_context(service_server(settings.home, args.port + 1, 0))
        service = stack.enter_context(service_server(settings.home, args.port + 2))
        load(service, args.seconds)  # fills the memory
        kinds: dict[str, tuple[int, str]] = {
            "plain": (plain, ""),
            "first_reads": (first_reads, ""),
            "service": (service, ""),
            "unknown_users": (service, "new-"),
        }
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in kinds}
        for _ in range(args.rounds):
            for name, (port, prefix) in kinds.items():
                rounds[name].append(load(port, args.seconds, prefix))
                log(name, rounds[name][-1])
        figures: dict[str, Any] = {name: median_of(measured) for name, measured in rounds.items()}
        ratio = figures["service"]["per_second"] / figures["plain"]["per_second"]
        figures["times_plain"] = round(ratio, 1)
        figures["while_publishing"] = publish_under_load(settings, service, load, args)
    return {"publish": published, **figures}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--asked", type=int, help="users that are looked up; default: all")
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument(
        "--publisher-nice", type=int, default=0, help="as Nice= of the systemd unit of the night"
    )
    parser.add_argument("--port", type=int, default=8810)
    args = parser.parse_args()
    args.asked = args.asked or args.users
    require_wrk()
    with tempfile.TemporaryDirectory() as folder:
        before = machine()
        settings = Settings(home=Path(folder))
        print_json({**before, "parameters": vars(args), **measure(settings, args)})


if __name__ == "__main__":
    main()
