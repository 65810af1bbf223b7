"""The command `batch-predictions serve`, which runs the HTTP service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, load_settings
from batch_predictions.settings import SettingsError
from batch_predictions.settings.environment import PREFIX


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
    release_dir: Annotated[
        str | None,
        typer.Option(
            help="Answer from the release files of this folder, or of s3://BUCKET/PREFIX.",
            show_default=False,
        ),
    ] = None,
    copy_to: Annotated[
        Path | None,
        typer.Option(help="Copy release files to this folder first.", show_default=False),
    ] = None,
    poll_seconds: Annotated[
        float | None,
        typer.Option(help="How often to look for a newer file. [default: 5]", show_default=False),
    ] = None,
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

    With `--release-dir`, a machine without the home folder answers: `batch-predictions releases
    export` writes a file per release, which is verified before it is served. Files of a URL (s3://,
    gs://, az://) are copied to `--copy-to`, by default to HOME/release_copies; two stay there.

    API keys come from the variables BATCH_PREDICTIONS_HTTP_READ_KEYS, …_WRITE_KEYS and
    …_ADMIN_KEYS, separated by commas. Without keys, the service listens on loopback only, unless
    http.allow_without_keys is set. The settings `http.*` have limits, caching and CORS;
    docs/reference/http.md explains all.
    """
    from batch_predictions.serving.server.server import serve as serve_http

    location = release_dir if release_dir is None or "://" in release_dir else Path(release_dir)
    _pass_on(RELEASE_DIR=location, RELEASE_COPY_DIR=copy_to, RELEASE_POLL_SECONDS=poll_seconds)
    settings = load_settings(home, context)
    if settings.http.release_dir is None and (copy_to or poll_seconds):
        raise SettingsError("--copy-to and --poll-seconds need --release-dir")
    serve_http(settings, host, port, workers)


def _pass_on(**options: Path | str | float | None) -> None:
    """Sets variables of the section `http`: workers load the settings from the environment."""
    for name, value in options.items():
        if value is not None:
            text = str(value.absolute() if isinstance(value, Path) else value)
            os.environ[f"{PREFIX}HTTP__{name}"] = text
