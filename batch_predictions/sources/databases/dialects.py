"""SQL dialects of databases: names, literals of times, and the business day of a time."""

from __future__ import annotations

import datetime as dt
import re
from typing import ClassVar, Literal

from batch_predictions.sources.base import SourceError
from batch_predictions.warehouse.sql_literals import quote_identifier, quote_literal

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
