"""Reads delimited text with DuckDB: all values as text, damaged lines with their number."""

from __future__ import annotations

import csv
import io
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from batch_predictions.sources.base import SourceError
from batch_predictions.sources.files.content import read_head
from batch_predictions.sources.files.csv_scan import CsvScan
from batch_predictions.sources.rows.file_rows import (
    FILE_NAME,
    LINE_ERROR,
    LINE_TEXT,
    ROW_NUMBER,
    FileRows,
    validate_names,
)
from batch_predictions.warehouse.path_sql import quote_files, quote_identifier, quote_literal

HEAD_BYTES = 1 << 20
"""How much of a file is read for its header."""


_SIGNATURES = {
    b"PK\x03\x04": "a zip archive or an Excel workbook: name it .zip, or save the table as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save the table as CSV",
    b"PAR1": "a Parquet file: name it .parquet",
    b"\x1f\x8b": "compressed with gzip: name it .gz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: name it .zst",
    b"SQLite format 3": "a SQLite database: read it with source.kind: sql",
    b"%PDF": "a PDF document: save the table as CSV",
    b"\x89PNG": "an image",
    b"<": "a web page or XML: was it downloaded without signing in?",
}
"""First bytes of files that are no text with columns, and what they are."""


@dataclass(frozen=True)
class Dialect:
    """The format of delimited files; `names` are the names of the columns."""

    names: tuple[str, ...]
    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    header: bool = True


def sniff_dialect(path: Path, name: str) -> Dialect:
    """The dialect of a UTF-8 file with a header, which may be compressed.

    Args:
        path: the file.
        name: its name in messages.

    Raises:
        SourceError: the file is empty or not UTF-8, or a name in its header is empty or repeated.
    """
    header = _read_header(path, name)
    fields_by_delimiter = {
        delimiter: _split_fields(header, delimiter) for delimiter in (",", "\t", ";", "|")
    }
    delimiter = max(fields_by_delimiter, key=lambda key: len(fields_by_delimiter[key]))
    names = tuple(field.strip() for field in fields_by_delimiter[delimiter])
    if not all(names):
        raise SourceError(f"{name}, line 1 has a column without a name: name every column")
    validate_names(names, name)
    repeated = sorted(column for column, count in Counter(names).items() if count > 1)
    if repeated:
        raise SourceError(f"{name}, line 1 names {', '.join(repeated)} twice: rename one of them")
    return Dialect(names, delimiter)


def read_delimited(
    db: duckdb.DuckDBPyConnection,
    folder: Path,
    files: Iterable[tuple[Path, Dialect]],
    limit: int | None = None,
) -> FileRows:
    """Reads files into temporary tables; columns that a file lacks are null.

    Args:
        db: connection in which the tables are created.
        folder: folder to which file names are relative.
        files: the files and their dialects; files of one dialect are read together.
        limit: about how many rows of each dialect to read; None: all.

    Raises:
        SourceError: a file cannot be split into lines.
    """
    paths_by_dialect: dict[Dialect, list[Path]] = {}
    for path, dialect in files:
        paths_by_dialect.setdefault(dialect, []).append(path)
    relations = [
        _read_dialect(db, folder, paths, dialect, limit)
        for dialect, paths in paths_by_dialect.items()
    ]
    names = dict.fromkeys(name for dialect in paths_by_dialect for name in dialect.names)
    return FileRows(f"({' union all by name '.join(relations)})", dict.fromkeys(names, "VARCHAR"))


def _read_dialect(
    db: duckdb.DuckDBPyConnection,
    folder: Path,
    paths: Sequence[Path],
    dialect: Dialect,
    limit: int | None,
) -> str:
    """Reads files of one dialect; returns SQL of the rows and of the damaged lines."""
    suffix = uuid.uuid4().hex
    rows, damaged = f"temp.rows_{suffix}", f"temp.damaged_{suffix}"
    sizes = {path: path.stat().st_size for path in paths}
    try:
        _create_rows(db, paths, dialect, limit, suffix)
    except duckdb.Error as error:
        raise _read_error(error, folder, paths) from error
    scan = CsvScan(db, folder, dialect.names, dialect.delimiter, dialect.header, suffix)
    scan.refuse_unclosed_quote()
    scan.create_damaged()
    line_error = "null::VARCHAR"
    if limit is None:
        for path, size in sizes.items():
            scan.refuse_lost_lines(path, size)
        if cut_off := scan.find_cut_off(paths) if dialect.header else {}:
            cases = " ".join(f"when {n} then {quote_literal(text)}" for n, text in cut_off.items())
            line_error = f"case r.__n {cases} end"
    header_lines = 1 if dialect.header else 0
    file_name = f"{len(str(folder)) + 2}) as {FILE_NAME}"
    names = ", ".join(quote_identifier(name) for name in dialect.names)
    nulls = ", ".join(f"null::VARCHAR as {quote_identifier(name)}" for name in dialect.names)
    # DuckDB does not number damaged lines with the others: a row's number in its file is its number
    # among the file's undamaged rows, plus the number of damaged lines before it.
    return (
        f"(select {names}, substr(r.__path, {file_name}, "
        f"(r.__n - f.__first + coalesce(d.damaged_lines, 0) + 1)::BIGINT as {ROW_NUMBER}, "
        f"{line_error} as {LINE_ERROR}, null::VARCHAR as {LINE_TEXT} from {rows} r "
        f"join (select __path, min(__n) as __first from {rows} group by all) f "
        "on r.__path = f.__path asof left join "
        f"(select __path, line - {header_lines} - nth as rows_before, max(nth) as damaged_lines "
        f"from {damaged} group by all) d "
        "on r.__path = d.__path and r.__n - f.__first >= d.rows_before "
        f"union all by name select {nulls}, substr(__path, {file_name}, "
        f"(line - {header_lines})::BIGINT as {ROW_NUMBER}, reason as {LINE_ERROR}, "
        f"csv_line as {LINE_TEXT} from {damaged})"
    )


def _create_rows(
    db: duckdb.DuckDBPyConnection,
    paths: Sequence[Path],
    dialect: Dialect,
    limit: int | None,
    suffix: str,
) -> None:
    """Creates a table of the undamaged rows, numbered over all files, and DuckDB's error tables."""
    columns = ", ".join(f"{quote_literal(name)}: 'VARCHAR'" for name in dialect.names)
    limit_clause = f"limit {int(limit)}" if limit is not None else ""
    db.execute(
        f"create temp table rows_{suffix} as select *, row_number() over () as __n "
        f"from read_csv({quote_files(paths)}, columns = {{{columns}}}, auto_detect = false, "
        f"delim = {quote_literal(dialect.delimiter)}, quote = {quote_literal(dialect.quote)}, "
        f"escape = {quote_literal(dialect.quote)}, encoding = {quote_literal(dialect.encoding)}, "
        f"header = {str(dialect.header).lower()}, filename = '__path', store_rejects = true, "
        f"rejects_table = 'rejects_{suffix}', rejects_scan = 'scans_{suffix}', rejects_limit = 0) "
        f"{limit_clause}"
    )


def _read_error(error: duckdb.Error, folder: Path, paths: Sequence[Path]) -> SourceError:
    """An error of DuckDB as one that names the file and the remedy."""
    text = str(error)
    match = re.search(r"file ?[=:]? ?\"?(\S+?)\"?\s", text)
    if match and "/" in match[1]:
        name = _relative(match[1], folder)
    else:
        name = ", ".join(_relative(str(path), folder) for path in paths[:3])
    if "invalid state" in text:
        return SourceError(
            f"{name}: some lines end in CR LF and others in LF alone, or a quote is not escaped: "
            "give all lines the same ending (dos2unix)"
        )
    return SourceError(f"{name} cannot be read: {text.splitlines()[0]}; write the file again")


def _read_header(path: Path, name: str) -> str:
    """The first line of a file."""
    if path.stat().st_size == 0:
        raise SourceError(f"{name} is empty (0 bytes): write at least a header, or remove it")
    head = read_head(path, name, HEAD_BYTES)
    if len(head) == HEAD_BYTES and b"\n" not in head:
        raise SourceError(f"{name}, line 1 is longer than 1 MB: write a header with fewer columns")
    for signature, what in _SIGNATURES.items():
        if head.lstrip().startswith(signature):
            raise SourceError(f"{name} is {what}")
    try:
        # Only complete lines are decoded: the last character that was read may be incomplete.
        header = (head[: head.rfind(b"\n") + 1] or head).split(b"\n")[0].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{name}, line 1 is not UTF-8 ({error.reason}): save it as UTF-8, or set "
            "source.encoding, such as cp1252"
        ) from None
    if "\r" in header.rstrip("\r"):
        raise SourceError(
            f"{name}: lines end in CR alone: convert them to LF, such as with mac2unix"
        )
    if "\0" in header:
        raise SourceError(
            f"{name}, line 1 contains zero bytes (UTF-16?): save it as UTF-8, or set "
            "source.encoding"
        )
    if not header.strip():
        raise SourceError(f"{name} has an empty first line: name the columns in it")
    return header


def _relative(path: str, folder: Path) -> str:
    return path.removeprefix(f"{folder}/")


def _split_fields(line: str, delimiter: str) -> list[str]:
    line = line.rstrip("\r\n")
    try:
        return next(csv.reader(io.StringIO(line), delimiter=delimiter), [])
    except csv.Error:
        return [line]  # Without the delimiter, the line is one field, which may be too long.
