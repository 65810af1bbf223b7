"""Rows of a release's tables by values of their columns, whole or in pages."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from batch_predictions.serving.lookup.ranked import NotPublishedError, not_published
from batch_predictions.serving.store.snapshot import ServedRelease
from batch_predictions.serving.store.store import is_json, store_table

MAX_ROWS = 2**63 - 1
"""As good as no limit."""


def read_table_rows(
    db: sa.Connection,
    served: ServedRelease,
    table_name: str,
    key: Mapping[str, Any],
    limit: int | None = None,
    after: Sequence[Any] | None = None,
) -> list[dict[str, Any]]:
    """Rows of a published table in the order of its key.

    Args:
        db: a connection, in a snapshot.
        served: the release.
        table_name: such as churn_scores.
        key: values by column; text is converted to the column's type.
        limit: number of rows at most; None: all.
        after: the key of a row, as `key_of_row` gives it, whose successors are read; None: all.

    Raises:
        NotPublishedError: the release has no such table, or the table no such column.
        ValueError: a text is not of the column's type.
    """
    table = stored_table(served, table_name)
    query = _select(served, table_name, table, key)
    if after is not None:
        columns = [table.c[name] for name in served.tables[table_name]["key"]]
        values = [_convert(c, v) for c, v in zip(columns, after, strict=True)]
        literals = [sa.literal(v, c.type) for c, v in zip(columns, values, strict=True)]
        query = query.where(sa.tuple_(*columns) > sa.tuple_(*literals))
    return _rows(db, served, table_name, query.order_by(*table.primary_key.columns).limit(limit))


def read_sorted_rows(
    db: sa.Connection,
    served: ServedRelease,
    table_name: str,
    key: Mapping[str, object],
    order: Callable[[sa.Table], Sequence[sa.ColumnElement[Any]]],
    limit: int | None = None,
    offset: int = 0,
) -> list[dict[str, object]]:
    """Rows of a published table in another order than that of its key.

    Args:
        db: a connection, in a snapshot.
        served: the release.
        table_name: such as replenishment_orders.
        key: values by column; text is converted to the column's type.
        order: what the rows of the store's table are sorted by.
        limit: number of rows at most; None: all.
        offset: number of rows to leave out at the beginning.

    Raises:
        NotPublishedError: the release has no such table, or the table no such column.
        ValueError: a text is not of the column's type.
    """
    table = stored_table(served, table_name)
    query = _select(served, table_name, table, key).order_by(*order(table))
    # SQLite has no OFFSET without LIMIT.
    rows_at_most = MAX_ROWS if limit is None else limit
    return _rows(db, served, table_name, query.limit(rows_at_most).offset(offset))


def _select(
    served: ServedRelease, table_name: str, table: sa.Table, key: Mapping[str, object]
) -> sa.Select[Any]:
    types = served.tables[table_name]["columns"]
    unknown = sorted(set(key) - set(types))
    if unknown:
        raise NotPublishedError(
            f"{table_name} has no column {', '.join(unknown)}: it has {', '.join(types)}"
        )
    conditions = [_matches(table.c[name], value) for name, value in key.items()]
    return sa.select(*(table.c[name] for name in types)).where(
        table.c.release_id == served.release_id, *conditions
    )


def _rows(
    db: sa.Connection, served: ServedRelease, table_name: str, query: sa.Select[Any]
) -> list[dict[str, Any]]:
    types = served.tables[table_name]["columns"]
    return _decode(types, [dict(zip(types, row, strict=True)) for row in db.execute(query)])


def key_of_row(served: ServedRelease, table_name: str, row: Mapping[str, object]) -> list[object]:
    """Returns the values of a row's key, dates as ISO text.

    Args:
        served: the release of the row.
        table_name: the row's table.
        row: with all columns of the key.
    """
    values = [row[name] for name in served.tables[table_name]["key"]]
    return [v.isoformat() if isinstance(v, dt.date) else v for v in values]


def stored_table(served: ServedRelease, table_name: str) -> sa.Table:
    """The store's table, with the columns that it has in a release.

    Raises:
        NotPublishedError: the release has no such table.
    """
    entry = served.tables.get(table_name)
    if entry is None:
        raise not_published(table_name, served)
    return _stored(table_name, tuple(entry["columns"].items()), tuple(entry["key"]))


def _decode(types: Mapping[str, str], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose lists, maps and JSON are decoded, in place."""
    for name in (name for name, type_ in types.items() if is_json(type_)):
        for row in rows:
            row[name] = None if row[name] is None else json.loads(row[name])
    return rows


@lru_cache(maxsize=64)
def _stored(name: str, types: tuple[tuple[str, str], ...], key: tuple[str, ...]) -> sa.Table:
    """A table by its release's manifest; cached, so that SQLAlchemy compiles each query once."""
    return store_table(name, dict(types), key)


def _matches(column: sa.Column[Any], value: object) -> sa.ColumnElement[bool]:
    """A condition on a column; text, as of a command line, is converted to the column's type.

    Raises:
        ValueError: the text is not of the column's type.
    """
    if value is None:
        return column == "" if column.primary_key else column.is_(None)
    return column == _convert(column, value)


def _convert(column: sa.Column[Any], value: object) -> Any:
    """A value in the column's type.

    Raises:
        ValueError: it is not of the column's type.
    """
    if isinstance(value, str):
        value = _parse(column, value)
    elif isinstance(column.type, sa.String):
        value = str(value)
    if isinstance(value, int) and not -_limit(column) <= value < _limit(column):
        raise ValueError(f"{column.name} is out of the range of its type")
    return value


def _limit(column: sa.Column[Any]) -> int:
    """The first integer that a column cannot hold."""
    bits: dict[Any, int] = {sa.SmallInteger: 15, sa.Integer: 31}
    return 2 ** bits.get(type(column.type), 63)


def _parse(column: sa.Column[Any], text: str) -> Any:
    python_type = column.type.python_type
    try:
        if python_type is bool:
            return {"true": True, "false": False}[text.casefold()]
        if python_type in (dt.date, dt.datetime):
            return python_type.fromisoformat(text)
        return python_type(text)
    except (KeyError, ValueError):
        raise ValueError(
            f"{column.name} has the type {python_type.__name__}, {text!r} is not of it"
        ) from None
