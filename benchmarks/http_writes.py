"""Writes to the HTTP service under load, and lookups beside them.

    python benchmarks/http_writes.py [--users 100000] [--seconds 8] [--connections 16] [--batch 20]

Needs wrk (Debian: apt-get install wrk), which runs on the same machine. One worker, loopback,
keep-alive, SQLite; a write is answered after the fsync of its rows. Rounds alternate between:

- `event`: POST /v1/events with one click each, of a new id;
- `events`: the same with `--batch` events each;
- `sign_up`: PUT /v1/users/ID with attributes, of random users;
- `lookup`: GET /v1/recommendations/ID of random users, alone;
- `lookup_while_writing`: the same while another wrk with four connections posts events;
- `plain_insert`: beside the service, SQLite transactions of one row with an fsync, one after the
  other, which is what the disk allows a writer that does not share transactions.

Afterwards every answered event is counted in the database. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from common import log, machine, print_json
from http_service import in_another_process, median_of, service_server
from serving_lookup import DAY, predict, release
from wrk import require_wrk, run_wrk

from batch_predictions.settings import Settings

SCRIPT = """
local users, batch, seed, kind = %d, %d, %d, "%s"
local sent = 0
local headers = {["content-type"] = "application/json"}
local function event()
  sent = sent + 1
  return string.format('{"event_id": "%%d-%%d", "event_type": "click", "user_id": "%%d", '
    .. '"item_id": "%%d"}', seed, sent, math.random(0, users - 1), math.random(0, 9999))
end
init = function() math.randomseed(seed) end
request = function()
  if kind == "lookup" then
    return wrk.format("GET", "/v1/recommendations/" .. math.random(0, users - 1))
  elseif kind == "sign_up" then
    return wrk.format("PUT", "/v1/users/" .. math.random(0, users - 1), headers,
      '{"age_bracket": "25-34", "gender": "F", "location": "L1"}')
  end
  local events = {}
  for n = 1, batch do events[n] = event() end
  return wrk.format("POST", "/v1/events", headers,
    '{"events": [' .. table.concat(events, ", ") .. ']}')
end
"""


class WriteLoad:
    """Requests by wrk."""

    def __init__(self, folder: Path, port: int, users: int) -> None:
        self._folder, self._port, self._users, self._runs = folder, port, users, 0
        self.events = 0
        """Events whose post was answered."""

    def __call__(
        self, kind: str, seconds: int, connections: int, batch: int = 1
    ) -> dict[str, float]:
        """Figures of a round of `event`, `sign_up` or `lookup`."""
        self._runs += 1
        script = self._folder / f"write-{self._runs}.lua"
        figures = run_wrk(
            SCRIPT % (self._users, batch, self._runs, kind),
            script,
            self._port,
            connections=connections,
            seconds=seconds,
        )
        if kind == "event":
            self.events += int(figures["requests"]) * batch
        return figures


def look_up_while_writing(load: WriteLoad, seconds: int, connections: int) -> dict[str, float]:
    """Lookups while events are posted."""
    writer = threading.Thread(target=load, args=("event", seconds + 1, 4))
    writer.start()
    time.sleep(0.5)
    figures = load("lookup", seconds, connections)
    writer.join()
    return figures


def insert_plainly(folder: Path, seconds: int) -> dict[str, float]:
    """Transactions of one row with an fsync in SQLite, one after the other."""
    milliseconds = []
    with closing(sqlite3.connect(folder / "plain.sqlite", isolation_level=None)) as db:
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = full")
        db.execute("create table if not exists events (event_id text unique, user_id text)")
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            db.execute("insert into events values (?, ?)", (f"{start}", "1"))
            milliseconds.append((time.perf_counter() - start) * 1e3)
    milliseconds.sort()
    return {
        "requests": len(milliseconds),
        "per_second": round(len(milliseconds) / seconds),
        "p50_ms": round(milliseconds[len(milliseconds) // 2], 3),
        "p99_ms": round(milliseconds[int(len(milliseconds) * 0.99)], 3),
        "max_ms": round(milliseconds[-1], 3),
        "failed": 0,
    }


def measure(settings: Settings, args: Any) -> dict[str, Any]:
    """All figures."""
    in_another_process(predict, settings, DAY, args.users, 20)
    in_another_process(release, settings, DAY)
    with service_server(settings.home, args.port) as port:
        load = WriteLoad(settings.home, port, args.users)
        load("lookup", args.seconds, args.connections)  # fills the memory
        kinds: dict[str, Callable[[], dict[str, float]]] = {
            "event": lambda: load("event", args.seconds, args.connections),
            "events": lambda: load("event", args.seconds, args.connections, args.batch),
            "sign_up": lambda: load("sign_up", args.seconds, args.connections),
            "lookup": lambda: load("lookup", args.seconds, args.connections),
            "lookup_while_writing": lambda: look_up_while_writing(
                load, args.seconds, args.connections
            ),
            "plain_insert": lambda: insert_plainly(settings.home, args.seconds),
        }
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in kinds}
        for _ in range(args.rounds):
            for name, run in kinds.items():
                rounds[name].append(run())
                log(name, rounds[name][-1])
    with closing(sqlite3.connect(settings.home / "serving-posted.sqlite")) as db:
        [stored] = db.execute("select count(*) from posted_events").fetchone()
    figures: dict[str, Any] = {name: median_of(measured) for name, measured in rounds.items()}
    figures["events"]["events_per_second"] = figures["events"]["per_second"] * args.batch
    return {**figures, "events_answered": load.events, "events_stored": stored}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--batch", type=int, default=20, help="events of a post")
    parser.add_argument("--port", type=int, default=8830)
    args = parser.parse_args()
    require_wrk()
    before = machine()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Settings(home=Path(folder)), args)
    print_json({**before, "parameters": vars(args), **figures})


if __name__ == "__main__":
    main()
