"""Publishing of a release and lookups in it: rows per second, latencies, start of an application.

    .venv/bin/python benchmarks/serving_lookup.py [--users N] [--k N] [--lookups N] [--url URL]

Prints one JSON object. Latencies are of one process; `while_publishing` are those of another
process while the next day is published.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import multiprocessing
import multiprocessing.synchronize
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from batch_predictions.serving.lookup import Lookup
from batch_predictions.settings import ServingSettings, Settings

DAY = dt.date(2024, 3, 3)
SEGMENTS = """
    select 'everyone' as segment_level, null as age_bracket, null as gender, null as location
    union all select 'location', null, null, 'L' || l from range(50) as a(l)
    union all select 'age_gender_location', b, g, 'L' || l from range(50) as a(l),
    (values ('19-24'), ('25-34'), ('35-44'), ('45-54')) as c(b), (values ('F'), ('M')) as d(g)
"""


def predict(settings: Settings, day: dt.date, users: int, k: int) -> None:
    """Writes a day of predictions with values as long as real ones."""
    from batch_predictions import tables
    from batch_predictions.warehouse import Warehouse

    replace = Warehouse.of(settings).replace_partition
    bound = {"users": users, "k": k, "seed": day.toordinal()}
    key = day.isoformat()
    ranks = "range(1, $k::BIGINT + 1) as ranks(r)"
    replace(
        tables.RECOMMENDATIONS,
        key,
        "select u::VARCHAR as user_id, r as rank, (hash(u, r, $seed) % 90000)::VARCHAR as item_id, "
        "1.0 / (r + u % 7) as score, 'because_you_liked:' || (hash(u, r) % 90000) as reason, "
        f"'als-2024-02-25-0a1b2c3d' as model_version from range($users::BIGINT) as us(u), {ranks}",
        bound,
    )
    replace(
        tables.DEMOGRAPHIC_RECOMMENDATIONS,
        key,
        "select s.*, r as rank, (hash(s.location, r) % 90000)::VARCHAR as item_id, "
        "0.5 / r as score, 99 as support, 'demographic-2024-02-25' as model_version "
        f"from ({SEGMENTS}) as s, {ranks}",
        bound,
    )
    replace(
        tables.USER_SEGMENTS,
        key,
        "select u::VARCHAR as user_id, '25-34' as age_bracket, 'F' as gender, 'L' || (u % 50) as "
        "location from range($users::BIGINT) as us(u)",
        bound,
    )
    replace(
        tables.ITEM_STATE,
        key,
        "select i::VARCHAR as item_id, 'Item number ' || i as title, 'category' as category, "
        "1.0 as price, true as available, false as is_excluded from range(90000) as items(i)",
        bound,
    )


def release(settings: Settings, day: dt.date) -> dict[str, Any]:
    """Publishes a day. Returns its rows and seconds."""
    from batch_predictions import tables
    from batch_predictions.serving.release.publish import publish
    from batch_predictions.serving.store.store import Store
    from batch_predictions.warehouse import Warehouse

    store = Store.of(settings)
    published = [tables.RECOMMENDATIONS, tables.DEMOGRAPHIC_RECOMMENDATIONS]
    start = time.perf_counter()
    published_release = publish(
        store, Warehouse.of(settings), day, published, keep=2, now=dt.datetime.now(dt.UTC)
    )
    seconds = time.perf_counter() - start
    store.close()
    rows = sum(published_release.rows.values())
    return {"rows": rows, "seconds": round(seconds, 2), "rows_per_second": round(rows / seconds)}


def latencies(look_up: Callable[[int], Any], lookups: int, users: int) -> dict[str, float]:
    """Milliseconds of lookups of random users."""
    generator = random.Random(7)
    milliseconds = []
    for _ in range(lookups):
        user = generator.randrange(users)
        start = time.perf_counter_ns()
        look_up(user)
        milliseconds.append((time.perf_counter_ns() - start) / 1e6)
    milliseconds.sort()
    shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    percentiles = {
        name: round(milliseconds[int(share * len(milliseconds))], 3)
        for name, share in shares.items()
    }
    return {**percentiles, "max": round(milliseconds[-1], 3)}


def look_up_until_stopped(
    settings: Settings, users: int, stop: multiprocessing.synchronize.Event, answers: Any
) -> None:
    """Looks users up 200 times a second until the event is set."""
    milliseconds: list[float] = []
    with Lookup(settings) as lookup:
        while not stop.is_set():
            start = time.perf_counter_ns()
            lookup.recommendations(str(len(milliseconds) * 7919 % users))
            milliseconds.append((time.perf_counter_ns() - start) / 1e6)
            time.sleep(0.005)
    milliseconds.sort()
    last = len(milliseconds) - 1
    answers.put(
        {
            "lookups": len(milliseconds),
            "p50": round(milliseconds[last // 2], 3),
            "p99": round(milliseconds[int(0.99 * last)], 3),
            "max": round(milliseconds[-1], 3),
        }
    )


def start_of_an_application(settings: Settings) -> float:
    """Seconds from the start of a Python process to its first answer."""
    program = (
        "import sys; from batch_predictions.serving.lookup import Lookup; "
        "Lookup(sys.argv[1]).recommendations('5')"
    )
    url = settings.serving.url or f"sqlite:///{settings.home / 'serving.sqlite'}"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program, url], check=True)
    return round(time.perf_counter() - start, 2)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--lookups", type=int, default=5_000)
    parser.add_argument("--url", help="store to use instead of SQLite; it is filled")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder), serving=ServingSettings(url=args.url))
        print(json.dumps(measure(settings, args.users, args.k, args.lookups), indent=2))


def measure(settings: Settings, users: int, k: int, lookups: int) -> dict[str, Any]:
    """Publishes two days and looks users up, also while the second day is published."""
    context = multiprocessing.get_context("spawn")
    for n in range(2):
        # In another process, so that this one's peak memory is that of publishing.
        writer = context.Process(
            target=predict, args=(settings, DAY + dt.timedelta(days=n), users, k)
        )
        writer.start()
        writer.join()
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures: dict[str, Any] = {"users": users, "k": k, "publish": release(settings, DAY)}
    figures["publish_peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    figures["publish_peak_mib_before"] = peak_before >> 10
    store = settings.home / "serving.sqlite"
    figures["store_mib"] = store.stat().st_size >> 20 if store.exists() else None
    figures["start_to_first_answer_seconds"] = start_of_an_application(settings)
    figures["milliseconds"] = lookup_latencies(settings, lookups, users)
    stop, answers = context.Event(), context.Queue()
    reader = context.Process(target=look_up_until_stopped, args=(settings, users, stop, answers))
    reader.start()
    figures["publish_with_a_reader"] = release(settings, DAY + dt.timedelta(days=1))
    stop.set()
    figures["milliseconds"]["while_publishing"] = answers.get()
    reader.join()
    return figures


def lookup_latencies(settings: Settings, lookups: int, users: int) -> dict[str, Any]:
    """Latencies of the kinds of lookups."""
    kinds: dict[str, Callable[[Lookup, int], Any]] = {
        "personal": lambda lookup, user: lookup.recommendations(str(user)),
        "demographic": lambda lookup, user: lookup.recommendations(
            f"new{user}", age_bracket="37", gender="F", location=f"L{user % 50}"
        ),
        "popular": lambda lookup, user: lookup.recommendations(f"new{user}"),
        "rows": lambda lookup, user: lookup.rows("recommendations", user_id=str(user)),
    }
    with Lookup(settings) as lookup:
        return {
            name: latencies(partial(look_up, lookup), lookups, users)
            for name, look_up in kinds.items()
        }


if __name__ == "__main__":
    main()
