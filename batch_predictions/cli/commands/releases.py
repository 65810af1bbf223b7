"""`batch-predictions releases …`: what applications see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from batch_predictions.cli.command import command
from batch_predictions.cli.options import Home, Json, load_settings
from batch_predictions.cli.printing import print_rows
from batch_predictions.settings import Settings


@command("releases list", order=10)
def releases_list(context: typer.Context, home: Home = None, as_json: Json = False) -> None:
    """Kept releases, the newest first; * marks the one that applications see."""
    from batch_predictions.serving.store.schema import store_url
    from batch_predictions.serving.store.snapshot import ReadStore

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
    from batch_predictions.serving.release.records import rollback
    from batch_predictions.serving.store.schema import Store

    settings = load_settings(home, context)
    with Store.of(settings) as store:
        typer.echo(rollback(store, to).note)
    if settings.serving.release_dir:
        _export(settings, settings.serving.release_dir)


@command("releases export", order=30)
def releases_export(
    context: typer.Context,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Folder. [default: serving.release_dir, else HOME/releases]"),
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write the current release to a file, for `batch-predictions serve --release-dir`.

    The folder gets an SQLite file, which never changes, and a manifest with its hash, the day, rows
    and model versions of each table. serving.keep_releases exports stay. Equal rows are not written
    again. Set serving.release_dir to export after every publish.

    - `batch-predictions releases export --to /mnt/releases`
    - `batch-predictions serve --release-dir /mnt/releases` on any number of machines
    """
    settings = load_settings(home, context)
    folder = to or settings.serving.release_dir or settings.home / "releases"
    _export(settings, folder, as_json)


def _export(settings: Settings, folder: Path, as_json: bool = False) -> None:
    from batch_predictions.serving.release_files.export import export_current

    export = export_current(settings, folder)
    if as_json:
        manifest = export.manifest.model_dump(mode="json")
        typer.echo(json.dumps({**manifest, "path": str(export.path), "is_new": export.is_new}))
    elif export.is_new:
        megabytes = export.manifest.bytes / 1e6
        typer.echo(
            f"{export.manifest.release_id} is exported to {export.path} ({megabytes:.1f} MB)"
        )
    else:
        typer.echo(f"{export.manifest.release_id} is exported already, in {export.path}")
