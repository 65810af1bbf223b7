"""`batch-predictions releases …`: what applications see."""

from __future__ import annotations

from typing import Annotated

import typer

from batch_predictions.cli.options import Home, Json, settings_of
from batch_predictions.cli.printing import show

releases_app = typer.Typer(help="Releases: what applications see.", no_args_is_help=True)


@releases_app.command("list")
def releases_list(context: typer.Context, home: Home = None, as_json: Json = False) -> None:
    """Releases that are kept, newest first; * is what applications see."""
    from batch_predictions.serving.release.publish import releases
    from batch_predictions.serving.store.schema import Store

    store = Store.of(settings_of(home, context))
    try:
        rows = [
            {
                "current": "*" if each.current else "",
                "release_id": each.release_id,
                "as_of": each.as_of,
                "created_at": each.created_at,
                "status": each.status,
                "rows": sum(each.rows.values()),
            }
            for each in releases(store)
        ]
    finally:
        store.close()
    show(rows, as_json)


@releases_app.command("rollback")
def releases_rollback(
    context: typer.Context,
    to: Annotated[
        str | None, typer.Argument(help="Release to serve. [default: the one before]")
    ] = None,
    home: Home = None,
) -> None:
    """Move applications back to an earlier release, at once."""
    from batch_predictions.serving.release.publish import rollback
    from batch_predictions.serving.store.schema import Store

    store = Store.of(settings_of(home, context))
    try:
        typer.echo(rollback(store, to).note)
    finally:
        store.close()
