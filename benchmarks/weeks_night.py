"""A night of `three_weeks.py`: the clock, the platform's commands, and what is seen of them."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
from clock import clock_variables
from common import log
from shop_home import ShopHome
from weeks_applications import Answers, Application, table_hash
from weeks_database import Database
from weeks_shop import WeeksShop, day_of

from batch_predictions.serving.lookup import Lookup

TICK = dt.time(5, 0)


class Receiver:
    """A web server that takes the alerts, as a chat or pager would."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        messages = self.messages

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                messages.append(json.loads(self.rfile.read(size)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"json://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._server.server_close()


@dataclass(frozen=True)
class World:
    """What lasts over the nights.

    Attributes:
        shop: the source.
        home: with the variables of its runs.
        offset: the file with the offset of the clock.
        applications: the processes that look up, first that of the store.
        receiver: takes the alerts.
        disk: the file system of the home, if it is one of its own that can be filled.
        database: the server of the serving store, if it is PostgreSQL.
        new_users: who have signed up and not bought anything.
        promoted: versions of models that have beaten their baselines.
    """

    shop: WeeksShop
    home: ShopHome
    offset: Path
    applications: Sequence[Application]
    receiver: Receiver
    disk: Path | None
    database: Database | None
    new_users: list[str] = field(default_factory=list)
    promoted: set[str] = field(default_factory=set)

    def variables(self) -> dict[str, str]:
        """Of processes under the moved clock."""
        return clock_variables(self.offset)


def set_time(offset: Path, moment: dt.datetime) -> None:
    """Sets the clock of the processes that read an offset; it goes on from there."""
    seconds = round((moment - dt.datetime.now(dt.UTC).replace(tzinfo=None)).total_seconds())
    offset.write_text(f"{seconds:+d}\n")


@dataclass
class Night:
    """What is done and seen in a night.

    Attributes:
        world: what lasts.
        number: of the night, from 1.
        event: what happened.
        commands: what was run: words, exit code, seconds.
        conditions: problems of the status, by condition, at any look of the night.
        lines: new lines of alerts.log, and errors of commands.
        recovery: what it took to recover.
        problems: what should not have been.
        expected_failures: kinds of applications whose lookups may fail.
        unread_days: days of the source that could not be read in this night.
    """

    world: World
    number: int
    event: str = "nothing"
    commands: list[tuple[str, int, float]] = field(default_factory=list)
    conditions: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    recovery: str = ""
    problems: list[str] = field(default_factory=list)
    expected_failures: set[str] = field(default_factory=set)
    unread_days: set[str] = field(default_factory=set)
    answers: dict[str, Answers] = field(default_factory=dict)
    rows: str = ""
    messages: int = 0

    @property
    def day(self) -> dt.date:
        """The day that should have arrived."""
        return day_of(self.number)

    def set_clock(self, days: float = 0, hour: int = TICK.hour) -> None:
        """Sets the clock to the night's tick, or days later."""
        morning = dt.datetime.combine(self.day + dt.timedelta(days=1), dt.time(hour))
        set_time(self.world.offset, morning + dt.timedelta(days=days))

    def run(self, *arguments: str, expect: int | None = 0) -> dict[str, Any]:
        """Runs `batch-predictions run`; its summary, or nothing if it failed."""
        start = time.perf_counter()
        home, variables = self.world.home, self.world.variables()
        process = home.execute("run", "--json", *arguments, **variables)
        seconds = time.perf_counter() - start
        self.commands.append((" ".join(["run", *arguments]), process.returncode, seconds))
        if expect is not None and process.returncode != expect:
            self.problems.append(
                f"exit code {process.returncode}, not {expect}: {process.stderr[-600:]}"
            )
        if process.returncode not in (0, 6):
            self.lines.append(last_line(process.stderr))
            return {}
        summary: dict[str, Any] = json.loads(process.stdout)
        self.world.promoted.update(
            entry["version"] for entry in summary["trained"] if entry["decision"] == "promoted"
        )
        return summary

    def recover(self, *arguments: str) -> dict[str, Any]:
        """Runs again after a fault; what it took is the recovery."""
        summary = self.run(*arguments)
        words, _, seconds = self.commands[-1]
        self.recovery += f"{', ' if self.recovery else ''}`{words}` {seconds:.0f} s"
        return summary

    def look(self) -> set[str]:
        """Reads `status --json` and `watch --once`; the conditions of problems that are there."""
        home, variables = self.world.home, self.world.variables()
        status = home.execute("status", "--json", **variables)
        watch = home.execute("watch", "--once", **variables)
        if status.stdout:
            problems = json.loads(status.stdout)["problems"]
        else:
            # What cannot be read is told by the exit code and by watch.
            problems = [{"condition": "status", "message": last_line(status.stderr)}]
        now = {problem["condition"]: problem["message"] for problem in problems}
        self.conditions |= now
        if bool(now) != bool(status.returncode) or bool(now) != bool(watch.returncode):
            self.problems.append(f"status {status.returncode}, watch {watch.returncode}: {now}")
        if "Traceback" in status.stderr + watch.stderr:
            self.problems.append(f"a traceback: {(status.stderr + watch.stderr)[-600:]}")
        return set(now)

    def expect(self, seen: set[str], *conditions: str) -> None:
        """Every condition must be among those that were seen."""
        for condition in conditions:
            if not any(name.startswith(condition) for name in seen):
                self.problems.append(f"not noticed: {condition}; but {sorted(seen)}")

    def finish(self, alerts_before: int, messages_before: int) -> None:
        """Reads the alerts and the applications' reports, and counts the rows."""
        path = self.world.home.home / "alerts.log"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        self.lines += text[alerts_before:].splitlines()
        self.messages = len(self.world.receiver.messages) - messages_before
        for application in self.world.applications:
            self.answers[application.name] = application.report()
        self._judge_answers()
        self.rows = self._count_rows()

    def _judge_answers(self) -> None:
        try:
            known = released_tables(self.world.home.url)
        except Exception as error:  # As an application would see it.
            known = {}
            self.problems.append(f"no release can be read at the night's end: {error}")
        for name, seen in self.answers.items():
            self.problems += [f"{name}: {problem}" for problem in seen.mixed]
            self.problems += [f"{name}: empty {what}" for what in seen.empty]
            if seen.failed and name not in self.expected_failures:
                self.problems.append(f"{name}: failed {dict(seen.failed)}")
            if not seen.number:
                self.problems.append(f"{name}: no answer in the whole night")
            for key, expected in known.items():
                if key in seen.tables and seen.tables[key] != {expected}:
                    self.problems.append(f"{name}: {key} had other rows")
            for (kind, source, _), _n in seen.sources.items():
                if (kind == "known") != (source == "personal"):
                    self.problems.append(f"{name}: a {kind} user got {source}")

    def _count_rows(self) -> str:
        """Rows of the source against those of the warehouse; a problem if some are lost."""
        raw = self.world.home.home / "warehouse" / "raw"
        counts = []
        for table in ("interactions", "reviews"):
            files = (self.world.shop.folder / table).glob("*.csv")
            read = sum(count_lines(path) for path in files if path.stem not in self.unread_days)
            accepted = count_rows(raw / table)
            refused = count_rows(raw / "quarantine", f"where table_name = '{table}'")
            counts.append(f"{read:,} = {accepted:,} + {refused:,}")
            if read != accepted + refused:
                self.problems.append(f"{table}: {counts[-1]} is not so")
        return counts[0]


def count_lines(path: Path) -> int:
    """Rows of a CSV file."""
    return path.read_text(encoding="utf-8").count("\n") - 1


def count_rows(folder: Path, where: str = "") -> int:
    """Rows of the Parquet files of a table."""
    if not any(folder.rglob("*.parquet")):
        return 0
    pattern = f"{folder}/**/*.parquet"
    query = f"select count(*) from read_parquet('{pattern}', hive_partitioning=true) {where}"
    [(count,)] = duckdb.execute(query).fetchall()
    return int(count)


def released_tables(url: str) -> dict[str, str]:
    """Hashes of the tables that applications read, of the current release."""
    from weeks_applications import TABLES

    with Lookup(url) as lookup:
        answers = {name: lookup.answer(name) for name in TABLES}
    return {f"{a['release_id']} {name}": table_hash(a["rows"]) for name, a in answers.items()}


def last_line(text: str) -> str:
    """The last line that is not empty."""
    return next(filter(None, reversed(text.splitlines())), "")


def play(world: World, number: int, act: Callable[[Night], None]) -> Night:
    """Plays a night: sets its clock, does what happens in it, and reads what was seen."""
    night = Night(world, number)
    path = world.home.home / "alerts.log"
    before = len(path.read_text(encoding="utf-8")) if path.exists() else 0
    messages = len(world.receiver.messages)
    night.set_clock()
    act(night)
    night.finish(before, messages)
    log(f"night {number}: {night.event}: {night.commands} {sorted(night.conditions)}")
    for problem in night.problems:
        log(f"    problem: {problem}")
    return night
