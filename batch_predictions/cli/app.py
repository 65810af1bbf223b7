"""The commands at the root, and how a command ends."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from batch_predictions.cli.audiences import audiences_app
from batch_predictions.cli.benchmark.commands import benchmark_app
from batch_predictions.cli.lookups import lookup_app
from batch_predictions.cli.models import models_app
from batch_predictions.cli.options import Home, Json, day_of, settings_of
from batch_predictions.cli.releases import releases_app
from batch_predictions.settings import FILE_NAME, Settings, SettingsError, as_yaml

app = typer.Typer(
    name="batch-predictions",
    help="Machine-learning predictions in batches: ingest, train, predict, release, look up.\n\n"
    "Begin with `batch-predictions demo`, or `batch-predictions init` for a source of your own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.add_typer(lookup_app, name="lookup")
app.add_typer(releases_app, name="releases")
app.add_typer(models_app, name="models")
app.add_typer(audiences_app, name="audiences")
app.add_typer(benchmark_app, name="benchmark")


@app.callback()
def _root(context: typer.Context, home: Home = None) -> None:
    context.obj = home


@app.command()
def init(
    source: Annotated[
        str, typer.Option(help="Adapter: complete_journey, files or movielens.")
    ] = "files",
    path: Annotated[Path | None, typer.Option(help="Folder of the source.")] = None,
    force: Annotated[bool, typer.Option(help="Replace the file that is there.")] = False,
) -> None:
    """Write a commented settings file into the working directory."""
    target = Path(FILE_NAME)
    if target.exists() and not force:
        raise SettingsError(f"{target} is there already: edit it, or replace it with --force")
    chosen: dict[str, Any] = {"kind": source}
    if path:
        chosen["path"] = str(path)
    target.write_text(as_yaml({"source": chosen}), encoding="utf-8")
    typer.echo(f"wrote {target}: every setting is explained in it")
    typer.echo("next: batch-predictions check-source", err=True)


@app.command("check-source")
def check_source(
    context: typer.Context,
    home: Home = None,
    as_json: Json = False,
    rows: Annotated[int, typer.Option(help="Rows to read of each table.", min=1)] = 1000,
) -> None:
    """Read a sample of the source through the mapping and say what was found; write nothing."""
    from batch_predictions.sources.source_check import check_source

    report = check_source(settings_of(home, context), rows)
    typer.echo(json.dumps(report.as_dict(), default=str) if as_json else report.render())


@app.command()
def run(
    context: typer.Context,
    home: Home = None,
    first: Annotated[
        dt.datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First day to predict."),
    ] = None,
    date: Annotated[
        dt.datetime | None,
        typer.Option(
            "--date",
            formats=["%Y-%m-%d"],
            help="Last day to predict. [default: the newest complete day of the source]",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Ingest what is missing, train what is due, predict, release. For cron, and to begin.

    Running it again changes nothing that has not changed in the source.
    """
    _run(settings_of(home, context), day_of(first), day_of(date), as_json, tour=False)


@app.command()
def demo(
    context: typer.Context,
    home: Home = None,
    days: Annotated[int, typer.Option(help="Days to predict, up to yesterday.", min=1)] = 7,
    as_json: Json = False,
) -> None:
    """Run on the default source, a grocer's year of real shopping, and show what was made."""
    settings = settings_of(home, context)
    _run(settings, None, None, as_json, tour=True, days=days)


@app.command()
def ui(
    context: typer.Context,
    home: Home = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1)] = 3000,
) -> None:
    """Open Dagster on this home folder: lineage, partitions, schedules, plots. Ends with Ctrl-C."""
    from batch_predictions.automation.instance import prepare
    from batch_predictions.sources.registry import initialise_home

    settings = settings_of(home, context)
    initialise_home(settings)
    prepare(settings)
    os.environ["BATCH_PREDICTIONS_HOME"] = str(settings.home)
    workspace = Path(__file__).parents[2] / "workspace.yaml"
    where = (
        ["-w", str(workspace)] if workspace.exists() else ["-m", "batch_predictions.definitions"]
    )
    command = [sys.executable, "-m", "dagster", "dev", *where, "-h", host, "-p", str(port)]
    # This process becomes Dagster, so that signals reach it.
    os.execv(command[0], command)  # noqa: S606


def _run(
    settings: Settings,
    first: dt.date | None,
    last: dt.date | None,
    as_json: bool,
    *,
    tour: bool,
    days: int | None = None,
) -> None:
    from batch_predictions.home import home_lock
    from batch_predictions.sources.registry import initialise_home

    what = " ".join(["batch-predictions", *sys.argv[1:]])
    with home_lock(settings.home, what):
        # Partitions are declared with the home's first day when the modules below are loaded.
        initialise_home(settings)
        from batch_predictions.automation.demo_summary import as_text, simulate_sign_up
        from batch_predictions.automation.run import run as run_chain
        from batch_predictions.definitions import defs

        summary = run_chain(settings, defs, first, last, days)
        if tour and summary.release_id:
            simulate_sign_up(settings)
    if as_json:
        typer.echo(json.dumps(summary.as_dict(), default=str))
    else:
        typer.echo(as_text(settings, summary))


def main() -> None:
    """Runs a command; what went wrong is one line on the standard error, exit code 1."""
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        typer.echo("interrupted: what was finished is kept; run the command again", err=True)
        sys.exit(130)
    except Exception as error:
        if not _expected(error):
            raise
        typer.echo(f"batch-predictions: {error}", err=True)
        sys.exit(1)


def _expected(error: Exception) -> bool:
    """Errors whose message says what to do; others are faults and show their stack."""
    from batch_predictions.home import HomeBusyError, HomeError

    names = {"RunError", "ReleaseError", "SourceError", "ModelError", "WarehouseError"}
    known = isinstance(error, SettingsError | HomeError | HomeBusyError)
    return known or any(each.__name__ in names for each in type(error).__mro__)
