"""The warehouse: DuckDB over one Parquet file per partition, written whole or not at all.

`Warehouse` reads and replaces partitions, `partition_files` knows where each file lies and swaps it
in, `schema_sql` turns declared tables into views, casts and checks.
"""

from batch_predictions.warehouse.schema_sql import WarehouseError
from batch_predictions.warehouse.warehouse import Rows, Warehouse, WriteResult, as_date

__all__ = ["Rows", "Warehouse", "WarehouseError", "WriteResult", "as_date"]
