"""The command `batch-predictions prune`, which removes what is not kept."""

from __future__ import annotations

import json
import sys

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, Json, load_settings


@command("prune", order=35)
def prune(context: typer.Context, home: Home = None, as_json: Json = False) -> None:
    """Remove old runs, models that no day needs, old shards, tiles, partitions and posted rows.

    The settings `retention` and `inference.keep_days` say what is kept. `run` does the same at its
    end, for a hundred runs at a time.
    """
    from batch_predictions.core.home_bucket import location_of
    from batch_predictions.core.home_lock import home_lock
    from batch_predictions.operations.retention import prune
    from batch_predictions.orchestration.dagster_records import DagsterRecords
    from batch_predictions.planning.declarations import load_declarations

    settings = load_settings(home, context)
    load_declarations(settings)
    with home_lock(settings.home, " ".join(["batch-predictions", *sys.argv[1:]])):
        removed = prune.prune(settings, DagsterRecords(settings), all_runs=True)
    if as_json:
        typer.echo(json.dumps(removed.as_dict()))
        return
    typer.echo(
        f"Removed {removed.runs} Dagster runs, {len(removed.model_versions)} models, "
        f"{removed.inference_partitions} partitions of shards, {removed.tiles} files of tiles, "
        f"{removed.table_partitions} partitions of features, predictions and metrics and "
        f"{removed.posted_rows} posted rows that the warehouse has, and "
        f"{len(removed.queries)} predictions that the settings no longer declare. "
        f"Home: {location_of(settings.home)}"
    )
