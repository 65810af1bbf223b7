"""Exports of a home's current release: to a folder, or to an object store."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from batch_predictions.serving.release_files.export import Export, export_release
from batch_predictions.serving.release_files.folder import list_manifests
from batch_predictions.serving.release_files.parquet_export import (
    MANIFEST_NAME,
    ParquetExport,
    export_parquet,
)
from batch_predictions.serving.release_files.remote import RemoteFolder, local_folder
from batch_predictions.serving.store.snapshot import ReadStore
from batch_predictions.serving.store.store import store_url
from batch_predictions.settings import Settings
from batch_predictions.sources.posted_rows.sign_ups_of_today import timezone_of


def export_current(settings: Settings, location: str | Path) -> Export:
    """Exports the current release of a home's serving store; see `export_release`.

    Args:
        settings: of the home.
        location: a folder, or the URL of one or of an object store, to which one home exports.

    Raises:
        ReleaseFileError: as `export_release`, or the object store cannot be reached.
    """
    folder = local_folder(str(location))
    keep = settings.serving.keep_releases
    timezone, ids = timezone_of(settings).key, settings.source.ids
    with ReadStore(store_url(settings)) as store:
        if folder is not None:
            return export_release(store, folder, timezone, ids, keep)
        remote = RemoteFolder(str(location))
        with scratch_folder(settings) as scratch:
            draft_folder = Path(scratch)
            remote.remove_incomplete()
            remote.download_manifests(draft_folder)
            export = export_release(
                store,
                draft_folder,
                timezone,
                ids,
                len(list_manifests(draft_folder)) + 2,
                remote.has_file,
            )
            if export.is_new:
                remote.upload_export(draft_folder / export.manifest.name)
        for name in remote.manifest_names()[max(keep, 2) :]:
            remote.remove_export(name)
    return replace(export, path=f"{location}/{export.manifest.file}")


def export_current_as_parquet(settings: Settings, location: str | Path) -> ParquetExport:
    """Exports the current release as Parquet files; see `export_parquet`."""
    folder = local_folder(str(location))
    with ReadStore(store_url(settings)) as store:
        if folder is not None:
            return export_parquet(store, folder, settings.serving.keep_releases)
        remote = RemoteFolder(str(location))
        with scratch_folder(settings) as scratch:
            export = export_parquet(store, Path(scratch), 1)
            release_id = export.manifest.release_id
            for name in (*(table.file for table in export.manifest.tables.values()), MANIFEST_NAME):
                remote.upload(Path(export.path) / name, f"{release_id}/{name}")
    return replace(export, path=f"{location}/{release_id}")


def scratch_folder(settings: Settings) -> tempfile.TemporaryDirectory[str]:
    """A folder in the home: a release may be larger than the system's temporary folder."""
    settings.home.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=".release-export-", dir=settings.home)
