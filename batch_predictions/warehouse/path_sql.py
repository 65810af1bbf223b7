"""Paths as SQL: DuckDB's table functions take a path as a pattern, so its characters are escaped.

A read of `/data/we[i]rd/x.parquet` reads `/data/weird/x.parquet`, and with `allow_empty` no
rows at all. COPY and ATTACH take a path as it is: those are quoted only.

Identifiers, values and dates are SQL text for what cannot be bound: queries that are embedded in
others, paths of COPY, views.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from pathlib import Path


def quote_identifier(name: str) -> str:
    """A column's name in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(value: object) -> str:
    """A value as text in single quotes."""
    return "'" + str(value).replace("'", "''") + "'"


def date_list(days: Sequence[str]) -> str:
    """Dates as SQL literals, divided by commas.

    Raises:
        ValueError: one is not an ISO date.
    """
    return ", ".join(f"DATE '{dt.date.fromisoformat(day)}'" for day in days)


def days_condition(column: str, days: Sequence[str] | None) -> str:
    """A condition that a date column is one of some days; true for all rows if `days` is None."""
    if days is None:
        return "true"
    return f"{column} in ({date_list(days)})" if days else "false"


_WILDCARDS = re.compile(r"[*?\[]")


def escape_pattern(path: Path | str) -> str:
    """A path as the pattern that fits this path alone, to be bound as a parameter.

    Raises:
        ValueError: the path has wildcards and a backslash, which DuckDB takes as a slash in
            patterns.
    """
    text = str(path)
    if "\\" in text and _WILDCARDS.search(text):
        raise ValueError(
            f"DuckDB cannot read {text}: its name has a backslash and one of * ? [ : rename it"
        )
    return _WILDCARDS.sub(lambda match: f"[{match[0]}]", text)


def quote_files(paths: Iterable[Path]) -> str:
    """A list of files as SQL, for `read_parquet` and `read_csv`; no path is taken as a pattern.

    Raises:
        ValueError: as `escape_pattern`.
    """
    return f"[{', '.join(quote_literal(escape_pattern(path)) for path in paths)}]"


def quote_pattern(folder: Path, pattern: str) -> str:
    """A pattern below a folder as SQL; the folder's own path is not taken as a pattern.

    Raises:
        ValueError: the folder's path has a backslash, which DuckDB takes as a slash in patterns.
    """
    return quote_literal(join_pattern(folder, pattern))


def join_pattern(folder: Path, pattern: str) -> str:
    """A pattern below a folder, to be bound as a parameter.

    Raises:
        ValueError: as `quote_pattern`.
    """
    if "\\" in str(folder):
        raise ValueError(f"DuckDB cannot search {folder}: its name has a backslash: rename it")
    return f"{escape_pattern(folder)}/{pattern}"
