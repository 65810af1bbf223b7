"""Copies of a database's rows as Parquet files, which DuckDB reads like the files of a folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from batch_predictions.sources.rows.file_rows import (
    FILE_NAME,
    LINE_ERROR,
    LINE_TEXT,
    ROW_NUMBER,
    FileRows,
)
from batch_predictions.warehouse.path_sql import (
    escape_pattern,
    quote_files,
    quote_identifier,
    quote_literal,
)

READ_DAY = "__read_day"
"""Column of a copy with the business day of each row, if the time column cannot be compared."""


@dataclass(frozen=True)
class RowCopy:
    """Rows of a table or query of a database, in Parquet files.

    Attributes:
        name: the table's name, or `query …`: the source of the rows in reports.
        paths: the files; none if there are no rows.
        rows: number of rows.
        types: DuckDB types of the columns.
        missing: columns without values, which the files do not have.
        has_day: whether the files have the column `READ_DAY`.
        order: columns that decide the order of rows before the others.
    """

    name: str
    paths: tuple[Path, ...]
    rows: int
    types: Mapping[str, str]
    missing: tuple[str, ...] = ()
    has_day: bool = False
    order: tuple[str, ...] = ()

    def file_rows(
        self,
        condition: str = "true",
        partition_by: str | None = None,
        *,
        is_numbered: bool = True,
    ) -> FileRows:
        """The rows that meet a condition, numbered from 1 in the order of their columns.

        So the numbers do not depend on the order in which the database returns the rows.

        Args:
            condition: SQL over the columns.
            partition_by: SQL of the partition within which rows are numbered; None: all rows.
            is_numbered: False: all numbers are 0, for queries that do not need the sort.
        """
        names = [quote_identifier(name) for name in self.types]
        over = f"partition by {partition_by} " if partition_by else ""
        order = ", ".join(map(quote_identifier, dict.fromkeys([*self.order, *self.types])))
        number = f"row_number() over ({over}order by {order})" if is_numbered else "0"
        relation = (
            f"(select {', '.join(names)}, {quote_literal(self.name)} as {FILE_NAME}, "
            f"({number})::BIGINT as {ROW_NUMBER}, null::VARCHAR as {LINE_ERROR}, "
            f"null::VARCHAR as {LINE_TEXT} from {self.scan()} where {condition})"
        )
        return FileRows(relation, dict(self.types))

    def scan(self) -> str:
        """SQL of the rows that can follow `from`; columns without values are null."""
        if not self.paths:
            nulls = ", ".join(f"null::VARCHAR as {quote_identifier(name)}" for name in self.types)
            return f"(select {nulls} where false)"
        scan = f"read_parquet({quote_files(self.paths)}, union_by_name = true, "
        scan += "hive_partitioning = false)"
        nulls = "".join(f", null::VARCHAR as {quote_identifier(name)}" for name in self.missing)
        return f"(select *{nulls} from {scan})" if nulls else scan


def copy_rows(
    name: str,
    columns: Sequence[str],
    order: Sequence[str],
    batches: Iterable[pa.RecordBatch],
    folder: Path,
) -> RowCopy:
    """Writes batches to Parquet files; a batch is a row group, and not more is in memory.

    Args:
        name: the source of the rows in reports.
        columns: the columns; those of which no batch has values are null.
        order: columns that decide the order of rows before the others.
        batches: the rows. A batch with other types than the one before it begins another file.
        folder: folder of the files; what is in it is removed.
    """
    import pyarrow.parquet as pq

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    paths: list[Path] = []
    rows = 0
    with ExitStack() as stack:
        schema, writer = None, None
        for batch in batches:
            if batch.num_rows == 0:
                continue
            if writer is None or batch.schema != schema:
                stack.close()
                paths.append(folder / f"{len(paths):05}.parquet")
                schema = batch.schema
                writer = stack.enter_context(pq.ParquetWriter(paths[-1], schema))
            writer.write_batch(batch)
            rows += batch.num_rows
    types = _types_of(paths)
    missing = tuple(column for column in columns if column not in types)
    types = {column: types.get(column, "VARCHAR") for column in columns}
    return RowCopy(name, tuple(paths), rows, types, missing if paths else (), order=tuple(order))


def _types_of(paths: Sequence[Path]) -> dict[str, str]:
    if not paths:
        return {}
    with duckdb.connect(":memory:") as db:
        rows = db.execute(
            "describe select * from read_parquet($paths, union_by_name = true, "
            "hive_partitioning = false)",
            {"paths": [escape_pattern(path) for path in paths]},
        ).fetchall()
    return {row[0]: row[1] for row in rows}
