"""Finds rows that repeat the key of another one, and gives events an id."""

from __future__ import annotations

import duckdb

from batch_predictions.sources.base import Source
from batch_predictions.sources.validation.column_mapping import EVENT_IDS, TIME_COLUMNS
from batch_predictions.tables import Table
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal

_REMEDIES = {
    "interactions": "remove one, or map no column to event_id if it is the number of an order",
    "promotion_calendar": "write the promotions of an item in a week as one row",
    "inventory": "write the stock of an item on a day as one row, or add a location",
}


def create_repeats(
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
    remedy = _REMEDIES.get(table.name, "remove one, or give them different ids")
    if table.name != "interactions":
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


def forget_guessed_ids(
    db: duckdb.DuckDBPyConnection, table: Table, checked: str, repeats: str
) -> None:
    """Removes the ids of events on days on which rows repeat one: it is the number of an order."""
    db.execute(
        f"update {checked} set {EVENT_IDS[table.name]} = null "
        f"where date in (select date from {repeats})"
    )


def is_same_row(left: str, right: str) -> str:
    """A join condition. A row of the file may be in several weeks, so the date is part of it."""
    columns = ("date", "source", "row_number")
    return " and ".join(f"{left}.{column} = {right}.{column}" for column in columns)


def event_id_sql(
    db: duckdb.DuckDBPyConnection, source: Source, table: Table, checked: str, suffix: str
) -> tuple[str, str]:
    """SQL of the id of an event, of the source or a hash of the row, and the join that it needs."""
    event_id, timestamp = EVENT_IDS[table.name], TIME_COLUMNS[table.name]
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
        f"left join temp.duplicates_{suffix} d on {is_same_row('c', 'd')}",
    )


def _count(db: duckdb.DuckDBPyConnection, from_clause: str) -> int:
    row = db.execute(f"select count(*) {from_clause}").fetchone()
    return int(row[0]) if row else 0
