"""Converts the rows of a source by the rules of the columns, into a table of checked rows."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import duckdb

from batch_predictions.sources.base import Source, SourceError
from batch_predictions.sources.validation.ages import age_bracket_of_birthday_sql
from batch_predictions.sources.validation.column_mapping import BIRTHDAY
from batch_predictions.sources.validation.column_rules import (
    ColumnRule,
    birthday_rule,
    column_rules,
    unread_column,
)
from batch_predictions.sources.validation.event_types import UNKNOWN, UNTYPED
from batch_predictions.tables import Table
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal

_DEFAULTS = {
    ("interactions", "event_type"): UNTYPED,
    ("promotion_calendar", "location"): "all",
    ("inventory", "location"): "all",
}
_NESTED = re.compile(r"^(STRUCT|MAP|UNION|BLOB)|\]$")
"""Types of columns whose values are no single value."""
ROW_JSON = "case when line is not null then json_object('line', line) else to_json(row) end"
"""SQL of the JSON of a row, or of its damaged line."""


@dataclass(frozen=True)
class CheckedRows:
    """The table of converted rows.

    Attributes:
        name: its name.
        has_nulled: whether it has a column `nulled`: columns and reasons of values that are null.
    """

    name: str
    has_nulled: bool


def create_checked_rows(
    db: duckdb.DuckDBPyConnection, source: Source, table: Table, rows: str, suffix: str
) -> CheckedRows:
    """Creates a table of the converted rows, with the reason and the JSON of refused ones."""
    types = {row[0]: row[1] for row in db.execute(f"describe {rows}").fetchall()}
    rules = column_rules(table, source.timezone, source.settings.ids, source.naive_zone)
    read_rules = [rule for rule in rules if rule.name in types]
    if BIRTHDAY in types:
        read_rules.append(birthday_rule(source.timezone))
    raw_columns, values, refusals, nulls = [], [], ["problem"], {}
    for rule in read_rules:
        type_ = types[rule.name]
        if rule.kind in ("id", "number", "date") and _NESTED.search(type_):
            raise SourceError(
                f"{rule.name} of {table.name} is a {type_}: map a column with one text, number or "
                "day a row, or take it apart in source.queries"
            )
        name, raw_name = quote_identifier(rule.name), quote_identifier(f"raw {rule.name}")
        unread = unread_column(rule.name) if unread_column(rule.name) in types else None
        raw_columns += [f"{name} as {raw_name}", *([quote_identifier(unread)] if unread else [])]
        values.append(f"{rule.value_sql(name, type_)} as {name}")
        reason = rule.reason_sql(raw_name, type_, name, unread and quote_identifier(unread))
        if reason and rule.refuses:
            refusals.append(reason)
        elif reason:
            nulls[rule.name] = reason
    refusals += _order_reasons(table, types)
    null_reasons = [f"{sql} as {_null_reason(name)}" for name, sql in nulls.items()]
    typed = ", ".join(_typed_column(table, rule, types, nulls) for rule in rules)
    nulled = f", {_nulled_list(nulls)} as nulled" if nulls else ""
    db.execute(
        f"create temp table checked_{suffix} as select date, {typed}, source, row_number, reason, "
        # Accepted rows need no JSON.
        f"case when reason is not null then {ROW_JSON} end as row{nulled} "
        f"from (select {', '.join(['*', *null_reasons])}, "
        f"coalesce({', '.join(refusals)}) as reason "
        "from (select date, source, row_number, row, line, problem, "
        f"{', '.join(raw_columns + values)} from ({rows})))"
    )
    return CheckedRows(f"temp.checked_{suffix}", bool(nulls))


def _null_reason(name: str) -> str:
    """The column with the reason why a value becomes null."""
    return quote_identifier(f"null {name}")


def _nulled_list(names: Iterable[str]) -> str:
    """SQL of a list of the columns of a row that become null, with the reasons; mostly null."""
    entries = ", ".join(
        f"{{'column': {quote_literal(name)}, 'reason': {_null_reason(name)}}}" for name in names
    )
    any_reason = f"coalesce({', '.join(_null_reason(name) for name in names)}, null)"
    return (
        f"case when reason is null and {any_reason} is not null "
        f"then list_filter([{entries}], lambda entry: entry.reason is not null) end"
    )


def _order_reasons(table: Table, types: dict[str, str]) -> list[str]:
    """SQL of the reasons that compare the first and the last day of a promotion."""
    if not {"starts_on", "ends_on"} <= set(types):
        return []
    reason = quote_literal("ends_on is before starts_on: correct one of them")
    reasons = [f"case when ends_on < starts_on then {reason} end"]
    if table.partition == "week":
        reason = quote_literal("starts_on to ends_on has no day in week: correct one of them")
        reasons.append(f"case when ends_on < date or starts_on > date + 6 then {reason} end")
    return reasons


def _typed_column(
    table: Table, rule: ColumnRule, types: Collection[str], nulls: Collection[str]
) -> str:
    """A converted column with its default and its declared type."""
    name, type_ = rule.name, table.type_of(rule.name)
    value = quote_identifier(name) if name in types else f"null::{type_}"
    if name in nulls:
        value = f"case when {_null_reason(name)} is null then {value} end"
    if name == "age_bracket" and BIRTHDAY in types:
        birthday = f"case when {_null_reason(BIRTHDAY)} is null then {BIRTHDAY} end"
        value = f"coalesce({value}, {age_bracket_of_birthday_sql(birthday, 'date')})"
    default = _DEFAULTS.get((table.name, name))
    if default == UNTYPED and name in types:
        # An empty type is not taken for a purchase, as all rows are where there are no types.
        default = UNKNOWN
    if default:
        value = f"coalesce({value}, {quote_literal(default)})"
    return f"({value})::{type_} as {quote_identifier(name)}"
