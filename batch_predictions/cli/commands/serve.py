"""`batch-predictions serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from batch_predictions.cli.command import command
from batch_predictions.cli.options import Home, load_settings


@command("serve", order=55)
def serve(
    context: typer.Context,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Others than loopback need API keys.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0: any free one.", min=0, max=65_535)
    ] = 8080,
    workers: Annotated[
        int, typer.Option(help="Processes that answer; as many as there are cores, at most.", min=1)
    ] = 1,
    home: Home = None,
) -> None:
    """Answer lookups and take feedback over HTTP, for applications in any language.

    Ends with Ctrl-C or SIGTERM.

    Every answer is of one release. A release that is published while the service runs is served
    within a second, and a roll-back too.

    - `curl http://127.0.0.1:8080/v1/recommendations/1` gets a user's list
    - `http://127.0.0.1:8080/explorer` in a browser shows what is predicted, and why
    - `PUT /v1/users/ID` stores who signed up just now, `POST /v1/events` clicks and purchases
    - `/v1/predictions` has the tables of the release, `/openapi.json` all addresses
    - `/readyz` is for load balancers, `/metrics` for Prometheus

    API keys come from the variables BATCH_PREDICTIONS_HTTP_READ_KEYS, …_WRITE_KEYS and
    …_ADMIN_KEYS, separated by commas. Without keys, the service listens on loopback only, unless
    http.allow_without_keys is set. The settings `http.*` have limits, caching and CORS;
    docs/http.md explains all.
    """
    from batch_predictions.serving.http.server import serve as serve_http

    serve_http(load_settings(home, context), host, port, workers)
