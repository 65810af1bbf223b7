"""Publishing a release and looking up in it: rows per second, latencies, start of an application.

    .venv/bin/python benchmarks/serving_lookup.py [--users N] [--k N] [--lookups N] [--url URL]

One JSON object on the standard output. Latencies are of one process; `while_publishing` are those
of another process beside a publisher of the next day.
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
    """Writes a day of predictions, of the widths that the platform's own have."""
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
        "1.0 as price, true as available from range(90000) as items(i)",
        bound,
    )


def release(settings: Settings, day: dt.date) -> dict[str, Any]:
    """Publishes a day; its rows and seconds."""
    from batch_predictions import tables
    from batch_predictions.serving.release.publish import publish
    from batch_predictions.serving.store.schema import Store
    from batch_predictions.warehouse import Warehouse

    store = Store.of(settings)
    published = [tables.RECOMMENDATIONS, tables.DEMOGRAPHIC_RECOMMENDATIONS]
    begun = time.perf_counter()
    made = publish(
        store, Warehouse.of(settings), day, published, keep=2, now=dt.datetime.now(dt.UTC)
    )
    seconds = time.perf_counter() - begun
    store.close()
    rows = sum(made.rows.values())
    return {"rows": rows, "seconds": round(seconds, 2), "rows_per_second": round(rows / seconds)}


def latencies(ask: Callable[[int], Any], lookups: int, users: int) -> dict[str, float]:
    """Milliseconds of lookups of random users."""
    chosen = random.Random(7)
    taken = []
    for _ in range(lookups):
        user = chosen.randrange(users)
        begun = time.perf_counter_ns()
        ask(user)
        taken.append((time.perf_counter_ns() - begun) / 1e6)
    taken.sort()
    shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    found = {name: round(taken[int(share * len(taken))], 3) for name, share in shares.items()}
    return {**found, "max": round(taken[-1], 3)}


def look_up_meanwhile(
    settings: Settings, users: int, stop: multiprocessing.synchronize.Event, answers: Any
) -> None:
    """Looks up until told to stop, 200 times a second."""
    taken: list[float] = []
    with Lookup(settings) as lookup:
        while not stop.is_set():
            begun = time.perf_counter_ns()
            lookup.recommendations(str(len(taken) * 7919 % users))
            taken.append((time.perf_counter_ns() - begun) / 1e6)
            time.sleep(0.005)
    taken.sort()
    last = len(taken) - 1
    answers.put(
        {
            "lookups": len(taken),
            "p50": round(taken[last // 2], 3),
            "p99": round(taken[int(0.99 * last)], 3),
            "max": round(taken[-1], 3),
        }
    )


def start_of_an_application(settings: Settings) -> float:
    """Seconds from the start of a Python process to its first answer."""
    program = (
        "import sys; from batch_predictions.serving.lookup import Lookup; "
        "Lookup(sys.argv[1]).recommendations('5')"
    )
    url = settings.serving.url or f"sqlite:///{settings.home / 'serving.sqlite'}"
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", program, url], check=True)
    return round(time.perf_counter() - begun, 2)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--lookups", type=int, default=5_000)
    parser.add_argument("--url", help="store to use instead of SQLite; it is filled")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder), serving=ServingSettings(url=asked.url))
        context = multiprocessing.get_context("spawn")
        for n in range(2):
            # Elsewhere, so that this process's peak of memory is that of publishing.
            day = DAY + dt.timedelta(days=n)
            writer = context.Process(target=predict, args=(settings, day, asked.users, asked.k))
            writer.start()
            writer.join()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        first = release(settings, DAY)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        figures = {"users": asked.users, "k": asked.k, "publish": first}
        figures["publish_peak_mib"] = peak >> 10
        figures["publish_peak_mib_before"] = before >> 10
        store = settings.home / "serving.sqlite"
        figures["store_mib"] = store.stat().st_size >> 20 if store.exists() else None
        figures["start_to_first_answer_seconds"] = start_of_an_application(settings)
        figures["milliseconds"] = {}
        asks: dict[str, Callable[[Lookup, int], Any]] = {
            "personal": lambda up, user: up.recommendations(str(user)),
            "demographic": lambda up, user: up.recommendations(
                f"new{user}", age_bracket="37", gender="F", location=f"L{user % 50}"
            ),
            "popular": lambda up, user: up.recommendations(f"new{user}"),
            "rows": lambda up, user: up.rows("recommendations", user_id=str(user)),
        }
        with Lookup(settings) as lookup:
            for name, ask in asks.items():
                figures["milliseconds"][name] = latencies(
                    lambda user, ask=ask: ask(lookup, user),  # type: ignore[misc]
                    asked.lookups,
                    asked.users,
                )
        stop, answers = context.Event(), context.Queue()
        reader = context.Process(
            target=look_up_meanwhile, args=(settings, asked.users, stop, answers)
        )
        reader.start()
        figures["publish_with_a_reader"] = release(settings, DAY + dt.timedelta(days=1))
        stop.set()
        figures["milliseconds"]["while_publishing"] = answers.get()
        reader.join()
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
