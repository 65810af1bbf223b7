"""Removes users from release files: files that have them are replaced by files without them."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from batch_predictions.core.erasures import ErasedKeys
from batch_predictions.serving.erasure.store_erasure import erase_users, purge_free_pages
from batch_predictions.serving.release_files.destinations import scratch_folder
from batch_predictions.serving.release_files.export import hash_and_fsync, place_export
from batch_predictions.serving.release_files.folder import (
    FILE_SUFFIX,
    NUMBER_STEP,
    ReleaseFileError,
    ReleaseFileManifest,
    exclusive_folder,
    file_name,
    list_manifests,
    new_draft,
    number_of,
    read_manifest,
    remove_export,
    verify_bytes,
)
from batch_predictions.serving.release_files.parquet_export import remove_parquet_exports
from batch_predictions.serving.release_files.remote import RemoteFolder, local_folder
from batch_predictions.serving.store.store import CURRENT, ITEMS, RELEASES, USERS
from batch_predictions.settings import Settings


def erase_from_location(settings: Settings, location: str, keys: ErasedKeys) -> int:
    """Removes users from the release files of a folder or an object store; see `erase_from_folder`.

    Returns:
        The number of files that were replaced or removed.
    """
    folder = local_folder(location)
    if folder is not None:
        return erase_from_folder(folder, keys) + remove_parquet_exports(folder)
    remote = RemoteFolder(location)
    with scratch_folder(settings) as scratch:
        copies = Path(scratch)
        remote.remove_incomplete()
        before, names = remote.manifest_names(), remote.names()
        for name in before:
            remote.download_object(name, copies / name)
            file = Path(name).with_suffix(FILE_SUFFIX).name
            if file in names:
                remote.download_object(file, copies / file)
        changed = erase_from_folder(copies, keys)
        after = {path.name for path in list_manifests(copies)}
        for name in sorted(after - set(before), reverse=True):
            remote.upload_export(copies / name)
        for name in (name for name in before if name not in after):
            remote.remove_export(name)
    return changed + remote.remove_parquet_exports()


def erase_from_folder(folder: Path, keys: ErasedKeys) -> int:
    """Replaces the exports of a folder that have an erased user; damaged ones are removed.

    A replacement has a number of its own, directly above that of the file that it replaces, so that
    services take it for newer, and the order of the exports stays. The old file is removed after
    it: services close it at their next look into the folder.

    Args:
        folder: of exports; it need not exist.
        keys: whose rows are removed.

    Returns:
        The number of files that were replaced or removed.

    Raises:
        ReleaseFileError: another process exports to the folder.
    """
    if not folder.is_dir():
        return 0
    changed = 0
    with exclusive_folder(folder):
        # The newest first, so that the order stays whenever this process dies.
        for path in list_manifests(folder):
            try:
                manifest = read_manifest(path)
                verify_bytes(folder / manifest.file, manifest)
            except (ReleaseFileError, FileNotFoundError):
                # What it has cannot be known, and no service reads it.
                remove_export(path)
                changed += 1
                continue
            changed += _replace(folder, path, manifest, keys)
    return changed


def _replace(folder: Path, path: Path, manifest: ReleaseFileManifest, keys: ErasedKeys) -> bool:
    """Replaces an export if it has an erased user."""
    draft = new_draft(folder)
    try:
        shutil.copyfile(folder / manifest.file, draft)
        engine = sa.create_engine(f"sqlite:///{draft}", poolclass=NullPool, hide_parameters=True)
        sa.event.listen(engine, "connect", _write_without_journal)
        if not erase_users(engine, keys):
            return False
        with engine.begin() as db:
            # As an export has it; services count moves by the file's number.
            db.execute(CURRENT.update().values(version=1))
        purge_free_pages(engine)
        place_export(draft, folder, _describe(engine, draft, manifest, _free_number(folder, path)))
        engine.dispose()
    finally:
        draft.unlink(missing_ok=True)
    remove_export(path)
    return True


def _write_without_journal(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("pragma journal_mode = off")
    connection.execute("pragma synchronous = off")


def _free_number(folder: Path, path: Path) -> int:
    """A number above that of an export, and below that of the next one."""
    exported = (number_of(manifest.name) for manifest in list_manifests(folder))
    block = (number_of(path.name) or 0) // NUMBER_STEP
    highest = max(number for number in exported if number and number // NUMBER_STEP == block)
    if (highest + 1) // NUMBER_STEP != block:
        raise ReleaseFileError(f"{path.name} was replaced too often: export again, and remove it")
    return highest + 1


def _describe(
    engine: sa.Engine, draft: Path, manifest: ReleaseFileManifest, number: int
) -> ReleaseFileManifest:
    """The manifest of a file without the users."""
    with engine.connect() as db:
        record = db.execute(sa.select(RELEASES.c.manifest)).scalar_one()
        users, items = (
            db.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in (USERS, ITEMS)
        )
    tables = {
        name: table.model_copy(update={"rows": record["tables"][name]["rows"]})
        for name, table in manifest.tables.items()
    }
    return manifest.model_copy(
        update={
            "number": number,
            "file": file_name(number, manifest.release_id),
            "sha256": hash_and_fsync(draft),
            "bytes": draft.stat().st_size,
            "tables": tables,
            "users": users,
            "items": items,
        }
    )
