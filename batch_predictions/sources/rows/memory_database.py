"""DuckDB in memory, for queries over rows of a source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from batch_predictions.settings import DuckDBSettings
from batch_predictions.sources.base import SourceError
from batch_predictions.warehouse.shared_database import CLOSED_OPTIONS


def connect_memory(
    limits: DuckDBSettings | None = None, spill: Path | None = None, **options: bool
) -> duckdb.DuckDBPyConnection:
    """A connection whose temporary tables are gone when it is closed; times are in UTC.

    Args:
        limits: memory and threads; None: two threads, for small queries.
        spill: folder of what does not fit into memory; None: DuckDB's default.
    """
    config: dict[str, str | bool | int | float | list[str]] = {"threads": 2, **CLOSED_OPTIONS}
    if limits is not None:
        config |= {"memory_limit": limits.memory_limit, "threads": limits.threads}
    if spill is not None:
        config["temp_directory"] = str(spill)
    db = duckdb.connect(":memory:", config=config)
    # DuckDB would draw its bar on the standard output.
    db.execute("set enable_progress_bar = false; set timezone = 'UTC'")
    return db


@contextmanager
def as_source_errors(rows: str) -> Iterator[None]:
    """Raises errors of DuckDB in the block as SourceError, such as that of a damaged page.

    Args:
        rows: what is read, for the message.
    """
    try:
        yield
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise SourceError(
            f"{rows} cannot be read ({reason}): if a file is damaged, write it again"
        ) from error
