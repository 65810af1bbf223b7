"""The file of views, `<home>/warehouse.duckdb`: one view per declared table, and no rows."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

from duckdb import DuckDBPyConnection
from duckdb import connect as open_database

from batch_predictions.tables import TABLES, Table
from batch_predictions.warehouse.delta_tables import DeltaTables, local_file, tables_of
from batch_predictions.warehouse.partition_files import scratch_dir
from batch_predictions.warehouse.path_sql import quote_literal
from batch_predictions.warehouse.pointers import SCHEME, pointer_file_system
from batch_predictions.warehouse.schema_sql import file_pattern, view_sql

_complete: dict[Path, tuple[int, ...]] = {}
"""The state in which a file of views was last seen to be complete."""


def ensure_views(home: Path, folder: Path, *, renew: bool = False) -> Path:
    """Replaces the file of views atomically if a declared table has no view in it.

    Args:
        home: the home folder.
        folder: the warehouse's folder with the partitions.
        renew: whether the file is replaced in any case, since it cannot be read.

    Returns:
        The path of `<home>/warehouse.duckdb`.
    """
    path, tables = home / "warehouse.duckdb", tables_of(home)
    stamp = path.with_suffix(".views")
    state = _state(path, stamp)
    if not renew and state is not None and _complete.get(path) == state:
        return path
    # Another process may have declared more tables, of plugins: they stay.
    existing = stamp.read_text(encoding="utf-8") if stamp.exists() and path.exists() else ""
    statements = _statements(folder, tables, set() if renew else {*existing.splitlines()})
    text = "\n".join(statements[name] for name in sorted(statements))
    if not renew and (existing == text or set(text.splitlines()) <= set(existing.splitlines())):
        if state is not None:
            _complete[path] = state
        return path
    for table in TABLES.values():
        (folder / table.schema / table.name).mkdir(parents=True, exist_ok=True)
    with scratch_dir(folder) as scratch:
        with open_database(str(scratch / "views.duckdb")) as db:
            prepare_reads(db, tables)
            db.begin()
            for schema in sorted({table.schema for table in TABLES.values()}):
                db.execute(f"create schema {schema}")
            for statement in statements.values():
                db.execute(statement)
            db.commit()
        (scratch / "views").write_text(text, encoding="utf-8")
        (scratch / "views.duckdb").replace(path)
        (scratch / "views").replace(stamp)
    return path


def prepare_reads(db: DuckDBPyConnection, tables: DeltaTables | None) -> None:
    """Lets a database read the views of a home in a bucket; of a local home it can already."""
    if tables is not None:
        db.register_filesystem(pointer_file_system(local_file))


def _statements(
    folder: Path, tables: DeltaTables | None, existing: Collection[str]
) -> dict[str, str]:
    """`create view` by table; those that exist already are kept."""
    statements = {}
    scheme = f"{SCHEME}://" if tables else ""
    for name, table in TABLES.items():
        alike, unlike = (
            view_sql(table, folder, are_files_alike=alike, scheme=scheme) for alike in (True, False)
        )
        if not {alike, unlike} & {*existing}:
            is_alike = tables.is_alike(table) if tables else _are_files_alike(table, folder)
            statements[name] = alike if is_alike else unlike
        else:
            statements[name] = alike if alike in existing else unlike
    return statements


def _are_files_alike(table: Table, folder: Path) -> bool:
    """Returns whether all files of a table have the same columns, the declared ones.

    Files of before a column was declared lack it. What is written later has all columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: set[tuple[tuple[str, str], ...]] = set()
    for path in (folder / table.schema / table.name).glob(file_pattern(table)):
        try:
            schema = pq.read_schema(path)
        except (OSError, pa.ArrowException):
            continue
        columns.add(tuple(sorted((field.name, str(field.type)) for field in schema)))
    declared = {column.name for column in table.columns}
    return len(columns) < 2 and all({name for name, _ in file} == declared for file in columns)


def attach_copy(db: DuckDBPyConnection, path: Path) -> None:
    """Attaches a copy of a file of views as `warehouse`, read-only.

    DuckDB locks an attached file, and a shared database has it attached as long as the process
    lives: analysts may open the original for writing meanwhile. The copy is removed at once; DuckDB
    keeps it open.
    """
    with TemporaryDirectory(prefix="batch_predictions-") as folder:
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        db.execute(f"attach {quote_literal(copy)} as warehouse (read_only)")


def _state(path: Path, stamp: Path) -> tuple[int, ...] | None:
    """Inodes and times that change when the views, their stamp or a declared table does."""
    try:
        stats = path.stat(), stamp.stat()
    except FileNotFoundError:
        return None
    times = (time for stat in stats for time in (stat.st_ino, stat.st_mtime_ns))
    return *times, *(id(table) for table in TABLES.values())
