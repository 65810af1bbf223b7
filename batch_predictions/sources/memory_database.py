"""DuckDB in memory, for queries over rows of a source."""

from __future__ import annotations

from pathlib import Path

import duckdb

from batch_predictions.settings import DuckDBSettings


def connect_memory(
    limits: DuckDBSettings | None = None, spill: Path | None = None, **options: bool
) -> duckdb.DuckDBPyConnection:
    """A connection whose temporary tables are gone when it is closed; times are in UTC.

    Args:
        limits: memory and threads; None: two threads, for small queries.
        spill: folder of what does not fit into memory; None: DuckDB's default.
        options: further options of DuckDB.
    """
    config: dict[str, str | bool | int | float | list[str]] = {"threads": 2, **options}
    if limits is not None:
        config |= {"memory_limit": limits.memory_limit, "threads": limits.threads}
    if spill is not None:
        config["temp_directory"] = str(spill)
    db = duckdb.connect(":memory:", config=config)
    # DuckDB would draw its bar on the standard output.
    db.execute("set enable_progress_bar = false; set timezone = 'UTC'")
    return db
