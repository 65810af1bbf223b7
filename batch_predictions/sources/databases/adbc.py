"""Connections by ADBC, which returns Arrow batches: PostgreSQL, SQLite, Snowflake, BigQuery."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
    BigQueryDialect,
    ColumnKind,
    SnowflakeDialect,
    SqlDialect,
    SqliteDialect,
)

_SNOWFLAKE = "adbc.snowflake.sql."
_BIGQUERY = "adbc.bigquery.sql."


@dataclass(frozen=True)
class AdbcDriver:
    """The ADBC driver of a kind of database, with its arguments and its SQL dialect.

    Attributes:
        module: the driver's Python module.
        extra: extra of this package that installs it.
        dialect: of its SQL.
        arguments: keyword arguments of the driver's `connect`.
        statements: statements that begin a read-only transaction with a snapshot.
    """

    module: str
    extra: str
    dialect: type[SqlDialect]
    arguments: Callable[[sa.URL, SourceSettings], dict[str, Any]]
    statements: Callable[[SourceSettings], list[str]] = lambda settings: []


def _postgres_arguments(url: sa.URL, settings: SourceSettings) -> dict[str, object]:
    options = {
        "connect_timeout": str(settings.connect_timeout_seconds),
        "application_name": APPLICATION_NAME,
        "keepalives_idle": "30",
    }
    url = url.set(drivername="postgresql").update_query_dict({**options, **url.query})
    return {"uri": url.render_as_string(hide_password=False)}


def _postgres_statements(settings: SourceSettings) -> list[str]:
    return [
        "set transaction isolation level repeatable read, read only",
        "set local timezone = 'UTC'",
        f"set local statement_timeout = {settings.statement_timeout_seconds * 1000}",
    ]


def _sqlite_arguments(url: sa.URL, settings: SourceSettings) -> dict[str, object]:
    path = Path(url.database or "")
    if not path.is_file():
        raise SourceError(
            f"source.url names the SQLite file {path.absolute()}, which does not exist: write "
            "sqlite:////absolute/path or sqlite:///relative/path"
        )
    return {"uri": f"{path.absolute().as_uri()}?mode=ro"}


def _snowflake_arguments(url: sa.URL, settings: SourceSettings) -> dict[str, object]:
    database, _, schema = (url.database or "").partition("/")
    options = {
        "username": url.username,
        "password": url.password,
        f"{_SNOWFLAKE}account": url.host,
        f"{_SNOWFLAKE}db": database,
        f"{_SNOWFLAKE}schema": schema,
        f"{_SNOWFLAKE}client_option.login_timeout": f"{settings.connect_timeout_seconds}s",
        f"{_SNOWFLAKE}client_option.app_name": APPLICATION_NAME,
    }
    for name, value in url.query.items():
        # warehouse, role, and options of the driver by their full names.
        options[name if "." in name else f"{_SNOWFLAKE}{name}"] = str(value)
    return {"db_kwargs": {name: str(value) for name, value in options.items() if value}}


def _snowflake_statements(settings: SourceSettings) -> list[str]:
    return [
        "alter session set timezone = 'UTC'",
        f"alter session set statement_timeout_in_seconds = {settings.statement_timeout_seconds}",
    ]


def _bigquery_arguments(url: sa.URL, settings: SourceSettings) -> dict[str, object]:
    options = {
        f"{_BIGQUERY}project_id": url.host,
        f"{_BIGQUERY}dataset_id": url.database,
        f"{_BIGQUERY}auth_type": f"{_BIGQUERY}auth_type.auth_bigquery",
    }
    for name, value in url.query.items():
        if name == "credentials_path":
            options[f"{_BIGQUERY}auth_type"] = f"{_BIGQUERY}auth_type.json_credential_file"
            options[f"{_BIGQUERY}auth_credentials"] = str(value)
        else:
            options[name if "." in name else f"{_BIGQUERY}{name}"] = str(value)
    return {"db_kwargs": {name: value for name, value in options.items() if value}}


ADBC_DRIVERS = {
    "postgresql": AdbcDriver(
        "adbc_driver_postgresql", "sql", SqlDialect, _postgres_arguments, _postgres_statements
    ),
    "sqlite": AdbcDriver("adbc_driver_sqlite", "sql", SqliteDialect, _sqlite_arguments),
    "snowflake": AdbcDriver(
        "adbc_driver_snowflake",
        "snowflake",
        SnowflakeDialect,
        _snowflake_arguments,
        _snowflake_statements,
    ),
    "bigquery": AdbcDriver(
        "adbc_driver_bigquery", "bigquery", BigQueryDialect, _bigquery_arguments
    ),
}
"""Drivers by the backend of the URL."""

_NO_TRANSACTIONS = ("snowflake", "bigquery")
"""Backends that are read without a transaction: their statements see a snapshot each."""


class AdbcConnection(DatabaseConnection):
    """A connection by ADBC."""

    def __init__(self, url: DatabaseUrl, settings: SourceSettings) -> None:
        driver = ADBC_DRIVERS[url.backend]
        super().__init__(driver.dialect())
        self._backend = url.backend
        module = importlib.import_module(f"{driver.module}.dbapi")
        arguments = driver.arguments(url.url, settings)
        is_autocommit = url.backend in _NO_TRANSACTIONS
        self._connection = module.connect(**arguments, autocommit=is_autocommit)
        try:
            for statement in driver.statements(settings):
                with self._connection.cursor() as cursor:
                    cursor.execute(statement)
        except BaseException:
            self.close()
            raise

    def columns(self, relation: str) -> dict[str, DatabaseColumn]:
        """The columns, from the Arrow schema of a query without rows."""
        with self._connection.cursor() as cursor:
            cursor.execute(f"select * from {relation} where 1 = 0")
            schema = cursor.fetch_arrow_table().schema
        return {field.name: self._column(field) for field in schema}

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """All rows of a query with a small result."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return [tuple(row) for row in cursor.fetchall()]

    def batches(self, sql: str, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """The driver's batches; of PostgreSQL, about 16 MiB each."""
        if limit is not None:
            sql += self.dialect.limit(limit) or ""
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            yield from cursor.fetch_record_batch()

    def close(self) -> None:
        """Ends the transaction and the connection."""
        self._connection.close()

    def _column(self, field: pa.Field) -> DatabaseColumn:
        name = self.dialect.column(field.name)
        if self._backend == "sqlite":
            # A column of SQLite may have values of several types: all are read as text.
            return DatabaseColumn("dynamic", self.dialect.as_text(name))
        postgres_type = (field.metadata or {}).get(b"POSTGRESQL:type")
        if postgres_type == b"money":
            # Its Arrow values are hundredths.
            return DatabaseColumn("other", f"{name}::numeric::text")
        if postgres_type == b"numeric":
            # It has no Arrow type.
            return DatabaseColumn("number", self.dialect.as_text(name))
        kind = _kind_of(field.type)
        if kind == "other":
            return DatabaseColumn(kind, self.dialect.as_text(name))
        if self._backend == "postgresql" and kind in ("instant", "timestamp", "date"):
            # Arrow has no infinite times.
            return DatabaseColumn(kind, f"case when isfinite({name}) then {name} end")
        return DatabaseColumn(kind, name)


def _kind_of(type_: pa.DataType) -> ColumnKind:
    if pa.types.is_timestamp(type_):
        return "instant" if type_.tz else "timestamp"
    if pa.types.is_date(type_):
        return "date"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "number"
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return "text"
    # Truth values are read as they are; anything else is read as text.
    return "flag" if pa.types.is_boolean(type_) else "other"
