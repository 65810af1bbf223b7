"""Rows that commands of the platform add to raw tables, such as ad hoc campaigns.

They are kept in `<home>/additions/<table>/`, one Parquet file per addition. Every ingest of the
table reads them again, so that they survive new snapshots. If a row of the source has the same key,
it replaces the added row.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.core.durability import fsync_folder
from batch_predictions.sources.rows.ingest_log import update_ingest_log
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.path_sql import (
    days_condition,
    quote_files,
    quote_literal,
    quote_pattern,
)


def add_manual_rows(warehouse: Warehouse, table: Table, name: str, rows: pa.Table) -> int:
    """Stores rows under a name, in place of earlier rows of the name, and writes them to the table.

    Partitions that were not ingested yet get their rows when they are.

    Args:
        warehouse: the home's warehouse.
        table: the raw table.
        name: name of the addition.
        rows: the rows, with the table's columns.

    Returns:
        The number of rows.
    """
    home = Path(warehouse.home)
    with update_ingest_log(home, table), warehouse.connect() as db:
        folder = _folder(home, table)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.parquet"
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        casts = ", ".join(f'"{c.name}"::{c.type} as "{c.name}"' for c in table.columns)
        db.register("arrow_rows", rows)
        db.execute(f"create temp table new_rows as select {casts} from arrow_rows")
        old_rows = (
            f"select {columns} from read_parquet({quote_files([path])}, hive_partitioning=false)"
            if path.exists()
            else "from temp.new_rows where false"
        )
        db.execute(f"create temp table old_rows as {old_rows}")
        draft = folder / f".{path.name}-{uuid.uuid4().hex}"
        pq.write_table(db.sql("from temp.new_rows").to_arrow_table(), draft, compression="zstd")
        draft.replace(path)
        fsync_folder(folder)
        for partition in _changed_partitions(db, warehouse, table):
            condition = "true"
            if table.partition:
                condition = f"{table.partition} = DATE {quote_literal(partition)}"
            merged = db.sql(
                f"with existing as (select {columns} from {table.qualified} where {condition} "
                f"except all select * from temp.old_rows where {condition}) from existing "
                f"union all select * from temp.new_rows where {condition}"
                f"{_without_keys_of(table, 'existing')}"
            ).to_arrow_table()
            warehouse.replace_partition(table, partition, merged)
    return rows.num_rows


def with_manual_rows(
    db: duckdb.DuckDBPyConnection,
    home: Path,
    table: Table,
    accepted: str,
    days: Sequence[str] | None,
) -> tuple[str, dict[str | None, int]]:
    """A query for the accepted rows and the added rows, and the number of added rows by partition.

    Args:
        db: the connection of the accepted rows.
        home: the home folder.
        table: the raw table.
        accepted: query for the accepted rows of the source.
        days: partitions that are ingested; None for a snapshot.
    """
    folder = _folder(home, table)
    if not any(folder.glob("*.parquet")):
        return accepted, {}
    suffix = uuid.uuid4().hex
    source_rows, manual_rows = f"source_rows_{suffix}", f"manual_rows_{suffix}"
    db.execute(f"create temp table {source_rows} as {accepted}")
    db.execute(
        f"create temp table {manual_rows} as select * "
        f"from read_parquet({quote_pattern(folder, '*.parquet')}, hive_partitioning=false) "
        f"where {days_condition(table.partition or '', days)}"
        f"{_without_keys_of(table, f'temp.{source_rows}')}"
    )
    counts = db.execute(
        f"select {table.partition or 'null'}::VARCHAR, count(*) from temp.{manual_rows} group by 1"
    ).fetchall()
    merged = f"select * from temp.{source_rows} union all by name select * from temp.{manual_rows}"
    return merged, {key: int(count) for key, count in counts}


def _folder(home: Path, table: Table) -> Path:
    return home / "additions" / table.name


def _without_keys_of(table: Table, rows: str) -> str:
    """SQL of a further condition: the row's key is not in `rows`. Empty if there is no key."""
    if not table.key:
        return ""
    key = ", ".join(f'"{name}"' for name in table.key)
    return f" and ({key}) not in (select ({key}) from {rows})"


def _changed_partitions(
    db: duckdb.DuckDBPyConnection, warehouse: Warehouse, table: Table
) -> list[str | None]:
    """The ingested partitions that `new_rows` or `old_rows` belong to."""
    if not table.partition:
        return [None] if warehouse.path(table).exists() else []
    column = table.partition
    rows = db.execute(
        f"select {column} from temp.new_rows union select {column} from temp.old_rows"
    ).fetchall()
    existing = set(warehouse.partitions(table))
    return [day for day in sorted(str(row[0]) for row in rows) if day in existing]
