"""Writes rows into declared tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from batch_predictions.tables import INTERACTIONS, Table
from batch_predictions.warehouse import Warehouse

_ARROW_TYPES = {
    "VARCHAR": pa.string(),
    "DOUBLE": pa.float64(),
    "BIGINT": pa.int64(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
    "DOUBLE[]": pa.list_(pa.float64()),
    "VARCHAR[]": pa.list_(pa.string()),
    "FLOAT[]": pa.list_(pa.float32()),
    "MAP(VARCHAR, VARCHAR)": pa.map_(pa.string(), pa.string()),
}


def arrow_rows(table: Table, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows of a declared table; columns that are not said are null."""
    schema = pa.schema([(column.name, _ARROW_TYPES[column.type]) for column in table.columns])
    return pa.Table.from_pylist([dict(row) for row in rows], schema)


def named_rows(names: str, rows: Iterable[Iterable[Any]], **values: Any) -> list[dict[str, Any]]:
    """Rows as mappings: values by the names of their columns, and values that all rows have."""
    return [{**values, **dict(zip(names.split(), row, strict=True))} for row in rows]


def event_rows(names: str, events: Iterable[Iterable[Any]], **values: Any) -> list[dict[str, Any]]:
    """Rows of raw.interactions, as `named_rows`: purchases with an id, unless it is said."""
    rows = named_rows(names, events, **{"event_type": "purchase", **values})
    return [{"event_id": f"{row['date']}-{n:06}", **row} for n, row in enumerate(rows)]


def write_events(
    warehouse: Warehouse,
    names: str,
    events: Iterable[Iterable[Any]],
    *days: dt.date,
    **values: Any,
) -> None:
    """Replaces the days of raw.interactions that have events, and further ones."""
    write_rows(warehouse, INTERACTIONS, event_rows(names, events, **values), *days)


def write_rows(
    warehouse: Warehouse,
    table: Table,
    rows: pa.Table | Iterable[Mapping[str, Any]],
    *partitions: dt.date,
) -> None:
    """Replaces a table's partitions that have rows, and further ones, which may be empty."""
    rows = rows if isinstance(rows, pa.Table) else arrow_rows(table, rows)
    if not table.partition:
        warehouse.replace_partition(table, None, rows)
        return
    keys = sorted({*rows[table.partition].to_pylist(), *partitions})
    with warehouse.connect() as db:
        db.register("written_rows", rows)
        warehouse.replace_partitions(
            table, [str(key) for key in keys], "select * from written_rows", db=db
        )
