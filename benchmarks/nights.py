"""What a night costs: CPU seconds of `run`, and bytes and files of the home, night after night.

    python benchmarks/nights.py [--days 60] [--nights 30] [--keep-days 7] [--table-days 120]

A folder of files with four tables (interactions, reviews, users, items) has the given days of a
tiny shop. The first run ingests and predicts them. Every night then adds one day to the source,
makes Dagster's records and the files of the home a day older, as they would be, and runs
`batch-predictions run --date DAY` in a process of its own. Nights whose run also trains are marked.
With `--table-days N` the first run predicts N days, and partitions of features, predictions and
metrics that are older are removed: of what a night adds, raw rows alone stay.
Prints one JSON object: of every night the CPU seconds of its process, the bytes of the parts of the
home and the events of Dagster's index; progress goes to the standard error.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from common import log, machine, print_json
from tiny_shop import FIRST_DAY, TinyShop, environment

RETENTION = "BATCH_PREDICTIONS_RETENTION__"


def simulate(
    root: Path, days: int, nights: int, keep_days: int, table_days: int | None
) -> dict[str, Any]:
    """The first run, and every night after it."""
    kept = {"RUN_DAYS": keep_days}
    if table_days is not None:
        kept |= dict.fromkeys(("FEATURE_DAYS", "PREDICTION_DAYS", "METRIC_DAYS"), table_days)
    settings = {f"{RETENTION}{name}": f"{value}" for name, value in kept.items()}
    shop, home = TinyShop(root / "source"), root / "home"
    for number in range(days):
        shop.add_day(FIRST_DAY + dt.timedelta(days=number))
    result: dict[str, Any] = {
        "machine": machine(),
        "days": days,
        "keep_days": keep_days,
        "table_days": table_days,
        "start_cpu_seconds": statistics.median(_load_definitions(root, home) for _ in range(3)),
    }
    last = FIRST_DAY + dt.timedelta(days=days - 1)
    first = last if table_days is None else last - dt.timedelta(days=table_days - 1)
    result["first"] = _run(root, home, last, settings, "--from", f"{first}")
    log("first", result["first"])
    result["nights"] = []
    for number in range(1, nights + 1):
        day = last + dt.timedelta(days=number)
        shop.add_day(day)
        make_older(home, 1)
        if table_days is not None:
            make_partitions_older(home, day, table_days)
        night = {"night": number, **_run(root, home, day, settings)}
        log(night)
        result["nights"].append(night)
    return result


def make_older(home: Path, days: int) -> None:
    """Moves the times of Dagster's runs and events, and of its files, into the past."""
    seconds = days * 86_400
    storage = home / "dagster" / "history"
    with closing(sqlite3.connect(storage / "runs.db")) as db, db:
        db.execute(
            f"update runs set create_timestamp = datetime(create_timestamp, '-{days} days'), "
            f"update_timestamp = datetime(update_timestamp, '-{days} days'), "
            f"start_time = start_time - {seconds}, end_time = end_time - {seconds}"
        )
    with closing(sqlite3.connect(storage / "runs" / "index.db")) as db, db:
        db.execute(f"update event_logs set timestamp = datetime(timestamp, '-{days} days')")
    for folder in ("dagster/storage", "inference", "models"):
        for path in (home / folder).rglob("*"):
            stat = path.stat()
            os.utime(path, (stat.st_atime - seconds, stat.st_mtime - seconds))


def make_partitions_older(home: Path, day: dt.date, table_days: int) -> None:
    """Lets partitions of old days have been written long enough ago to be removed."""
    from batch_predictions.features.tiles.building import KEEP_DAYS
    from batch_predictions.operations.retention.partition_retention import MIN_AGE_SECONDS

    written = time.time() - MIN_AGE_SECONDS - 86_400
    kept = dict.fromkeys(("features", "predictions", "evaluation"), table_days)
    for schema, days in {**kept, "tiles": KEEP_DAYS}.items():
        tables, oldest = home / "warehouse" / schema, day - dt.timedelta(days=days - 1)
        for folder in (*tables.glob("*/date=*"), *tables.glob("*/week=*")):
            if dt.date.fromisoformat(folder.name.partition("=")[2]) < oldest:
                for path in (folder, *folder.rglob("*")):
                    os.utime(path, (written, written))


def _run(
    root: Path, home: Path, day: dt.date, settings: Mapping[str, str], *options: str
) -> dict[str, Any]:
    """Runs a day; its CPU seconds, and what the home has then."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    command = [sys.executable, "-m", "batch_predictions.cli", "run", "--date", f"{day}", "--json"]
    process = subprocess.run(
        [*command, *options],
        env=environment(root, home, **settings),
        cwd=root,
        capture_output=True,
        text=True,
    )
    if process.returncode:
        raise SystemExit(process.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    summary = json.loads(process.stdout)
    return {
        "day": f"{day}",
        "trained": bool(summary["trained"]),
        "cpu_seconds": round(_cpu(after) - _cpu(before), 2),
        "seconds": round(time.perf_counter() - start, 2),
        **home_size(home),
    }


def home_size(home: Path) -> dict[str, Any]:
    """Bytes of the home's parts, the number of files and events of Dagster."""
    history = home / "dagster" / "history"
    parts = {
        "dagster_runs_db": [*history.glob("runs.db*")],
        "dagster_index_db": [*history.glob("runs/index.db*")],
        "dagster_run_shards": [p for p in history.glob("runs/*.db*") if "index.db" not in p.name],
        "dagster_storage": [*(home / "dagster" / "storage").rglob("*")],
        "dagster": [*(home / "dagster").rglob("*")],
        "models": [*(home / "models").rglob("*")],
        "inference": [*(home / "inference").rglob("*")],
        "warehouse": [*(home / "warehouse").rglob("*")],
        "home": [*home.rglob("*")],
    }
    with closing(sqlite3.connect(history / "runs" / "index.db")) as db:
        events = db.execute(
            "select dagster_event_type, count(*) from event_logs group by 1 order by 1"
        ).fetchall()
    with closing(sqlite3.connect(history / "runs.db")) as db:
        [runs] = db.execute("select count(*) from runs").fetchone()
    return {
        "bytes": {name: sum(_bytes(paths)) for name, paths in parts.items()},
        "dagster_files": sum(path.is_file() for path in parts["dagster"]),
        "runs": runs,
        "events": dict(events),
    }


def _bytes(paths: list[Path]) -> Iterator[int]:
    return (path.stat().st_size for path in paths if path.is_file())


def _load_definitions(root: Path, home: Path) -> float:
    """CPU seconds of a process that starts Python and loads the platform's definitions."""
    before = _cpu(resource.getrusage(resource.RUSAGE_CHILDREN))
    code = "from batch_predictions import definitions"
    env = environment(root, root / "empty")
    subprocess.run([sys.executable, "-c", code], env=env, cwd=root, check=True)
    return round(_cpu(resource.getrusage(resource.RUSAGE_CHILDREN)) - before, 2)


def _cpu(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Reads the arguments, simulates and prints."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--days", type=int, default=60, help="days of the first run")
    parser.add_argument("--nights", type=int, default=30)
    parser.add_argument("--keep-days", type=int, default=7, help="retention.run_days")
    parser.add_argument(
        "--table-days", type=int, help="days of features, predictions and metrics, from 120"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nights-") as folder:
        result = simulate(
            Path(folder),
            arguments.days,
            arguments.nights,
            arguments.keep_days,
            arguments.table_days,
        )
    print_json(result)


if __name__ == "__main__":
    main()
