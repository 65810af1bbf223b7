"""Derives the columns of declared tables that the columns of a query are computed from.

Derived from the query by sqlglot, with the declared columns. As usual for column lineage, a column
is computed from those in its expression, not from those that rows are joined, filtered or grouped
by. Of a query that sqlglot does not understand whole, nothing is said.

Results are kept in `<home>/warehouse/.column_lineage.json`, since a query takes up to .3 s.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeAlias

from batch_predictions.core.durability import atomic_write
from batch_predictions.tables import TABLES
from batch_predictions.warehouse.schema_sql import tables_in
from batch_predictions.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from sqlglot.expressions import Expr
    from sqlglot.lineage import Node

FILE_NAME = ".column_lineage.json"
Lineage: TypeAlias = dict[str, list[str]]
"""By column of a query, `schema.table.column` of what it is computed from, sorted."""

_log = logging.getLogger(__name__)


def table_lineage(warehouse: Warehouse, name: str, sql: str) -> Lineage | None:
    """The column lineage of a table that one query makes; see `read_lineage`.

    Args:
        warehouse: which keeps the lineage from call to call.
        name: the table's name, under which it is kept.
        sql: the query.
    """
    known = read_lineage(warehouse, name, {"rows": sql})
    return known["rows"] if known else None


def read_lineage(
    warehouse: Warehouse, name: str, queries: Mapping[str, str]
) -> dict[str, Lineage] | None:
    """The lineage of each of a table's queries, kept from an earlier call if nothing has changed.

    Args:
        warehouse: with the file of what is known.
        name: of the table that the queries compute, under which the result is kept.
        queries: SQL by name.

    Returns:
        None if the lineage of one of them is not known.
    """
    fingerprint = _fingerprint(queries)
    entry = _read(warehouse).get(name)
    if entry is None or entry["fingerprint"] != fingerprint:
        entry = {
            "fingerprint": fingerprint,
            "queries": {query: query_lineage(sql) for query, sql in queries.items()},
        }
        # Another process may have written others meanwhile, which would only be derived again.
        content = json.dumps({**_read(warehouse), name: entry}, sort_keys=True)
        warehouse.folder.mkdir(parents=True, exist_ok=True)
        atomic_write(warehouse.folder / FILE_NAME, content)
    lineages: dict[str, Lineage | None] = entry["queries"]
    known = {query: lineage for query, lineage in lineages.items() if lineage is not None}
    return known if len(known) == len(lineages) else None


def query_lineage(sql: str) -> Lineage | None:
    """The lineage of a query over declared tables; None if it cannot be derived.

    A column has no entries if it is computed from no column: a count of rows, a parameter.
    """
    from sqlglot import parse_one
    from sqlglot.lineage import lineage

    schema: dict[str, dict[str, dict[str, str]]] = {}
    for table in TABLES.values():
        types = {column.name: column.type for column in table.columns}
        schema.setdefault(table.schema, {})[table.name] = types
    try:
        tree = _without_named_windows(parse_one(sql, dialect="duckdb"))
        # Without `trim_selects`, which is for figures, it takes half the time.
        nodes = lineage(None, tree, schema=schema, dialect="duckdb", trim_selects=False)
        return {column: sorted(set(_sources(node))) for column, node in nodes.items()}
    except Exception as error:  # A fault of the parser must not fail the table.
        _log.debug("no column lineage: %s\n%s", error, sql)
        return None


def _without_named_windows(tree: Expr) -> Expr:
    """A query with the windows of its WINDOW clauses where they are used.

    Raises:
        ValueError: it has `columns(…)`, which stands for columns that sqlglot does not know.
    """
    from sqlglot import exp

    if tree.find(exp.Columns):
        raise ValueError("columns(…) stands for unknown columns")
    for select in tree.find_all(exp.Select):
        named = {window.name: window for window in select.args.get("windows") or ()}
        for window in select.find_all(exp.Window):
            # A window may be based on another, which has the name in `alias`.
            base = named.get(window.alias)
            while base is not None:
                for part in ("partition_by", "order"):
                    if base.args.get(part) and not window.args.get(part):
                        window.set(part, copy.deepcopy(base.args[part]))
                base = named.get(base.alias)
    return tree


def _sources(column: Node) -> Iterator[str]:
    """The columns of declared tables at the ends of a column's graph.

    Raises:
        ValueError: an end is neither such a column nor an expression without columns.
    """
    from sqlglot import exp

    for node in column.walk():
        if node.downstream:
            continue
        # Ends are columns of tables, or expressions without columns, such as a parameter.
        if isinstance(node.expression, exp.Table):
            table = TABLES[f"{node.expression.db}.{node.expression.name}"]
            name = node.name.rsplit(".", 1)[-1].strip('"')
            table.type_of(name)  # Raises if there is no such column.
            yield f"{table.qualified}.{name}"
        elif isinstance(node.expression, exp.Placeholder | exp.Star):
            raise ValueError(f"{node.name} has an unknown source")


def _fingerprint(queries: Mapping[str, str]) -> str:
    """A hash of all that the lineage of queries depends on."""
    tables = sorted(set().union(*map(tables_in, queries.values())))
    declared = [[name, [[c.name, c.type] for c in TABLES[name].columns]] for name in tables]
    values = [_version(), dict(queries), declared]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@functools.cache
def _version() -> str:
    return version("sqlglot")


def _read(warehouse: Warehouse) -> dict[str, dict[str, Any]]:
    """Known entries by table; empty if the file cannot be read."""
    try:
        entries = json.loads((warehouse.folder / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def all_sources(lineages: Iterable[Lineage]) -> list[str]:
    """The columns that any column of some queries is computed from, sorted."""
    return sorted({source for lineage in lineages for deps in lineage.values() for source in deps})
