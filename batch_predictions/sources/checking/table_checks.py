"""Reads and validates the rows of one table for `check-source`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import duckdb

from batch_predictions.sources.base import Source, SourceError
from batch_predictions.sources.checking.check_report import TableReport
from batch_predictions.sources.checking.repeated_rows import ask_about_repeats
from batch_predictions.sources.checking.sums import sum_months
from batch_predictions.sources.rows.sandbox import as_source_errors
from batch_predictions.sources.validation.left_out_rows import (
    general_reason_sql,
    value_in_reason_sql,
)
from batch_predictions.sources.validation.row_checks import validate_rows
from batch_predictions.tables import Table

WEEKLY_ROWS = 100_000
"""Rows of weekly tables that are read at most: a calendar has millions, and no sums to compare."""


def check_table(
    db: duckdb.DuckDBPyConnection,
    source: Source,
    table: Table,
    sample_rows: int | None,
    yesterday: dt.date,
    questions: list[str],
) -> TableReport:
    """Reads the rows of a table; its accepted rows become the table `accepted_<name>` of `db`.

    Questions about the rows are added to `questions`.
    """
    files = source.file_names(table)
    try:
        with as_source_errors(table.name):
            return _read_table(db, source, table, files, sample_rows, yesterday, questions)
    except SourceError as error:
        return TableReport(table.name, files, {}, problem=str(error))


def _read_table(
    db: duckdb.DuckDBPyConnection,
    source: Source,
    table: Table,
    files: list[str],
    sample_rows: int | None,
    yesterday: dt.date,
    questions: list[str],
) -> TableReport:
    day = source.state.default_date.isoformat()
    limit = sample_rows or (WEEKLY_ROWS if table.partition == "week" else None)
    validated = validate_rows(db, source, table, None, snapshot_day=day, limit=limit)
    refusals = _frequent_reasons(db, validated.refused)
    not_read = _frequent_reasons(db, validated.nulled)
    db.execute(f"create temp table accepted_{table.name} as {validated.accepted}")
    questions += ask_about_repeats(db, source, table, validated)
    examples = db.sql(f"from accepted_{table.name} limit 3").to_arrow_table()
    day_range = source.day_range(table) if table.partition else None
    later = source.later_rows(table, yesterday) if table.partition == "date" else None
    seen = sum(counts.read for counts in validated.counts.values())
    return TableReport(
        table=table.name,
        files=files,
        columns=source.column_mapping(table),
        rows_seen=seen,
        accepted=sum(counts.accepted for counts in validated.counts.values()),
        refused=sum(counts.quarantined for counts in validated.counts.values()),
        filtered=sum(counts.filtered for counts in validated.counts.values()),
        deduplicated=sum(counts.deduplicated for counts in validated.counts.values()),
        merged=sum(counts.merged for counts in validated.counts.values()),
        later=later.rows if later else 0,
        reasons={reason: count for reason, count, _ in refusals},
        values_not_read={reason: count for reason, count, _ in not_read},
        offending_values={r: values for r, _, values in [*refusals, *not_read] if values},
        unused_columns=source.unused_columns(table),
        first_day=day_range[0] if day_range else None,
        newest_day=day_range[1] if day_range else None,
        examples=examples.to_pylist(),
        is_sample=limit is not None and seen >= limit,
        rows_in_files=_rows_in_files(db, source, table, files),
        sums=sum_months(db, table.name, f"accepted_{table.name}", source.event_types),
    )


def _rows_in_files(
    db: duckdb.DuckDBPyConnection, source: Source, table: Table, files: Sequence[str]
) -> int | None:
    """Counts the rows of the files that a query reads; None: there is no query of files."""
    if table.name not in source.settings.queries:
        return None
    relations = [source.all_rows(db, [file]) for file in files]
    counted = [f"select count(*) as n from {relation}" for relation in relations if relation]
    if not counted:
        return None
    return int(db.execute(f"select sum(n) from ({' union all '.join(counted)})").fetchall()[0][0])


def _frequent_reasons(
    db: duckdb.DuckDBPyConnection, reasons: str
) -> list[tuple[str, int, list[str]]]:
    """Reasons without values and line numbers: their counts, and up to 3 values of each.

    Args:
        db: the connection of the rows.
        reasons: a query with the column `reason`, whose first text in quotes is the value.
    """
    return db.execute(
        f"select {general_reason_sql('reason')} as reason, count(*)::BIGINT as n, "
        "list_sort(list(distinct value) filter (value <> ''))[:3] as values from "
        f"(select reason, {value_in_reason_sql('reason')} as value from ({reasons})) "
        "group by 1 order by n desc, 1 limit 5"
    ).fetchall()
