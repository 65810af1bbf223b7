"""`batch-predictions backup` and `batch-predictions restore`."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, Json, load_settings
from batch_predictions.cli.console.printing import print_rows, show_file_progress

Location = Annotated[
    str,
    typer.Argument(
        metavar="FOLDER|URL",
        help="Folder of the backups, on another disk, or s3://BUCKET/PREFIX, gs://…, az://….",
    ),
]


@command("backup", order=38)
def backup(
    context: typer.Context,
    location: Location,
    home: Home = None,
    keep: Annotated[int, typer.Option(help="Newest backups that stay in the folder.", min=1)] = 7,
) -> None:
    """Back the home up, also while it is in use: warehouse, models, decisions, releases, runs.

    Files that an earlier backup has are not copied again. Shards are left out, and a serving store
    in PostgreSQL: the next run makes and publishes them again.
    """
    from batch_predictions.core.home import read_state, restrict_new_files
    from batch_predictions.core.home_bucket import bucket_of, location_of
    from batch_predictions.operations.backup.create import create_backup
    from batch_predictions.operations.backup.pool import Pool
    from batch_predictions.operations.backup.storage import FolderStorage, open_storage
    from batch_predictions.settings import SettingsError

    settings = load_settings(home, context)
    if read_state(settings.home) is None:
        raise SettingsError(
            f"{settings.home} is not a home of `batch-predictions run`: choose another --home"
        )
    if bucket_of(settings.home) is not None:
        raise SettingsError(
            f"{location_of(settings.home)} is in a bucket, which `batch-predictions move-home` "
            "copies to a folder or to another bucket"
        )
    storage = open_storage(location)
    if isinstance(storage, FolderStorage) and storage.folder.resolve().is_relative_to(
        settings.home.resolve()
    ):
        raise SettingsError(f"{location} is in the home: choose a folder on another disk")
    restrict_new_files(settings.execution.file_mode)
    pool = Pool(storage)
    name = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H%M%SZ")
    with show_file_progress("backing up") as on_progress:
        made = create_backup(settings.home, pool, name, on_progress)
    with storage.locked():
        pool.remove_old(keep, typer.echo)
    typer.echo(
        f"backup {made.name} of {settings.home}: {len(made.files):,} files, "
        f"{made.size / 2**20:,.1f} MiB"
    )
    if settings.serving.url and settings.serving.url.startswith("postgresql"):
        typer.echo("the serving store is in PostgreSQL and not in the backup: use pg_dump")


@command("restore", order=39)
def restore(
    context: typer.Context,
    location: Location,
    home: Home = None,
    name: Annotated[
        str | None, typer.Option("--backup", help="Backup to restore. [default: the newest]")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="List the backups, restore none.")] = False,
    as_json: Json = False,
) -> None:
    """Restore a backup into a new home, verify every file, and look up its release.

    The home must not exist, or be empty. With `--list`, `--json` prints the backups as JSON.
    """
    from batch_predictions.operations.backup.pool import Pool
    from batch_predictions.operations.backup.restore import restore_backup
    from batch_predictions.operations.backup.storage import open_storage
    from batch_predictions.serving.store.snapshot import ReadStore
    from batch_predictions.serving.store.store import store_url

    pool = Pool(open_storage(location))
    if show:
        backups = [pool.read(known) for known in pool.names()]
        rows = [
            {"backup": b.name, "home": b.home, "files": len(b.files), "mib": b.size / 2**20}
            for b in backups
        ]
        print_rows(rows, as_json)
        return
    settings = load_settings(home, context)
    chosen = pool.read(name)
    with show_file_progress("restoring") as on_progress:
        restore_backup(chosen, pool, settings.home, on_progress)
    # The settings file of the home, if it has one, is there only now.
    settings = load_settings(home, context)
    with ReadStore(store_url(settings)) as store:
        release = store.current_release()
    served = f"release {release.release_id} is served" if release else "nothing is served yet"
    typer.echo(
        f"backup {chosen.name} restored into {settings.home}: {len(chosen.files):,} files with "
        f"equal hashes; {served}"
    )
