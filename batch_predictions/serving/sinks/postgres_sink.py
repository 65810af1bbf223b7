"""A sink in PostgreSQL: tables with the rows of releases, and views of the current one.

One transaction writes all tables and moves the record that names the release, so that readers of
the views `current_<table>` see one release, whole, also when the writer is killed. Rows go through
ADBC's bulk ingest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import sqlalchemy as sa

from batch_predictions.core.database_url import location_of
from batch_predictions.serving.sinks.sink_tables import RELEASE_ID, SinkError, SinkTable
from batch_predictions.serving.store.snapshot import ServedRelease
from batch_predictions.serving.store.store import view_name
from batch_predictions.settings.sinks_settings import SinkSettings
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

RECORD = "batch_predictions_release"
"""Table with one row: the release whose rows the views have."""
MARK = "Written by batch_predictions: every release replaces rows."
"""Comment of the tables that sinks have made; no other table is changed."""
_LOCK = 7205759404
_TYPES: tuple[tuple[pa.DataType, str], ...] = (
    (pa.string(), "text"),
    (pa.int64(), "bigint"),
    (pa.int32(), "integer"),
    (pa.float64(), "double precision"),
    (pa.bool_(), "boolean"),
    (pa.date32(), "date"),
    (pa.timestamp("us"), "timestamp"),
    (pa.list_(pa.string()), "text[]"),
)


@dataclass(frozen=True)
class PostgresSink:
    """Writes releases into a schema of a PostgreSQL database.

    Attributes:
        url: of the database.
        settings: schema, and whether rows of earlier days stay.
    """

    url: sa.URL
    settings: SinkSettings

    @property
    def location(self) -> str:
        """The database and schema, without user and password."""
        return f"{location_of(self.url)} ({self.settings.database_schema})"

    def write(self, served: ServedRelease, tables: Sequence[SinkTable], *, force: bool) -> bool:
        """Writes a release, unless the database has it; in one transaction.

        Args:
            served: the release.
            tables: its tables that the sink gets.
            force: whether it is written even if the database has it.

        Returns:
            Whether it was written.

        Raises:
            SinkError: the database cannot be written, or has another's table of a name.
        """
        with self._transaction() as cursor:
            return _write(cursor, self.settings, served, tables, force=force)

    def erase(self, is_erased: Callable[[str], bool]) -> int:
        """Deletes the rows of users in all tables of the schema, those of earlier days too.

        Args:
            is_erased: whether a user is erased.

        Returns:
            The number of ids of users of which rows were deleted.

        Raises:
            SinkError: the database cannot be written.
        """
        schema = self.settings.database_schema
        with self._transaction() as cursor:
            cursor.execute(
                f"select table_name from ({_columns_sql(schema)}) as stored "
                f"where column_name = 'user_id' and mark = {quote_literal(MARK)}"
            )
            erased: set[str] = set()
            for (name,) in cursor.fetchall():
                target = f"{quote_identifier(schema)}.{quote_identifier(name)}"
                cursor.execute(f"select distinct user_id from {target}")
                users = [user for (user,) in cursor if is_erased(user)]
                if users:
                    condition = ", ".join(map(quote_literal, users))
                    cursor.execute(f"delete from {target} where user_id in ({condition})")
                erased.update(users)
        return len(erased)

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        try:
            from adbc_driver_manager import Error
            from adbc_driver_postgresql.dbapi import connect
        except ImportError as error:
            raise SinkError(
                f"the sink {self.location} needs ADBC: install batch_predictions with the extra sql"
            ) from error
        uri = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        try:
            with connect(uri) as connection, connection.cursor() as cursor:
                yield cursor
                connection.commit()
                return
        except Error as error:
            # Only the first line: the others quote values of rows.
            problem = str(error).splitlines()[0].replace(uri, self.location)
        # Outside of the block, so that no traceback has the driver's error.
        raise SinkError(f"the sink {self.location} cannot be written: {problem}")


def _write(
    cursor: Cursor,
    sink: SinkSettings,
    served: ServedRelease,
    tables: Sequence[SinkTable],
    *,
    force: bool,
) -> bool:
    schema = quote_identifier(sink.database_schema)
    names = ",".join(sorted(table.name for table in tables))
    # Of two writers the second waits, and then finds the release.
    _execute(
        cursor,
        f"select pg_advisory_xact_lock({_LOCK})",
        f"create schema if not exists {schema}",
        f"create table if not exists {schema}.{RECORD} (id integer primary key, "
        f"{RELEASE_ID} text not null, as_of date not null, tables text not null)",
    )
    cursor.execute(f"select {RELEASE_ID}, tables from {schema}.{RECORD}")
    if cursor.fetchone() == (served.release_id, names) and not force:
        return False
    for table in tables:
        _replace_rows(cursor, sink, table)
    _execute(
        cursor,
        f"delete from {schema}.{RECORD}",
        f"insert into {schema}.{RECORD} values (1, {quote_literal(served.release_id)}, "
        f"'{served.as_of}', {quote_literal(names)})",
    )
    return True


def _replace_rows(cursor: Cursor, sink: SinkSettings, table: SinkTable) -> None:
    """Replaces what the sink has of the release's day, or of all days, by the release's rows."""
    schema, name = quote_identifier(sink.database_schema), quote_identifier(table.name)
    _ensure_table(cursor, sink.database_schema, table)
    view = quote_identifier(view_name(table.name))
    condition = "true"
    if sink.keep == "days" and table.partition:
        condition = f"{quote_identifier(table.partition)} = '{table.day}'"
        condition += f" or {RELEASE_ID} = {quote_literal(table.served.release_id)}"
    _execute(cursor, f"delete from {schema}.{name} where {condition}")
    cursor.adbc_ingest(
        table.name, table.reader(), mode="append", db_schema_name=sink.database_schema
    )
    _execute(
        cursor,
        f"create or replace view {schema}.{view} as select rows_of.* from {schema}.{name} "
        f"as rows_of join {schema}.{RECORD} as pointer using ({RELEASE_ID})",
        f"create index if not exists {quote_identifier(f'{table.name}_lookup')} on "
        f"{schema}.{name} ({', '.join(map(quote_identifier, (RELEASE_ID, table.key[0])))})",
    )


def _ensure_table(cursor: Cursor, schema: str, table: SinkTable) -> None:
    """Creates the table, or adds its missing columns.

    Raises:
        SinkError: there is a table of the name that no sink has made.
    """
    columns = {field.name: _postgres_type(field.type) for field in table.schema}
    cursor.execute(
        f"select column_name, mark from ({_columns_sql(schema)}) as stored "
        f"where table_name = {quote_literal(table.name)}"
    )
    stored = dict(cursor.fetchall())
    target = f"{quote_identifier(schema)}.{quote_identifier(table.name)}"
    if not stored:
        definitions = ", ".join(f"{quote_identifier(n)} {type_}" for n, type_ in columns.items())
        _execute(
            cursor,
            f"create table {target} ({definitions})",
            f"comment on table {target} is {quote_literal(MARK)}",
        )
        return
    if set(stored.values()) != {MARK}:
        raise SinkError(
            f"the table {schema}.{table.name} is not of a sink: set another database_schema"
        )
    for name in (name for name in columns if name not in stored):
        _execute(
            cursor, f"alter table {target} add column {quote_identifier(name)} {columns[name]}"
        )


def _columns_sql(schema: str) -> str:
    """A query for table_name, column_name and the comment `mark` of the relations of a schema."""
    return (
        "select c.relname as table_name, a.attname as column_name, "
        "obj_description(c.oid, 'pg_class') as mark from pg_class as c "
        "join pg_namespace as n on n.oid = c.relnamespace "
        "join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped "
        f"where n.nspname = {quote_literal(schema)}"
    )


def _postgres_type(type_: pa.DataType) -> str:
    return next(sql for arrow, sql in _TYPES if arrow == type_)


def _execute(cursor: Cursor, *statements: str) -> None:
    for statement in statements:
        cursor.execute(statement)
