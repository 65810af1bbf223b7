"""Ten million rows published to every store, beside a plain copy of them by DuckDB, and lookups.

    python benchmarks/publish_stores.py [--users 500000] [--k 20] [--lookups 20000]
    .ci/with-postgres python benchmarks/publish_stores.py

Steps are processes of their own, so that peaks are their own; a step's peak without work, that of
the imports, is `start_peak_mib`. The stores are SQLite, the file that `releases export` writes, and
PostgreSQL where BATCH_PREDICTIONS_TEST_POSTGRES names a server, whose own memory and CPU are not
counted. Lookups are of random users, in milliseconds, by one thread of another process. Prints one
JSON object.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from common import log, machine, print_json
from databases import create_database
from serving_lookup import DAY, latencies, predict, release

from batch_predictions.serving.lookup import Lookup
from batch_predictions.settings import ServingSettings, Settings


def plain_copy(settings: Settings) -> dict[str, Any]:
    """Copies the recommendations to a DuckDB table with DuckDB's own statement."""
    import duckdb

    file = settings.home / "plain.duckdb"
    rows = settings.home / "warehouse" / "predictions" / "recommendations"
    config: dict[str, Any] = {
        "threads": settings.duckdb.threads,
        "memory_limit": settings.duckdb.memory_limit,
    }
    with duckdb.connect(str(file), config=config) as db:
        db.execute(f"create table copied as from read_parquet('{rows}/*/data.parquet')")
    size = file.stat().st_size
    file.unlink()
    return {"mib": size >> 20}


def export(settings: Settings, folder: Path) -> dict[str, Any]:
    """Exports the store's release to a file."""
    from batch_predictions.serving.release_files.destinations import export_current

    return {"mib": export_current(settings, folder).manifest.bytes >> 20}


def publish(settings: Settings) -> dict[str, Any]:
    """Publishes the day."""
    figures = release(settings, DAY)
    file = settings.home / "serving.sqlite"
    size = {} if settings.serving.url else {"mib": file.stat().st_size >> 20}
    return {"rows": figures["rows"], **size}


def look_up(settings: Settings, folder: Path | None, lookups: int, users: int) -> dict[str, Any]:
    """Milliseconds of lookups in a store, or in the release file of a folder."""
    from batch_predictions.serving.release_files.release_source import ReleaseFiles

    def measure(lookup: Lookup) -> dict[str, Any]:
        known = latencies(lambda user: lookup.recommendations(str(user)), lookups, users)
        unknown = latencies(lambda user: lookup.recommendations(f"new{user}"), lookups, users)
        return {"personal_ms": known, "unknown_user_ms": unknown}

    if folder is not None:
        with ReleaseFiles(folder, poll_seconds=None) as files:
            return measure(Lookup(files))
    with closing(Lookup(settings)) as lookup:
        return measure(lookup)


def step(function: Callable[[], dict[str, Any]], answers: Any) -> None:
    """Runs a step; answers its figures, with seconds, CPU seconds and peak memory."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    figures = function()
    seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime
    answers.put(
        {
            **figures,
            "seconds": round(seconds, 1),
            "cpu_seconds": round(cpu, 1),
            "peak_mib": usage.ru_maxrss >> 10,
            "start_peak_mib": before.ru_maxrss >> 10,
        }
    )


def run(name: str, function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """The figures of a step in a process of its own."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=step, args=(partial(function, *arguments), answers))
    process.start()
    figures: dict[str, Any] = answers.get()
    process.join()
    log(name, figures)
    return figures


def predict_day(settings: Settings, users: int, k: int) -> dict[str, Any]:
    """Writes the rows to publish."""
    predict(settings, DAY, users, k)
    return {}


def measure(folder: Path, users: int, k: int, lookups: int) -> dict[str, Any]:
    """All figures: of each store its publish and its lookups."""
    sqlite = Settings(home=folder / "home")
    run("predict", predict_day, sqlite, users, k)
    files = folder / "releases"
    figures: dict[str, Any] = {
        "plain_duckdb": run("plain copy by DuckDB", plain_copy, sqlite),
        "sqlite": run("SQLite", publish, sqlite),
        "release_file": run("release file", export, sqlite, files),
    }
    stores: dict[str, tuple[Settings, Path | None]] = {
        "sqlite": (sqlite, None),
        "release_file": (sqlite, files),
    }
    if server := os.environ.get("BATCH_PREDICTIONS_TEST_POSTGRES"):
        url = create_database(server, "publish_stores")
        postgres = sqlite.model_copy(update={"serving": ServingSettings(url=url)})
        figures["postgresql"] = run("PostgreSQL", publish, postgres)
        stores["postgresql"] = (postgres, None)
    for name, (settings, exported) in stores.items():
        found = run(f"lookups, {name}", look_up, settings, exported, lookups, users)
        figures[name] |= {key: found[key] for key in ("personal_ms", "unknown_user_ms")}
    return figures


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--users", type=int, default=500_000)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--lookups", type=int, default=20_000)
    args = parser.parse_args()
    before = machine()
    with tempfile.TemporaryDirectory(prefix="publish-stores-") as folder:
        figures = measure(Path(folder), args.users, args.k, args.lookups)
    print_json({"machine": before, "parameters": vars(args), **figures})


if __name__ == "__main__":
    main()
