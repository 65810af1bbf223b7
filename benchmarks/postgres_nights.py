"""Nights with Dagster's records in SQLite, in PostgreSQL, and in Dagster's own storages there.

    .ci/with-postgres python benchmarks/postgres_nights.py [--days 28] [--nights 3]

Three homes have the same tiny shop. After a first run, every night adds a day and runs
`batch-predictions run` in each home in turn. Prints one JSON object: of the median night the
seconds, the CPU seconds of `run` without those of PostgreSQL, and the connections to its database,
one of which is this script's. Needs the extra `postgres`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from common import log, machine, print_json
from databases import create_database
from tiny_shop import FIRST_DAY, TinyShop, environment

_URL = "DAGSTER_POSTGRES_URL"
_CONFIGURATION = {"postgres_url": {"env": _URL}}
INSTANCES: dict[str, dict[str, Any]] = {
    "sqlite": {},
    "postgres": {"storage": {"postgres": _CONFIGURATION}},
    "dagsters_own_postgres": {
        f"{part}_storage": {
            "module": f"dagster_postgres.{module}",
            "class": class_,
            "config": _CONFIGURATION,
        }
        for part, module, class_ in (
            ("run", "run_storage", "PostgresRunStorage"),
            ("event_log", "event_log", "PostgresEventLogStorage"),
            ("schedule", "schedule_storage", "PostgresScheduleStorage"),
        )
    },
}
"""`execution.instance` by name."""


class Home:
    """A home, its source, and the database of its records."""

    def __init__(self, root: Path, name: str, server: str) -> None:
        self.root, self.shop = root, TinyShop(root / "source")
        self._database = sa.make_url(create_database(server, f"nights_{name}"))
        url = self._database.set(drivername="postgresql+psycopg2")
        self._environment = environment(
            root,
            root / "home",
            BATCH_PREDICTIONS_EXECUTION__INSTANCE=json.dumps(INSTANCES[name]),
            **{_URL: url.render_as_string(hide_password=False)},
        )

    def run(self, day: dt.date) -> dict[str, float]:
        """Runs a day."""
        connections = self._connections()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        process = subprocess.run(
            [sys.executable, "-m", "batch_predictions.cli", "run", "--date", f"{day}", "--json"],
            env=self._environment,
            cwd=self.root,
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if process.returncode:
            raise SystemExit(process.stderr)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {
            "seconds": round(seconds, 1),
            "cpu_seconds": round(cpu, 1),
            "connections": self._connections() - connections,
        }

    def _connections(self) -> int:
        """Connections to the database so far; the server counts them a moment later."""
        engine = sa.create_engine(self._database, poolclass=sa.pool.NullPool)
        with engine.connect() as db:
            time.sleep(1)
            query = "select sessions from pg_stat_database where datname = current_database()"
            return int(db.exec_driver_sql(query).scalar_one())


def measure(root: Path, server: str, days: int, nights: int) -> dict[str, Any]:
    """All homes, night after night."""
    homes = {}
    for name in INSTANCES:
        (root / name).mkdir()
        homes[name] = Home(root / name, name, server)
    last = FIRST_DAY + dt.timedelta(days=days - 1)
    result: dict[str, Any] = {"first": {}}
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in homes}
    for name, home in homes.items():
        for number in range(days):
            home.shop.add_day(FIRST_DAY + dt.timedelta(days=number))
        result["first"][name] = home.run(last)
        log("first", name, result["first"][name])
    for number in range(1, nights + 1):
        day = last + dt.timedelta(days=number)
        for name, home in homes.items():
            home.shop.add_day(day)
            measured[name].append(home.run(day))
            log(day, name, measured[name][-1])
    result["median_night"] = {
        name: {key: statistics.median(night[key] for night in of_home) for key in of_home[0]}
        for name, of_home in measured.items()
    }
    return result


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--days", type=int, default=28, help="days of the first run")
    parser.add_argument("--nights", type=int, default=3)
    args = parser.parse_args()
    server = os.environ["BATCH_PREDICTIONS_TEST_POSTGRES"]
    with tempfile.TemporaryDirectory(prefix="postgres-nights-") as folder:
        figures = measure(Path(folder), server, args.days, args.nights)
        print_json({**machine(), "parameters": vars(args), **figures})


if __name__ == "__main__":
    main()
