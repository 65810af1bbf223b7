"""Ingest of order lines from PostgreSQL: the first one, and one further day, beside a bare COPY.

    .ci/with-postgres python benchmarks/database_ingest.py [--rows 20000000] [--days 90]

The table has an index on its time. Every step runs in a separate process, which reports its peak
resident memory; the server's memory is not part of it. The bare COPY writes the same rows and
columns as text into a file.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import log, machine, print_json

SERVER = "BATCH_PREDICTIONS_TEST_POSTGRES"
FIRST_DAY = dt.date(2026, 1, 1)
COLUMNS = "line_id, customer_id, product_id, store, quantity, paid, ordered_at"
MAPPING = {
    "event_id": "line_id",
    "user_id": "customer_id",
    "item_id": "product_id",
    "location": "store",
    "quantity": "quantity",
    "amount": "paid",
    "occurred_at": "ordered_at",
}
CREATE = """
create table order_lines (line_id bigint, order_id bigint, customer_id int, product_id int,
store text, quantity int, paid numeric(10, 2), status text, ordered_at timestamptz,
updated_at timestamptz)
"""
# Numbers without a pattern; of a fixed seed, so that every run has the same rows.
INSERT = """
insert into order_lines
select i, i / 3, abs(hashint8(i)) %% 500000, abs(hashint8(i * 7)) %% 20000,
'store ' || abs(hashint8(i / 3)) %% 40, 1 + abs(hashint8(i * 11)) %% 4,
(abs(hashint8(i * 13)) %% 10000) / 100.0, 'paid', moment, moment
from (select i, timestamptz '{first} 00:00+00' + (i - {start}) * interval '{seconds} s' as moment
from generate_series({start}::bigint, {end}::bigint) i) rows
"""


def measure(rows: int, days: int, folder: Path | None) -> dict[str, Any]:
    """Seconds, rows per second and peak memory of every step."""
    with tempfile.TemporaryDirectory(prefix="benchmark-database-", dir=folder) as name:
        create_rows(rows, days)
        steps = {}
        for step in ("copy", "first ingest", "copy of a day", "further day", "nothing new"):
            if step == "copy of a day":
                insert_day(rows, days)
            steps[step] = run_in_process(step, name, rows, days)
            log(step, steps[step])
    return {"rows": rows, "days": days, "machine": machine(), "steps": steps}


def create_rows(rows: int, days: int) -> None:
    """Creates the table with its rows and index."""
    import sqlalchemy as sa

    log(f"creating {rows:,} order lines of {days} days")
    engine = sa.create_engine(os.environ[SERVER], isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        db.exec_driver_sql("drop table if exists order_lines")
        db.exec_driver_sql(CREATE)
        _insert(db, 0, rows, FIRST_DAY, days)
        db.exec_driver_sql("create index on order_lines (ordered_at)")
        db.exec_driver_sql("vacuum analyze order_lines")
        size = db.exec_driver_sql("select pg_relation_size('order_lines')").scalar_one()
    log(f"table of {size / 2**20:,.0f} MiB")


def insert_day(rows: int, days: int) -> None:
    """Adds the rows of one further day."""
    import sqlalchemy as sa

    with sa.create_engine(os.environ[SERVER]).begin() as db:
        _insert(db, rows, rows // days, FIRST_DAY + dt.timedelta(days=days), 1)


def _insert(db: Any, start: int, number: int, first: dt.date, days: int) -> None:
    seconds = days * 86_400 / number
    db.exec_driver_sql(
        INSERT.format(first=first, start=start, end=start + number - 1, seconds=f"{seconds:.6f}")
    )


def run_in_process(step: str, folder: str, rows: int, days: int) -> dict[str, Any]:
    """Runs a step in a separate process."""
    command = [sys.executable, __file__, "--step", step, "--folder", folder]
    process = subprocess.run(
        [*command, "--rows", str(rows), "--days", str(days)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return result


def run_step(step: str, folder: Path, days: int) -> dict[str, Any]:
    """Runs a step in this process."""
    started = time.perf_counter()
    cpu_started = time.process_time()
    newest = FIRST_DAY + dt.timedelta(days=days)
    if step.startswith("copy"):
        report = copy_to_file(folder, FIRST_DAY if step == "copy" else newest)
    else:
        report = ingest_days(folder, newest - dt.timedelta(days=step == "first ingest"))
    seconds = time.perf_counter() - started
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, -1)]
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(time.process_time() - cpu_started, 1),
        "rows_per_second": round(report.get("rows", 0) / seconds),
        "peak_mib": round(sum(peaks) / 1024),
        **report,
    }


def copy_to_file(folder: Path, first: dt.date) -> dict[str, Any]:
    """A bare COPY of the rows and columns that an ingest reads, from a day on."""
    import psycopg

    target = folder / "copy.txt"
    url = os.environ[SERVER].replace("+psycopg", "")
    with psycopg.connect(url) as db, target.open("wb") as file, db.cursor() as cursor:
        query = f"select {COLUMNS} from order_lines where ordered_at >= '{first} 00:00+00'"
        with cursor.copy(f"copy ({query}) to stdout") as copy:
            for data in copy:
                file.write(data)
        rows = cursor.rowcount
    size = target.stat().st_size
    target.unlink()
    return {"rows": rows, "mib": round(size / 2**20)}


def ingest_days(folder: Path, last: dt.date) -> dict[str, Any]:
    """Ingests the days to the last one that are due."""
    from batch_predictions.core.home import State
    from batch_predictions.settings import Settings, SourceSettings
    from batch_predictions.sources.due_partitions import days_to_ingest
    from batch_predictions.sources.ingest import ingest
    from batch_predictions.sources.source_registry import build_source
    from batch_predictions.tables import INTERACTIONS
    from batch_predictions.warehouse import Warehouse

    settings = Settings(
        home=folder / "home",
        source=SourceSettings.model_validate(
            {
                "kind": "sql",
                "url": os.environ[SERVER],
                "tables": {"interactions": "order_lines"},
                "columns": {"interactions": MAPPING},
            }
        ),
    )
    state = State(source_kind="sql", timezone="UTC", first_day=FIRST_DAY, default_date=FIRST_DAY)
    source, warehouse = build_source(settings.source, state), Warehouse.of(settings)
    due = days_to_ingest(warehouse, source, INTERACTIONS, FIRST_DAY, last)
    results = ingest(warehouse, source, INTERACTIONS, due, state) if due else {}
    return {"days": len(due), "rows": sum(r.counts.accepted for r in results.values())}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--step")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(run_step(arguments.step, arguments.folder, arguments.days)))
    else:
        print_json(measure(arguments.rows, arguments.days, arguments.folder))
