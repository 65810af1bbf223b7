"""Copies rows of the warehouse into the store, as a stream in the order of the store's key."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import sqlalchemy as sa

from batch_predictions.serving.store.pointer import ReleaseError
from batch_predictions.serving.store.release_contents import ReleaseContents, ReleasePartition
from batch_predictions.serving.store.store import (
    ITEMS,
    RELEASES,
    USERS,
    Store,
    columns_of,
    is_json,
    key_of,
)
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse

BATCH_ROWS = 65_536
BATCHES_PER_TRANSACTION = 8
"""Commits in between let other processes write. Readers ignore a release that is not ready."""


def copy_table(
    store: Store,
    warehouse: Warehouse,
    partition: ReleasePartition,
    into: sa.Table,
    release_id: str,
    builder: str,
) -> int:
    """Copies a published partition into its store table. Returns the number of rows.

    Args:
        store: the store, opened for writing.
        warehouse: with the partition.
        partition: the rows.
        into: the table of the store.
        release_id: the release that the rows are of.
        builder: name of the process that builds the release.
    """
    table = partition.table
    key, types = key_of(table), columns_of(table)
    names = [column.name for column in into.columns if column.name in types]
    query = store_rows_sql(table, names, partition.rows_sql())
    file_order = [name for name in (table.order or table.key) if name != table.partition]
    if table.parts or list(key) != file_order[: len(key)]:
        query += " order by " + ", ".join(f'"{name}"' for name in key)
    with warehouse.stream(query, {"day": partition.key}, BATCH_ROWS) as batches:
        return _insert(store, into, ["release_id", *names], batches, release_id, builder)


def store_rows_sql(table: Table, names: Sequence[str], rows: str) -> str:
    """A query for rows as the store holds them.

    Args:
        table: the published table.
        names: its columns that the store has.
        rows: SQL of the rows, to stand after `from`.
    """
    key, types = key_of(table), columns_of(table)
    select = ", ".join(
        f'{store_expression(name, types[name], name in key)} as "{name}"' for name in names
    )
    return f"select {select} from {rows}"


def copy_users(store: Store, warehouse: Warehouse, day: str, release_id: str, builder: str) -> int:
    """Copies the day's users with their segments. Returns the number of rows.

    Args:
        store: the store, opened for writing.
        warehouse: with `features.user_segments` and `raw.users`.
        day: of the segments, an ISO date.
        release_id: the release that the rows are of.
        builder: name of the process that builds the release.
    """
    query = """
        select s.user_id, s.age_bracket, s.gender, s.location,
               case when u.signed_up_on <= $day::DATE then u.signed_up_on end::VARCHAR,
               false, false
        from features.user_segments as s left join raw.users as u using (user_id)
        where s.date = $day::DATE
        order by s.user_id
    """
    columns = [column.name for column in USERS.columns]
    with warehouse.stream(query, {"day": day}, BATCH_ROWS) as batches:
        return _insert(store, USERS, columns, batches, release_id, builder)


def copy_items(
    store: Store, warehouse: Warehouse, contents: ReleaseContents, release_id: str, builder: str
) -> int:
    """Copies the titles of items that occur in the release. Returns the number of rows.

    Args:
        store: the store, opened for writing.
        warehouse: with `raw.items`.
        contents: the published partitions, in which items occur.
        release_id: the release that the rows are of.
        builder: name of the process that builds the release.
    """
    parameters = {"day": contents.as_of.isoformat()}
    occurrences = []
    for number, partition in enumerate(contents.published):
        table = partition.table
        for name in item_columns(table):
            ids = f'unnest("{name}")' if table.type_of(name).endswith("[]") else f'"{name}"'
            occurrences.append(
                f"select distinct {ids} as item_id from {partition.rows_sql(f'day_{number}')}"
            )
            parameters[f"day_{number}"] = partition.key
    if not occurrences:
        return 0
    query = f"""
        select ids.item_id, replace(coalesce(s.title, r.title, ids.item_id), chr(0), ''),
               replace(coalesce(s.category, r.category), chr(0), '')
        from (select distinct item_id from ({" union all ".join(occurrences)})) as ids
        left join (from features.item_state where date = $day::DATE) as s using (item_id)
        left join raw.items as r using (item_id)
        where ids.item_id is not null
        order by ids.item_id
    """
    columns = [column.name for column in ITEMS.columns]
    with warehouse.stream(query, parameters, BATCH_ROWS) as batches:
        return _insert(store, ITEMS, columns, batches, release_id, builder)


def assert_ownership(db: sa.Connection, release_id: str, builder: str) -> None:
    """Locks the release's record and checks that this builder still builds it.

    Args:
        db: a writing transaction of the store.
        release_id: the release.
        builder: name of the process that builds the release.

    Raises:
        ReleaseError: another process has removed it, since it took the builder for dead.
    """
    own_record = sa.select(RELEASES.c.status).where(
        RELEASES.c.release_id == release_id,
        RELEASES.c.builder == builder,
        RELEASES.c.status == "building",
    )
    if db.execute(own_record.with_for_update()).one_or_none() is None:
        raise ReleaseError(f"release {release_id} was removed while it was built: publish again")


def _insert(
    store: Store,
    into: sa.Table,
    names: Sequence[str],
    batches: pa.RecordBatchReader,
    release_id: str,
    builder: str,
) -> int:
    """Appends batches through the database driver, which is faster than SQLAlchemy.

    Args:
        store: the store.
        into: its table.
        names: columns: the release's id, then those of the batches.
        batches: the rows.
        release_id: the release.
        builder: the process that builds it.

    Returns:
        The number of rows.
    """
    rows = 0
    columns = [into.c[name] for name in names]
    preparer = store.engine.dialect.identifier_preparer
    target = f"{preparer.format_table(into)} ({', '.join(map(preparer.format_column, columns))})"
    stream = iter(batches)
    while chunk := list(itertools.islice(stream, BATCHES_PER_TRANSACTION)):
        with store.write() as db:
            assert_ownership(db, release_id, builder)
            tuples = itertools.chain.from_iterable(_tuples(batch, release_id) for batch in chunk)
            with _without_values(into.name, db.dialect):
                _copy(db, target, len(names), tuples)
        rows += sum(batch.num_rows for batch in chunk)
    return rows


def _copy(db: sa.Connection, target: str, columns: int, rows: Iterator[tuple[object, ...]]) -> None:
    driver = db.connection.driver_connection
    assert driver is not None
    if db.dialect.name == "sqlite":
        marks = ", ".join("?" for _ in range(columns))
        driver.executemany(f"insert into {target} values ({marks})", rows)
        return
    with driver.cursor() as cursor, cursor.copy(f"copy {target} from stdin") as copy:
        for row in rows:
            copy.write_row(row)


@contextmanager
def _without_values(table: str, dialect: sa.Dialect) -> Iterator[None]:
    """Raises an error of the driver as ReleaseError: its details quote values of the row."""
    try:
        yield
    except dialect.loaded_dbapi.Error as error:
        # psycopg has PostgreSQL's message apart from its details.
        message = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
        problem = f"rows of {table} cannot be copied: {message.splitlines()[0]}"
    else:
        return
    raise ReleaseError(problem)


def _tuples(batch: pa.RecordBatch, release_id: str) -> Iterator[tuple[object, ...]]:
    return zip(
        itertools.repeat(release_id, batch.num_rows),
        *(column.to_pylist() for column in batch.columns),
        strict=True,
    )


def store_expression(name: str, type_: str, in_key: bool) -> str:
    """SQL of a column as the store holds it: no nulls in keys, times as ISO text, lists as JSON.

    Args:
        name: of the column.
        type_: its DuckDB type.
        in_key: whether the column is in the key of the store's table.
    """
    if type_ == "VARCHAR":
        return f"coalesce(\"{name}\", '')" if in_key else f'"{name}"'
    if is_json(type_):
        return f'"{name}"::VARCHAR' if type_ == "JSON" else f'to_json("{name}")::VARCHAR'
    if type_ == "DATE":
        return f'"{name}"::VARCHAR'
    if type_ == "TIMESTAMP":
        return f"strftime(\"{name}\", '%Y-%m-%d %H:%M:%S.%f')"
    return f'"{name}"'


def item_columns(table: Table) -> list[str]:
    """Columns of a published table that have ids of items, or lists of them."""
    return [
        column.name
        for column in table.columns
        if (column.name == "item_id" and column.type == "VARCHAR")
        or (column.name.endswith("item_ids") and column.type == "VARCHAR[]")
    ]
