"""SQL about declared tables: their views, the casts and checks of a write, what a query names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection
from duckdb import connect as open_database

from batch_predictions.tables import TABLES, Table

# Types that a declared column takes without loss, besides its own.
_WIDENS: dict[str, str] = {
    "BIGINT": r"INTEGER|SMALLINT|TINYINT|UINTEGER|USMALLINT|UTINYINT",
    "DOUBLE": r"FLOAT|DECIMAL\(.*\)|BIGINT|INTEGER|SMALLINT|TINYINT|HUGEINT|UBIGINT|UINTEGER",
    "VARCHAR": r"ENUM\(.*\)|JSON|UUID",
    "JSON": r"VARCHAR",
    "TIMESTAMP": r"TIMESTAMP_S|TIMESTAMP_MS|TIMESTAMP_NS",
}


class WarehouseError(ValueError):
    """Rows do not fit the table they were to be written to; nothing was written."""


def view_sql(table: Table, folder: Path) -> str:
    """One line of SQL: a view that is typed when empty and takes files that come later."""
    glob = folder / table.schema / table.name
    for name in table.folders:
        glob /= f"{name}=*"
    casts = ", ".join(f'"{c.name}"::{c.type} as "{c.name}"' for c in table.columns)
    nulls = ", ".join(f'null::{c.type} as "{c.name}"' for c in table.columns)
    hive = ", ".join(f"'{name}': {table.type_of(name)}" for name in table.folders)
    hive = f", hive_partitioning=true, hive_types={{{hive}}}" if hive else ""
    return (
        f"create view {table.qualified} as select {casts} from (select {nulls} where false "
        f"union all by name select * from read_parquet('{escape_literal(glob / 'data.parquet')}', "
        f"allow_empty=true, union_by_name=true{hive}))"
    )


def typed_rows(
    db: DuckDBPyConnection,
    table: Table,
    relation: str,
    bound: Mapping[str, Any],
    fixed: Mapping[str, str | None],
) -> str:
    """A query for the relation's rows with the declared columns, types and order."""
    there = {row[0]: row[1] for row in db.execute(f"describe {relation}", dict(bound)).fetchall()}
    wanted = {column.name: column.type for column in table.columns}
    missing = [name for name in wanted if name not in there and name not in fixed]
    unknown = [name for name in there if name not in wanted]
    mistyped = [
        f"{name} is {there[name]}, declared {wanted[name]}"
        for name in wanted
        if name in there and name not in fixed and not _fits(there[name], wanted[name])
    ]
    problems = [
        *([f"missing: {', '.join(missing)}"] if missing else []),
        *([f"not declared: {', '.join(unknown)}"] if unknown else []),
        *mistyped,
    ]
    if problems:
        raise WarehouseError(
            f"rows do not fit {table.qualified} ({'; '.join(problems)}): correct the rows, or the "
            "declaration in tables/"
        )
    casts = []
    for name, type_ in wanted.items():
        if name in there:
            casts.append(f'"{name}"::{type_} as "{name}"')
        elif name in fixed:
            casts.append(f"'{escape_literal(str(fixed[name]))}'::{type_} as \"{name}\"")
    order = table.order or table.key or tuple(c.name for c in table.columns)
    by = ", ".join(f'"{name}"' for name in order if name not in fixed)
    return f"select {', '.join(casts)} from ({relation}) as rows_ order by {by}"


def check_rows(
    db: DuckDBPyConnection, table: Table, draft: Path, fixed: Mapping[str, str | None]
) -> None:
    """Refuses a draft with rows of another partition, or whose key is not unique."""
    # Hive partitioning is off: the folder's value would hide a different one in the file.
    source = f"read_parquet('{escape_literal(draft)}', hive_partitioning=false)"
    for name, value in fixed.items():
        other = db.execute(
            f'select "{name}", count(*) from {source} '
            f'where "{name}" is distinct from $value::{table.type_of(name)} '
            "group by all order by all limit 1",
            {"value": value},
        ).fetchone()
        if other:
            raise WarehouseError(
                f"{table.qualified}: {other[1]} rows have {name} {other[0]}, not {value}"
            )
    if table.key:
        key = ", ".join(f'"{name}"' for name in table.key)
        twice = db.execute(
            f"select {key}, count(*) from {source} group by {key} having count(*) > 1 limit 1"
        ).fetchone()
        if twice:
            raise WarehouseError(
                f"{table.qualified}: key ({', '.join(table.key)}) is not unique: "
                f"{tuple(map(str, twice[:-1]))} stands {twice[-1]} times"
            )


def fixed_columns(
    table: Table, partition: str | None, part: Mapping[str, str] | None
) -> dict[str, str | None]:
    """Values of the columns that stand in the folder's name."""
    fixed: dict[str, str | None] = {}
    if table.partition:
        fixed[table.partition] = partition
    fixed.update(part or {})
    return fixed


def select_from_parquet(paths: Sequence[Path]) -> str:
    if not paths:
        raise WarehouseError("no shards were given: write an empty shard for an empty partition")
    files = ", ".join(f"'{escape_literal(path)}'" for path in paths)
    return f"select * from read_parquet([{files}], hive_partitioning=false)"


def _fits(there: str, wanted: str) -> bool:
    if there == wanted or there.strip('"') == "NULL":
        return True
    if there.endswith("[]") and wanted.endswith("[]"):
        return _fits(there[:-2], wanted[:-2])
    return re.fullmatch(_WIDENS.get(wanted, "(?!)"), there) is not None


def used_parameters(sql: str, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """The parameters that the query names; DuckDB refuses those that it does not."""
    names = set(re.findall(r"\$([a-z_]\w*)", sql))
    given = {**(parameters or {})}
    return {name: value for name, value in given.items() if name in names}


def tables_in(sql: str) -> set[str]:
    """Declared tables that a query reads, found in its syntax tree.

    Raises:
        ValueError: the query is not SQL.
    """
    with open_database() as db:
        row = db.execute("select json_serialize_sql(?::VARCHAR)", [sql]).fetchone()
    assert row is not None
    tree = json.loads(row[0])
    if tree.get("error"):
        raise ValueError(f"not a query: {tree.get('error_message')}\n{sql}")
    found: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("type") == "BASE_TABLE":
                found.add(f"{node.get('schema_name')}.{node.get('table_name')}")
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(tree)
    return {name for name in found if name in TABLES}


def escape_literal(value: object) -> str:
    """Text within single quotes in SQL, for paths, which cannot be bound in COPY and views."""
    return str(value).replace("'", "''")
