"""Splits rows as read into accepted and refused ones, each refused one with its reason.

Nothing is lost: read = accepted + quarantined, for every day. The work is plain SQL over temporary
tables, so a year of rows goes through at once in the engine's bounds.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from batch_predictions.sources.base import Source, SourceError, quote_identifier, quote_literal
from batch_predictions.sources.validation.column_mapping import MOMENTS
from batch_predictions.sources.validation.column_rules import fields_of
from batch_predictions.tables import Table

# Tables whose events have ids of their own, made from the row where the source gives none.
_EVENT_IDS = {"interactions": "event_id", "reviews": "review_id"}
_DEFAULTS = {
    ("interactions", "event_type"): "interaction",
    ("promotion_calendar", "location"): "all",
    ("inventory", "location"): "all",
}
_REMEDIES = {
    "promotion_calendar": "put the week's promotions of an item into one row",
    "inventory": "give the stock of an item and day one row, or tell locations apart",
}


@dataclass(frozen=True)
class RowCounts:
    """Rows of a day of a table: read = accepted + quarantined."""

    read: int = 0
    accepted: int = 0
    quarantined: int = 0


@dataclass(frozen=True)
class CheckedRows:
    """Checked rows in temporary tables of a connection: SQL of them, and their counts by day."""

    accepted: str
    refused: str
    counts: dict[str, RowCounts]


def validate_rows(
    db: duckdb.DuckDBPyConnection,
    source: Source,
    table: Table,
    days: Sequence[str] | None,
    *,
    undated: str | None = None,
    limit: int | None = None,
) -> CheckedRows:
    """Reads a table's rows for days and checks them.

    Args:
        db: a connection for temporary tables.
        source: where the rows come from.
        table: the raw table.
        days: partitions wanted of a daily or weekly table; None: all.
        undated: the day under which rows of a table without days are counted.
        limit: check about so many rows only.

    Raises:
        SourceError: the table as a whole cannot be read, or rows were lost in checking.
    """
    relation = source.relation(db, table, days, limit)
    if not table.partition:
        relation = f"select *, DATE {quote_literal(undated)} as date from ({relation})"
    types = {row[0]: row[1] for row in db.execute(f"describe {relation}").fetchall()}
    mark = uuid.uuid4().hex
    checked, repeats = f"temp.checked_{mark}", f"temp.repeats_{mark}"
    fields = fields_of(table, source.timezone)
    values, raws, reasons = [], [], ["problem"]
    for field in fields:
        name = quote_identifier(field.name)
        declared = table.type_of(field.name)
        if field.name not in types:
            values.append(f"null::{declared} as {name}")
            continue
        raws.append(f"{name} as {quote_identifier('raw ' + field.name)}")
        values.append(f"{field.value(name, types[field.name])} as {name}")
        # `value` is what the inner query made of the column.
        reason = field.reason(quote_identifier("raw " + field.name), types[field.name], name)
        reasons += [reason] if reason else []
    reasons += _across(table, types)
    names = [field.name for field in fields]
    typed = ", ".join(
        f"{_with_default(table, name)}::{table.type_of(name)} as {quote_identifier(name)}"
        for name in names
    )
    db.execute(
        f"create temp table {checked.removeprefix('temp.')} as "
        f"select date, {typed}, source, row_number, reason, "
        # The JSON is made of refused rows only.
        f"case when reason is not null then {_ROW} end as row "
        f"from (select *, coalesce({', '.join(reasons)}) as reason "
        f"from (select date, source, row_number, row, line, problem, {', '.join(raws + values)} "
        f"from ({relation})))"
    )
    _find_repeats(db, table, checked, repeats)
    identity = _identify(db, source, table, checked, mark)
    kept = [name for name in names if name != _EVENT_IDS.get(table.name)]
    partition = table.partition or "date"
    columns = ", ".join(
        [f"c.date as {partition}", *(f"c.{quote_identifier(name)}" for name in kept)]
    )
    made_up = str(table.name in source.simulated).lower()
    constant = f", {made_up} as simulated" if table.name == "reviews" else ""
    # A promotion of several weeks is one row of the file and has one for each week.
    same = "r.date = {0}.date and r.source = {0}.source and r.row_number = {0}.row_number"
    unrepeated = f"anti join {repeats} r on {same.format('c')}"
    any_repeat = _count(db, f"from {repeats}") > 0
    accepted = (
        f"select {columns}{identity[0]}{constant} from {checked} c {identity[1]} "
        f"{unrepeated if any_repeat else ''} where c.reason is null"
    )
    refused = f"temp.refused_{mark}"
    db.execute(
        f"create temp table {refused.removeprefix('temp.')} as "
        f"select date, source, row_number, reason, row::JSON as row from {checked} "
        "where reason is not null"
    )
    if any_repeat:
        # Their text was not kept with the accepted rows: it is read again.
        db.execute(
            f"insert into {refused} select r.date, r.source, r.row_number, r.reason, {_ROW} "
            f"from ({relation}) s join {repeats} r on {same.format('s')}"
        )
    counts = _counts(db, table, checked, accepted, refused)
    if table.partition is None:
        accepted = f"select * exclude (date) from ({accepted})"
    return CheckedRows(accepted, f"select * from {refused}", counts)


_ROW = "case when line is not null then json_object('line', line) else to_json(row) end"


def _across(table: Table, types: dict[str, str]) -> list[str]:
    """Reasons that concern several columns."""
    if not {"starts_on", "ends_on"} <= set(types):
        return []
    text = "ends_on lies before starts_on: correct one of them"
    reasons = [f"case when ends_on < starts_on then {quote_literal(text)} end"]
    if table.partition == "week":
        text = "starts_on to ends_on has no day in week: correct one of them"
        reasons.append(
            f"case when ends_on < date or starts_on > date + 6 then {quote_literal(text)} end"
        )
    return reasons


def _with_default(table: Table, name: str) -> str:
    default = _DEFAULTS.get((table.name, name))
    return (
        f"coalesce({quote_identifier(name)}, {quote_literal(default)})"
        if default
        else quote_identifier(name)
    )


def _find_repeats(db: duckdb.DuckDBPyConnection, table: Table, checked: str, repeats: str) -> None:
    """Rows whose key stands in an earlier row already, of the same day where there are days."""
    name = repeats.removeprefix("temp.")
    if not table.key:
        db.execute(
            f"create temp table {name} as select date, source, row_number, reason "
            f"from {checked} where false"
        )
        return
    key = ", ".join(["date", *(quote_identifier(column) for column in table.key)])
    given = " and ".join(f"{quote_identifier(column)} is not null" for column in table.key)
    shown = " || ', ' || ".join(quote_identifier(column) for column in table.key)
    text = f"{' and '.join(table.key)} '"
    remedy = _REMEDIES.get(table.name, "remove one, or give each an id of its own")
    # Groups first, then the few rows of repeated ones: no window over a year of rows.
    db.execute(
        f"create temp table {name} as select date, source, row_number, "
        f"{quote_literal(text)} || {shown} || "
        "''' stands in row ' || __first || ' of ' || __file || "
        f"{quote_literal(f' already: {remedy}')} as reason from ("
        f"select *, row_number() over w as nth, first_value(row_number) over w as __first, "
        f"first_value(source) over w as __file from {checked} semi join "
        f"(select {key} from {checked} where reason is null and {given} "
        f"group by all having count(*) > 1) using ({key}) where reason is null "
        f"window w as (partition by {key} order by source, row_number)) where nth > 1"
    )


def _identify(
    db: duckdb.DuckDBPyConnection, source: Source, table: Table, checked: str, mark: str
) -> tuple[str, str]:
    """The id column of events: given, or a hash. Returns select item and join."""
    column = _EVENT_IDS.get(table.name)
    if not column:
        return "", ""
    if _count(db, f"from {checked} where reason is null and {column} is null") == 0:
        return f", c.{column}", ""
    moment = MOMENTS[table.name]
    same = ["date", "user_id", "item_id", moment]
    rest = [
        quote_identifier(each.name)
        for each in table.columns
        if each.name not in (*same, column, "simulated")
    ]
    # Equal rows are numbered by what else they hold, so that their order in the file is nothing.
    db.execute(
        f"create temp table twins_{mark} as select source, row_number, row_number() over "
        f"(partition by {', '.join(same)} order by {', '.join(rest)}) as nth from {checked} k "
        f"where reason is null and {column} is null and exists (select 1 from "
        f"(select {', '.join(same)} from {checked} where reason is null and {column} is null "
        "group by all having count(*) > 1) g where "
        + " and ".join(f"k.{each} is not distinct from g.{each}" for each in same)
        + ")"
    )
    parts = ", ".join(
        [
            quote_literal(source.kind),
            "coalesce(c.user_id, '')",
            "c.item_id",
            f"coalesce(c.{moment}::VARCHAR, c.date::VARCHAR)",
            "coalesce(t.nth, 1)::VARCHAR",
        ]
    )
    return (
        f", coalesce(c.{column}, md5(concat_ws(chr(31), {parts}))) as {column}",
        f"left join temp.twins_{mark} t on c.source = t.source and c.row_number = t.row_number",
    )


def _counts(
    db: duckdb.DuckDBPyConnection, table: Table, checked: str, accepted: str, refused: str
) -> dict[str, RowCounts]:
    rows = db.execute(
        "select date, sum(r)::BIGINT, sum(a)::BIGINT, sum(q)::BIGINT from ("
        f"select date, count(*) r, 0 a, 0 q from {checked} group by all union all "
        f"select {table.partition or 'date'}, 0, count(*), 0 from ({accepted}) group by all "
        "union all "
        f"select date, 0, 0, count(*) from {refused} group by all) group by all order by all"
    ).fetchall()
    counts = {str(day): RowCounts(read, kept, bad) for day, read, kept, bad in rows}
    for day, each in counts.items():
        if each.read != each.accepted + each.quarantined:
            raise SourceError(
                f"{table.qualified}, {day}: {each.read} rows were read, but {each.accepted} "
                f"accepted and {each.quarantined} refused: rows were lost or doubled in checking; "
                "nothing was written"
            )
    return counts


def _count(db: duckdb.DuckDBPyConnection, rows: str) -> int:
    found = db.execute(f"select count(*) {rows}").fetchone()
    return int(found[0]) if found else 0
