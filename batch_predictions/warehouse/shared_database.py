"""DuckDB databases in memory that a process opens once: a connection is a cursor of one.

To open a database costs as much CPU as a hundred small queries, and a night has hundreds.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import duckdb
from dagster_duckdb import DuckDBResource

Prepare: TypeAlias = Callable[[duckdb.DuckDBPyConnection], object]

CLOSED_OPTIONS = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
}
"""Options of DuckDB with which no name in a query loads an extension, or a secret of the user."""

MAX_OPEN_DATABASES = 4
"""Of more, the least recently used one is closed, when its cursors are."""

_databases: OrderedDict[Hashable, duckdb.DuckDBPyConnection] = OrderedDict()
_lock = threading.Lock()


def open_cursor(
    config: Mapping[str, object] | None = None,
    version: Hashable = None,
    prepare: Prepare | None = None,
    catalog: str = "memory",
) -> duckdb.DuckDBPyConnection:
    """A connection of its own to a shared database, with times in UTC; the caller closes it.

    Temporary tables, registered rows and transactions are the connection's own. Functions of Python
    are not: DuckDB keeps them in the database, and calls them when the connection is gone.

    Args:
        config: of the database.
        version: of what `prepare` does; for another version, another database is opened.
        prepare: what is done with the database when it is opened, such as attaching others.
        catalog: the database in which tables are found that are named without one.
    """
    key = (repr(config), version)
    with _lock:
        try:
            return _cursor(_open(key, config, prepare), catalog)
        except duckdb.FatalException:
            # After an internal error, DuckDB refuses all further queries of the database.
            del _databases[key]
            return _cursor(_open(key, config, prepare), catalog)


def _prepare_fork() -> None:
    """Closes the databases that are not in use: a child would inherit them without their threads.

    A database without a reference is closed with its last cursor.
    """
    _lock.acquire()
    _databases.clear()


os.register_at_fork(
    before=_prepare_fork, after_in_parent=_lock.release, after_in_child=_lock.release
)


class SharedDuckDBResource(DuckDBResource):
    """Dagster's DuckDB resource, whose connections share one database of the process."""

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor of the shared database."""
        with open_cursor(self.connection_config) as cursor:
            yield cursor


def open_database(config: Mapping[str, Any] | None = None) -> duckdb.DuckDBPyConnection:
    """A database in memory that is not shared, with times in UTC; the caller closes it."""
    database = duckdb.connect(":memory:", config={**CLOSED_OPTIONS, **(config or {})})
    database.execute("set global timezone = 'UTC'")
    return database


def _open(
    key: Hashable, config: Mapping[str, object] | None, prepare: Prepare | None
) -> duckdb.DuckDBPyConnection:
    if key not in _databases:
        database = open_database(config)
        if prepare:
            prepare(database)
        _databases[key] = database
    _databases.move_to_end(key)
    while len(_databases) > MAX_OPEN_DATABASES:
        _databases.popitem(last=False)
    return _databases[key]


def _cursor(database: duckdb.DuckDBPyConnection, catalog: str) -> duckdb.DuckDBPyConnection:
    cursor = database.cursor()
    cursor.execute(f"use {catalog}")
    return cursor
