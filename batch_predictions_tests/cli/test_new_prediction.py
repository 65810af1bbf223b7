"""`new prediction` writes modules and a test that run as they are; own_models.md shows them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from batch_predictions.cli.command_line import make_app
from batch_predictions.cli.commands.new_command import render_files
from batch_predictions.settings import FILE_NAME, SettingsError
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.programs import run_python
from batch_predictions_tests.worlds.users_package import code_blocks


def new_prediction(*words: str) -> str:
    result = CliRunner().invoke(make_app(), ["new", "prediction", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--model"], ["--model", "--value", "sum(amount)"]])
def test_the_written_test_passes(options: list[str], tmp_path: Path) -> None:
    output = new_prediction("expected_visits", *options, "--package", "our_shop")
    assert "our_shop/expected_visits.py" in output
    variables = {"PYTHONPATH": f"{ROOT}", "PATH": "/usr/bin:/bin"}
    options = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]
    process = run_python(*options, "tests", env=variables, cwd=tmp_path, check=False)
    assert process.returncode == 0, process.stdout + process.stderr


def test_the_package_joins_the_plugins_of_the_settings(tmp_path: Path) -> None:
    CliRunner().invoke(make_app(), ["init"])
    new_prediction("first", "--package", "our_shop")
    assert re.search(r"^plugins: \[our_shop\]$", Path(FILE_NAME).read_text(), re.MULTILINE)
    assert "already" in new_prediction("second", "--package", "our_shop")
    # Several plugins are not edited.
    assert "add other_shop to `plugins`" in new_prediction("third", "--package", "other_shop")


def test_a_missing_settings_file_is_created(tmp_path: Path) -> None:
    new_prediction("first", "--package", "our_shop")
    assert Path(FILE_NAME).read_text() == "plugins: [our_shop]\n"


def test_existing_files_stay_unless_forced(tmp_path: Path) -> None:
    new_prediction("first")
    module = Path("my_predictions/first.py")
    module.write_text("changed")
    with pytest.raises(SettingsError, match="exists already"):
        new_prediction("first")
    assert module.read_text() == "changed"
    new_prediction("first", "--force")
    assert module.read_text() != "changed"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Churn", "lower-case"),
        ("class", "lower-case"),
        ("2nd", "lower-case"),
        ("churn_scores", "table of the platform"),
    ],
)
def test_unusable_names_are_refused(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message):
        new_prediction(name)


def test_the_documentation_shows_the_written_modules() -> None:
    files = render_files("expected_orders", "my_shop", "count(*)")
    blocks = code_blocks()
    for path in ("my_shop/expected_orders_model.py", "my_shop/expected_orders.py"):
        assert blocks[path] == files[path], (
            f"docs/tutorials/own_models.md: {path} differs from the template"
        )
