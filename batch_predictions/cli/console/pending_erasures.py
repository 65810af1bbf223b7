"""Finishes erasures that were requested over HTTP, or whose process was killed."""

from __future__ import annotations

import datetime as dt

import typer

from batch_predictions.core.erasures import read_erasures
from batch_predictions.settings import Settings


def finish_pending_erasures(settings: Settings) -> None:
    """Completes pending erasures and reports them; the caller holds the home's lock."""
    log = read_erasures(settings.home)
    if log is None or not log.pending:
        return
    from batch_predictions.operations.erasure.erase import finish_erasures
    from batch_predictions.orchestration.dagster_records import DagsterRecords

    summary = finish_erasures(settings, DagsterRecords(settings), dt.datetime.now(dt.UTC))
    unknown = f"; {summary.unknown} requested ids were in no row" if summary.unknown else ""
    typer.echo(
        f"Erased {summary.users} user{'' if summary.users == 1 else 's'} whose erasure was not "
        f"finished{unknown}.",
        err=True,
    )
