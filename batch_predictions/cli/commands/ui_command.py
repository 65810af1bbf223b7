"""`batch-predictions ui`, `webserver` and `daemon`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.dagster_processes import (
    DAEMON,
    WEBSERVER,
    become,
    prepare_home,
    run_together,
)
from batch_predictions.cli.console.options import Home

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65_535)]
_ALL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104
AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="NAME",
        help="A name under which browsers call the pages, such as that of a reverse proxy; give it "
        "again for more. [default: localhost, and --host]",
        show_default=False,
    ),
]


@command("ui", order=50)
def ui(
    context: typer.Context,
    home: Home = None,
    host: Host = "127.0.0.1",
    port: Port = 3000,
    allow_host: AllowHost = None,
) -> None:
    """Open Dagster on this home folder: lineage, partitions, schedules, plots. Ends with Ctrl-C.

    It is `webserver` and `daemon` in one, for a person at a machine.
    """
    prepare_home(home, context)
    typer.echo(f"Dagster's pages: http://{host}:{port} (Ctrl-C ends them)", err=True)
    raise typer.Exit(run_together(WEBSERVER, DAEMON, _listen(host, port, allow_host)))


@command("webserver", order=51)
def webserver(
    context: typer.Context,
    home: Home = None,
    host: Host = "127.0.0.1",
    port: Port = 3000,
    allow_host: AllowHost = None,
    read_only: Annotated[
        bool,
        typer.Option("--read-only", help="Show everything; start and change nothing."),
    ] = False,
    path_prefix: Annotated[
        str,
        typer.Option(
            metavar="/PATH", help="Path of the pages behind a reverse proxy.", show_default=False
        ),
    ] = "",
) -> None:
    """Serve Dagster's pages, without schedules: for a service of systemd or a container.

    `batch-predictions daemon` runs the schedules and sensors. Dagster asks for no password: whoever
    reaches the port can start runs, so leave it on loopback, and put a reverse proxy that checks
    who calls, or an SSH tunnel, in front of it. Requests that pages of other sites make through a
    browser are refused. Ends with SIGTERM.
    """
    prepare_home(home, context)
    options = ["--read-only"] * read_only + ["--path-prefix", path_prefix] * bool(path_prefix)
    become(*WEBSERVER, *_listen(host, port, allow_host), *options)


def _listen(host: str, port: int, allow_host: Sequence[str] | None) -> list[str]:
    """Arguments of the web server: its address, and the names under which it answers."""
    names = [*(allow_host or ()), *([] if host in _ALL_ADDRESSES else [host])]
    allowed = [word for name in names for word in ("--allow-host", name)]
    return ["-h", host, "-p", str(port), *allowed]


@command("daemon", order=52)
def daemon(context: typer.Context, home: Home = None) -> None:
    """Run the schedules and sensors of this home folder: for a service of systemd or a container.

    One daemon for a home. Runs that it has started end with it; what they had made stays, and the
    next night makes the rest. Ends with SIGTERM.
    """
    prepare_home(home, context)
    become(*DAEMON)
