"""A command of the command line, declared: a function and the words that call it.

    @command("lookup churn", order=30)
    def lookup_churn(context: typer.Context, user_id: ..., home: Home = None) -> None:
        \"\"\"The churn probability of a customer.\"\"\"

Commands are found in `cli/commands` and in plugins; adding one is adding a file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from batch_predictions.tables.discovery import index_unique

UNPARSED = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
LAST = 1000
"""The place of a command or group that declares none."""


@dataclass(frozen=True)
class Command:
    """A declared command of the command line.

    Attributes:
        words: the group's name, if any, and the command's: `lookup churn`, `run`.
        function: what it does; its annotations are Typer's, its docstring is the help.
        order: place in the help of its group, then by name.
        parses_arguments: whether it parses its arguments itself, `--help` included.
    """

    words: str
    function: Callable[..., None]
    order: int = LAST
    parses_arguments: bool = False

    @property
    def group(self) -> str:
        """The group's name, empty for commands at the root."""
        return self.words.rpartition(" ")[0]

    @property
    def name(self) -> str:
        """The command's own name, the last of its words."""
        return self.words.rpartition(" ")[2]


@dataclass(frozen=True)
class CommandGroup:
    """A group of commands.

    Attributes:
        name: the first word of its commands.
        help: what its commands are about.
        order: place among the groups.
    """

    name: str
    help: str
    order: int = LAST


def command(words: str, order: int = LAST) -> Callable[[Callable[..., None]], Command]:
    """Declares a function as a command."""
    return lambda function: Command(words, function, order)


def build_app(commands: Sequence[Command], groups: Sequence[CommandGroup], **options: Any) -> Any:
    """The Typer application of declared commands and groups; `options` are those of the root.

    Raises:
        ValueError: two commands have the same words.
    """
    app = typer.Typer(no_args_is_help=True, **options)
    by_name = {group.name: group for group in groups}
    for name in {item.group for item in commands} - {"", *by_name}:
        by_name[name] = CommandGroup(name, "")
    apps = {"": app}
    for group in sorted(by_name.values(), key=lambda group: (group.order, group.name)):
        apps[group.name] = typer.Typer(help=group.help, no_args_is_help=True)
        app.add_typer(apps[group.name], name=group.name)
    in_order = sorted(commands, key=lambda item: (item.order, item.words))
    for item in index_unique(in_order, "commands", "words").values():
        settings = UNPARSED if item.parses_arguments else {}
        apps[item.group].command(item.name, context_settings=settings)(item.function)
    return app
