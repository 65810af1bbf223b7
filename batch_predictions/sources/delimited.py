"""Delimited text into DuckDB: every value as text, damaged lines kept with their number."""

from __future__ import annotations

import csv
import gzip
import io
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from batch_predictions.sources.base import SourceError, quote_identifier, quote_literal

FILE, ROW, DAMAGE, LINE = "__source", "__row", "__damage", "__line"
"""Columns beside the data: file, row in it, what is wrong with the line, and its text."""

# Of a line with several errors, the first of these is told.
_DAMAGES = {
    "INVALID ENCODING": "line {line} is not UTF-8: save the file as UTF-8",
    "TOO MANY COLUMNS": "line {line} has more fields than the header: quote values that hold the "
    "delimiter",
    "MISSING COLUMNS": "line {line} has fewer fields than the header: give every line all fields",
    "UNQUOTED VALUE": "line {line} has text after a closing quote: double the quotes within a "
    "quoted value",
}


@dataclass(frozen=True)
class DelimitedFile:
    """Rows as read: SQL of them, with the columns beside the data, and the data's types."""

    relation: str
    types: dict[str, str]


@dataclass(frozen=True)
class Dialect:
    """How delimited files are written; `names` where they have no header."""

    names: tuple[str, ...]
    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    header: bool = True


def sniff(path: Path, name: str) -> Dialect:
    """The dialect of a file with a header, from its first record.

    Raises:
        SourceError: the file is empty, not UTF-8, or its header has no or double names.
    """
    if path.stat().st_size == 0:
        raise SourceError(f"{name} is empty (0 bytes): write at least a header, or remove it")
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(1 << 16)
    except (gzip.BadGzipFile, EOFError) as error:
        raise SourceError(f"{name} is not a whole gzip file ({error}): write it again") from None
    try:
        # A character may be cut at the end of what was read, so only whole lines are decoded.
        text = (head[: head.rfind(b"\n") + 1] or head).split(b"\n")[0].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{name}, line 1 is not UTF-8 ({error.reason}): save it as UTF-8"
        ) from None
    if "\0" in text:
        raise SourceError(f"{name}, line 1 holds zero bytes (UTF-16?): save it as UTF-8")
    headers = {each: _fields(text, each) for each in (",", "\t", ";", "|")}
    delimiter = max(headers, key=lambda each: len(headers[each]))
    names = tuple(field.strip() for field in headers[delimiter])
    if not all(names):
        raise SourceError(f"{name}, line 1 has a column without a name: name every column")
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise SourceError(f"{name}, line 1 names {', '.join(twice)} twice: rename one of them")
    return Dialect(names, delimiter)


def read_delimited(
    db: duckdb.DuckDBPyConnection,
    folder: Path,
    files: Iterable[tuple[Path, Dialect]],
    limit: int | None = None,
) -> DelimitedFile:
    """Reads files into temporary tables of `db`.

    Files of one dialect are read together; columns that some lack are null there.

    Raises:
        SourceError: a file cannot be taken apart into lines.
    """
    groups: dict[Dialect, list[Path]] = {}
    for path, dialect in files:
        groups.setdefault(dialect, []).append(path)
    parts = [_stage(db, folder, paths, dialect, limit) for dialect, paths in groups.items()]
    names = list(dict.fromkeys(name for dialect in groups for name in dialect.names))
    relation = parts[0] if len(parts) == 1 else " union all by name ".join(parts)
    return DelimitedFile(f"({relation})", dict.fromkeys(names, "VARCHAR"))


def _stage(
    db: duckdb.DuckDBPyConnection,
    folder: Path,
    paths: Sequence[Path],
    dialect: Dialect,
    limit: int | None,
) -> str:
    mark = uuid.uuid4().hex
    rows, rejects, scans = f"rows_{mark}", f"rejects_{mark}", f"scans_{mark}"
    columns = ", ".join(f"{quote_literal(name)}: 'VARCHAR'" for name in dialect.names)
    listed = ", ".join(quote_literal(path) for path in paths)
    some = f"limit {int(limit)}" if limit is not None else ""
    try:
        # The order of rows is kept, so that the number over all files, less the number of the
        # file's first, is the row's number in its file.
        db.execute(
            f"create temp table {rows} as select *, row_number() over () as __n "
            f"from read_csv([{listed}], columns = {{{columns}}}, auto_detect = false, "
            f"delim = {quote_literal(dialect.delimiter)}, quote = {quote_literal(dialect.quote)}, "
            f"escape = {quote_literal(dialect.quote)}, "
            f"encoding = {quote_literal(dialect.encoding)}, "
            f"header = {str(dialect.header).lower()}, filename = '__file', store_rejects = true, "
            f"rejects_table = '{rejects}', rejects_scan = '{scans}', rejects_limit = 0) {some}"
        )
    except duckdb.Error as error:
        raise _unreadable(error, folder, paths) from error
    _refuse_swallowed(db, folder, rejects, scans)
    skipped = 1 if dialect.header else 0
    order = ", ".join(quote_literal(each) for each in _DAMAGES)
    reason = " ".join(
        f"when {quote_literal(kind)} then replace({quote_literal(text)}, '{{line}}', line::VARCHAR)"
        for kind, text in _DAMAGES.items()
    )
    db.execute(
        f"create temp table damaged_{mark} as "
        "select *, row_number() over (partition by __file order by line) as nth, "
        f"case error_type {reason} else 'line ' || line || ': ' || error_message end as reason "
        "from (select s.file_path as __file, r.line, any_value(r.csv_line) as csv_line, "
        f"arg_min(r.error_type, coalesce(list_position([{order}], r.error_type), 99)) "
        "as error_type, any_value(r.error_message) as error_message "
        f"from temp.{rejects} r join temp.{scans} s using (scan_id, file_id) group by 1, 2)"
    )
    cut = len(str(folder)) + 2
    names = ", ".join(quote_identifier(name) for name in dialect.names)
    nulls = ", ".join(f"null::VARCHAR as {quote_identifier(name)}" for name in dialect.names)
    # The damaged lines before a row are missing from its number: they are added to it.
    return (
        f"(select {names}, substr(r.__file, {cut}) as {FILE}, "
        f"(r.__n - f.__first + coalesce(d.nth, 0) + 1)::BIGINT as {ROW}, "
        f"null::VARCHAR as {DAMAGE}, null::VARCHAR as {LINE} from temp.{rows} r "
        f"join (select __file, min(__n) as __first from temp.{rows} group by all) f "
        "on r.__file = f.__file asof left join "
        f"(select __file, line - {skipped} - nth as before, max(nth) as nth "
        f"from temp.damaged_{mark} group by all) d "
        "on r.__file = d.__file and r.__n - f.__first >= d.before "
        f"union all by name select {nulls}, substr(__file, {cut}) as {FILE}, "
        f"(line - {skipped})::BIGINT as {ROW}, reason as {DAMAGE}, csv_line as {LINE} "
        f"from temp.damaged_{mark})"
    )


def _refuse_swallowed(
    db: duckdb.DuckDBPyConnection, folder: Path, rejects: str, scans: str
) -> None:
    """Refuses a quote that is never closed: the rows within it cannot be told apart."""
    found = db.execute(
        f"select s.file_path, min(r.line) from temp.{rejects} r join temp.{scans} s "
        "using (scan_id, file_id) where r.error_type = 'LINE SIZE OVER MAXIMUM' "
        "or (r.error_type = 'UNQUOTED VALUE' and contains(r.csv_line, chr(10))) "
        "group by all order by all limit 1"
    ).fetchone()
    if found:
        raise SourceError(
            f"{_relative(found[0], folder)}, line {found[1]}: a quote is opened and not closed, so "
            "the lines after it cannot be told apart: close it, or double it within a value"
        )


def _unreadable(error: duckdb.Error, folder: Path, paths: Sequence[Path]) -> SourceError:
    text = str(error)
    named = re.search(r"file ?[=:]? ?\"?(\S+?)\"?\s", text)
    name = _relative(named[1], folder) if named and "/" in named[1] else None
    name = name or ", ".join(_relative(str(path), folder) for path in paths[:3])
    if "invalid state" in text:
        return SourceError(
            f"{name}: some lines end in CR LF and others in LF alone, or a quote stands astray: "
            "write all lines alike (dos2unix)"
        )
    return SourceError(f"{name} cannot be read: {text.splitlines()[0]}; write the file again")


def _relative(path: str, folder: Path) -> str:
    return path.removeprefix(f"{folder}/")


def _fields(line: str, delimiter: str) -> list[str]:
    return next(csv.reader(io.StringIO(line.rstrip("\r\n")), delimiter=delimiter), [])
