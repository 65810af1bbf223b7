"""The files of `deployment/`, and whether the commands in them exist."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import typer
import yaml

from batch_predictions.cli.command_line import make_app
from batch_predictions_tests.worlds.paths import ROOT

DEPLOYMENT = ROOT / "deployment"
PROGRAM = "batch-predictions"
SEPARATORS = ("|", "&", "&&", "||", ";", ">", ">>", "2>")


def read_yaml(*names: str) -> list[Any]:
    """The documents of a YAML file in `deployment/`."""
    text = DEPLOYMENT.joinpath(*names).read_text(encoding="utf-8")
    return [document for document in yaml.safe_load_all(text) if document is not None]


class CommandLineError(AssertionError):
    """A call of the platform that would not be accepted."""


def parse_command(words: Sequence[str]) -> str:
    """The name of the command that a call runs, whose options and arguments are accepted.

    Args:
        words: without the program's name. With `--help`, the rest is not parsed.

    Raises:
        CommandLineError: there is no such command or option, or an argument is missing or wrong.
    """
    command: Any = typer.main.get_command(make_app())
    arguments, name = list(words), PROGRAM
    # Typer has a copy of Click in some versions, so that classes cannot be compared.
    while hasattr(command, "commands"):
        name = arguments.pop(0) if arguments else ""
        command = command.commands.get(name)
        if command is None:
            raise CommandLineError(f"there is no command {name!r} in {' '.join(words)}")
    if "--help" in arguments:
        return name
    try:
        with command.make_context(name, arguments):
            return name
    except Exception as error:
        message = getattr(error, "message", error)
        raise CommandLineError(f"{' '.join(words)}: {message}") from None


def assert_commands_exist(lines: Iterable[str]) -> int:
    """Checks every shell line that calls the platform; returns their number."""
    number = 0
    for line in lines:
        words = shlex.split(line, comments=True)
        places = [
            place
            for place, word in enumerate(words)
            if word.endswith(f"/bin/{PROGRAM}") or (word == PROGRAM and place == 0)
        ]
        if not places:
            continue
        words = words[places[0] + 1 :]
        ends = [words.index(word) for word in SEPARATORS if word in words]
        parse_command(words[: min(ends, default=len(words))])
        number += 1
    return number
