"""SQL of declared tables: views, casts and checks of a write; tables and parameters of a query."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from duckdb import DuckDBPyConnection

from batch_predictions.core.redaction import mask
from batch_predictions.tables import TABLES, Table
from batch_predictions.warehouse.path_sql import join_pattern, quote_files, quote_literal
from batch_predictions.warehouse.shared_database import open_cursor

# Types that are cast to a declared type without loss, as regular expressions.
_WIDENS: dict[str, str] = {
    "BIGINT": r"INTEGER|SMALLINT|TINYINT|UINTEGER|USMALLINT|UTINYINT",
    "DOUBLE": r"FLOAT|DECIMAL\(.*\)|BIGINT|INTEGER|SMALLINT|TINYINT|HUGEINT|UBIGINT|UINTEGER",
    "VARCHAR": r"ENUM\(.*\)|JSON|UUID",
    "JSON": r"VARCHAR",
    "TIMESTAMP": r"TIMESTAMP_S|TIMESTAMP_MS|TIMESTAMP_NS",
}


class WarehouseError(ValueError):
    """Rows do not fit the declaration of their table; nothing was written."""


def file_pattern(table: Table) -> str:
    """The pattern of a table's files in its folder."""
    return "/".join((*(f"{name}=*" for name in table.folders), "data.parquet"))


def empty_schema(table: Table) -> pa.Schema:
    """The Arrow types of a table's columns."""
    nulls = ", ".join(f'null::{c.type} as "{c.name}"' for c in table.columns)
    with open_cursor() as db:
        # COPY writes JSON as text.
        return db.sql(f"select {nulls.replace('::JSON', '::VARCHAR')}").to_arrow_table().schema


def view_sql(table: Table, folder: Path, *, are_files_alike: bool, scheme: str = "") -> str:
    """`create view` of a table in one line; it is typed without files and reads later ones.

    Args:
        table: a declared table.
        folder: the warehouse's folder.
        are_files_alike: whether all files have the declared columns. Else every file is opened to
            plan a query, also those that it does not read.
        scheme: of the file system by which DuckDB reads the files, such as home://.
    """
    pattern = join_pattern(folder / table.schema / table.name, file_pattern(table))
    pattern = quote_literal(scheme + pattern)
    casts = ", ".join(f'"{c.name}"::{c.type} as "{c.name}"' for c in table.columns)
    nulls = ", ".join(f'null::{c.type} as "{c.name}"' for c in table.columns)
    hive = ", ".join(f"'{name}': {table.type_of(name)}" for name in table.folders)
    hive = f", hive_partitioning=true, hive_types={{{hive}}}" if hive else ""
    union = "" if are_files_alike else "union_by_name=true, "
    return (
        f"create view {table.qualified} as select {casts} from (select {nulls} where false "
        f"union all by name select * from read_parquet({pattern}, {union}allow_empty=true{hive}))"
    )


def typed_rows(
    db: DuckDBPyConnection,
    table: Table,
    relation: str,
    bound: Mapping[str, object],
    fixed: Mapping[str, str | None],
) -> str:
    """A query for the relation's rows with the declared columns, types and order.

    Args:
        relation: a SELECT.
        bound: its parameters.
        fixed: values of the columns that the folder's name gives.

    Raises:
        WarehouseError: columns are missing, unknown or mistyped.
    """
    actual = {row[0]: row[1] for row in db.execute(f"describe {relation}", dict(bound)).fetchall()}
    declared = {column.name: column.type for column in table.columns}
    missing = [name for name in declared if name not in actual and name not in fixed]
    unknown = [name for name in actual if name not in declared]
    mistyped = [
        f"{name} is {actual[name]}, declared {declared[name]}"
        for name in declared
        if name in actual and name not in fixed and not _fits(actual[name], declared[name])
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
    for name, type_ in declared.items():
        if name in actual:
            casts.append(f'"{name}"::{type_} as "{name}"')
        elif name in fixed:
            casts.append(f'{quote_literal(fixed[name])}::{type_} as "{name}"')
    order = table.order or table.key or tuple(c.name for c in table.columns)
    by = ", ".join(f'"{name}"' for name in order if name not in fixed)
    return f"select {', '.join(casts)} from ({relation}) as rows_ order by {by}"


def check_partition_column(
    db: DuckDBPyConnection, table: Table, staged: str, partitions: Sequence[str]
) -> None:
    """Checks that every row of a temporary table is of one of the partitions.

    Args:
        db: the connection with the temporary table.
        table: the table, which has partitions.
        staged: name of the temporary table.
        partitions: the keys that rows may have, ISO dates.

    Raises:
        WarehouseError: they lack the partition column, or a row is of none of the partitions.
    """
    column = table.partition
    names = {row[0] for row in db.execute(f"describe temp.{staged}").fetchall()}
    if column not in names:
        raise WarehouseError(f"rows do not fit {table.qualified} (missing: {column})")
    stray = db.execute(
        f"select {column}, count(*) from temp.{staged} "
        f"where {column} is null or not list_contains($keys::DATE[], {column}::DATE) "
        "group by all order by all limit 1",
        {"keys": list(partitions)},
    ).fetchone()
    if stray:
        raise WarehouseError(
            f"{table.qualified}: {stray[1]} rows have {column} {stray[0]}, which is not "
            f"among the {len(partitions)} partitions written"
        )


def check_rows(
    db: DuckDBPyConnection, table: Table, draft: Path, fixed: Mapping[str, str | None]
) -> None:
    """Checks the partition columns and the key of a draft's rows.

    Args:
        db: any DuckDB connection.
        table: the table.
        draft: the Parquet file to check.
        fixed: values of the partition columns, which all rows must have.

    Raises:
        WarehouseError: it has rows of another partition, or its key is not unique.
    """
    # Hive partitioning is off: the folder's value would hide a different one in the file.
    source = f"read_parquet({quote_files([draft])}, hive_partitioning=false)"
    for name, value in fixed.items():
        stray = db.execute(
            f'select "{name}", count(*) from {source} '
            f'where "{name}" is distinct from $value::{table.type_of(name)} '
            "group by all order by all limit 1",
            {"value": value},
        ).fetchone()
        if stray:
            raise WarehouseError(
                f"{table.qualified}: {stray[1]} rows have {name} {stray[0]}, not {value}"
            )
    if table.key:
        key = ", ".join(f'"{name}"' for name in table.key)
        duplicate = db.execute(
            f"select {key}, count(*) from {source} group by {key} having count(*) > 1 limit 1"
        ).fetchone()
        if duplicate:
            raise WarehouseError(
                f"{table.qualified}: key ({', '.join(table.key)}) is not unique: "
                f"{mask(tuple(map(str, duplicate[:-1])))} occurs {duplicate[-1]} times"
            )


def fixed_columns(
    table: Table, partition: str | None, part: Mapping[str, str] | None
) -> dict[str, str | None]:
    """Values of the columns that the folder's name gives (`date=2026-11-24`).

    Args:
        table: the table.
        partition: the partition's key, an ISO date; None for a table without partitions.
        part: values of the columns that divide a partition further; None: it has no parts.
    """
    fixed: dict[str, str | None] = {}
    if table.partition:
        fixed[table.partition] = partition
    fixed.update(part or {})
    return fixed


def select_from_parquet(paths: Sequence[Path]) -> str:
    """A query for the rows of Parquet files.

    Raises:
        WarehouseError: there are no files.
    """
    if not paths:
        raise WarehouseError("there are no shards: write an empty shard for an empty partition")
    return f"select * from read_parquet({quote_files(paths)}, hive_partitioning=false)"


def _fits(actual: str, declared: str) -> bool:
    """Returns whether a column's type is the declared one, or is cast to it without loss."""
    if actual == declared or actual.strip('"') == "NULL":
        return True
    if actual.endswith("[]") and declared.endswith("[]"):
        return _fits(actual[:-2], declared[:-2])
    return re.fullmatch(_WIDENS.get(declared, "(?!)"), actual) is not None


def used_parameters(sql: str, parameters: Mapping[str, object] | None) -> dict[str, object]:
    """The parameters that occur in a query (`$name`); DuckDB refuses parameters that do not."""
    names = set(re.findall(r"\$([a-z_]\w*)", sql))
    return {name: value for name, value in (parameters or {}).items() if name in names}


def tables_in(sql: str) -> set[str]:
    """The declared tables that a query reads, from its syntax tree.

    Raises:
        ValueError: the query is not SQL.
    """
    return {name for name in _base_tables(sql) if name in TABLES}


@functools.lru_cache(maxsize=512)
def _base_tables(sql: str) -> frozenset[str]:
    """All tables that a query reads, declared or not."""
    with open_cursor() as db:
        row = db.execute("select json_serialize_sql(?::VARCHAR)", [sql]).fetchone()
    assert row is not None
    tree = json.loads(row[0])
    if tree.get("error"):
        raise ValueError(f"not a query: {tree.get('error_message')}\n{sql}")
    tables: set[str] = set()

    def walk(node: object) -> None:
        if isinstance(node, dict):
            if node.get("type") == "BASE_TABLE":
                tables.add(f"{node.get('schema_name')}.{node.get('table_name')}")
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(tree)
    return frozenset(tables)
