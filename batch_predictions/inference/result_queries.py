"""SQL over the results of a staged partition, and the views that checks read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from batch_predictions.inference.child_tables import (
    ChildTables,
    lists_query,
    rows_query,
    validate_columns,
)
from batch_predictions.inference.results import StagingManifest, result_files
from batch_predictions.inference.scorer import EXCLUDED
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.path_sql import quote_files


def results_query(
    table: Table, manifest: StagingManifest, manifest_path: Path, child_tables: ChildTables
) -> str:
    """Builds a query for the scorer's rows of all shards, `excluded` included, without child lists.

    Args:
        table: main table of the prediction.
        manifest: of the staged partition.
        manifest_path: its file, beside which the results are found.
        child_tables: by the column of the results that holds their rows.
    """
    if manifest.shards:
        files = quote_files(result_files(manifest, manifest_path))
        options = "union_by_name=true, hive_partitioning=false"
        lists = ", ".join(f'"{column}"' for column in child_tables)
        columns = f"* exclude ({lists})" if lists else "*"
        return f"select {columns} from read_parquet({files}, {options})"
    added = {table.partition, "model_version"}
    nulls = [f"null::{c.type} as {c.name}" for c in table.columns if c.name not in added]
    return f"select {', '.join(nulls)}, null::VARCHAR as {EXCLUDED} where false"


@contextmanager
def result_views(
    warehouse: Warehouse, table: Table, manifest_path: Path, child_tables: ChildTables
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens a connection with temporary views of the results.

    The views are `staged`, `new_rows` and `excluded_rows`, and for every child table
    `lists_<column>` (the lists of scored keys) and `new_<column>` (its rows).

    Args:
        warehouse: to connect to.
        table: main table of the prediction.
        manifest_path: of the staged partition.
        child_tables: by the column of the results that holds their rows.

    Raises:
        WarehouseError: the column of a child table does not fit it.
    """
    manifest = StagingManifest.read(manifest_path)
    results = results_query(table, manifest, manifest_path, child_tables)
    files = result_files(manifest, manifest_path)
    shards = [manifest_path.parent / shard.name for shard in manifest.shards]
    with warehouse.connect() as db:
        validate_columns(db, child_tables, manifest, files)
        keys = ", ".join(manifest.key)
        views = {
            "staged": f"from read_parquet({quote_files(shards)}, hive_partitioning=false)"
            if shards
            else f"select {keys} from ({results}) where false",
            "new_rows": f"select * exclude ({EXCLUDED}) from ({results}) where {EXCLUDED} is null",
            "excluded_rows": f"select * from ({results}) where {EXCLUDED} is not null",
        }
        for column, child in child_tables.items():
            views[f"lists_{column}"] = lists_query(column, child, manifest, files)
            views[f"new_{column}"] = rows_query(column, child, manifest, files)
        for name, sql in views.items():
            db.execute(f"create temp view {name} as {sql}")
        yield db
