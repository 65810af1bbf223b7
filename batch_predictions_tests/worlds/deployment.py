"""The files of `deployment/`, and whether the commands in them exist."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import typer
import yaml

from batch_predictions.cli import make_app
from batch_predictions_tests.worlds.paths import ROOT

DEPLOYMENT = ROOT / "deployment"
PROGRAM = "batch-predictions"


def read_yaml(*names: str) -> list[Any]:
    """The documents of a YAML file in `deployment/`."""
    text = DEPLOYMENT.joinpath(*names).read_text(encoding="utf-8")
    return [document for document in yaml.safe_load_all(text) if document is not None]


def parse_command(words: Sequence[str]) -> click.Context:
    """The parsed words of a call of the platform, without the program's name.

    Raises:
        click.UsageError: there is no such command or option, or an argument is missing or wrong.
    """
    command: Any = typer.main.get_command(make_app())
    arguments, name = list(words), PROGRAM
    with contextlib.ExitStack() as stack:
        while isinstance(command, click.Group):
            name = arguments.pop(0)
            inner = command.commands.get(name)
            if inner is None:
                raise click.UsageError(f"there is no command {name}")
            command = inner
        context: click.Context = command.make_context(name, arguments)
        stack.enter_context(context)
    return context


def assert_commands_exist(lines: Iterator[str] | Sequence[str]) -> int:
    """Checks every shell line that calls the platform; returns their number."""
    number = 0
    for line in lines:
        words = shlex.split(line, comments=True)
        names = [Path(word).name for word in words]
        if PROGRAM not in names:
            continue
        words = words[names.index(PROGRAM) + 1 :]
        ends = [
            words.index(word) for word in ("|", "&", "&&", "||", ";", ">", "2>") if word in words
        ]
        try:
            parse_command(words[: min(ends, default=len(words))])
        except click.exceptions.Exit:
            pass  # --help
        except click.UsageError as error:
            raise AssertionError(f"{line}: {error.format_message()}") from None
        number += 1
    return number
