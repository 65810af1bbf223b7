"""The check of commands in files and pages finds those that do not exist."""

from __future__ import annotations

import pytest

from batch_predictions_tests.worlds.deployment import (
    CommandLineError,
    assert_commands_exist,
    parse_command,
)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["serve", "--port", "0"], "serve"),
        (["releases", "export", "--to", "x"], "export"),
        (["run", "--no-such-option", "--help"], "run"),
    ],
)
def test_a_call_that_is_accepted(words: list[str], name: str) -> None:
    assert parse_command(words) == name


@pytest.mark.parametrize(
    "words",
    [[], ["fly"], ["serve", "--fly"], ["serve", "--port", "x"], ["backup"], ["releases", "fly"]],
)
def test_a_call_that_is_refused(words: list[str]) -> None:
    with pytest.raises(CommandLineError):
        parse_command(words)


def test_commands_are_found_in_shell_lines() -> None:
    lines = [
        "echo 1",
        "sudo -u shop /opt/venv/bin/batch-predictions status --json | jq .as_of  # a comment",
        "batch-predictions serve & sleep 1",
    ]
    assert assert_commands_exist(lines) == 2
    with pytest.raises(CommandLineError, match="fly"):
        assert_commands_exist(["batch-predictions fly > x"])
