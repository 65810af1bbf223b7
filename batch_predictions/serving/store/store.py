"""The serving store's schema: one table per published table, keyed by release, and one pointer row.

A store table has the declared table's name and columns, with `release_id` instead of the partition
column and lists as JSON text. The view `current_<table>` has its rows of the release that is
served, for readers in any language. The store is SQLite by default, PostgreSQL by URL.
Applications import this module: it needs only SQLAlchemy, settings and table declarations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from batch_predictions.core.database import (
    connect,
    open_engine,
    parse_store_url,
    sqlite_file,
    use_wal,
)
from batch_predictions.core.database_url import location_of
from batch_predictions.core.read_only import StoreError, leave_for_readers
from batch_predictions.settings import Settings
from batch_predictions.tables import Table

_TYPES: dict[str, type[sa.types.TypeEngine[Any]]] = {
    "VARCHAR": sa.String,
    "BIGINT": sa.BigInteger,
    "INTEGER": sa.Integer,
    "SMALLINT": sa.SmallInteger,
    "DOUBLE": sa.Double,
    "FLOAT": sa.Double,
    "BOOLEAN": sa.Boolean,
    "DATE": sa.Date,
    "TIMESTAMP": sa.DateTime,
}
_NESTED = ("MAP(", "STRUCT(", "JSON")

_METADATA = sa.MetaData()
RELEASES = sa.Table(
    "releases",
    _METADATA,
    sa.Column("release_id", sa.String, primary_key=True),
    sa.Column("as_of", sa.Date, nullable=False),
    sa.Column("created_at", sa.DateTime, nullable=False),
    # building: incomplete; ready: the pointer may name it; removing: is being deleted.
    sa.Column("status", sa.String, nullable=False),
    sa.Column("manifest", sa.JSON, nullable=False),
    sa.Column("content_hash", sa.String, nullable=False),
    sa.Column("builder", sa.String, nullable=False),
    # Set by a roll-back; publishing the same rows again does not undo it.
    sa.Column("withdrawn_at", sa.DateTime),
)
CURRENT = sa.Table(
    "current_release",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("release_id", sa.ForeignKey("releases.release_id"), nullable=False),
    sa.Column("as_of", sa.Date, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
)
ITEMS = sa.Table(
    "items",
    _METADATA,
    sa.Column("release_id", sa.String, primary_key=True),
    sa.Column("item_id", sa.String, primary_key=True),
    sa.Column("title", sa.String),
    sa.Column("category", sa.String),
    sqlite_with_rowid=False,
)
USERS = sa.Table(
    "users",
    _METADATA,
    sa.Column("release_id", sa.String, primary_key=True),
    sa.Column("user_id", sa.String, primary_key=True),
    sa.Column("age_bracket", sa.String),
    sa.Column("gender", sa.String),
    sa.Column("location", sa.String),
    sa.Column("signed_up_on", sa.Date),
    sa.Column("simulated", sa.Boolean, nullable=False),
    # True: added by an application; the warehouse may not have the user yet.
    sa.Column("added", sa.Boolean, nullable=False),
    sqlite_with_rowid=False,
)


def key_of(table: Table) -> tuple[str, ...]:
    """The key of a store table after `release_id`, with the columns of lookups first."""
    key = [name for name in table.key if name != table.partition]
    order = [name for name in table.order if name in key]
    return (*order, *(name for name in key if name not in order))


def columns_of(table: Table) -> dict[str, str]:
    """Columns of a store table after `release_id`, with their DuckDB types."""
    return {c.name: c.type for c in table.columns if c.name != table.partition}


def is_json(duckdb_type: str) -> bool:
    """Returns whether a column is stored as JSON text: lists, maps, structs and JSON itself."""
    return duckdb_type.endswith("[]") or duckdb_type.startswith(_NESTED)


def store_table(
    name: str, columns: Mapping[str, str], key: Sequence[str], indexed: str | None = None
) -> sa.Table:
    """A table of the store.

    Args:
        name: its name.
        columns: column to DuckDB type, without the partition column.
        key: columns that are unique within a release; the first one is looked up by.
        indexed: another column that is looked up by: it gets an index.

    Raises:
        StoreError: the store uses the name itself, there is no key, or a type is not supported.
    """
    if not {name, view_name(name)}.isdisjoint(_METADATA.tables):
        raise StoreError(
            f"a published table cannot be named {name}: the store has {name} or {view_name(name)} "
            "itself"
        )
    if not key:
        raise StoreError(f"{name} has no key: declare one in tables/, or do not publish it")
    declared: list[sa.Column[Any]] = [sa.Column("release_id", sa.String, primary_key=True)]
    for column in (*key, *(column for column in columns if column not in key)):
        type_ = sa.String if is_json(columns[column]) else _TYPES.get(columns[column])
        if type_ is None:
            raise StoreError(
                f"{name}.{column} is {columns[column]}, which the serving store cannot hold: "
                f"declare one of {', '.join(_TYPES)}, a list of them, or JSON"
            )
        in_key = column in key
        declared.append(sa.Column(column, type_, primary_key=in_key, autoincrement=False))
    table = sa.Table(name, sa.MetaData(), *declared, sqlite_with_rowid=False)
    if indexed and indexed != key[0]:
        sa.Index(f"ix_{name}_{indexed}", table.c.release_id, table.c[indexed])
    return table


def declared_table(table: Table) -> sa.Table:
    """The store's table for a declared table."""
    indexed = table.order[0] if table.order and table.order[0] != table.partition else None
    return store_table(table.name, columns_of(table), key_of(table), indexed)


def view_name(table: str) -> str:
    """Returns the name of the view of a store table's rows of the current release."""
    return f"current_{table}"


def _create_view(db: sa.Connection, table: sa.Table) -> None:
    """Creates the view of the current release, or adds the table's new columns to it.

    A view has the release's day `as_of` besides the table's columns. A query of it reads the
    pointer and the rows in one snapshot, so that it sees one release, whole.
    """
    quote = db.dialect.identifier_preparer.quote
    view, create = quote(view_name(table.name)), "create or replace view"
    if db.dialect.name == "sqlite":
        db.exec_driver_sql(f"drop view if exists {view}")
        create = "create view"
    # As they are stored: PostgreSQL adds columns to a view only behind the others.
    columns = [column["name"] for column in sa.inspect(db).get_columns(table.name)]
    names = [] if "as_of" in columns else ["pointer.as_of"]
    names += [f"rows_of.{quote(column)}" for column in columns]
    db.exec_driver_sql(
        f"{create} {view} as select {', '.join(names)} from {CURRENT.name} as pointer "
        f"join {quote(table.name)} as rows_of on rows_of.release_id = pointer.release_id"
    )


def store_url(settings: Settings) -> str:
    """The URL of a home's serving store."""
    return settings.serving.url or f"sqlite:///{settings.home.absolute() / 'serving.sqlite'}"


class Store:
    """A serving store, opened for writing."""

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url, writing=True)
        parsed = parse_store_url(url)
        self.name, self.file = location_of(parsed), sqlite_file(parsed)
        if self.engine.dialect.name == "sqlite":
            use_wal(self.engine)
        self.ensure(())

    @classmethod
    def of(cls, settings: Settings) -> Store:
        """The serving store of a home folder."""
        return cls(store_url(settings))

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A writing transaction; waits for other writers."""
        with connect(self.engine) as db, db.begin():
            yield db

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A reading transaction; does not wait for writers."""
        with connect(self.engine).execution_options(reading=True) as db:
            yield db

    def ensure(self, tables: Sequence[Table]) -> dict[str, sa.Table]:
        """Creates missing tables and views and adds missing columns; changes nothing else.

        Returns:
            The store's tables by name.

        Raises:
            StoreError: a stored table has another key; the message says what to do.
        """
        declared = {table.name: declared_table(table) for table in tables}
        with self.write() as db:
            if db.dialect.name == "postgresql":
                # In PostgreSQL, `create table if not exists` of two sessions can fail.
                db.execute(sa.select(sa.func.pg_advisory_xact_lock(7205759403)))
            _METADATA.create_all(db)
            inspector = sa.inspect(db)
            stored = set(inspector.get_table_names())
            views = set(inspector.get_view_names())
            for name, table in declared.items():
                if name not in stored:
                    table.create(db)
                    continue
                key = inspector.get_pk_constraint(name)["constrained_columns"]
                if key != [column.name for column in table.primary_key]:
                    raise StoreError(
                        f"the serving store's table {name} has the key ({', '.join(key)}), the "
                        f"declaration has ({', '.join(c.name for c in table.primary_key)}): drop "
                        "the table, or choose a new store, and publish again"
                    )
                existing = {column["name"] for column in inspector.get_columns(name)}
                added = [column for column in table.columns if column.name not in existing]
                for column in added:
                    spec = sa.schema.CreateColumn(column).compile(dialect=db.dialect)
                    quoted_name = db.dialect.identifier_preparer.format_table(table)
                    db.exec_driver_sql(f"alter table {quoted_name} add column {spec}")
                if added:
                    views.discard(view_name(name))
            for table in (ITEMS, USERS, *declared.values()):
                if view_name(table.name) not in views:
                    _create_view(db, table)
        return declared

    def close(self) -> None:
        """Closes the connections. An SQLite store can be read without write access afterwards."""
        if self.file is None:
            self.engine.dispose()
        else:
            leave_for_readers(self.engine, self.file)
