"""Runs SQL of settings, which may use the rows or files of a source and nothing else.

A query runs in a DuckDB connection that can read one folder. It names files of the folder and its
own subqueries, no catalogue of DuckDB. A condition names columns of its row: it has no subquery, so
that no function of tables can stand in it. Both call only functions that DuckDB declares to be
consistent, which read no setting, secret or clock, so that a second run gives the same rows.

DuckDB is in memory here.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from batch_predictions.settings import DuckDBSettings
from batch_predictions.sources.base import SourceError
from batch_predictions.warehouse.path_sql import escape_pattern, quote_literal
from batch_predictions.warehouse.shared_database import CLOSED_OPTIONS, open_cursor


def connect_memory(
    limits: DuckDBSettings | None = None, spill: Path | None = None, **options: bool
) -> duckdb.DuckDBPyConnection:
    """A connection whose temporary tables are gone when it is closed; times are in UTC.

    Args:
        limits: memory and threads; None: two threads, for small queries.
        spill: folder of what does not fit into memory; None: DuckDB's default.
    """
    config: dict[str, str | bool | int | float | list[str]] = {"threads": 2, **CLOSED_OPTIONS}
    if limits is not None:
        config |= limits.config()
    if spill is not None:
        config["temp_directory"] = str(spill)
    db = duckdb.connect(":memory:", config=config)
    # DuckDB would draw its bar on the standard output.
    db.execute("set enable_progress_bar = false; set timezone = 'UTC'")
    return db


@contextmanager
def as_source_errors(rows: str) -> Iterator[None]:
    """Raises errors of DuckDB in the block as SourceError, such as that of a damaged page.

    Args:
        rows: what is read, for the message.
    """
    try:
        yield
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise SourceError(
            f"{rows} cannot be read ({reason}): if a file is damaged, write it again"
        ) from error


_TABLE_FUNCTIONS = frozenset({"unnest", "range", "generate_series", "parquet_scan"})
"""Functions of tables that a query may call, besides those whose names begin with `read_`."""
_CONSISTENT = "CONSISTENT"
Tree = dict[str, Any]


class SandboxError(ValueError):
    """SQL of a setting is no SELECT or condition, or names what it may not read."""


def connect_sandbox(
    folder: Path, scratch: Path, limits: DuckDBSettings
) -> duckdb.DuckDBPyConnection:
    """A connection that can read a folder, spill to another, and do nothing else outside.

    Args:
        folder: the source's folder.
        scratch: folder of what does not fit into memory.
        limits: memory and threads.
    """
    db = connect_memory(limits, scratch)
    # A pattern must begin with an allowed folder as it is written, a file with the folder's name.
    allowed = ", ".join(map(quote_literal, {str(folder): 1, escape_pattern(folder): 1}))
    db.execute("set python_enable_replacements = false")
    db.execute(f"set allowed_directories = [{allowed}]")
    db.execute("set enable_external_access = false")
    db.execute("set lock_configuration = true")
    return db


def parse_select(sql: str) -> Tree:
    """The syntax tree of a query, as DuckDB writes it.

    Raises:
        SandboxError: it is not one SELECT, names a table that is neither a file nor one of its
            subqueries, or calls a function whose result does not depend on its arguments alone.
    """
    tree = _parse(sql)
    subqueries = {
        entry["key"].lower() for node in _nodes(tree) for entry in _entries(node.get("cte_map"))
    }
    for node in _nodes(tree):
        kind = node.get("type")
        if kind == "BASE_TABLE":
            name = ".".join(node["qualified_name"]["path"])
            is_file = len(node["qualified_name"]["path"]) == 1 and is_file_name(name)
            if not is_file and name.lower() not in subqueries:
                raise SandboxError(f"it reads {name}, and may read files of source.path only")
        elif kind == "TABLE_FUNCTION":
            called = node["function"]["function_name"].lower()
            if called not in _TABLE_FUNCTIONS and not called.startswith("read_"):
                raise SandboxError(f"it calls {called}, and may read files of source.path only")
        elif kind == "SHOW_REF" and not node.get("query"):
            raise SandboxError("it shows what DuckDB has, and may read files of source.path only")
    _validate_functions(tree)
    return tree


def is_file_name(name: str) -> bool:
    """Returns whether a name after `from` is a file: others are names of subqueries."""
    return "." in name or "/" in name or "*" in name


def validate_condition(condition: str, columns: Collection[str] | None = None) -> None:
    """Checks an SQL condition over the columns of a row.

    Args:
        condition: the condition.
        columns: names of the columns; None: they are not known yet.

    Raises:
        SandboxError: it is not one expression, has a subquery, or calls a function whose result
            does not depend on its arguments alone.
    """
    try:
        duckdb.SQLExpression(condition)  # refuses anything but expressions
    except duckdb.Error as error:
        raise SandboxError(str(error).splitlines()[0]) from error
    tree = _parse(f"select 1 from r where ({condition}\n)")
    if any(node.get("class") == "SUBQUERY" for node in _nodes(tree)):
        raise SandboxError("it has a subquery, and may use columns of the row only")
    _validate_functions(tree, columns)


def column_names(expression: str) -> list[str]:
    """The names of the columns of a valid expression, in lower case, without parameters of lambdas.

    Args:
        expression: SQL over the columns of a row.
    """
    nodes = list(_nodes(_parse(f"select 1 from r where ({expression}\n)")))
    lambdas = [node for node in nodes if node.get("class") == "LAMBDA"]
    parameters = {id(part) for node in lambdas for part in _nodes(node["lhs"])}
    bound = {n["column_names"][0] for n in nodes if id(n) in parameters and "column_names" in n}
    names = [n["column_names"][0] for n in nodes if n.get("class") == "COLUMN_REF"]
    return list(dict.fromkeys(name.lower() for name in names if name not in bound))


def _validate_functions(tree: Tree, columns: Collection[str] | None = ()) -> None:
    known = {name.lower() for name in columns or ()}
    for node in _nodes(tree):
        if node.get("class") in ("FUNCTION", "WINDOW"):
            name = node["function_name"].lower()
            if not _is_consistent(name):
                raise SandboxError(f"it calls {name}, whose result changes or is unknown")
        elif columns is not None and node.get("class") == "COLUMN_REF":
            names = node["column_names"]
            name = names[0].lower()
            # Such as current_date, which is a function unless there is a column of the name.
            is_function = len(names) == 1 and name not in known and name in _functions()
            if is_function and not _is_consistent(name):
                raise SandboxError(f"it calls {name}, whose result changes")


@functools.cache
def _is_consistent(name: str) -> bool:
    """Returns whether a function's result depends on its arguments alone, as DuckDB declares it.

    A macro has no declaration: all that it calls must be consistent, and it must read no table.
    """
    for kind, stability, definition in _functions().get(name, ()):
        if kind == "macro" and definition:
            tree = _parse(f"select ({definition})")
            if any(node.get("class") == "SUBQUERY" for node in _nodes(tree)):
                continue
            called = {n["function_name"] for n in _nodes(tree) if n.get("class") == "FUNCTION"}
            if all(called_name != name and _is_consistent(called_name) for called_name in called):
                return True
        elif stability == _CONSISTENT or kind in ("table", "table_macro"):
            # Functions of tables are judged where they stand.
            return True
    return False


@functools.cache
def _functions() -> dict[str, list[tuple[str, str | None, str | None]]]:
    """Kind, stability and a macro's definition of DuckDB's functions, by name."""
    functions: dict[str, list[tuple[str, str | None, str | None]]] = {}
    with open_cursor() as db:
        rows = db.execute(
            "select distinct lower(function_name), function_type, stability, macro_definition "
            "from duckdb_functions()"
        ).fetchall()
    for name, *function in rows:
        functions.setdefault(name, []).append((function[0], function[1], function[2]))
    return functions


def _parse(sql: str) -> Tree:
    with open_cursor() as db:
        [(text,)] = db.execute("select json_serialize_sql($1::VARCHAR)", [sql]).fetchall()
    tree: Tree = json.loads(text)
    if tree["error"] or len(tree["statements"]) != 1:
        reason = str(tree.get("error_message", "there are several statements")).splitlines()[0]
        raise SandboxError(f"it is not one SELECT ({reason})")
    return tree


def _nodes(tree: object) -> Iterator[Tree]:
    """All objects of a syntax tree, each before those in it."""
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _entries(map_: Tree | None) -> list[Tree]:
    entries: list[Tree] = (map_ or {}).get("map", [])
    return entries
