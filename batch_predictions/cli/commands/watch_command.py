"""The command `batch-predictions watch`, which sends alerts about the home's status."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from batch_predictions.cli.commands.status_command import MaxAge
from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, load_settings


@command("watch", order=56)
def watch(
    context: typer.Context,
    home: Home = None,
    every: Annotated[
        float, typer.Option("--every", metavar="MINUTES", help="Time between looks.", min=0.01)
    ] = 5,
    once: Annotated[
        bool,
        typer.Option("--once", help="Look once, for cron; exit code 1 if there is a problem."),
    ] = False,
    max_age: MaxAge = None,
) -> None:
    """Look at the status again and again, and send an alert when a problem begins or has ended.

    Runs outside of Dagster, so that it reports a daemon that died. Every change is a line of
    `<home>/alerts.log`. Addresses to send it to come from the variable
    BATCH_PREDICTIONS_ALERT_URLS, separated by blanks, as apprise writes them: `mailto://…`,
    `slack://…`, `msteams://…`, `pagerduty://…`, `json://host/path` and a hundred others.

    With the setting report.send, the report of each ended week or day is sent to the addresses of
    BATCH_PREDICTIONS_REPORT_URLS, once its release is there; `batch-predictions run` does so too.

    Ends with Ctrl-C or SIGTERM.
    """
    from batch_predictions.core.redaction import redact
    from batch_predictions.operations.alerts import watch_once
    from batch_predictions.operations.report.sending import send_due_report
    from batch_predictions.orchestration.dagster_records import DagsterRecords
    from batch_predictions.planning.declarations import load_declarations

    settings = load_settings(home, context)
    load_declarations(settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while not stop.is_set():
        records = DagsterRecords(settings)
        try:
            send_due_report(settings, records)
        except Exception as error:
            # The status has the report that is due as a problem.
            typer.echo(f"{type(error).__name__}: {redact(str(error))}", err=True)
        status = watch_once(settings, records, max_age)
        if once:
            for problem in status.problems:
                typer.echo(problem.message)
            raise typer.Exit(1 if status.problems else 0)
        stop.wait(60 * every)
