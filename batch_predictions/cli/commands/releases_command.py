"""`batch-predictions releases …`: what applications see."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, Json, load_settings
from batch_predictions.cli.console.printing import print_rows
from batch_predictions.settings import Settings, SettingsError

if TYPE_CHECKING:
    from batch_predictions.serving.release_files.folder import ReleaseFileManifest
    from batch_predictions.serving.release_files.parquet_export import ParquetManifest


@command("releases list", order=10)
def releases_list(context: typer.Context, home: Home = None, as_json: Json = False) -> None:
    """Kept releases, the newest first; * marks the one that applications see."""
    from batch_predictions.serving.store.snapshot import ReadStore
    from batch_predictions.serving.store.store import store_url

    with ReadStore(store_url(load_settings(home, context))) as store:
        releases = store.releases()
    rows = [
        {
            "current": "*" if release.current else "",
            "release_id": release.release_id,
            "as_of": release.as_of,
            "created_at": release.created_at,
            "status": release.status,
            "rows": sum(release.rows.values()),
            # Of the tables of a home in a bucket.
            **({"versions": v} if as_json and (v := release.manifest.get("versions")) else {}),
        }
        for release in releases
    ]
    print_rows(rows, as_json)


@command("releases rollback", order=20)
def releases_rollback(
    context: typer.Context,
    to: Annotated[
        str | None, typer.Argument(help="Release to serve. [default: the one before]")
    ] = None,
    home: Home = None,
) -> None:
    """Serve an earlier release again, with immediate effect."""
    from batch_predictions.serving.release.release_records import rollback
    from batch_predictions.serving.store.store import Store

    settings = load_settings(home, context)
    with Store.of(settings) as store:
        typer.echo(rollback(store, to).note)
    _sync(settings)


@command("releases sync", order=40)
def releases_sync(
    context: typer.Context,
    force: Annotated[
        bool, typer.Option("--force", help="Write sinks that have the release, too.")
    ] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write the current release into the sinks, and the export, that lack it.

    Every run and roll-back does so. What could not be written is named by `status` and is tried
    again by the next run; this command tries at once. Exit code 1: one of them lacks the release.
    """
    settings = load_settings(home, context)
    if not (settings.sinks or settings.serving.release_dir):
        raise SettingsError(
            "the settings sinks and serving.release_dir name no database, bucket or folder to "
            "write to"
        )
    _sync(settings, force=force, as_json=as_json)


def _sync(settings: Settings, *, force: bool = False, as_json: bool = False) -> None:
    from batch_predictions.planning.declarations import load_declarations
    from batch_predictions.serving.sinks.sync import sync_sinks

    load_declarations(settings)
    results = sync_sinks(settings, force=force)
    if as_json:
        typer.echo(json.dumps([vars(result) for result in results]))
    for result in () if as_json else results:
        state = "is written to" if result.is_new else "is there already:"
        typer.echo(result.error or f"{result.release_id} {state} {result.location}")
    if any(result.error for result in results):
        raise typer.Exit(1)


@command("releases export", order=30)
def releases_export(
    context: typer.Context,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="Folder, or URL such as s3://bucket/releases. [default: serving.release_dir, "
            "else HOME/releases]",
        ),
    ] = None,
    format_: Annotated[
        Literal["sqlite", "parquet"],
        typer.Option("--format", help="sqlite: for `serve`. parquet: for analysts and engines."),
    ] = "sqlite",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write the current release to a file, for `batch-predictions serve --release-dir`.

    The folder gets an SQLite file, which never changes, and a manifest with its hash, the day, rows
    and model versions of each table. serving.keep_releases exports stay. Equal rows are not written
    again. Set serving.release_dir to export after every publish.

    - `batch-predictions releases export --to /mnt/releases`
    - `batch-predictions serve --release-dir /mnt/releases` on any number of machines
    - `batch-predictions releases export --to s3://bucket/releases` needs the extra objectstore;
      credentials are those of the environment
    - `batch-predictions releases export --to /mnt/tables --format parquet` writes a folder of the
      release's name: a Parquet file per table, and manifest.json with their hashes
    """
    settings = load_settings(home, context)
    location = to or settings.serving.release_dir or str(settings.home / "releases")
    if format_ == "parquet":
        _export_parquet(settings, location, as_json)
    else:
        _export(settings, location, as_json)


def _export(settings: Settings, location: str, as_json: bool = False) -> None:
    from batch_predictions.serving.release_files.destinations import export_current

    export = export_current(settings, location)
    _print(export.manifest, str(export.path), export.manifest.bytes, export.is_new, as_json)


def _export_parquet(settings: Settings, location: str, as_json: bool) -> None:
    from batch_predictions.serving.release_files.destinations import export_current_as_parquet

    export = export_current_as_parquet(settings, location)
    size = sum(table.bytes for table in export.manifest.tables.values())
    _print(export.manifest, str(export.path), size, export.is_new, as_json)


def _print(
    manifest: ReleaseFileManifest | ParquetManifest,
    path: str,
    size: int,
    is_new: bool,
    as_json: bool,
) -> None:
    """Prints what was exported, and where."""
    if as_json:
        content = manifest.model_dump(mode="json")
        typer.echo(json.dumps({**content, "path": path, "is_new": is_new}))
    elif is_new:
        typer.echo(f"{manifest.release_id} is exported to {path} ({size / 1e6:.1f} MB)")
    else:
        typer.echo(f"{manifest.release_id} is exported already, in {path}")
