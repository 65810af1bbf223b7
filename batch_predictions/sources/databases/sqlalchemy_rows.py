"""Connections by SQLAlchemy, for databases without an ADBC driver here."""

from __future__ import annotations

import datetime as dt
import decimal
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from batch_predictions.settings import SourceSettings
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.databases.connection import (
    APPLICATION_NAME,
    DatabaseColumn,
    DatabaseConnection,
    DatabaseUrl,
)
from batch_predictions.sources.databases.dialects import (
    ColumnKind,
    SqlDialect,
    SqliteDialect,
    TimeValue,
)
from batch_predictions.sources.databases.driver_rows import to_record_batch

ROWS_PER_BATCH = 50_000
_PARAMETER = re.compile(r"(?<![\\:]):(bound_\d+)\b")


class BoundDialect(SqlDialect):
    """A dialect of SQLAlchemy: its names in quotes, and bound values."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self.preparer = dialect.identifier_preparer
        self.values: dict[str, TimeValue] = {}

    def column(self, name: str) -> str:
        """A column's name in quotes."""
        return self.text(self.preparer.quote_identifier(name))

    def table(self, parts: list[tuple[str, bool]]) -> str:
        """A table's name; parts without quotes get them where the database needs them."""
        return self.text(
            ".".join(
                self.preparer.quote_identifier(part) if is_quoted else self.preparer.quote(part)
                for part, is_quoted in parts
            )
        )

    def text(self, sql: str) -> str:
        """Escapes the colons in SQL, so that they do not begin a parameter."""
        return sql.replace(":", "\\:")

    def value(self, value: TimeValue) -> str:
        """Binds a value to a new parameter and returns the parameter's SQL."""
        if isinstance(value, int):
            return str(value)
        name = f"bound_{len(self.values)}"
        self.values[name] = value
        return f":{name}"

    def local_day(self, column: str, kind: ColumnKind, timezone: str) -> str | None:
        """SQL of the business day, for columns of dates only; None for other columns."""
        return column if kind == "date" else None

    def as_text(self, sql: str) -> str:
        """Returns the SQL unchanged: Python converts values to text."""
        return sql

    def limit(self, rows: int) -> str | None:
        """Returns None: the reader stops, since databases write limits differently."""
        return None


class SqlAlchemyConnection(DatabaseConnection):
    """A connection by SQLAlchemy with a server-side cursor, if the driver has one."""

    dialect: BoundDialect

    def __init__(self, url: DatabaseUrl, settings: SourceSettings) -> None:
        self._engine = _create_engine(url.url, settings)
        super().__init__(BoundDialect(self._engine.dialect))
        self._is_sqlite = url.backend == "sqlite"
        try:
            self._connection = self._engine.connect()
            for statement in _session_statements(url.backend, settings):
                self._connection.exec_driver_sql(statement)
        except BaseException:
            self._engine.dispose()
            raise

    def columns(self, relation: str) -> dict[str, DatabaseColumn]:
        """The columns; kinds are those of a sample of rows."""
        names: list[str] = []
        rows: list[tuple[object, ...]] = []
        with self._execute(f"select * from {relation}") as result:
            names = list(result.keys())
            rows = [tuple(row) for row in result.fetchmany(200)]
        columns = {}
        for position, name in enumerate(names):
            sql = self.dialect.column(name)
            kinds = {_kind_of(row[position]) for row in rows if row[position] is not None}
            if self._is_sqlite:
                columns[name] = DatabaseColumn("dynamic", SqliteDialect().as_text(sql))
                continue
            if not kinds:
                with self._execute(
                    f"select {sql} from {relation} where {sql} is not null"
                ) as result:
                    kinds = {_kind_of(row[0]) for row in result.fetchmany(1)}
            columns[name] = DatabaseColumn(kinds.pop() if len(kinds) == 1 else "other", sql)
        return columns

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """All rows of a query with a small result."""
        with self._execute(sql) as result:
            return [tuple(row) for row in result]

    def batches(self, sql: str, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Batches of rows from a server-side cursor."""
        with self._execute(sql) as result:
            names = list(result.keys())
            left = limit
            while left is None or left > 0:
                size = ROWS_PER_BATCH if left is None else min(left, ROWS_PER_BATCH)
                rows = result.fetchmany(size)
                if not rows:
                    return
                yield to_record_batch(names, rows)
                left = None if left is None else left - len(rows)

    def close(self) -> None:
        """Ends the transaction and the connection."""
        try:
            self._connection.close()
        finally:
            self._engine.dispose()

    def _execute(self, sql: str) -> sa.CursorResult[Any]:
        names = set(_PARAMETER.findall(sql))
        values = {name: self.dialect.values[name] for name in names}
        streamed = sa.text(sql).execution_options(
            stream_results=True, max_row_buffer=ROWS_PER_BATCH
        )
        return self._connection.execute(streamed, values)


def _create_engine(url: sa.URL, settings: SourceSettings) -> sa.Engine:
    """An engine whose connections begin a read-only transaction.

    Raises:
        SourceError: SQLAlchemy or the driver of the database is not installed.
    """
    backend = url.get_backend_name()
    options: dict[str, object] = {}
    arguments: dict[str, object] = {}
    if backend == "sqlite":
        if not Path(url.database or "").is_file():
            raise SourceError(
                f"source.url names the SQLite file {url.database}, which does not exist"
            )
    elif backend in ("postgresql", "mysql", "mariadb"):
        arguments["connect_timeout"] = settings.connect_timeout_seconds
        options["isolation_level"] = "REPEATABLE READ"
    if backend == "postgresql":
        options["postgresql_readonly"] = True
        arguments["application_name"] = APPLICATION_NAME
    engine = sa.create_engine(
        url, poolclass=sa.pool.NullPool, connect_args=arguments, execution_options=options
    )
    if backend == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("begin"))
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    # Otherwise the driver begins no transaction for a SELECT, and there is no snapshot.
    connection.isolation_level = None
    connection.execute("pragma query_only = on")


def _session_statements(backend: str, settings: SourceSettings) -> list[str]:
    milliseconds = settings.statement_timeout_seconds * 1000
    if backend == "postgresql":
        return ["set local timezone = 'UTC'", f"set local statement_timeout = {milliseconds}"]
    if backend == "mysql":
        return ["set time_zone = '+00:00'", f"set session max_execution_time = {milliseconds}"]
    if backend == "mariadb":
        seconds = settings.statement_timeout_seconds
        return ["set time_zone = '+00:00'", f"set session max_statement_time = {seconds}"]
    return []


def _kind_of(value: object) -> ColumnKind:
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, dt.datetime):
        return "instant" if value.tzinfo else "timestamp"
    if isinstance(value, dt.date):
        return "date"
    if isinstance(value, int | float | decimal.Decimal):
        return "number"
    return "text" if isinstance(value, str) else "other"
