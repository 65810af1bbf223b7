"""What histories add to a release: seconds, peak memory and bytes, with and without them.

    .venv/bin/python benchmarks/release_context.py [--users N] [--k N] [--events N] [--days N]

Prints one JSON object. Every user has `--events` purchases in every 90 of the `--days` days. Each
release is published by a process of its own, so that peaks are its own.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from serving_lookup import DAY, predict

from batch_predictions.settings import Settings

HISTORY_DAYS = 90


def buy(settings: Settings, users: int, events: int, days: int) -> None:
    """Writes purchases: every user has `events` of the last 90 days, of 90,000 items."""
    from batch_predictions.tables import INTERACTIONS
    from batch_predictions.warehouse import Warehouse

    replace = Warehouse.of(settings).replace_partition
    for number in range(days):
        day = DAY - dt.timedelta(days=number)
        replace(
            INTERACTIONS,
            day.isoformat(),
            "select u || '-' || e || '-' || $n as event_id, u::VARCHAR as user_id, "
            "(hash(u, e) % 90000)::VARCHAR as item_id, 'purchase' as event_type, "
            "1.0 as quantity, 2.0 as amount, 'L1' as location, null::TIMESTAMP as occurred_at "
            "from range($users::BIGINT) as us(u), range($events::BIGINT) as es(e) "
            "where hash(u, e, 1) % 90 = $n % 90",
            {"users": users, "events": events, "n": number},
        )


def release(settings: Settings, items: int, answers: Any) -> None:
    """Publishes the day, twice; the second time nothing has changed."""
    from batch_predictions import tables
    from batch_predictions.serving.release.context_tables import ContextChoice
    from batch_predictions.serving.release.publish import publish
    from batch_predictions.serving.store.store import Store
    from batch_predictions.warehouse import Warehouse

    choice = ContextChoice(items, HISTORY_DAYS, ("purchase",))
    published = [tables.RECOMMENDATIONS, tables.DEMOGRAPHIC_RECOMMENDATIONS]
    seconds = []
    with Store.of(settings) as store:
        for _ in range(2):
            start = time.perf_counter()
            result = publish(
                store,
                Warehouse.of(settings),
                DAY,
                published,
                keep=2,
                now=dt.datetime(2024, 3, 4, tzinfo=dt.UTC),
                context=choice,
            )
            seconds.append(round(time.perf_counter() - start, 2))
    file = settings.home / "serving.sqlite"
    usage = resource.getrusage(resource.RUSAGE_SELF)
    answers.put(
        {
            "rows": sum(result.rows.values()),
            "history_rows": result.rows.get("user_history", 0),
            "seconds": seconds[0],
            "unchanged_seconds": seconds[1],
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
            "peak_mib": usage.ru_maxrss >> 10,
            "store_mib": file.stat().st_size >> 20,
        }
    )
    file.unlink()


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--events", type=int, default=40, help="purchases of a user in 90 days")
    parser.add_argument("--days", type=int, default=180, help="days of raw.interactions")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    figures: dict[str, Any] = vars(args).copy()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder))
        for write, values in (
            (predict, (DAY, args.users, args.k)),
            (buy, (args.users, args.events, args.days)),
        ):
            process = context.Process(target=write, args=(settings, *values))
            process.start()
            process.join()
        for items in (0, 10):
            answers = context.Queue()
            process = context.Process(target=release, args=(settings, items, answers))
            process.start()
            figures[f"history_items_{items}"] = answers.get()
            process.join()
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
