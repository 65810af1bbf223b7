"""Rows that this platform's own commands add to raw tables, beside those of the source.

An ad hoc campaign, or who was on a list that was exported, stands in no source. Such rows are kept
in `<home>/additions/<table>/`, one Parquet file an addition, and every ingest of the table takes
them in again, so that none is lost when a source is read anew. Where an addition and a row of the
source have one key, the source's row stands.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.home import fsync_folder
from batch_predictions.sources.base import day_list, quote_literal
from batch_predictions.sources.ingest_log import update_ingest_log
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse


def add_manual_rows(warehouse: Warehouse, table: Table, name: str, rows: pa.Table) -> int:
    """Keeps rows as the addition of a name, in place of its earlier ones, and shows them at once.

    Partitions that were never ingested get them when they are. Returns the number of rows.
    """
    home = Path(warehouse.home)
    with update_ingest_log(home, table):
        folder = home / "additions" / table.name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.parquet"
        before = f"select * from read_parquet({quote_literal(path)})" if path.exists() else None
        with warehouse.connect() as db:
            columns = ", ".join(f'"{each.name}"' for each in table.columns)
            casts = ", ".join(
                f'"{each.name}"::{each.type} as "{each.name}"' for each in table.columns
            )
            db.register("arrow_rows", rows)
            db.execute(f"create temp table added as select {casts} from arrow_rows")
            old = f"select {columns} from ({before})" if before else "from temp.added where false"
            db.execute(f"create temp table gone as {old}")
            draft = folder / f".{path.name}-{uuid.uuid4().hex}"
            pq.write_table(db.sql("from temp.added").to_arrow_table(), draft, compression="zstd")
            draft.replace(path)
            fsync_folder(folder)
            for partition in _partitions(db, warehouse, table):
                within = " where true"
                if table.partition:
                    within = f" where {table.partition} = DATE {quote_literal(partition)}"
                anti = _without_keys(table, "theirs")
                there = db.sql(
                    f"with theirs as (select {columns} from {table.qualified}{within} "
                    f"except all select * from temp.gone{within}) "
                    f"from theirs union all select * from temp.added{within}{anti}"
                ).to_arrow_table()
                warehouse.replace_partition(table, partition, there)
    return rows.num_rows


def manual_rows(
    db: duckdb.DuckDBPyConnection,
    home: Path,
    table: Table,
    accepted: str,
    days: Sequence[str] | None,
) -> tuple[str, dict[str | None, int]]:
    """The accepted rows of a source with the additions, and how many there are of each partition.

    Args:
        db: the connection that the accepted rows are in.
        home: the home folder.
        table: the raw table.
        accepted: SQL of the source's rows.
        days: partitions that are ingested; None for a snapshot.
    """
    folder = home / "additions" / table.name
    if not any(folder.glob("*.parquet")):
        return accepted, {}
    within = " where true" if days is None else f" where {table.partition} in ({day_list(days)})"
    mark = f"additions_{uuid.uuid4().hex}"
    files = f"read_parquet({quote_literal(folder / '*.parquet')})"
    db.execute(f"create temp table {mark}_theirs as {accepted}")
    db.execute(
        f"create temp table {mark} as select * from {files}{within}"
        + _without_keys(table, f"temp.{mark}_theirs")
    )
    by = table.partition or "null"
    counts = db.execute(f"select {by}::VARCHAR, count(*) from temp.{mark} group by 1").fetchall()
    merged = f"select * from temp.{mark}_theirs union all by name select * from temp.{mark}"
    return merged, {key: int(number) for key, number in counts}


def _without_keys(table: Table, theirs: str) -> str:
    """A condition that a row's key is not among others'; nothing for a table without a key."""
    if not table.key:
        return ""
    key = ", ".join(f'"{name}"' for name in table.key)
    return f" and ({key}) not in (select ({key}) from {theirs})"


def _partitions(
    db: duckdb.DuckDBPyConnection, warehouse: Warehouse, table: Table
) -> list[str | None]:
    """Partitions, ingested already, that an addition changes."""
    if not table.partition:
        return [None] if warehouse.path(table).exists() else []
    column = table.partition
    touched = db.execute(
        f"select {column} from temp.added union select {column} from temp.gone"
    ).fetchall()
    written = set(warehouse.partitions(table))
    return [day for day in sorted(str(row[0]) for row in touched) if day in written]
