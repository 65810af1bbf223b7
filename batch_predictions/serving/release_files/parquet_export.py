"""A release as Parquet files, for analysts and other engines.

`RELEASE/TABLE.parquet` has the rows of a table in key order, and `RELEASE/manifest.json` their
hashes. The folder gets its name when it is complete. Lists and structs are JSON texts, as in the
serving store.
"""

from __future__ import annotations

import datetime as dt
import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, ValidationError

from batch_predictions.core.durability import fsync_folder, write_and_fsync
from batch_predictions.serving.release_files.export import (
    BATCH_ROWS,
    hash_and_fsync,
    release_rows,
    require_rows,
    tables_of,
)
from batch_predictions.serving.release_files.folder import DRAFT_PREFIX, exclusive_folder
from batch_predictions.serving.store.snapshot import ReadStore, ServedRelease

MANIFEST_NAME = "manifest.json"
GROUP_ROWS = 100_000


class ParquetTable(BaseModel):
    """A file of a release: its name, day or week, rows, size, hash."""

    model_config = ConfigDict(frozen=True)

    file: str
    as_of: dt.date | None
    rows: int
    bytes: int
    sha256: str


class ParquetManifest(BaseModel):
    """The tables of a release, by name; `users` and `items` have attributes and titles."""

    model_config = ConfigDict(frozen=True)

    release_id: str
    as_of: dt.date
    tables: dict[str, ParquetTable]


@dataclass(frozen=True)
class ParquetExport:
    """A release that was exported as a folder of Parquet files.

    Attributes:
        manifest: of its files.
        path: their folder.
        is_new: whether it was written; else the folder has it already.
    """

    manifest: ParquetManifest
    path: Path | str
    is_new: bool


def export_parquet(store: ReadStore, folder: Path, keep: int) -> ParquetExport:
    """Writes the current release of a store to a folder of its name.

    Args:
        store: the store to read, in one snapshot.
        folder: is made if it is missing.
        keep: number of releases that stay, the newest days and this one.

    Raises:
        NoReleaseError: nothing has been released yet.
        ReleaseFileError: another process exports to the folder, or the store has other numbers of
            rows than the release's record says.
    """
    with exclusive_folder(folder):
        with store.snapshot() as (db, served):
            target = folder / served.release_id
            manifest = _read_manifest(target)
            is_new = manifest is None
            if manifest is None:
                shutil.rmtree(target, ignore_errors=True)
                draft = folder / f"{DRAFT_PREFIX}{served.release_id}"
                draft.mkdir()
                manifest = _write(db, served, draft)
                draft.replace(target)
                fsync_folder(folder)
        others = [path for path in _exports(folder) if path != target]
        for path in others[max(keep, 1) - 1 :]:
            _remove(path)
    return ParquetExport(manifest, target, is_new)


def remove_parquet_exports(folder: Path) -> int:
    """Removes all exports of a folder, such as before they would outlive a user's erasure.

    Returns:
        The number of removed releases.
    """
    if not folder.is_dir():
        return 0
    exports = _exports(folder)
    for path in exports:
        _remove(path)
    return len(exports)


def _exports(folder: Path) -> list[Path]:
    """Folders of releases, the newest day first."""
    exports = [path.parent for path in folder.glob(f"*/{MANIFEST_NAME}")]
    return sorted((path for path in exports if _read_manifest(path)), reverse=True)


def _remove(path: Path) -> None:
    """Removes a release, whose folder loses its name first."""
    draft = path.with_name(f"{DRAFT_PREFIX}{path.name}")
    path.replace(draft)
    fsync_folder(path.parent)
    shutil.rmtree(draft)


def _read_manifest(path: Path) -> ParquetManifest | None:
    """The manifest of a release's folder; None: it has none, or another's."""
    try:
        text = (path / MANIFEST_NAME).read_bytes()
        manifest = ParquetManifest.model_validate_json(text)
    except (OSError, ValidationError):
        return None
    sizes = all(
        (path / table.file).is_file() and (path / table.file).stat().st_size == table.bytes
        for table in manifest.tables.values()
    )
    return manifest if sizes and manifest.release_id == path.name else None


def _write(db: sa.Connection, served: ServedRelease, folder: Path) -> ParquetManifest:
    tables: dict[str, ParquetTable] = {}
    for table in tables_of(served):
        path = folder / f"{table.name}.parquet"
        schema = arrow_schema(table)
        rows = 0
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in arrow_tables(db, served, table, schema):
                writer.write_table(batch)
                rows += batch.num_rows
        entry = served.tables.get(table.name, {})
        if entry:
            require_rows(served, table.name, rows)
        tables[table.name] = ParquetTable(
            file=path.name,
            as_of=entry.get("partition"),
            rows=rows,
            sha256=hash_and_fsync(path),
            bytes=path.stat().st_size,
        )
    manifest = ParquetManifest(release_id=served.release_id, as_of=served.as_of, tables=tables)
    write_and_fsync(folder / MANIFEST_NAME, manifest.model_dump_json(indent=1) + "\n")
    fsync_folder(folder)
    return manifest


def arrow_schema(table: sa.Table) -> pa.Schema:
    """Arrow types of a store table's columns, without the release's id; lists are JSON texts."""
    columns = [column for column in table.columns if column.name != "release_id"]
    return pa.schema([(column.name, _arrow_type(column.type)) for column in columns])


def arrow_tables(
    db: sa.Connection, served: ServedRelease, table: sa.Table, schema: pa.Schema
) -> Iterator[pa.Table]:
    """The rows in groups of GROUP_ROWS, with SQLite's values cast to the columns' types."""
    assert GROUP_ROWS % BATCH_ROWS == 0
    names = [column.name for column in table.columns]
    rows = iter(release_rows(db, served, table))
    while chunk := list(itertools.islice(rows, GROUP_ROWS)):
        values = dict(zip(names, zip(*chunk, strict=True), strict=True))
        yield pa.table([_array(values[field.name], field.type) for field in schema], schema=schema)


def _array(values: tuple[object, ...], type_: pa.DataType) -> pa.Array:
    if pa.types.is_date(type_) or pa.types.is_timestamp(type_):
        return pa.array(values, pa.string()).cast(type_)
    if pa.types.is_boolean(type_):
        return pa.array(values, pa.int8()).cast(type_)
    return pa.array(values, type_)


def _arrow_type(type_: sa.types.TypeEngine[Any]) -> pa.DataType:
    kinds: list[tuple[type[sa.types.TypeEngine[Any]], pa.DataType]] = [
        (sa.Boolean, pa.bool_()),
        (sa.Integer, pa.int64()),
        (sa.Float, pa.float64()),
        (sa.DateTime, pa.timestamp("us")),
        (sa.Date, pa.date32()),
    ]
    return next((arrow for kind, arrow in kinds if isinstance(type_, kind)), pa.string())
