"""Declared tables as Arrow: their schemas, and rows of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import pyarrow as pa

from batch_predictions.tables import Table

_TYPES = {
    "BIGINT": pa.int64(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "DOUBLE": pa.float64(),
    "INTEGER": pa.int32(),
    "TIMESTAMP": pa.timestamp("us"),
    "VARCHAR": pa.string(),
    "VARCHAR[]": pa.list_(pa.string()),
}


def arrow_schema(table: Table, without: Collection[str] = ()) -> pa.Schema:
    """Builds the Arrow schema of a table's columns, in their order.

    Args:
        table: whose columns have the types BIGINT, BOOLEAN, DATE, DOUBLE, INTEGER, TIMESTAMP,
            VARCHAR and VARCHAR[].
        without: names of columns that are left out.

    Raises:
        KeyError: a column has another type.
    """
    columns = [column for column in table.columns if column.name not in without]
    return pa.schema([(column.name, _TYPES[column.type]) for column in columns])


def arrow_rows(table: Table, rows: Iterable[Mapping[str, object]]) -> pa.Table:
    """Rows of a partition by the types of their table's declaration.

    Columns that the names of folders give, such as the partition's, are left out. A column that a
    row lacks is null.

    Args:
        table: whose columns have types that `arrow_schema` takes.
        rows: by column.

    Raises:
        KeyError: a column has another type.
        pyarrow.ArrowException: a value does not fit its column.
    """
    schema = arrow_schema(table, without=table.folders)
    return pa.Table.from_pylist([dict(row) for row in rows], schema)
