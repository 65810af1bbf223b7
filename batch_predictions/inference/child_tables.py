"""Child tables: tables that a prediction writes besides its main table, from the same scoring.

The scorer's rows have one further column per child table, a list of structs. The structs are the
child rows; their key columns are those of the row that holds the list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.inference.results import StagingManifest
from batch_predictions.inference.scorer import EXCLUDED
from batch_predictions.tables import Column, Table
from batch_predictions.warehouse.path_sql import quote_files, quote_literal
from batch_predictions.warehouse.schema_sql import WarehouseError, fixed_columns, typed_rows

ChildTables = Mapping[str, Table]
"""Child tables by the column of the scorer's rows that holds their rows."""


def declaration_errors(table: Table, key: Sequence[str], column: str, child: Table) -> list[str]:
    """Explains why a table cannot be the child table of a prediction; empty where it can.

    Args:
        table: main table of the prediction.
        key: key columns of the prediction.
        column: of the scorer's rows, which holds the child rows.
        child: the table to check.
    """
    names = [child_column.name for child_column in child.columns]
    missing = [name for name in key if name not in names]
    errors = [f"it lacks the key's {', '.join(missing)}"] if missing else []
    if child.partition != table.partition or child.parts:
        errors.append(f"it must be partitioned by {table.partition} alone")
    if not entry_columns(child, key):
        errors.append("it has no column besides the key")
    if column == EXCLUDED or column in [main_column.name for main_column in table.columns]:
        errors.append(f"{column} is another column of the scorer's rows")
    return errors


def entry_columns(child: Table, key: Sequence[str]) -> tuple[Column, ...]:
    """Columns that the structs of a list have; the engine adds the others."""
    added = {child.partition, "model_version", *key}
    return tuple(column for column in child.columns if column.name not in added)


def validate_columns(
    db: duckdb.DuckDBPyConnection,
    child_tables: ChildTables,
    manifest: StagingManifest,
    files: Sequence[Path],
) -> None:
    """Refuses results whose lists do not fit their tables, before anything is replaced.

    Args:
        db: connection to the warehouse.
        child_tables: child tables by column.
        manifest: the staged partition.
        files: results of all shards.

    Raises:
        WarehouseError: a column is missing, or its structs have missing, unknown or mistyped
            fields; the message names the table and the column.
    """
    for column, child in child_tables.items():
        _validate_schemas(column, child, manifest, files)
        try:
            typed_rows(
                db,
                child,
                rows_query(column, child, manifest, files),
                {},
                fixed_columns(child, manifest.partition, None),
            )
        except WarehouseError as error:
            raise WarehouseError(
                f"{child.qualified}, from column {column} of the scorer's rows for "
                f"{manifest.table}: {error}"
            ) from error


def rows_query(column: str, child: Table, manifest: StagingManifest, files: Sequence[Path]) -> str:
    """Builds a query for the rows of a child table; excluded keys have none.

    Args:
        column: of the results, which holds the child rows.
        child: the child table.
        manifest: of the staged partition.
        files: Parquet files of all results.
    """
    columns = [*manifest.key]
    if "model_version" in {child_column.name for child_column in child.columns}:
        columns.append(f"{quote_literal(manifest.model_version)}::VARCHAR as model_version")
    lists = lists_query(column, child, manifest, files)
    return f"select {', '.join(columns)}, unnest(lists, max_depth := 2) from ({lists})"


def lists_query(column: str, child: Table, manifest: StagingManifest, files: Sequence[Path]) -> str:
    """Builds a query for the lists of a child table: the key, and `lists`.

    Args:
        column: of the results, which holds the child rows.
        child: the child table.
        manifest: of the staged partition.
        files: Parquet files of all results.
    """
    keys = ", ".join(manifest.key)
    types = [pq.read_schema(file).field(column).type for file in files]
    if all(pa.types.is_null(type_) for type_ in types):
        fields = ", ".join(f'"{c.name}" {c.type}' for c in entry_columns(child, manifest.key))
        nulls = ", ".join(f"null::{child.type_of(name)} as {name}" for name in manifest.key)
        return f"select {nulls}, null::STRUCT({fields})[] as lists where false"
    return (
        f'select {keys}, "{column}" as lists from read_parquet({quote_files(files)}, '
        f"union_by_name=true, hive_partitioning=false) "
        f'where {EXCLUDED} is null and "{column}" is not null'
    )


def integrity_queries(child: Table, manifest: StagingManifest, lists: str) -> dict[str, str]:
    """Queries for the keys whose lists violate a rule, by what is wrong with them.

    The queries read `staged` and `excluded_keys`.

    Args:
        child: the child table.
        manifest: the staged partition.
        lists: query or relation of the lists, as `lists_query` gives it.
    """
    keys = ", ".join(manifest.key)
    equal_keys = " and ".join(f"a.{name} is not distinct from b.{name}" for name in manifest.key)
    entry_names = {column.name for column in entry_columns(child, manifest.key)}
    key_in_entry = [name for name in child.key if name in entry_names]
    queries = {
        "of {} were not scored": f"""select {keys} from ({lists}) a where not exists
            (select 1 from temp.staged b where {equal_keys}) or exists
            (select 1 from temp.excluded_keys b where {equal_keys})""",
        "of {} have more than one list": f"""select {keys} from ({lists}) group by all
            having count(*) > 1""",
    }
    if key_in_entry:
        names = ", ".join(key_in_entry)
        any_null = " or ".join(f'entry."{name}" is null' for name in key_in_entry)
        packed = ", ".join(f'"{name}" := entry."{name}"' for name in key_in_entry)
        queries[f"of {{}} have entries without {names}"] = f"""select {keys} from ({lists})
            where len(list_filter(lists, lambda entry: {any_null})) > 0"""
        # Per list, which is cheap; the write checks the key of the whole table again.
        queries[f"of {{}} have the same {names} twice"] = f"""select {keys} from ({lists})
            where len(list_distinct(list_transform(lists, lambda entry: struct_pack({packed}))))
            < len(lists)"""
    return {violation.format(child.qualified): sql for violation, sql in queries.items()}


def _validate_schemas(
    column: str, child: Table, manifest: StagingManifest, files: Sequence[Path]
) -> None:
    """Refuses results whose column of lists lacks fields, or differs in type between shards."""
    expected = [entry.name for entry in entry_columns(child, manifest.key)]
    types: set[str] = set()
    for file in files:
        schema = pq.read_schema(file)
        problem = _schema_problem(schema, column, expected)
        if problem is None and not pa.types.is_null(schema.field(column).type):
            types.add(str(schema.field(column).type))
            # DuckDB would cast numbers to text where another shard has text.
            problem = f"it is {' or '.join(sorted(types))}" if len(types) > 1 else None
        if problem:
            raise WarehouseError(
                f"{child.qualified} is written from column {column} of the scorer's rows "
                f"for {manifest.table}, a list of structs ({', '.join(expected)}): {problem}"
            )


def _schema_problem(schema: pa.Schema, column: str, expected: Sequence[str]) -> str | None:
    """Explains how a column differs from the expected list of structs; None where it fits."""
    if column not in schema.names:
        return "there is no such column"
    type_: Any = schema.field(column).type
    if pa.types.is_null(type_):
        return None
    is_list = pa.types.is_list(type_) or pa.types.is_large_list(type_)
    if not is_list or not pa.types.is_struct(type_.value_type):
        return f"it is {type_}"
    names = [field.name for field in type_.value_type]
    missing = [name for name in expected if name not in names]
    unknown = [name for name in names if name not in expected]
    problems = [*(["it lacks " + ", ".join(missing)] if missing else [])]
    problems += ["it also has " + ", ".join(unknown)] if unknown else []
    problems += ["it has a field twice"] if len(set(names)) < len(names) else []
    return " and ".join(problems) or None
