"""Compares what DuckDB has read of delimited files with their lines, refused and lost ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb

from batch_predictions.sources.base import SourceError
from batch_predictions.sources.files.content import (
    count_lines,
    cut_off_reason,
    find_lines,
    find_long_line,
)
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal

# DuckDB's error types and the reasons of refusals. Of several errors of a line, the first is given.
_LINE_ERRORS = {
    "INVALID ENCODING": "line {line} is not UTF-8: save the file as UTF-8",
    "TOO MANY COLUMNS": "line {line} has more fields than the header: quote values that contain "
    "the delimiter",
    "MISSING COLUMNS": "line {line} has fewer fields than the header: give every line all fields",
    "UNQUOTED VALUE": "line {line} has text after a closing quote: double the quotes within a "
    "quoted value",
}
_UNCLOSED_QUOTE = (
    "a quote is opened and not closed, so that the lines after it cannot be split into rows: close "
    "it, or double it within a value"
)
_SWALLOWED_LINES = (
    "a quote is opened here and closed {breaks:,} lines later, and the lines between look like "
    "rows but are part of one value of {column!r}: remove the two quotes, or double them in a value"
)
MIN_DELIMITERS = 30
"""Delimiters in the lines of a value from which these can be rows."""
ROW_SHARE = 0.9
"""Share of the lines of a value with as many delimiters as a row has, from which they are rows."""
MIN_ROWS, MIN_LENGTH = 20, 8
"""Rows of a file, and the length that all of their last values have, such as that of times, from
which a shorter one is cut off."""
_LONG_LINE = "the line is longer than 2 MB: shorten its values, or write the file as Parquet"
_MAX_LINE_BYTES = 2_000_000


class SwallowedLinesError(SourceError):
    """A value has lines that look like rows: two stray quotes are before and after them."""


@dataclass(frozen=True)
class CsvScan:
    """The temporary tables of one scan: rows, and DuckDB's tables of refused lines.

    Attributes:
        db: connection of the tables.
        folder: folder to which file names are relative.
        names: columns of the files.
        delimiter: between values.
        header: whether the first line of a file has their names.
        suffix: of the names of the tables.
    """

    db: duckdb.DuckDBPyConnection
    folder: Path
    names: tuple[str, ...]
    delimiter: str
    header: bool
    suffix: str

    def refuse_unclosed_quote(self) -> None:
        """Raises SourceError if a quote is not closed, as far as DuckDB has noticed it."""
        row = self.db.execute(
            f"select __path, min(line) from {self._rejects} "
            "where error_type = 'LINE SIZE OVER MAXIMUM' "
            "or (error_type = 'UNQUOTED VALUE' and contains(csv_line, chr(10))) "
            "group by all order by all limit 1"
        ).fetchone()
        if row:
            self._refuse_long_line(Path(row[0]))
            raise SourceError(f"{self._name(row[0])}, line {row[1]}: {_UNCLOSED_QUOTE}")

    def create_damaged(self) -> None:
        """Creates a table of the damaged lines: path, line, csv_line, reason, nth of the file."""
        types = ", ".join(quote_literal(error_type) for error_type in _LINE_ERRORS)
        reasons = " ".join(
            f"when {quote_literal(error_type)} "
            f"then replace({quote_literal(text)}, '{{line}}', line::VARCHAR)"
            for error_type, text in _LINE_ERRORS.items()
        )
        self.db.execute(
            f"create temp table damaged_{self.suffix} as "
            "select *, row_number() over (partition by __path order by line) as nth, "
            f"case error_type {reasons} "
            "else 'line ' || line || ': ' || error_message end as reason "
            "from (select __path, line, any_value(csv_line) as csv_line, "
            f"arg_min(error_type, coalesce(list_position([{types}], error_type), 99)) "
            "as error_type, any_value(error_message) as error_message "
            f"from {self._rejects} group by 1, 2)"
        )

    def refuse_lost_lines(self, path: Path, size: int) -> None:
        """Compares the rows and damaged lines of a file with its lines, which are counted apart.

        DuckDB skips lines without a word after some damage: after a quote that is not closed, or a
        line that is longer than its buffer.

        Args:
            path: a file of the scan.
            size: its bytes before the scan.

        Raises:
            SourceError: lines of the file are in no row.
        """
        name = self._name(str(path))
        counted = count_lines(path, name)
        # Of one column, an empty line is a row; of several, it is none.
        skipped = counted.empty if len(self.names) > 1 else 0
        lines = self._rows_by_path.get(str(path), 0) + int(self.header) + skipped
        if lines == counted.lines:
            return
        breaks, empty = self._count_breaks_in_rows(path)
        if breaks:
            self._refuse_swallowed_lines(path)
        lines += breaks - (empty if len(self.names) > 1 else 0)
        if lines == counted.lines:
            return
        if path.stat().st_size != size:
            raise SourceError(f"{name} has changed while it was read: run again")
        self._refuse_long_line(path)
        [(unclosed,)] = self.db.execute(
            f"select min(line) from {self._rejects} "
            "where error_type = 'UNQUOTED VALUE' and __path = $1",
            [str(path)],
        ).fetchall()
        place = f"{name}, line {unclosed}" if unclosed else name
        numbers = f"{lines:,} of {counted.lines:,} lines could be read"
        raise SourceError(f"{place}: {_UNCLOSED_QUOTE} ({numbers})")

    def _refuse_swallowed_lines(self, path: Path) -> None:
        """Raises SwallowedLinesError if a value has many lines that look like rows."""
        expected = len(self.names) - 1
        if not expected:
            return
        cells = ", ".join(
            f"{{'name': {quote_literal(name)}, 'value': {quote_identifier(name)}}}"
            for name in self.names
        )
        delimiter = quote_literal(self.delimiter)
        row = self.db.execute(
            f"select name, lines from (select cell.name as name, __n, "
            "string_split(cell.value, chr(10)) as lines, lines[2:-2] as inner_lines from "
            f"(select __n, unnest([{cells}]) as cell from temp.rows_{self.suffix} "
            "where __path = $path) where contains(cell.value, chr(10))) "
            f"where len(inner_lines) * {expected} >= {MIN_DELIMITERS} and len(list_filter("
            f"inner_lines, lambda line: len(line) - len(replace(line, {delimiter}, '')) "
            f"= {expected})) >= {ROW_SHARE} * len(inner_lines) order by __n limit 1",
            {"path": str(path)},
        ).fetchone()
        if row:
            name, lines = row
            line = find_lines(path, lines[0], lines[1])
            place = self._name(str(path)) + (f", line {line}" if line else "")
            message = _SWALLOWED_LINES.format(breaks=len(lines) - 1, column=name)
            raise SwallowedLinesError(f"{place}: {message}")

    def find_cut_off(self, paths: Sequence[Path]) -> dict[int, str]:
        """Finds last lines that are cut off: the number `__n` of the row, and the reason.

        That of a damaged line is replaced. A last line without a line break is cut off if it has
        too few fields or a quote that is not closed, or if its last value has fewer decimals than
        those of all other rows, which have equally many, or is shorter than these, which are
        equally long.

        Args:
            paths: the files of the scan.

        Raises:
            SourceError: a compressed file is damaged.
        """
        reasons = {}
        for path in map(str, paths):
            name = self._name(path)
            counted = count_lines(Path(path), name)
            if not counted.unended.strip():
                continue
            reasons[path] = cut_off_reason(name, counted)
            text = counted.unended.decode(errors="replace").rstrip("\r")
            damaged = self.db.execute(
                f"update temp.damaged_{self.suffix} set reason = $reason where __path = $path "
                "and error_type in ('MISSING COLUMNS', 'UNQUOTED VALUE') and csv_line = $text and "
                f"line = (select max(line) from temp.damaged_{self.suffix} where __path = $path) "
                "returning 1",
                {"reason": reasons[path], "path": path, "text": text},
            ).fetchall()
            if damaged:
                del reasons[path]
        return {number: reasons[path] for path, number in self._find_short_rows([*reasons])}

    def _find_short_rows(self, paths: Sequence[str]) -> list[tuple[str, int]]:
        """Files whose last row ends with a value that is shorter than the others; its number."""
        if not paths:
            return []
        value = quote_identifier(self.names[-1])
        decimals = f"len(nullif(regexp_extract({value}, '^-?\\d+\\.(\\d+)$', 1), ''))"
        return self.db.execute(
            f"with cells as (select __path, __n, coalesce(len({value}), 0) as length, {decimals} "
            f"as decimals from temp.rows_{self.suffix} where list_contains($paths, __path)), "
            "last_cells as (select __path, max(__n) as n, arg_max(length, __n) as length, "
            "arg_max(coalesce(decimals, 0), __n) as decimals from cells group by __path) "
            "select __path, l.n from cells c join last_cells l using (__path) where c.__n < l.n "
            "group by __path, l.n, l.length, l.decimals "
            f"having count(*) >= {MIN_ROWS} and case when count(c.decimals) = count(*) "
            "then min(c.decimals) = max(c.decimals) and l.decimals < min(c.decimals) "
            f"else min(c.length) = max(c.length) and min(c.length) >= {MIN_LENGTH} "
            "and l.length < min(c.length) end",
            {"paths": paths},
        ).fetchall()

    def _refuse_long_line(self, path: Path) -> None:
        line = find_long_line(path, _MAX_LINE_BYTES)
        if line is not None:
            raise SourceError(f"{self._name(str(path))}, line {line}: {_LONG_LINE}")

    @property
    def _rejects(self) -> str:
        """SQL of the refused lines: path, line, csv_line, error_type, error_message."""
        # Where lines end in CR LF, DuckDB has the LF of the line before in the text of a line.
        return (
            "(select s.file_path as __path, r.line, ltrim(r.csv_line, chr(10)) as csv_line, "
            f"r.error_type, r.error_message from temp.rejects_{self.suffix} r "
            f"join temp.scans_{self.suffix} s using (scan_id, file_id))"
        )

    @cached_property
    def _rows_by_path(self) -> dict[str, int]:
        """Rows and damaged lines of each file."""
        counts = self.db.execute(
            "select __path, sum(rows)::BIGINT from ("
            f"select __path, count(*) as rows from temp.rows_{self.suffix} group by all union all "
            f"select __path, count(*) from temp.damaged_{self.suffix} group by all) group by all"
        ).fetchall()
        return dict(counts)

    def _count_breaks_in_rows(self, path: Path) -> tuple[int, int]:
        """Line breaks within the values and damaged lines of a file, and empty lines among them."""
        names = ", ".join(quote_identifier(name) for name in self.names)
        [counts] = self.db.execute(
            "select coalesce(sum(len(lines) - 1), 0)::BIGINT, coalesce(sum(len("
            "list_filter(lines[2:-2], lambda line: line in ('', chr(13))))), 0)::BIGINT "
            "from (select string_split(value, chr(10)) as lines from ("
            f"select unnest([{names}]) as value from temp.rows_{self.suffix} where __path = $1 "
            f"union all select csv_line from temp.damaged_{self.suffix} where __path = $1) "
            "where contains(value, chr(10)))",
            [str(path)],
        ).fetchall()
        return counts[0], counts[1]

    def _name(self, path: str) -> str:
        return path.removeprefix(f"{self.folder}/")
