"""Commands are declared, grouped and ordered; plugins add theirs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from batch_predictions.cli import command_line as cli_app
from batch_predictions.cli.command_line import make_app
from batch_predictions.cli.console.command import CommandGroup, build_app, command


@command("lookup gift", order=2)
def gift(name: str) -> None:
    """Prints a gift."""
    typer.echo(f"a gift for {name}")


@command("lookup card", order=1)
def card() -> None:
    """Prints a card."""


@command("wrap")
def wrap() -> None:
    """Wraps."""
    typer.echo("wrapped")


def test_commands_run_by_their_words_and_are_listed_in_order() -> None:
    app = build_app([gift, card, wrap], [CommandGroup("lookup", "Looks up.")])
    runner = CliRunner()
    assert runner.invoke(app, ["lookup", "gift", "ann"]).output == "a gift for ann\n"
    assert runner.invoke(app, ["wrap"]).output == "wrapped\n"
    text = runner.invoke(app, ["lookup", "--help"]).output
    assert text.index("card") < text.index("gift")
    assert "Looks up." in runner.invoke(app, ["--help"]).output


def test_two_commands_of_the_same_words_are_an_error() -> None:
    with pytest.raises(ValueError, match="two commands have the words 'wrap'"):
        build_app([wrap, command("wrap")(lambda: None)], [])


def test_every_command_explains_itself() -> None:
    app = make_app()
    runner = CliRunner()
    for group in app.registered_groups:
        assert group.typer_instance is not None
        words = [[group.name, item.name] for item in group.typer_instance.registered_commands]
        for names in [[group.name], *words]:
            result = runner.invoke(app, [*map(str, names), "--help"])
            assert result.exit_code == 0 and "Usage" in result.output, names


def test_plugins_are_imported_only_where_a_command_may_be_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("batch_predictions.yaml").write_text("plugins: [gift_commands]\n")
    (tmp_path / "gift_commands.py").write_text(
        "from batch_predictions.cli.console.command import command\n\n"
        '@command("gift list")\n'
        "def gift_list() -> None:\n"
        '    """Lists gifts."""\n'
        '    print("one gift")\n'
    )
    try:
        cli_app._app_for(["lookup", "churn", "1"])
        assert "gift_commands" not in sys.modules
        app = cli_app._app_for(["gift", "list"])
        assert CliRunner().invoke(app, ["gift", "list"]).output == "one gift\n"
    finally:
        sys.modules.pop("gift_commands", None)
