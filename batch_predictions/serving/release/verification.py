"""Compares the served release with the files of the warehouse that it was copied from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from batch_predictions.core.relative_paths import validate_relative_path
from batch_predictions.serving.store.copy_rows import BATCH_ROWS, store_rows_sql
from batch_predictions.serving.store.pointer import all_releases
from batch_predictions.serving.store.store import Store, columns_of, declared_table
from batch_predictions.tables import TABLES, Table
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.digests import DamagedPartitionError
from batch_predictions.warehouse.path_sql import quote_identifier


def find_changed_tables(store: Store, warehouse: Warehouse) -> list[str]:
    """Published tables whose rows in an SQLite store are not those that were copied.

    SQLite has no checksums: a flipped bit in a value is read as another value. Tables whose files
    have been made again or removed since are not compared, nor are sign-ups, titles, histories and
    quotes, which no single file has.

    Args:
        store: the store; only the current release is read.
        warehouse: the warehouse of the same home.

    Returns:
        Names of the tables.
    """
    with store.read() as db:
        current = [release for release in all_releases(db) if release.current]
        tables = current[0].manifest["tables"] if current else {}
        return [
            name
            for name, entry in sorted(tables.items())
            if (table := _unchanged_source(warehouse, name, entry["files"])) is not None
            and not _is_equal(db, warehouse, table, current[0].release_id, entry["partition"])
        ]


def _unchanged_source(warehouse: Warehouse, name: str, files: dict[str, str]) -> Table | None:
    """The table of an entry of a manifest, if its files are those that were published."""
    schemas = {validate_relative_path(file).split("/")[0] for file in files}
    table = TABLES.get(f"{schemas.pop()}.{name}") if len(schemas) == 1 else None
    if table is None:
        return None
    digests = warehouse.digests(table)
    paths = [(warehouse.folder / file, sha256) for file, sha256 in files.items()]
    try:
        is_equal = all(digests.get(path) == sha256 for path, sha256 in paths)
    except (FileNotFoundError, DamagedPartitionError):
        return None
    return table if is_equal else None


def _is_equal(
    db: sa.Connection, warehouse: Warehouse, table: Table, release_id: str, partition: str
) -> bool:
    """Returns whether the store has the rows of the partition, in any order."""
    stored = declared_table(table)
    types = columns_of(table)
    known = {column["name"] for column in sa.inspect(db).get_columns(table.name)}
    names = [column.name for column in stored.columns if column.name in types.keys() & known]
    # SQLite keeps no NaN.
    numbers = [quote_identifier(name) for name in names if types[name] in ("DOUBLE", "FLOAT")]
    replaced = ", ".join(f"case when not isnan({n}) then {n} end as {n}" for n in numbers)
    replace = f" replace ({replaced})" if numbers else ""
    rows_sql = f"(select *{replace} from {table.qualified} where {table.partition} = $day::DATE)"
    query = store_rows_sql(table, names, rows_sql)
    with warehouse.stream(query, {"day": partition}, BATCH_ROWS) as batches:
        written = _digest(
            row
            for batch in batches
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
        )
    # As the file has them: a date is text.
    values = (sa.type_coerce(stored.c[name], sa.types.NULLTYPE) for name in names)
    rows = sa.select(*values).where(stored.c.release_id == release_id)
    return written == _digest(map(tuple, db.execute(rows.execution_options(yield_per=BATCH_ROWS))))


def _digest(rows: Iterable[Sequence[object]]) -> tuple[int, int]:
    """The number of rows, and a sum of their hashes that does not depend on their order."""
    number = total = 0
    for row in rows:
        number += 1
        total += hash(row)
    return number, total
