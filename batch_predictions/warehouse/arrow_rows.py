"""Rows of declared tables as Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa

from batch_predictions.tables import Table

_TYPES = {
    "BIGINT": pa.int64(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "DOUBLE": pa.float64(),
    "TIMESTAMP": pa.timestamp("us"),
    "VARCHAR": pa.string(),
}


def arrow_rows(table: Table, rows: Iterable[Mapping[str, object]]) -> pa.Table:
    """Rows of a partition by the types of their table's declaration.

    Columns that the names of folders give, such as the partition's, are left out. A column that a
    row lacks is null.

    Args:
        table: whose columns have the types BIGINT, BOOLEAN, DATE, DOUBLE, TIMESTAMP and VARCHAR.
        rows: by column.

    Raises:
        KeyError: a column has another type.
        pyarrow.ArrowException: a value does not fit its column.
    """
    schema = pa.schema(
        [
            (column.name, _TYPES[column.type])
            for column in table.columns
            if column.name not in table.folders
        ]
    )
    return pa.Table.from_pylist([dict(row) for row in rows], schema)
