"""`batch-predictions releases …`: what applications see."""

from __future__ import annotations

from typing import Annotated

import typer

from batch_predictions.cli.command import command
from batch_predictions.cli.options import Home, Json, load_settings
from batch_predictions.cli.printing import print_rows


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
    from batch_predictions.serving.release.publish import rollback
    from batch_predictions.serving.store.schema import Store

    with Store.of(load_settings(home, context)) as store:
        typer.echo(rollback(store, to).note)
