"""The day of rows that have none of their own: the newest of their file.

A day far after the others, such as one of 2062, is not it: the rows would wait for that day.
"""

from __future__ import annotations

import datetime as dt
import uuid

import duckdb

from batch_predictions.sources.rows.file_rows import FILE_NAME
from batch_predictions.sources.validation.plausible_days import last_plausible_day


def count_file_days(db: duckdb.DuckDBPyConnection, dated: str, day: str, is_kept: str) -> str:
    """The name of a temporary table of numbers of rows by file and day.

    Args:
        db: connection in which it is created.
        dated: a query for rows with `FILE_NAME` and `__problem`, why a row has no day.
        day: SQL of the day.
        is_kept: SQL of whether a row has a day and is not left out.
    """
    name = f"days_{uuid.uuid4().hex}"
    db.execute(
        f"create temp table {name} as select {FILE_NAME}, {day} as __day, "
        f"count(__problem) as problems, count(*) filter ({is_kept}) as kept "
        f"from ({dated}) group by all"
    )
    return name


def has_problems(db: duckdb.DuckDBPyConnection, counts: str) -> bool:
    """Returns whether a row has no day of its own; `counts` is a table of `count_file_days`."""
    return bool(
        db.execute(f"select exists (from temp.{counts} where problems > 0)").fetchall()[0][0]
    )


def newest_file_days(
    db: duckdb.DuckDBPyConnection, counts: str, default: dt.date, last: dt.date | None = None
) -> str:
    """The name of a temporary table with the newest day of each file, as `__newest`.

    Args:
        db: connection of the tables.
        counts: a table of `count_file_days`.
        default: day of a file whose rows have none.
        last: later days do not count; None: the last that is not far after the others.
    """
    if last is None:
        days = f"select __day, sum(kept)::BIGINT from temp.{counts} where kept > 0 group by all"
        last = last_plausible_day(dict(db.execute(days).fetchall())) or default
    name = f"newest_{uuid.uuid4().hex}"
    db.execute(
        f"create temp table {name} as select {FILE_NAME}, coalesce(max(__day) filter (kept > 0 "
        f"and __day <= DATE '{last}'), DATE '{default}') as __newest "
        f"from temp.{counts} group by all"
    )
    return name
