"""Leaves out rows by `source.where`, and repeats of overlapping files by `source.deduplicate`.

Reasons of refused rows are grouped without their values and row numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from batch_predictions.settings import DeduplicateRule
from batch_predictions.sources.base import Source, SourceError, raw_table
from batch_predictions.tables import Table
from batch_predictions.warehouse.path_sql import quote_identifier


def validate_deduplication(rules: Mapping[str, DeduplicateRule]) -> None:
    """Checks the tables of the setting `source.deduplicate`.

    Raises:
        SourceError: a table is unknown.
    """
    for table_name in rules:
        raw_table(table_name, "source.deduplicate")


def without_left_out_rows(
    db: duckdb.DuckDBPyConnection, source: Source, table: Table, rows: str, suffix: str
) -> tuple[str, dict[str, tuple[int, int]]]:
    """The query without rows that settings leave out, and their number by partition.

    The numbers are of rows that a condition leaves out, and of repeats.
    """
    counts = []
    if any(row[0] == "left_out" for row in db.execute(f"describe {rows}").fetchall()):
        counts.append(f"select date, 1 as f, 0 as d from ({rows}) where left_out")
        rows = f"select * from ({rows}) where left_out is not true"
    rule = source.settings.deduplicate.get(table.name)
    if rule:
        dropped = _create_repeated_rows(db, table, rows, rule, suffix)
        counts.append(f"select date, 0 as f, 1 as d from {dropped}")
        rows = (
            f"select * from ({rows}) s anti join {dropped} r on r.date = s.date "
            "and r.source = s.source and r.row_number = s.row_number"
        )
    if not counts:
        return rows, {}
    left_out = db.execute(
        "select date, sum(f)::BIGINT, sum(d)::BIGINT from "
        f"({' union all '.join(counts)}) group by all"
    ).fetchall()
    return rows, {str(day): (filtered, repeats) for day, filtered, repeats in left_out}


def _create_repeated_rows(
    db: duckdb.DuckDBPyConnection, table: Table, rows: str, rule: DeduplicateRule, suffix: str
) -> str:
    """Creates a table of the rows to drop: date, source, row_number.

    Of the rows of a partition with equal values in all columns of the rule, the first or the last
    stays, by the names of the files and the rows in them. Rows without one of these values stay.

    Args:
        db: connection of the rows.
        table: the raw table.
        rows: query for the rows, as `Source.rows_sql` returns it.
        rule: the columns, of the source or of the raw table.
        suffix: suffix of the table's name.

    Raises:
        SourceError: a column is in neither.
    """
    columns = {row[0] for row in db.execute(f"describe {rows}").fetchall()}
    source_columns = {
        row[0] for row in db.execute(f"describe select unnest(row) from ({rows})").fetchall()
    }
    declared = {column.name for column in table.columns}
    keys = []
    for name in rule.by:
        if name in source_columns:
            keys.append(f"row.{quote_identifier(name)}")
        elif name in columns and name in declared:
            keys.append(quote_identifier(name))
        else:
            raise SourceError(
                f"source.deduplicate.{table.name}.by: there is no column {name!r}; write columns "
                f"of the source ({', '.join(sorted(source_columns))}) or of raw.{table.name}"
            )
    named = ", ".join(f"{key}::VARCHAR as __k{n}" for n, key in enumerate(keys))
    names = ", ".join(["date", *(f"__k{n}" for n in range(len(keys)))])
    has_keys = " and ".join(f"__k{n} is not null" for n in range(len(keys)))
    direction = "desc" if rule.keep == "last" else "asc"
    keyed = f"(select date, source, row_number, {named} from ({rows}))"
    # The window function is only over rows with repeated keys, because it needs much memory.
    db.execute(
        f"create temp table dropped_{suffix} as select date, source, row_number from "
        f"(select *, row_number() over (partition by {names} "
        f"order by source {direction}, row_number {direction}) as __nth from {keyed} semi join "
        f"(select {names} from {keyed} where {has_keys} group by all having count(*) > 1) "
        f"using ({names})) where __nth > 1"
    )
    return f"temp.dropped_{suffix}"


_VALUE = "'''(.*?)''( |:|$)'"  # a value may contain quotes, such as 1'234.50


def general_reason_sql(reason: str) -> str:
    """SQL of a reason without its first value and without numbers of rows and lines."""
    return (
        f"regexp_replace(regexp_replace({reason}, {_VALUE}, '…\\2'), "
        "'\\b(line|row) \\d+', '\\1 …', 'g')"
    )


def value_in_reason_sql(reason: str) -> str:
    """SQL of the first value that a reason quotes; empty if there is none."""
    return f"regexp_extract({reason}, {_VALUE}, 1)"
