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
from batch_predictions.sources.validation.column_mapping import TIME_COLUMNS
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
from batch_predictions.tables import USER_ALIASES, USERS, Table, user_columns
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal

_EVENT_IDS = {"interactions": "event_id", "reviews": "review_id"}
"""Ids of events, made from the row where the source has none."""
_REPEAT_REMEDIES = {
    "promotion_calendar": "write the promotions of an item in a week as one row",
    "inventory": "write the stock of an item on a day as one row, or add a location",
}


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
    """

    accepted: str
    refused: str
    nulled: str
    counts: dict[str, RowCounts]
    aliases: str | None = None


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
    repeats = _create_repeats(db, table, checked.name, suffix)
    accepted = _accepted_sql(db, source, table, checked.name, repeats, suffix)
    accepted = with_present_users(accepted, aliases)
    refused = _create_refused(db, checked.name, repeats, rows, suffix)
    nulled = _nulled_sql(checked, repeats)
    counts = _count_rows(db, table, checked.name, accepted, refused, nulled)
    for day, (filtered, deduplicated) in left_out.items():
        day_counts = counts.get(day, RowCounts())
        counts[day] = replace(day_counts, filtered=filtered, deduplicated=deduplicated)
    if merged and snapshot_day:
        counts[snapshot_day] = replace(counts.get(snapshot_day, RowCounts()), merged=merged)
    if table.partition is None:
        accepted = f"select * exclude (date) from ({accepted})"
    return ValidatedRows(accepted, f"select * from {refused}", nulled, counts, aliases)


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
    anti_join = f" anti join {repeats} r on {_is_same_row('r', 'c')}" if repeats else ""
    return (
        'select date, entry.column as "column", entry.reason as reason from '
        f"(select date, unnest(nulled) as entry from {checked.name} c{anti_join} "
        "where nulled is not null and reason is null)"
    )


def _create_repeats(
    db: duckdb.DuckDBPyConnection, table: Table, checked: str, suffix: str
) -> str | None:
    """Creates a table of rows that repeat the key of an earlier row; None if there are none."""
    if not table.key:
        return None
    key = ", ".join(["date", *(quote_identifier(column) for column in table.key)])
    has_key = " and ".join(f"{quote_identifier(column)} is not null" for column in table.key)
    shown = " || ', ' || ".join(quote_identifier(column) for column in table.key)
    start = quote_literal(f"{' and '.join(table.key)} '")
    by = ", ".join(table.key)
    remedy = _REPEAT_REMEDIES.get(table.name, "remove one, or give them different ids")
    remedy += f"; source.deduplicate: {{{table.name}: {{by: [{by}]}}}} keeps the last one"
    repeats = f"temp.repeats_{suffix}"
    # A window function only over rows with repeated keys: over a year of rows it needs much memory.
    db.execute(
        f"create temp table repeats_{suffix} as select date, source, row_number, "
        f"{start} || {shown} || ''' is already in row ' || __first_row || ' of ' || __first_file "
        f"|| {quote_literal(f': {remedy}')} as reason from ("
        "select *, row_number() over w as __n, first_value(row_number) over w as __first_row, "
        f"first_value(source) over w as __first_file from {checked} semi join "
        f"(select {key} from {checked} where reason is null and {has_key} "
        f"group by all having count(*) > 1) using ({key}) where reason is null "
        f"window w as (partition by {key} order by source, row_number)) where __n > 1"
    )
    return repeats if _count(db, f"from {repeats}") else None


def _is_same_row(left: str, right: str) -> str:
    """A join condition. A row of the file may be in several weeks, so the date is part of it."""
    columns = ("date", "source", "row_number")
    return " and ".join(f"{left}.{column} = {right}.{column}" for column in columns)


def _accepted_sql(
    db: duckdb.DuckDBPyConnection,
    source: Source,
    table: Table,
    checked: str,
    repeats: str | None,
    suffix: str,
) -> str:
    """A query for the accepted rows, with ids of events."""
    event_id = _EVENT_IDS.get(table.name)
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
        id_column, joins = _event_id_sql(db, source, table, checked, suffix)
        columns.append(f"{id_column} as {event_id}")
    if any(column.name == "simulated" for column in table.columns):
        columns.append(f"{str(table.name in source.simulated_tables).lower()} as simulated")
    if repeats:
        joins += f" anti join {repeats} r on {_is_same_row('r', 'c')}"
    return f"select {', '.join(columns)} from {checked} c {joins} where c.reason is null"


def _typed_events_sql(source: Source) -> dict[str, str]:
    """Columns of interactions that depend on the type: its name, and the signs of a return."""
    name = source.event_types.name_sql("c.event_type")
    is_return = f"({name}) = {quote_literal(RETURN)}"
    return {
        "event_type": name,
        "quantity": f"case when {is_return} then -abs(coalesce(c.quantity, 1)) else c.quantity end",
        "amount": f"case when {is_return} then -abs(c.amount) else c.amount end",
    }


def _event_id_sql(
    db: duckdb.DuckDBPyConnection, source: Source, table: Table, checked: str, suffix: str
) -> tuple[str, str]:
    """SQL of the id of an event, of the source or a hash of the row, and the join that it needs."""
    event_id, timestamp = _EVENT_IDS[table.name], TIME_COLUMNS[table.name]
    without_id = f"from {checked} where reason is null and {event_id} is null"
    if _count(db, without_id) == 0:
        return f"c.{event_id}", ""
    hashed = ["date", "user_id", "item_id", timestamp]
    # Rows with equal hashed columns are numbered by their other columns, so that ids do not depend
    # on the order of the rows in the file.
    order = [
        quote_identifier(column.name)
        for column in table.columns
        if column.name not in (*hashed, event_id, "simulated")
    ]
    is_equal = " and ".join(f"c.{name} is not distinct from d.{name}" for name in hashed)
    db.execute(
        f"create temp table duplicates_{suffix} as select date, source, row_number, "
        f"row_number() over (partition by {', '.join(hashed)} order by {', '.join(order)}) as n "
        f"from {checked} c where reason is null and {event_id} is null and exists (select 1 from "
        f"(select {', '.join(hashed)} {without_id} group by all having count(*) > 1) d "
        f"where {is_equal})"
    )
    parts = (
        quote_literal(source.kind),
        "coalesce(c.user_id, '')",
        "c.item_id",
        f"coalesce(c.{timestamp}::VARCHAR, c.date::VARCHAR)",
        "coalesce(d.n, 1)::VARCHAR",
    )
    return (
        f"coalesce(c.{event_id}, md5(concat_ws(chr(31), {', '.join(parts)})))",
        f"left join temp.duplicates_{suffix} d on {_is_same_row('c', 'd')}",
    )


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
            f"from ({rows}) s join {repeats} r on {_is_same_row('r', 's')}"
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


def _count(db: duckdb.DuckDBPyConnection, from_clause: str) -> int:
    row = db.execute(f"select count(*) {from_clause}").fetchone()
    return int(row[0]) if row else 0
