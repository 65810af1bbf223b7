"""The command `batch-predictions erase-user`, which removes a user from the home."""

from __future__ import annotations

import datetime as dt
import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.errors import NOBODY_FOUND
from batch_predictions.cli.console.options import Home, Json, load_settings

if TYPE_CHECKING:
    from batch_predictions.operations.erasure.erase import ErasureSummary


@command("erase-user", order=36)
def erase_user(
    context: typer.Context,
    user_id: Annotated[
        str | None,
        typer.Argument(help="The user's id. Without it, pending erasures are finished."),
    ] = None,
    release_dir: Annotated[
        list[str] | None,
        typer.Option(
            help="A further folder or URL of release files; may be repeated.", show_default=False
        ),
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Remove a user from everything that the home keeps, for good.

    Raw rows, refused rows, features, shards, predictions, releases of the serving store, release
    files and Dagster's previews. A salted hash of the id is recorded: no ingest accepts the user's
    rows again, though the source may still have them. Remove the user there too. An id that no row
    has is recorded as well: the exit code is 7.

    If the command is killed, the next `erase-user`, `run` or `doctor` goes on. The next run trains
    and predicts nothing again for it. Models have no ids; what they learned from the user leaves
    with the next training. Backups and files that were exported elsewhere are yours to remove.
    """
    from batch_predictions.core.erasures import read_erasures
    from batch_predictions.core.home_bucket import location_of
    from batch_predictions.core.home_lock import home_lock
    from batch_predictions.operations.erasure import erase
    from batch_predictions.orchestration.dagster_records import DagsterRecords
    from batch_predictions.planning.declarations import load_declarations
    from batch_predictions.serving.lookup.lookup_source import SourceIds
    from batch_predictions.settings import SettingsError
    from batch_predictions.tables.identifiers import id_problem

    settings = load_settings(home, context)
    normalised = user_id and SourceIds.of(settings).normalise("user_id", user_id.strip())
    if normalised is not None and (not normalised or id_problem(normalised)):
        raise SettingsError(f"the id {id_problem(normalised) or 'is empty'}: give a user's id")
    records = DagsterRecords(settings)
    folders, now = release_dir or [], dt.datetime.now(dt.UTC)
    # Without the arguments: other processes show and log them.
    with home_lock(settings.home, "batch-predictions erase-user"):
        load_declarations(settings)
        if normalised:
            summary = erase.erase_user(settings, records, normalised, now, folders)
        else:
            summary = erase.finish_erasures(settings, records, now, folders)
        log = read_erasures(settings.home)
    is_unknown = bool(normalised and log and not log.is_known(normalised))
    if as_json:
        typer.echo(json.dumps(summary.as_dict()))
    else:
        _print(summary, location_of(settings.home), is_unknown=is_unknown)
    if is_unknown:
        raise typer.Exit(NOBODY_FOUND)


def _print(summary: ErasureSummary, home: str, *, is_unknown: bool) -> None:
    """Prints whether the user was found, and what was removed."""
    if is_unknown:
        typer.echo(
            "Nobody was found: no user has this id. It is recorded, and later rows of it will be "
            f"refused. Home: {home}"
        )
    if summary.users or not is_unknown:
        typer.echo(
            f"Erased {summary.users} user{'' if summary.users == 1 else 's'}: "
            f"{summary.partitions} partitions, {summary.store_rows} rows of the serving store, "
            f"{summary.release_files} release files, {summary.sinks} sinks, "
            f"{summary.other_files} other files and records. Home: {home}"
        )
    if summary.unknown > is_unknown:
        typer.echo(f"{summary.unknown - is_unknown} other requested ids were in no row.")
    for note in summary.notes:
        typer.echo(f"  {note}", file=sys.stderr)
