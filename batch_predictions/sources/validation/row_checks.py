"""Splits the rows of a source into accepted and refused ones; a refused row has a reason.

For every day, read = accepted + quarantined. An unreadable value of a column that may be empty does
not refuse its row: it becomes null and is counted.

All work is SQL over temporary tables, so that a year of rows stays within the memory limit of
DuckDB.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import duckdb

from batch_predictions.sources.base import Source, SourceError
from batch_predictions.sources.validation.checked_rows import (
    ROW_JSON,
    CheckedRows,
    create_checked_rows,
)
from batch_predictions.sources.validation.column_mapping import EVENT_IDS
from batch_predictions.sources.validation.column_rules import column_rules, validate_ids
from batch_predictions.sources.validation.erased_rows import refuse_erased_users
from batch_predictions.sources.validation.event_types import RETURN
from batch_predictions.sources.validation.left_out_rows import (
    validate_deduplication,
    without_left_out_rows,
)
from batch_predictions.sources.validation.merged_users import (
    aliases_sql,
    leave_out_merged_users,
    resolve_aliases,
    with_present_users,
)
from batch_predictions.sources.validation.review_text import clean_text_sql
from batch_predictions.sources.validation.row_keys import (
    create_repeats,
    event_id_sql,
    forget_guessed_ids,
    is_same_row,
)
from batch_predictions.tables import USER_ALIASES, USERS, Table, user_columns
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal


@dataclass(frozen=True)
class RowCounts:
    """Rows of one day of a table: read = accepted + quarantined.

    Attributes:
        read: rows of the source, without those that are left out.
        accepted: rows of the raw table.
        quarantined: refused rows.
        nulled: by column, values of accepted rows that could not be read and became null.
        filtered: rows that a condition of the settings leaves out.
        deduplicated: rows that are left out as repeats of others.
        merged: rows of users that are left out, because their user has another row after a merge.
    """

    read: int = 0
    accepted: int = 0
    quarantined: int = 0
    nulled: dict[str, int] = field(default_factory=dict)
    filtered: int = 0
    deduplicated: int = 0
    merged: int = 0


@dataclass(frozen=True)
class ValidatedRows:
    """Queries for the validated rows, which are in temporary tables of a connection.

    Attributes:
        accepted: query with the columns of the raw table.
        refused: query with date, source, row_number, reason and row, as raw.quarantine has them.
        nulled: query with date, column and reason, of values of accepted rows that became null.
        counts: counts of rows by partition.
        aliases: table of the aliases of merged users by which the rows were read; None: nobody was
            merged.
        rows: query for the rows as read, as `Source.rows_sql` returns it.
        numbered: query for the accepted rows and those that are refused as repeats, with `source`
            and `row_number`.
        repeats: table of the rows that repeat an id of their day, which are refused unless the id
            was guessed; None: there are none.
    """

    accepted: str
    refused: str
    nulled: str
    counts: dict[str, RowCounts]
    aliases: str | None = None
    rows: str = ""
    numbered: str = ""
    repeats: str | None = None


def validate_rows(
    db: duckdb.DuckDBPyConnection,
    source: Source,
    table: Table,
    days: Sequence[str] | None,
    *,
    snapshot_day: str | None = None,
    limit: int | None = None,
) -> ValidatedRows:
    """Reads the rows of a table and validates them.

    Args:
        db: connection in which temporary tables are created.
        source: the source of the rows.
        table: the raw table.
        days: partitions of a daily or weekly table to read; None: all.
        snapshot_day: day under which the rows of a table without partitions are counted.
        limit: about how many rows to read; None: all.

    Raises:
        SourceError: the table cannot be read, or the counts do not add up.
    """
    rows = source.rows_sql(db, table, days, limit)
    if not table.partition:
        rows = f"select *, DATE {quote_literal(snapshot_day)} as date from ({rows})"
    validate_ids(source.settings.ids)
    validate_deduplication(source.settings.deduplicate)
    suffix = uuid.uuid4().hex
    rows, left_out = without_left_out_rows(db, source, table, rows, suffix)
    checked = create_checked_rows(db, source, table, rows, suffix)
    refuse_erased_users(db, source, table, checked.name)
    aliases = _create_aliases(db, source, table, suffix)
    merged = 0
    if table == USER_ALIASES:
        resolve_aliases(db, checked.name, rows)
    elif table == USERS and aliases:
        rule = source.settings.deduplicate.get(table.name)
        keeps_first = rule is not None and rule.keep == "first"
        merged = leave_out_merged_users(db, checked.name, aliases, keeps_first=keeps_first)
    repeats = refused_repeats = create_repeats(db, table, checked.name, suffix)
    if repeats and source.guesses_ids(table):
        forget_guessed_ids(db, table, checked.name, repeats)
        refused_repeats = None
    accepted, numbered = _accepted_sql(db, source, table, checked.name, refused_repeats, suffix)
    accepted = with_present_users(accepted, aliases)
    refused = _create_refused(db, checked.name, refused_repeats, rows, suffix)
    nulled = _nulled_sql(checked, refused_repeats)
    counts = _count_rows(db, table, checked.name, accepted, refused, nulled)
    for day, (filtered, deduplicated) in left_out.items():
        day_counts = counts.get(day, RowCounts())
        counts[day] = replace(day_counts, filtered=filtered, deduplicated=deduplicated)
    if merged and snapshot_day:
        counts[snapshot_day] = replace(counts.get(snapshot_day, RowCounts()), merged=merged)
    if table.partition is None:
        accepted = f"select * exclude (date) from ({accepted})"
    refused = f"select * from {refused}"
    return ValidatedRows(accepted, refused, nulled, counts, aliases, rows, numbered, repeats)


def _create_aliases(
    db: duckdb.DuckDBPyConnection, source: Source, table: Table, suffix: str
) -> str | None:
    """Creates a table of the aliases by which a table is read; None: it is read without any."""
    if table == USER_ALIASES or not user_columns(table):
        return None
    if source.home is not None:
        query = aliases_sql(source.home)
    elif USER_ALIASES in source.tables():
        day = source.state.default_date.isoformat()
        query = validate_rows(db, source, USER_ALIASES, None, snapshot_day=day).accepted
    else:
        query = None
    if query is None:
        return None
    db.execute(f"create temp table aliases_{suffix} as {query}")
    return f"temp.aliases_{suffix}"


def _nulled_sql(checked: CheckedRows, repeats: str | None) -> str:
    """A query for the values of accepted rows that became null."""
    if not checked.has_nulled:
        return "select null::DATE as date, null::VARCHAR as column, null::VARCHAR as reason limit 0"
    anti_join = f" anti join {repeats} r on {is_same_row('r', 'c')}" if repeats else ""
    return (
        'select date, entry.column as "column", entry.reason as reason from '
        f"(select date, unnest(nulled) as entry from {checked.name} c{anti_join} "
        "where nulled is not null and reason is null)"
    )


def _accepted_sql(
    db: duckdb.DuckDBPyConnection,
    source: Source,
    table: Table,
    checked: str,
    repeats: str | None,
    suffix: str,
) -> tuple[str, str]:
    """Queries for the accepted rows, with ids of events, and for `ValidatedRows.numbered`."""
    event_id = EVENT_IDS.get(table.name)
    names = [rule.name for rule in column_rules(table, source.timezone) if rule.name != event_id]
    columns = [f"c.date as {table.partition or 'date'}"]
    typed = _typed_events_sql(source) if table.name == "interactions" else {}
    if table.name == "reviews":
        typed = {"text": clean_text_sql(db, "c.text")}
    columns += [
        f"{typed[name]} as {name}" if name in typed else f"c.{quote_identifier(name)}"
        for name in names
    ]
    joins = ""
    if event_id:
        id_column, joins = event_id_sql(db, source, table, checked, suffix)
        columns.append(f"{id_column} as {event_id}")
    if any(column.name == "simulated" for column in table.columns):
        columns.append(f"{str(table.name in source.simulated_tables).lower()} as simulated")
    anti_join = f" anti join {repeats} r on {is_same_row('r', 'c')}" if repeats else ""
    selected, rows = ", ".join(columns), f"from {checked} c {joins}"
    return (
        f"select {selected} {rows}{anti_join} where c.reason is null",
        f"select {selected}, c.source, c.row_number {rows} where c.reason is null",
    )


def _typed_events_sql(source: Source) -> dict[str, str]:
    """Columns of interactions that depend on the type: its name, and the signs of a return."""
    name = source.event_types.name_sql("c.event_type")
    is_return = f"({name}) = {quote_literal(RETURN)}"
    return {
        "event_type": name,
        "quantity": f"case when {is_return} then -abs(coalesce(c.quantity, 1)) else c.quantity end",
        "amount": f"case when {is_return} then -abs(c.amount) else c.amount end",
    }


def _create_refused(
    db: duckdb.DuckDBPyConnection, checked: str, repeats: str | None, rows: str, suffix: str
) -> str:
    """Creates a table of the refused rows."""
    db.execute(
        f"create temp table refused_{suffix} as "
        f"select date, source, row_number, reason, row::JSON as row from {checked} "
        "where reason is not null"
    )
    if repeats:
        # The JSON of these rows was not computed with the others: they are read again.
        db.execute(
            f"insert into temp.refused_{suffix} "
            f"select r.date, r.source, r.row_number, r.reason, {ROW_JSON} "
            f"from ({rows}) s join {repeats} r on {is_same_row('r', 's')}"
        )
    return f"temp.refused_{suffix}"


def _count_rows(
    db: duckdb.DuckDBPyConnection,
    table: Table,
    checked: str,
    accepted: str,
    refused: str,
    nulled: str,
) -> dict[str, RowCounts]:
    """Counts of rows by partition.

    Raises:
        SourceError: in a partition, accepted and refused rows are not those that were read.
    """
    rows = db.execute(
        "select date, sum(r)::BIGINT, sum(a)::BIGINT, sum(q)::BIGINT from ("
        f"select date, count(*) r, 0 a, 0 q from {checked} group by all union all "
        f"select {table.partition or 'date'}, 0, count(*), 0 from ({accepted}) group by all "
        "union all "
        f"select date, 0, 0, count(*) from {refused} group by all) group by all order by all"
    ).fetchall()
    nulled_by_day: dict[str, dict[str, int]] = {}
    for day, column, number in db.execute(
        f'select date, "column", count(*)::BIGINT from ({nulled}) group by all order by all'
    ).fetchall():
        nulled_by_day.setdefault(str(day), {})[column] = number
    counts = {
        str(day): RowCounts(read, accepted_rows, refused_rows, nulled_by_day.get(str(day), {}))
        for day, read, accepted_rows, refused_rows in rows
    }
    for day, day_counts in counts.items():
        if day_counts.read != day_counts.accepted + day_counts.quarantined:
            raise SourceError(
                f"{table.qualified}, {day}: {day_counts.read} rows were read, but "
                f"{day_counts.accepted} accepted and {day_counts.quarantined} refused; nothing was "
                "written. This is an error in the adapter or in the validation: does the adapter "
                "give every row its own source and row_number?"
            )
    return counts
