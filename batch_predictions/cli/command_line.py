"""The command line as a whole: every declared command, and how a command ends."""

from __future__ import annotations

import atexit
import gc
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from batch_predictions.cli.console.command import Command, CommandGroup, build_app
from batch_predictions.cli.console.errors import Ending, describe_error
from batch_predictions.cli.console.options import Home
from batch_predictions.core.interruption import stop_signal
from batch_predictions.core.redaction import redact, redact_logs
from batch_predictions.settings import Settings, SettingsError
from batch_predictions.tables.discovery import instances, load_plugins

HELP = (
    "Machine-learning predictions in batches: ingest, train, predict, release, look up.\n\n"
    "Begin with `batch-predictions demo`, or `batch-predictions init` for a source of your own."
)

GC_THRESHOLDS = (20_000, 20, 20)
"""Objects that are created before the youngest are searched for cycles, and collections of a
generation before the next one is."""


def make_app() -> typer.Typer:
    """An application of every command: the platform's own, and those of plugins."""
    app: typer.Typer = build_app(
        instances(Command, "cli/commands/*.py"),
        instances(CommandGroup, "cli/commands/*.py"),
        name="batch-predictions",
        help=HELP,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
    )

    @app.callback()
    def root(
        context: typer.Context,
        home: Home = None,
        show_version: Annotated[
            bool,
            typer.Option(
                "--version", help="Print the version.", is_eager=True, callback=_print_version
            ),
        ] = False,
    ) -> None:
        context.obj = home

    return app


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"batch-predictions {package_version()}")
        raise typer.Exit


def package_version() -> str:
    """The version of the installed distribution; `unknown` for a package that is not installed."""
    from importlib.metadata import packages_distributions, version

    names = packages_distributions().get("batch_predictions", [])
    return version(names[0]) if names else "unknown"


def run_command(arguments: Sequence[str]) -> None:
    """Runs the command of a command line, and ends the process.

    No error and no log line has a password.

    Raises:
        SystemExit: with the exit code, after the line of an error.
    """
    collect_garbage_rarely()
    redact_logs()
    try:
        _app_for(arguments)(arguments, standalone_mode=True)
    except Exception as error:
        if stop_signal():
            raise  # It is what a library made of the signal.
        ending = describe_error(error)
        if ending is None:
            ending = Ending("".join(traceback.format_exception(error)).rstrip(), 1)
        typer.echo(redact(f"batch-predictions: {ending.message}"), err=True)
        sys.exit(ending.code)


def collect_garbage_rarely() -> None:
    """Sets Python's cyclic garbage collector for a process that does one thing and ends.

    It would spend a fifth of a night's CPU on the objects of imported libraries, which live as long
    as the process. When the process ends, its memory is not searched for cycles.
    """
    gc.set_threshold(*GC_THRESHOLDS)
    atexit.register(gc.freeze)


def _app_for(arguments: Sequence[str]) -> Any:
    """The application, with the plugins' commands if the arguments may need them.

    Commands of the platform do not import plugins, which may be slow.
    """
    app = make_app()
    words = [argument for argument in arguments if not argument.startswith("-")]
    platform_words = {group.name for group in app.registered_groups} | {
        item.name for item in app.registered_commands
    }
    if not words or words[0] not in platform_words or len(words) == 1:
        names = _plugins_of_settings()
        if names:
            load_plugins(names)
            app = make_app()
    return app


def _plugins_of_settings() -> list[str]:
    """The setting `plugins`; none where the settings cannot be read, which commands report."""
    try:
        return list(Settings.load().plugins)
    except SettingsError:
        return []
