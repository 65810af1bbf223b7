"""Exports the current release of a store to a file, and removes exports beyond a number."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from batch_predictions.core.durability import fsync_folder, write_and_fsync
from batch_predictions.serving.release_files.folder import (
    APPLICATION_ID,
    FORMAT_VERSION,
    NUMBER_STEP,
    ExportedTable,
    ReleaseFileError,
    ReleaseFileManifest,
    exclusive_folder,
    file_name,
    list_manifests,
    new_draft,
    number_of,
    read_manifest,
    remove_export,
)
from batch_predictions.serving.store.snapshot import ReadStore, ServedRelease
from batch_predictions.serving.store.store import CURRENT, ITEMS, RELEASES, USERS, store_table
from batch_predictions.settings import IdRule

BATCH_ROWS = 10_000


@dataclass(frozen=True)
class Export:
    """An exported release: its manifest, its file, and whether the file is new.

    Attributes:
        manifest: of the file.
        path: the SQLite file.
        is_new: whether it was written; else the newest export has these rows already.
    """

    manifest: ReleaseFileManifest
    path: Path | str
    is_new: bool


def export_release(
    store: ReadStore,
    folder: Path,
    timezone: str,
    ids: Mapping[str, IdRule],
    keep: int,
    is_there: Callable[[ReleaseFileManifest], bool] | None = None,
) -> Export:
    """Writes the current release of a store to a folder, as one file and its manifest.

    Whatever is killed and whenever, a manifest names a complete file. Equal rows give equal bytes,
    and exporting them again changes nothing.

    Args:
        store: the store to read, in one snapshot.
        folder: is made if it is missing.
        timezone: of the source.
        ids: how the source writes ids.
        keep: number of exports that stay, at least 2: services keep two open.
        is_there: whether the file of a manifest is there; None: it is looked for in the folder.

    Raises:
        NoReleaseError: nothing has been released yet.
        ReleaseFileError: another process exports to the folder, or the store has other numbers of
            rows than the release's record says.
    """
    with exclusive_folder(folder):
        exports = list_manifests(folder)
        draft = new_draft(folder)
        try:
            with store.snapshot() as (db, served):
                rows = write_release(db, served, draft)
            manifest = _describe(draft, served, rows, timezone, ids, _next_number(exports))
            newest = _newest_manifest(exports, is_there or partial(_has_file, folder))
            is_new = newest is None or not _are_equal(newest, manifest)
            if is_new:
                place_export(draft, folder, manifest)
        finally:
            draft.unlink(missing_ok=True)
        for path in list_manifests(folder)[max(keep, 2) :]:
            remove_export(path)
    exported = manifest if is_new or newest is None else newest
    return Export(exported, folder / exported.file, is_new)


def place_export(draft: Path, folder: Path, manifest: ReleaseFileManifest) -> None:
    """Gives a complete draft its name, then writes its manifest."""
    draft.replace(folder / manifest.file)
    fsync_folder(folder)
    manifest_draft = new_draft(folder)
    write_and_fsync(manifest_draft, manifest.model_dump_json(indent=1) + "\n")
    manifest_draft.replace(folder / manifest.name)
    fsync_folder(folder)


def hash_and_fsync(path: Path) -> str:
    """The SHA-256 of a file, after its bytes are on the disk."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_release(db: sa.Connection, served: ServedRelease, path: Path) -> dict[str, int]:
    """Writes the rows of a release to a new SQLite file, in key order, with the store's indexes.

    Args:
        db: a connection to the store, in a snapshot.
        served: the release.
        path: the file, which does not exist.

    Returns:
        The number of rows by table, users and items included.

    Raises:
        ReleaseFileError: a table has other numbers of rows than the release's record says.
    """
    uri = f"{path.absolute().as_uri()}?mode=rwc"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as file:
        for pragma in ("journal_mode = off", "synchronous = off", "cache_size = -32768"):
            file.execute(f"pragma {pragma}")
        file.execute(f"pragma application_id = {APPLICATION_ID}")
        file.execute(f"pragma user_version = {FORMAT_VERSION}")
        file.execute("begin")
        rows = {table.name: _copy_table(db, served, table, file) for table in tables_of(served)}
        for name in served.tables:
            require_rows(served, name, rows[name])
        _write_record(db, served, file)
        file.execute("commit")
    return rows


def require_rows(served: ServedRelease, table: str, rows: int) -> None:
    """Refuses a published table with other rows in the store than in the release's record.

    Raises:
        ReleaseFileError: the numbers differ.
    """
    recorded = served.tables[table]["rows"]
    if rows != recorded:
        raise ReleaseFileError(
            f"release {served.release_id}: {table} has {rows} rows in the store and {recorded} in "
            "its record: publish again with `batch-predictions run --force`"
        )


def tables_of(served: ServedRelease) -> list[sa.Table]:
    """The store's tables of a release, items and users included."""
    published = [
        store_table(name, entry["columns"], entry["key"]) for name, entry in served.tables.items()
    ]
    return [*published, ITEMS, USERS]


def _copy_table(
    db: sa.Connection, served: ServedRelease, table: sa.Table, file: sqlite3.Connection
) -> int:
    """Creates a table and copies the release's rows. Returns their number."""
    _create(table, file)
    marks = ", ".join("?" for _ in table.columns)
    insert = f'insert into "{table.name}" values ({marks})'
    copied = file.executemany(insert, release_rows(db, served, table)).rowcount
    for index in sa.inspect(db).get_indexes(table.name):
        columns = ", ".join(f'"{name}"' for name in index["column_names"])
        file.execute(f'create index "{index["name"]}" on "{table.name}" ({columns})')
    return max(copied, 0)


def release_rows(
    db: sa.Connection, served: ServedRelease, table: sa.Table
) -> Iterable[tuple[object, ...]]:
    """The release's rows in key order, with SQLite's types."""
    query = sa.select(*table.columns).where(table.c.release_id == sa.bindparam("release"))
    values = {"release": served.release_id}
    if db.dialect.name == "sqlite":
        query = query.order_by(*table.primary_key.columns)
        text = str(query.compile(dialect=sqlite.dialect(paramstyle="named")))
        driver = db.connection.driver_connection
        assert driver is not None
        cursor: Iterable[tuple[object, ...]] = driver.execute(text, values)
        return cursor
    # Bytes as SQLite compares them, and not by the rules of the database's language.
    query = query.order_by(
        *(
            sa.collate(column, "C") if isinstance(column.type, sa.String) else column
            for column in table.primary_key.columns
        )
    )
    return _converted(db.execute(query, values, execution_options={"yield_per": BATCH_ROWS}), table)


def _converted(rows: Iterable[Any], table: sa.Table) -> Iterator[tuple[Any, ...]]:
    """Rows of PostgreSQL as SQLAlchemy would write them to SQLite: dates and times as text."""
    dialect = sqlite.dialect()
    converters = [
        (number, convert)
        for number, column in enumerate(table.columns)
        if (convert := column.type.dialect_impl(dialect).bind_processor(dialect)) is not None
    ]
    for row in rows:
        values = list(row)
        for number, convert in converters:
            values[number] = convert(values[number])
        yield tuple(values)


def _write_record(db: sa.Connection, served: ServedRelease, file: sqlite3.Connection) -> None:
    """Writes the release's record, and the pointer to it."""
    record = db.execute(
        RELEASES.select().where(RELEASES.c.release_id == served.release_id)
    ).mappings()
    values = {**record.one(), "builder": "", "withdrawn_at": None}
    pointer = {"id": 1, "release_id": served.release_id, "as_of": served.as_of, "version": 1}
    for table, row in ((RELEASES, values), (CURRENT, pointer)):
        _create(table, file)
        marks = ", ".join("?" for _ in table.columns)
        rows = _converted([[row[column.name] for column in table.columns]], table)
        file.executemany(f'insert into "{table.name}" values ({marks})', rows)


def _create(table: sa.Table, file: sqlite3.Connection) -> None:
    file.execute(str(sa.schema.CreateTable(table).compile(dialect=sqlite.dialect())))


def _describe(
    draft: Path,
    served: ServedRelease,
    rows: Mapping[str, int],
    timezone: str,
    ids: Mapping[str, IdRule],
    number: int,
) -> ReleaseFileManifest:
    return ReleaseFileManifest(
        format_version=FORMAT_VERSION,
        number=number,
        release_id=served.release_id,
        as_of=served.as_of,
        file=file_name(number, served.release_id),
        sha256=hash_and_fsync(draft),
        bytes=draft.stat().st_size,
        timezone=timezone,
        ids=dict(ids),
        tables={
            name: ExportedTable(
                as_of=entry["partition"],
                rows=entry["rows"],
                model_versions=tuple(entry["model_versions"]),
            )
            for name, entry in served.tables.items()
        },
        users=rows[USERS.name],
        items=rows[ITEMS.name],
    )


def _next_number(exports: Iterable[Path]) -> int:
    """The next number of a new export."""
    newest = max((number_of(path.name) or 0 for path in exports), default=0)
    return (newest // NUMBER_STEP + 1) * NUMBER_STEP


def _are_equal(old: ReleaseFileManifest, new: ReleaseFileManifest) -> bool:
    """Returns whether two exports differ in their numbers only."""
    return old.model_copy(update={"number": new.number, "file": new.file}) == new


def _newest_manifest(
    exports: list[Path], is_there: Callable[[ReleaseFileManifest], bool]
) -> ReleaseFileManifest | None:
    """The manifest of the newest export, if its file is there; None if it cannot be used."""
    for path in exports[:1]:
        try:
            manifest = read_manifest(path)
        except (ReleaseFileError, FileNotFoundError):
            return None
        if is_there(manifest):
            return manifest
    return None


def _has_file(folder: Path, manifest: ReleaseFileManifest) -> bool:
    file = folder / manifest.file
    return file.exists() and file.stat().st_size == manifest.bytes
