"""Time and memory of the daily features of predictive queries over users, on random events.

    python benchmarks/query_features.py [--users 1000000] [--events 50000000] [--queries 5]

Events of five types are spread over 200 days. The features are written as a night writes them, with
DuckDB's memory limit of the settings. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import datetime as dt
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from common import log, machine, print_json

LAST, DAYS, ITEMS = dt.date(2026, 10, 31), 200, 50_000
TYPES = ("purchase", "view", "cart", "rating", "click")
QUESTIONS = (
    "sum(amount) of purchase for user in 28 days",
    "count(*) > 0 of purchase where category = 'c1' for user in 14 days",
    "first(date) of purchase for user in 28 days",
    "count(*) of view for user in 7 days",
    "avg(amount) of purchase for user in 28 days",
)


def main() -> None:
    """Writes random events into a temporary home, and its features."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=50_000_000)
    parser.add_argument("--queries", type=int, default=5, choices=range(1, len(QUESTIONS) + 1))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print_json(measure(Path(folder), args.users, args.events, args.queries))


def measure(home: Path, users: int, events: int, n_queries: int) -> dict[str, Any]:
    """Seconds, CPU seconds and peak memory of a day's features."""
    from batch_predictions.features.history.history_sql import History
    from batch_predictions.features.history.history_tables import history_table
    from batch_predictions.settings import Settings
    from batch_predictions.settings.predictive_query import PredictiveQuery
    from batch_predictions.tables import declare
    from batch_predictions.warehouse import Warehouse

    warehouse = Warehouse.of(Settings(home=home))
    write_rows(warehouse, users, events)
    questions = enumerate(QUESTIONS[:n_queries])
    queries = tuple(PredictiveQuery.from_question(text, f"q{n}") for n, text in questions)
    features = history_table(History.of(queries, TYPES))
    declare(features.table)
    assert features.query is not None
    started, cpu = time.perf_counter(), time.process_time()
    warehouse.replace_partition(features.table, str(LAST), features.query, {"date": LAST})
    return {
        "queries": n_queries,
        "users": users,
        "events": events,
        "columns": len(features.table.columns),
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1),
        "machine": machine(),
    }


def write_rows(warehouse: Any, users: int, events: int) -> None:
    """Writes random interactions of every day, the items and the users."""
    from batch_predictions.tables import INTERACTIONS
    from batch_predictions.tables import ITEMS as ITEM_TABLE
    from batch_predictions.tables import USERS as USER_TABLE

    for number in range(DAYS):
        day = LAST - dt.timedelta(days=DAYS - 1 - number)

        def draw(salt: int, n: int, number: int = number) -> str:
            return f"(hash(i, {number}, {salt}) % {n})"

        values = {
            "date": f"'{day}'::DATE",
            "event_id": f"'{day}-' || i",
            "user_id": f"'u' || {draw(1, users)}",
            "item_id": f"'i' || {draw(2, ITEMS)}",
            "event_type": f"{list(TYPES)}[1 + {draw(3, len(TYPES))}::INTEGER]",
            "quantity": "1.0",
            "amount": f"{draw(4, 1000)} / 100.0",
        }
        write(warehouse, INTERACTIONS, str(day), values, events // DAYS)
    write(warehouse, ITEM_TABLE, None, {"item_id": "'i' || i", "category": "'c' || i % 30"}, ITEMS)
    write(warehouse, USER_TABLE, None, {"user_id": "'u' || i"}, users)
    log(f"{events:,} events of {users:,} users")


def write(warehouse: Any, table: Any, partition: str | None, values: Any, rows: int) -> None:
    """Writes rows of a table; columns without a value are null."""
    columns = ", ".join(
        f"({values.get(column.name, 'null')})::{column.type} as {column.name}"
        for column in table.columns
    )
    warehouse.replace_partition(table, partition, f"select {columns} from range({rows}) as r(i)")


if __name__ == "__main__":
    main()
