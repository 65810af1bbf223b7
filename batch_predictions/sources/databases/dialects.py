"""SQL dialects of databases: names, literals of times, and the business day of a time.

Here are also the tables, views and queries of a database that raw tables are read from.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from batch_predictions.settings import SourceSettings
from batch_predictions.sources.base import RAW_TABLES, SourceError, raw_table
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal

ColumnKind = Literal["instant", "timestamp", "date", "number", "text", "flag", "other", "dynamic"]
"""Kind of a column: a time with or without a time zone, a date, a number, text, a truth value,
another one; dynamic: of SQLite, where every value has its own type."""

TimeValue = dt.datetime | dt.date | int
"""A bound of a time column; a datetime with a time zone is for columns that have one."""

_NAME_PART = re.compile(r'"(?:[^"]|"")+"|`[^`]+`|[^\W\d][\w$-]*')


def split_table_name(setting: str, name: str) -> list[tuple[str, bool]]:
    """The parts of a table's name, such as shop.order_lines, and whether each is in quotes.

    Raises:
        SourceError: it is not a name.
    """
    parts: list[tuple[str, bool]] = []
    position, text = 0, name.strip()
    while match := _NAME_PART.match(text, position):
        part = match.group()
        is_quoted = part[0] in '"`'
        parts.append((part[1:-1].replace('""', '"') if is_quoted else part, is_quoted))
        position = match.end()
        if position == len(text):
            return parts
        if text[position] != ".":
            break
        position += 1
    raise SourceError(
        f"{setting} {name!r} is not the name of a table: write table or schema.table, other names "
        'in quotes ("my table"), or a SELECT in source.queries'
    )


class SqlDialect:
    """The SQL of a database; this class is that of PostgreSQL and DuckDB.

    Attributes:
        instant: template of a time in UTC, with a time zone.
        timestamp: template of a time in UTC, without one.
        day_of_instant: template of the business day of a column with a time zone.
        day_of_timestamp: template of the business day of a column without one, whose times are UTC.
    """

    instant: ClassVar[str] = "TIMESTAMPTZ '{}+00'"
    timestamp: ClassVar[str] = "TIMESTAMP '{}'"
    day_of_instant: ClassVar[str] = "({column} at time zone {zone})::date"
    day_of_timestamp: ClassVar[str] = "({column} at time zone 'UTC' at time zone {zone})::date"

    def column(self, name: str) -> str:
        """A column's name in quotes."""
        return quote_identifier(name)

    def table(self, parts: list[tuple[str, bool]]) -> str:
        """A table's name in quotes, from `split_table_name`."""
        return ".".join(quote_identifier(part) for part, _ in parts)

    def text(self, sql: str) -> str:
        """SQL of the settings, as it is embedded in a query."""
        return sql

    def value(self, value: TimeValue) -> str:
        """SQL of a bound of a time column."""
        if isinstance(value, dt.datetime):
            template = self.instant if value.tzinfo else self.timestamp
            return template.format(value.strftime("%Y-%m-%d %H:%M:%S"))
        return f"DATE '{value}'" if isinstance(value, dt.date) else str(value)

    def local_day(self, column: str, kind: ColumnKind, timezone: str) -> str | None:
        """SQL of the business day of a time column; None if the dialect has no such function."""
        zone = quote_literal(timezone)
        if kind == "instant":
            return self.day_of_instant.format(column=column, zone=zone)
        if kind == "timestamp":
            return self.day_of_timestamp.format(column=column, zone=zone)
        return column if kind == "date" else None

    def as_text(self, sql: str) -> str:
        """SQL of a value as text."""
        return f"({sql})::text"

    def limit(self, rows: int) -> str | None:
        """The LIMIT clause for a query; None: the dialect has none and the reader stops instead."""
        return f" limit {rows}"


class SqliteDialect(SqlDialect):
    """SQLite, whose columns have no time types."""

    def local_day(self, column: str, kind: ColumnKind, timezone: str) -> str | None:
        """Returns None: SQLite has no function for it, see `SqliteTimeColumn`."""
        return None

    def as_text(self, sql: str) -> str:
        """SQL of a value as text; numbers keep all digits."""
        real = f"printf('%!.17g', {sql})"
        return f"case typeof({sql}) when 'real' then {real} else cast({sql} as text) end"


class SnowflakeDialect(SqlDialect):
    """Snowflake, which reads names without quotes as upper case."""

    instant = "'{} +0000'::timestamp_tz"
    timestamp = "'{}'::timestamp_ntz"
    day_of_instant = "to_date(convert_timezone({zone}, {column}))"
    day_of_timestamp = "to_date(convert_timezone('UTC', {zone}, {column}))"

    def table(self, parts: list[tuple[str, bool]]) -> str:
        """A table's name as Snowflake reads it; parts without quotes stay without them."""
        return ".".join(
            part if not is_quoted and re.fullmatch(r"[\w$]+", part) else quote_identifier(part)
            for part, is_quoted in parts
        )


class BigQueryDialect(SqlDialect):
    """BigQuery, where TIMESTAMP has a time zone and DATETIME has none."""

    instant = "TIMESTAMP '{}+00'"
    timestamp = "DATETIME '{}'"
    day_of_instant = "date({column}, {zone})"
    day_of_timestamp = "date(timestamp({column}, 'UTC'), {zone})"

    def column(self, name: str) -> str:
        """A column's name in backticks; BigQuery admits no backtick in it."""
        return f"`{_without_backtick(name)}`"

    def table(self, parts: list[tuple[str, bool]]) -> str:
        """A table's name in backticks."""
        return ".".join(f"`{_without_backtick(part)}`" for part, _ in parts)

    def as_text(self, sql: str) -> str:
        """SQL of a value as text."""
        return f"cast({sql} as string)"


def _without_backtick(name: str) -> str:
    if "`" in name or "\\" in name:
        raise SourceError(f"{name!r} cannot be a name in BigQuery: correct the setting")
    return name


@dataclass(frozen=True)
class TableRelation:
    """The table or query of a database that a raw table is read from.

    Attributes:
        name: the table's name, or `query …`, for reports and messages.
        parts: parts of the table's name, and whether each is in quotes; empty for a query.
        query: the SELECT, if it is a query.
        where: the condition of the rows to read, or empty.
    """

    name: str
    parts: tuple[tuple[str, bool], ...]
    query: str
    where: str

    def sql(self, dialect: SqlDialect) -> str:
        """SQL that can follow `from`: the rows to read, under the name `rows_`."""
        # A query may end with a comment, so the parenthesis is on a line of its own.
        table = (
            f"(\n{dialect.text(self.query)}\n) query_"
            if self.query
            else dialect.table(list(self.parts))
        )
        where = f" where (\n{dialect.text(self.where)}\n)" if self.where else ""
        return f"(select * from {table}{where}) rows_"


def relations_of(settings: SourceSettings) -> dict[str, TableRelation]:
    """The relation of each raw table that the settings name.

    Raises:
        SourceError: a table is unknown or given twice, or a name is not that of a table.
    """
    known = [table.name for table in RAW_TABLES]
    for setting in ("tables", "queries", "where", "updated_at"):
        for name in getattr(settings, setting):
            raw_table(name, f"source.{setting}")
    relations = {}
    for name in known:
        table, query = settings.tables.get(name), settings.queries.get(name)
        where = settings.where.get(name, "").strip()
        if table and query:
            raise SourceError(
                f"source.tables.{name} and source.queries.{name} are both set: remove one of them"
            )
        if table:
            parts = split_table_name(f"source.tables.{name}", table)
            relations[name] = TableRelation(table.strip(), tuple(parts), "", where)
        elif query:
            text = query.strip().rstrip(";").rstrip()
            relations[name] = TableRelation(f"query {name}", (), text, where)
        elif where or name in settings.updated_at:
            setting = "where" if where else "updated_at"
            raise SourceError(
                f"source.{setting}.{name} is set, but neither source.tables.{name} nor "
                f"source.queries.{name}: set one of them"
            )
    return relations
