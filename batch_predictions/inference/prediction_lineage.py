"""Lineage of a prediction's columns: the columns that they are computed from."""

from __future__ import annotations

from batch_predictions.inference.base import BatchPrediction
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.column_lineage import Lineage, all_sources, read_lineage

ROWS = "rows"


def prediction_lineage(
    warehouse: Warehouse, prediction: BatchPrediction, table: Table
) -> Lineage | None:
    """The lineage of a table that a prediction writes.

    The key's columns are those of the rows to score. A scorer reads these rows and the lookup
    tables whole, so that every other column is computed from all columns of both. Partition and
    model version are computed from no column.

    Args:
        warehouse: with the file of what is known.
        prediction: the declaration.
        table: its table, or a child table.

    Returns:
        None if the lineage of one of the declaration's queries is not known.
    """
    lookups = {f"lookup {name}": sql for name, sql in prediction.lookup_tables.items()}
    known = read_lineage(warehouse, prediction.table.qualified, {ROWS: prediction.rows, **lookups})
    if known is None:
        return None
    read_columns = all_sources(known.values())
    return {
        column.name: known[ROWS].get(column.name, [])
        if column.name in prediction.key
        else read_columns
        for column in table.columns
        if column.name not in (table.partition, "model_version")
    }
