"""A sink in a database: tables with the rows of releases, and views of the current one.

One transaction replaces the rows of all tables and moves the record that names the release, so that
readers of the views `current_<table>` see one release, whole, also when the writer is killed. Rows
go through ADBC's bulk ingest.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import sqlalchemy as sa

from batch_predictions.core.database_url import location_of
from batch_predictions.core.erasures import ErasedKeys
from batch_predictions.core.redaction import redact
from batch_predictions.serving.sinks.sink_files import LISTED_IDS, ROW_IDS
from batch_predictions.serving.sinks.sink_tables import RELEASE_ID, SinkError, SinkTable
from batch_predictions.serving.store.snapshot import ServedRelease
from batch_predictions.serving.store.store import view_name
from batch_predictions.settings import SourceSettings
from batch_predictions.settings.sinks_settings import SinkSettings
from batch_predictions.sources.databases.adbc import ADBC_DRIVERS
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

RECORD = "batch_predictions_release"
"""Table with one row: the release whose rows the views have."""
MARK = "Written by batch_predictions: every release replaces rows."
"""Comment of the tables that sinks have made; no other table is changed."""
_ERASED = "batch_predictions_erased"
"""Table of the ids that are erased, for as long as that takes."""
_ARROW_TYPES = (
    pa.string(),
    pa.int64(),
    pa.int32(),
    pa.float64(),
    pa.bool_(),
    pa.date32(),
    pa.timestamp("us"),
    pa.list_(pa.string()),
)


class _Dialect(NamedTuple):
    """How a kind of database is written.

    Attributes:
        types: names of types, in the order of `_ARROW_TYPES`.
        stored_name: a name as the database has it where a query does not quote it.
        begin: statements that come first, with {schema} and the literal {schema_name}.
        columns: query for table_name, column_name and the table's comment, in the tables' order.
        ddl_commits: whether a statement that changes a schema commits. Then all statements commit
            one by one, but for a transaction that moves the rows from staging tables.
        has_indexes: whether lookups need an index.
        has_erased: whether the list {column} of {table} has an id of the table {erased}.
    """

    types: Sequence[str]
    stored_name: Callable[[str], str]
    begin: Sequence[str]
    columns: str
    ddl_commits: bool
    has_indexes: bool
    has_erased: str


_DIALECTS: Mapping[str, _Dialect] = {
    "postgresql": _Dialect(
        ("text", "bigint", "integer", "double precision", "boolean", "date", "timestamp", "text[]"),
        str,
        (
            # Of two writers the second waits, and then finds the release.
            "select pg_advisory_xact_lock(7205759404)",
            "create schema if not exists {schema}",
            "set local search_path to {schema}",
        ),
        "select c.relname, a.attname, obj_description(c.oid, 'pg_class') from pg_class as c "
        "join pg_namespace as n on n.oid = c.relnamespace "
        "join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped "
        "where n.nspname = {schema_name} order by a.attnum",
        ddl_commits=False,
        has_indexes=True,
        has_erased="{column} && array(select id from {erased})",
    ),
    "snowflake": _Dialect(
        ("varchar", "bigint", "integer", "double", "boolean", "date", "timestamp_ntz", "array"),
        str.upper,
        ("create schema if not exists {schema}", "use schema {schema}"),
        "select c.table_name, c.column_name, t.comment from information_schema.columns as c "
        "join information_schema.tables as t "
        "on t.table_schema = c.table_schema and t.table_name = c.table_name "
        "where c.table_schema = {schema_name} order by c.ordinal_position",
        ddl_commits=True,
        has_indexes=False,
        has_erased="{column}::varchar in (select {column}::varchar from {table}, "
        "lateral flatten(input => {column}) as listed "
        "where listed.value::varchar in (select id from {erased}))",
    ),
}
DATABASES = tuple(_DIALECTS)
"""Backends of the URLs of sinks in databases."""


@dataclass(frozen=True)
class SqlSink:
    """Writes releases into a schema of a database.

    Attributes:
        url: of the database; its backend is one of `DATABASES`.
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
        with self._writer() as writer:
            return writer.write(served, tables, force=force)

    def erase(self, keys: ErasedKeys) -> None:
        """Deletes the rows of users in all tables of the schema, those of earlier days too.

        Args:
            keys: whose rows are removed.

        Raises:
            SinkError: the database cannot be written.
        """
        with self._writer() as writer:
            writer.erase(keys)

    def remove_old_versions(self) -> None:
        """Removes what deleted rows have left in PostgreSQL's files.

        Raises:
            SinkError: the database cannot be reached.
        """
        if self.url.get_backend_name() == "postgresql":
            with self._writer(autocommit=True) as writer:
                writer.vacuum()

    @contextmanager
    def _writer(self, *, autocommit: bool = False) -> Iterator[_SchemaWriter]:
        backend = self.url.get_backend_name()
        driver = ADBC_DRIVERS[backend]
        try:
            from adbc_driver_manager import Error

            connect = importlib.import_module(f"{driver.module}.dbapi").connect
        except ImportError as error:
            raise SinkError(
                f"the sink {self.location} needs ADBC: install batch_predictions with the extra "
                f"{driver.extra}"
            ) from error
        arguments, dialect = driver.arguments(self.url, SourceSettings()), _DIALECTS[backend]
        autocommit = autocommit or dialect.ddl_commits
        try:
            with (
                connect(**arguments, autocommit=autocommit) as connection,
                connection.cursor() as cursor,
            ):
                yield _SchemaWriter(cursor, self.settings, dialect)
                if not autocommit:
                    connection.commit()
                return
        except Error as error:
            # Only the first line: the others quote values of rows.
            problem = redact(str(error).splitlines()[0], filter(None, [self.url.password]))
        # Outside of the block, so that no traceback has the driver's error.
        raise SinkError(f"the sink {self.location} cannot be written: {problem}")


class _SchemaWriter:
    """Writes tables of a schema through one connection.

    Args:
        cursor: of the connection.
        sink: schema, and whether rows of earlier days stay.
        dialect: of the database.
    """

    def __init__(self, cursor: Cursor, sink: SinkSettings, dialect: _Dialect) -> None:
        self._cursor, self._sink, self._dialect = cursor, sink, dialect
        schema = quote_literal(dialect.stored_name(sink.database_schema))
        for statement in dialect.begin:
            self._execute(
                statement.format(schema=self._name(sink.database_schema), schema_name=schema)
            )
        self._stored: dict[str, list[str]] = {}
        self._marked: set[str] = set()
        cursor.execute(dialect.columns.format(schema_name=schema))
        for table, column, mark in cursor.fetchall():
            self._stored.setdefault(table, []).append(column)
            if mark == MARK:
                self._marked.add(table)

    def write(self, served: ServedRelease, tables: Sequence[SinkTable], *, force: bool) -> bool:
        """Replaces the rows of tables, unless they are those of the release."""
        names = ",".join(sorted(table.name for table in tables))
        record, text = self._name(RECORD), self._dialect.types[0]
        self._execute(
            f"create table if not exists {record} (id integer primary key, "
            f"{RELEASE_ID} {text} not null, as_of date not null, tables {text} not null)"
        )
        self._cursor.execute(f"select {RELEASE_ID}, tables from {record}")
        if self._cursor.fetchone() == (served.release_id, names) and not force:
            return False
        for table in tables:
            self._prepare(table)
        if self._dialect.ddl_commits:
            for table in tables:
                self._ingest(table, _incoming(table.name))
            self._execute("begin")
        for table in tables:
            self._replace_rows(table)
        self._execute(
            f"delete from {record}",
            f"insert into {record} values (1, {quote_literal(served.release_id)}, "
            f"'{served.as_of}', {quote_literal(names)})",
        )
        if self._dialect.ddl_commits:
            dropped = [f"drop table {self._name(_incoming(table.name))}" for table in tables]
            self._execute("commit", *dropped)
        return True

    def erase(self, keys: ErasedKeys) -> None:
        """Deletes the rows of users, by statements that have no id: databases keep these.

        Lists that have an id, of earlier days, are emptied.
        """
        for table in sorted(self._marked):
            target = quote_identifier(table)
            for column in ROW_IDS + LISTED_IDS:
                name = self._dialect.stored_name(column)
                if name not in self._stored[table]:
                    continue
                quoted, ids = quote_identifier(name), {*keys.review_ids}
                if column in ROW_IDS:
                    self._cursor.execute(f"select distinct {quoted} from {target}")
                    ids = keys.erased(column, [id_ for (id_,) in self._cursor.fetchall()])
                if ids:
                    self._erase_ids(target, column, ids)
        # Also one that a killed erasure has left.
        self._execute(f"drop table if exists {self._name(_ERASED)}")

    def _erase_ids(self, target: str, column: str, ids: Collection[str]) -> None:
        """Deletes the rows of a table that have ids in a column, or empties lists of ids."""
        stored_name, name = self._dialect.stored_name, self._name(column)
        kind = "transient" if self._dialect.ddl_commits else "unlogged"
        erased = self._name(_ERASED)
        self._execute(
            f"drop table if exists {erased}",
            f"create {kind} table {erased} ({self._name('id')} {self._dialect.types[0]})",
        )
        rows = pa.table({stored_name("id"): sorted(ids)})
        self._cursor.adbc_ingest(stored_name(_ERASED), rows, mode="append")
        if column in ROW_IDS:
            self._execute(f"delete from {target} where {name} in (select id from {erased})")
            return
        condition = self._dialect.has_erased.format(column=name, table=target, erased=erased)
        self._execute(f"update {target} set {name} = null where {condition}")

    def vacuum(self) -> None:
        """Removes what deleted rows have left in the files of tables."""
        for table in sorted(self._marked):
            schema = self._name(self._sink.database_schema)
            self._execute(f"vacuum {schema}.{quote_identifier(table)}")

    def _prepare(self, table: SinkTable) -> None:
        """Creates the table and its view, or adds the missing columns to them.

        Raises:
            SinkError: there is a table of the name that no sink has made.
        """
        types = dict(zip(_ARROW_TYPES, self._dialect.types, strict=True))
        columns = {f.name: types[f.type] for f in table.schema}
        stored_name, target = self._dialect.stored_name, self._name(table.name)
        stored = self._stored.get(stored_name(table.name), [])
        if not stored:
            definitions = ", ".join(f"{self._name(n)} {type_}" for n, type_ in columns.items())
            create, mark = f"create table {target} ({definitions})", quote_literal(MARK)
            if self._dialect.ddl_commits:
                # At once: a table without its mark would be taken for another's.
                self._execute(f"{create} comment = {mark}")
            else:
                self._execute(create, f"comment on table {target} is {mark}")
        elif stored_name(table.name) not in self._marked:
            raise SinkError(
                f"the table {self._sink.database_schema}.{table.name} was not written by a sink: "
                "set another database_schema"
            )
        missing = [name for name in columns if stored_name(name) not in stored]
        for name in missing if stored else ():
            self._execute(f"alter table {target} add column {self._name(name)} {columns[name]}")
        selected = [*map(quote_identifier, stored), *map(self._name, missing)]
        self._execute(
            f"create or replace view {self._name(view_name(table.name))} as select "
            f"{', '.join(f'rows_of.{name}' for name in selected)} from {target} as rows_of "
            f"join {self._name(RECORD)} as pointer "
            f"on rows_of.{self._name(RELEASE_ID)} = pointer.{self._name(RELEASE_ID)}"
        )
        if self._dialect.has_indexes:
            key = ", ".join(map(self._name, (RELEASE_ID, table.key[0])))
            index = self._name(f"{table.name}_lookup")
            self._execute(f"create index if not exists {index} on {target} ({key})")
        if self._dialect.ddl_commits:
            incoming = self._name(_incoming(table.name))
            # Marked, so that erasures find it where a write is killed.
            self._execute(
                f"create or replace transient table {incoming} like {target}",
                f"comment on table {incoming} is {quote_literal(MARK)}",
            )

    def _replace_rows(self, table: SinkTable) -> None:
        """Replaces what the sink has of the release's day, or of all days, by the new rows."""
        target, condition = self._name(table.name), "true"
        if self._sink.keep == "days" and table.partition:
            condition = f"{self._name(table.partition)} = '{table.day}' or "
            condition += f"{self._name(RELEASE_ID)} = {quote_literal(table.served.release_id)}"
        self._execute(f"delete from {target} where {condition}")
        if not self._dialect.ddl_commits:
            self._ingest(table, table.name)
            return
        columns = ", ".join(map(self._name, table.schema.names))
        incoming = self._name(_incoming(table.name))
        self._execute(f"insert into {target} ({columns}) select {columns} from {incoming}")

    def _ingest(self, table: SinkTable, name: str) -> None:
        self._cursor.adbc_ingest(self._dialect.stored_name(name), table.reader(), mode="append")

    def _name(self, name: str) -> str:
        return quote_identifier(self._dialect.stored_name(name))

    def _execute(self, *statements: str) -> None:
        for statement in statements:
            self._cursor.execute(statement)


def _incoming(name: str) -> str:
    """Name of the staging table with the rows that a table is to have."""
    return f"{name}_incoming"
