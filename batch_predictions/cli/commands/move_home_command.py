"""`batch-predictions move-home`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, load_settings
from batch_predictions.cli.console.printing import show_file_progress


@command("move-home", order=40)
def move_home(
    context: typer.Context,
    location: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|URL",
            help="Where the home is to be: a folder, or s3://BUCKET/PREFIX, gs://…, az://….",
        ),
    ],
    home: Home = None,
) -> None:
    """Copy the home to a bucket, or back to a folder: tables, models, decisions, logs.

    A copy that was stopped goes on. The old home stays as it is; set BATCH_PREDICTIONS_HOME to the
    new one. Databases are not moved: Dagster's history, and the releases that are served. The next
    `run` publishes to the database of serving.url.
    """
    from batch_predictions.core.home_bucket import bucket_of, location_of, working_folder
    from batch_predictions.core.home_lock import home_lock
    from batch_predictions.operations.move_home import move_home as copy_home
    from batch_predictions.planning.declarations import load_declarations
    from batch_predictions.settings import prepare_home

    settings = load_settings(home, context)
    load_declarations(settings)
    target = settings.model_copy(update={"home": working_folder(location)})
    prepare_home(target)
    bucket = bucket_of(target.home)
    if bucket is not None:
        bucket.probe()
        bucket.pull()
    command_line = " ".join(["batch-predictions", *sys.argv[1:]])
    with (
        home_lock(settings.home, command_line),
        show_file_progress("copying") as on_progress,
    ):
        copied = copy_home(settings, target, on_progress)
    place = location_of(target.home)
    typer.echo(
        f"{copied.partitions:,} partitions with {copied.rows:,} rows and {copied.files:,} other "
        f"files of {location_of(settings.home)} are in {place}: export BATCH_PREDICTIONS_HOME="
        f"{place}"
    )
