"""Reads files of one format, with the columns that the names of their folders give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import duckdb

from batch_predictions.sources.base import SourceError
from batch_predictions.sources.files.content import verify_gzip
from batch_predictions.sources.files.delimited import read_delimited, sniff_dialect
from batch_predictions.sources.files.json_lines import read_json_lines
from batch_predictions.sources.files.parquet_files import read_parquet_files
from batch_predictions.sources.files.patterns import FileFormat, path_columns
from batch_predictions.sources.rows.file_rows import FILE_NAME, FileRows
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal


def read_files(
    db: duckdb.DuckDBPyConnection,
    folder: Path,
    paths: Sequence[Path],
    format_: FileFormat,
    limit: int | None,
) -> FileRows:
    """The rows of files of one format.

    Folders such as `dt=2026-01-03` give a column `dt`, which replaces one of that name in the file.

    Args:
        db: connection in which the relation will be read.
        folder: folder to which file names are relative.
        paths: the files; the same columns are in all of their paths.
        format_: their format.
        limit: about how many rows to read; None: all.

    Raises:
        SourceError: a file cannot be read.
    """
    names = [str(path.relative_to(folder)) for path in paths]
    if format_ != "json":
        for path, name in zip(paths, names, strict=True):
            if path.stat().st_size == 0:
                raise SourceError(
                    f"{name} is empty (0 bytes): write at least a header, or remove it"
                )
    for path, name in zip(paths, names, strict=True):
        verify_gzip(path, name)
    columns = path_columns(names[0])
    if format_ == "parquet":
        return read_parquet_files(db, folder, paths, limit, hive_partitioning=bool(columns))
    if format_ == "json":
        rows = read_json_lines(db, folder, paths, limit)
    else:
        dialects = [sniff_dialect(path, name) for path, name in zip(paths, names, strict=True)]
        rows = read_delimited(db, folder, zip(paths, dialects, strict=True), limit)
    return _with_path_columns(rows, list(columns)) if columns else rows


def _with_path_columns(rows: FileRows, names: list[str]) -> FileRows:
    lower_names = {name.lower() for name in names}
    replaced = [name for name in rows.types if name.lower() in lower_names]
    exclude = f" exclude ({', '.join(map(quote_identifier, replaced))})" if replaced else ""
    values = ", ".join(
        f"nullif(url_decode(regexp_extract({FILE_NAME}, "
        f"'(?:^|/)' || regexp_escape({quote_literal(name)}) || '=([^/]*)/', 1)), "
        f"'__HIVE_DEFAULT_PARTITION__') as {quote_identifier(name)}"
        for name in names
    )
    types = {name: type_ for name, type_ in rows.types.items() if name not in replaced}
    return replace(
        rows,
        relation=f"(select *{exclude}, {values} from {rows.relation})",
        types=types | dict.fromkeys(names, "VARCHAR"),
    )
