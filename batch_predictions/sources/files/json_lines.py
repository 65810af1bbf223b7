"""Reads JSON Lines with DuckDB: one object a line, with nested values as columns such as `a.b`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path

import duckdb

from batch_predictions.sources.base import SourceError
from batch_predictions.sources.files.content import count_lines, cut_off_reason, read_head
from batch_predictions.sources.files.delimited import HEAD_BYTES, Dialect, read_delimited
from batch_predictions.sources.rows.file_rows import (
    FILE_NAME,
    LINE_ERROR,
    LINE_TEXT,
    ROW_NUMBER,
    FileRows,
    no_rows,
    validate_names,
)
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal

_JSON = "__json"
# A line is one value: the delimiter cannot be in JSON, and nothing is quoted.
_LINES = Dialect((_JSON,), "\x01", "", header=False)
_MAX_KEYS = 200
"""An object with more keys is one column: its keys are values, such as ids."""


def read_json_lines(
    db: duckdb.DuckDBPyConnection, folder: Path, paths: Sequence[Path], limit: int | None = None
) -> FileRows:
    """Reads files into a temporary table; all values are text, missing ones null.

    Args:
        db: connection in which the table is created.
        folder: folder to which file names are relative.
        paths: the files, which may be compressed. Files of 0 bytes have no rows.
        limit: about how many rows to read; None: all.

    Raises:
        SourceError: a file is no JSON Lines, or two keys differ only in case.
    """
    paths = [path for path in paths if path.stat().st_size]
    for path in paths:
        _refuse_array(path, str(path.relative_to(folder)))
    if not paths:
        return no_rows({})
    # All lines are read even for a sample: a key may be in the last one only.
    lines = read_delimited(db, folder, ((path, _LINES) for path in paths)).relation
    is_object = f"coalesce(json_type(case when json_valid({_JSON}) then {_JSON} end)"
    lines = (
        f"(select *, {is_object} = 'OBJECT', false) as __is_object from {lines} "
        f"where {_JSON} is not null or {LINE_ERROR} is not null)"
    )
    pointers = _pointers(db, lines)
    name = str(paths[0].relative_to(folder))
    if not pointers:
        raise SourceError(
            f"{name} has no JSON object with values in a line: write one object a line, each in "
            "one piece"
        )
    validate_names(pointers, name)
    texts = ", ".join(quote_literal(pointer) for pointer in pointers.values())
    columns = [f"__values[{n}] as {quote_identifier(name)}" for n, name in enumerate(pointers, 1)]
    suffix = uuid.uuid4().hex
    limit_clause = "" if limit is None else f" limit {int(limit)}"
    not_object = quote_literal(" is not a JSON object: write one object a line")
    cut_off = _cut_off_sql(folder, paths)
    db.execute(
        f"create temp table json_{suffix} as select {', '.join([*columns, FILE_NAME])}, "
        f"{ROW_NUMBER}, {LINE_ERROR}, {LINE_TEXT} from (select {FILE_NAME}, {ROW_NUMBER}, "
        f"case when __is_object then json_extract_string({_JSON}, [{texts}]::VARCHAR[]) end "
        f"as __values, coalesce({LINE_ERROR}, case when not __is_object "
        f"then coalesce({cut_off}, 'line ' || {ROW_NUMBER} || {not_object}) end) as {LINE_ERROR}, "
        f"case when not __is_object then coalesce({LINE_TEXT}, {_JSON}) end as {LINE_TEXT} "
        f"from {lines}{limit_clause})"
    )
    return FileRows(f"temp.json_{suffix}", dict.fromkeys(pointers, "VARCHAR"))


def _cut_off_sql(folder: Path, paths: Sequence[Path]) -> str:
    """SQL of the reason why the last line of a file without a line break is no object."""
    cases = []
    for path in paths:
        name = str(path.relative_to(folder))
        counted = count_lines(path, name)
        if counted.unended.strip():
            is_last = f"{FILE_NAME} = {quote_literal(name)} and {ROW_NUMBER} = {counted.lines}"
            cases.append(f"when {is_last} then {quote_literal(cut_off_reason(name, counted))}")
    return f"case {' '.join(cases)} end" if cases else "null"


def _pointers(db: duckdb.DuckDBPyConnection, lines: str) -> dict[str, str]:
    """Names of the columns of all lines, and the JSON pointers of their values."""
    pointers: dict[str, str] = {}
    _add_pointers(db, lines, _structure(db, lines, ""), ("", ""), pointers)
    by_lower_case: dict[str, str] = {}
    for name in pointers:
        other = by_lower_case.setdefault(name.lower(), name)
        if other != name:
            raise SourceError(
                f"JSON has the keys {other} and {name}, which differ only in case: rename one"
            )
    return pointers


def _structure(db: duckdb.DuckDBPyConnection, lines: str, pointer: str) -> dict[str, object]:
    """The keys of all objects at a pointer, nested, with the types of their values."""
    value = f"json_extract({_JSON}, {quote_literal(pointer)})" if pointer else f"{_JSON}::JSON"
    row = db.execute(
        f"select json_group_structure(value) from (select {value} as value from {lines} "
        "where __is_object) where json_type(value) = 'OBJECT'"
    ).fetchone()
    structure = json.loads(row[0]) if row and row[0] else {}
    return structure if isinstance(structure, dict) else {}


def _add_pointers(
    db: duckdb.DuckDBPyConnection,
    lines: str,
    structure: dict[str, object],
    parent: tuple[str, str],
    pointers: dict[str, str],
) -> None:
    """Adds the keys of an object; `parent` is the start of their names and of their pointers."""
    for key, value in structure.items():
        name = f"{parent[0]}{key}"
        pointer = f"{parent[1]}/{key.replace('~', '~0').replace('/', '~1')}"
        if value == "JSON":
            # Values of several types: objects in some lines, perhaps, and texts in others.
            pointers[name] = pointer
            value = _structure(db, lines, pointer)
        if isinstance(value, dict) and 0 < len(value) <= _MAX_KEYS:
            _add_pointers(db, lines, value, (f"{name}.", pointer), pointers)
        else:
            pointers[name] = pointer


def _refuse_array(path: Path, name: str) -> None:
    """Raises SourceError for a file that is one array, not lines."""
    if read_head(path, name, HEAD_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
        raise SourceError(
            f"{name} is a JSON array: write one object a line, as `jq -c '.[]' {name}` does"
        )
