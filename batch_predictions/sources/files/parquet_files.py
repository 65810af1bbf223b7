"""Reads Parquet files with DuckDB."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from batch_predictions.sources.base import SourceError
from batch_predictions.sources.rows.file_rows import (
    FILE_NAME,
    LINE_ERROR,
    LINE_TEXT,
    ROW_NUMBER,
    FileRows,
    validate_names,
)
from batch_predictions.warehouse.path_sql import quote_files


def read_parquet_files(
    db: duckdb.DuckDBPyConnection,
    folder: Path,
    paths: Sequence[Path],
    limit: int | None = None,
    *,
    hive_partitioning: bool = False,
) -> FileRows:
    """The rows of Parquet files, which are not copied; columns that a file lacks are null.

    Args:
        db: connection in which the relation will be read.
        folder: folder to which file names are relative.
        paths: the files.
        limit: about how many rows to read; None: all.
        hive_partitioning: whether folder names such as `date=2024-01-31` are columns.

    Raises:
        SourceError: a file is not Parquet.
    """
    for path in paths:
        validate_names(_names_of(path, folder), str(path.relative_to(folder)))
    scan = (
        f"read_parquet({quote_files(paths)}, union_by_name = true, filename = '__path', "
        f"file_row_number = true, hive_partitioning = {str(hive_partitioning).lower()})"
    )
    try:
        columns = db.execute(f"describe select * from {scan}").fetchall()
    except duckdb.Error as error:
        raise _unreadable(error, folder) from error
    types = {row[0]: row[1] for row in columns if row[0] not in ("__path", "file_row_number")}
    limit_clause = "" if limit is None else f" limit {int(limit)}"
    relation = (
        "(select * exclude (__path, file_row_number), "
        f"substr(__path, {len(str(folder)) + 2}) as {FILE_NAME}, "
        f"(file_row_number + 1)::BIGINT as {ROW_NUMBER}, null::VARCHAR as {LINE_ERROR}, "
        f"null::VARCHAR as {LINE_TEXT} from {scan}{limit_clause})"
    )
    return FileRows(relation, types)


def verify_row_count(path: Path, name: str, rows: int) -> None:
    """Compares the number of rows that were read of a file with that of its footer.

    Raises:
        SourceError: the numbers differ.
    """
    import pyarrow.parquet as pq

    written = pq.read_metadata(path).num_rows
    if rows != written:
        raise SourceError(f"{name} has {written:,} rows, but {rows:,} were read: write it again")


def _names_of(path: Path, folder: Path) -> list[str]:
    """Names of a file's columns as they are written; DuckDB renames those that repeat others."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(error, folder, path) from error


def _unreadable(error: Exception, folder: Path, path: Path | None = None) -> SourceError:
    text = str(error).splitlines()[0].replace(f"{folder}/", "")
    named = "a Parquet file" if path is None else str(path.relative_to(folder))
    return SourceError(f"{named} cannot be read: {text}; write the file again")
