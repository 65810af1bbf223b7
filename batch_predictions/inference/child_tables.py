"""Companion tables: what a prediction keeps beside its main table, from the same scoring.

The scorer's rows have a further column for each, a list of structs. Its entries are the rows of the
companion table, and its key columns are those of the row that the list stands on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.inference.scorer import EXCLUDED
from batch_predictions.inference.staging import StagingManifest
from batch_predictions.tables import Column, Table
from batch_predictions.warehouse.schema_sql import (
    WarehouseError,
    escape_literal,
    fixed_columns,
    typed_rows,
)

ChildTables = Mapping[str, Table]
"""Column of the scorer's rows to the table that its lists go to."""


def problems(table: Table, key: Sequence[str], column: str, companion: Table) -> list[str]:
    """Why a table cannot be the companion of a prediction; empty where it can."""
    names = [each.name for each in companion.columns]
    lacking = [name for name in key if name not in names]
    found = [f"it lacks the key's {', '.join(lacking)}"] if lacking else []
    if companion.partition != table.partition or companion.parts:
        found.append(f"it must be divided by {table.partition} alone")
    if not fields(companion, key):
        found.append("it has no column beside the key")
    if column == EXCLUDED or column in [each.name for each in table.columns]:
        found.append(f"{column} is another column of the scorer's rows")
    return found


def fields(companion: Table, key: Sequence[str]) -> tuple[Column, ...]:
    """The columns that the entries of a list have; the others are known without the scorer."""
    known = {companion.partition, "model_version", *key}
    return tuple(each for each in companion.columns if each.name not in known)


def check_columns(
    db: duckdb.DuckDBPyConnection,
    companions: ChildTables,
    manifest: StagingManifest,
    files: Sequence[Path],
) -> None:
    """Refuses results whose lists do not fit their tables, before anything is replaced.

    Raises:
        WarehouseError: a column is missing or its entries lack columns, have others, or have
            columns of another type; the message names the table and the column.
    """
    for column, companion in companions.items():
        wanted = [each.name for each in fields(companion, manifest.key)]
        types: set[str] = set()
        for file in files:
            schema = pq.read_schema(file)
            wrong = _violations(schema, column, wanted)
            if wrong is None and not pa.types.is_null(schema.field(column).type):
                types.add(str(schema.field(column).type))
                # DuckDB would make text of numbers where another shard has text.
                wrong = f"it is {' or '.join(sorted(types))}" if len(types) > 1 else None
            if wrong:
                raise WarehouseError(
                    f"{companion.qualified} is written from column {column} of the scorer's rows "
                    f"for {manifest.table}, a list of structs ({', '.join(wanted)}): {wrong}"
                )
        try:
            typed_rows(
                db,
                companion,
                rows(column, companion, manifest, files),
                {},
                fixed_columns(companion, manifest.partition, None),
            )
        except WarehouseError as error:
            raise WarehouseError(
                f"{companion.qualified}, from column {column} of the scorer's rows for "
                f"{manifest.table}: {error}"
            ) from error


def rows(column: str, companion: Table, manifest: StagingManifest, files: Sequence[Path]) -> str:
    """A query for a companion's rows; keys that are excluded have none."""
    known = [*manifest.key]
    if "model_version" in {each.name for each in companion.columns}:
        known.append(f"'{escape_literal(manifest.model_version)}'::VARCHAR as model_version")
    lists = lists_of(column, companion, manifest, files)
    return f"select {', '.join(known)}, unnest(lists, max_depth := 2) from ({lists})"


def lists_of(
    column: str, companion: Table, manifest: StagingManifest, files: Sequence[Path]
) -> str:
    """A query for the lists that a companion's rows stand in: the key, and `lists`."""
    keys = ", ".join(manifest.key)
    types = [pq.read_schema(file).field(column).type for file in files]
    if all(pa.types.is_null(each) for each in types):
        typed = ", ".join(f'"{c.name}" {c.type}' for c in fields(companion, manifest.key))
        nulls = ", ".join(f"null::{companion.type_of(name)} as {name}" for name in manifest.key)
        return f"select {nulls}, null::STRUCT({typed})[] as lists where false"
    paths = ", ".join(f"'{escape_literal(file)}'" for file in files)
    return (
        f'select {keys}, "{column}" as lists from read_parquet([{paths}], union_by_name=true) '
        f'where {EXCLUDED} is null and "{column}" is not null'
    )


def integrity_queries(companion: Table, manifest: StagingManifest, lists: str) -> dict[str, str]:
    """What may be wrong with a companion's lists: a query each for the keys where it is.

    The queries see `staged` and `excluded_keys`.
    """
    keys = ", ".join(manifest.key)
    same = " and ".join(f"a.{name} is not distinct from b.{name}" for name in manifest.key)
    within = {each.name for each in fields(companion, manifest.key)}
    named = [name for name in companion.key if name in within]
    found = {
        "of {} were not scored": f"""select {keys} from ({lists}) a where not exists
            (select 1 from temp.staged b where {same}) or exists
            (select 1 from temp.excluded_keys b where {same})""",
        "of {} have more than one list": f"""select {keys} from ({lists}) group by all
            having count(*) > 1""",
    }
    if named:
        what = ", ".join(named)
        missing = " or ".join(f'entry."{name}" is null' for name in named)
        packed = ", ".join(f'"{name}" := entry."{name}"' for name in named)
        found[f"of {{}} have entries without {what}"] = f"""select {keys} from ({lists})
            where len(list_filter(lists, lambda entry: {missing})) > 0"""
        # Here, list by list, for lists are short: the write asks it again of the whole table.
        found[f"of {{}} have the same {what} twice"] = f"""select {keys} from ({lists})
            where len(list_distinct(list_transform(lists, lambda entry: struct_pack({packed}))))
            < len(lists)"""
    return {what.format(companion.qualified): sql for what, sql in found.items()}


def _violations(schema: pa.Schema, column: str, wanted: Sequence[str]) -> str | None:
    """What a column of lists is instead of what it should be."""
    if column not in schema.names:
        return "there is no such column"
    type_: Any = schema.field(column).type
    if pa.types.is_null(type_):
        return None
    is_list = pa.types.is_list(type_) or pa.types.is_large_list(type_)
    if not is_list or not pa.types.is_struct(type_.value_type):
        return f"it is {type_}"
    there = [each.name for each in type_.value_type]
    missing = [name for name in wanted if name not in there]
    unknown = [name for name in there if name not in wanted]
    told = [*(["it lacks " + ", ".join(missing)] if missing else [])]
    told += ["it also has " + ", ".join(unknown)] if unknown else []
    told += ["it has a field twice"] if len(set(there)) < len(there) else []
    return " and ".join(told) or None
