"""The warehouse: DuckDB over one Parquet file per partition, replaced atomically.

`Warehouse` reads and replaces partitions, `partition_files` gives the paths of their files and
compares them, `schema_sql` generates views, casts and checks from the declared tables.
"""

from batch_predictions.warehouse.partition_files import scratch_dir
from batch_predictions.warehouse.schema_sql import WarehouseError
from batch_predictions.warehouse.warehouse import Rows, Warehouse, WriteResult, as_date

__all__ = ["Rows", "Warehouse", "WarehouseError", "WriteResult", "as_date", "scratch_dir"]
