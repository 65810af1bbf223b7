"""`batch-predictions new prediction`: writes a prediction of the user's own, ready to run."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Annotated

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.settings import FILE_NAME, Settings, SettingsError
from batch_predictions.tables import TABLES

TEMPLATES = Path(__file__).parents[1] / "templates"


@command("new prediction", order=10)
def new_prediction(
    name: Annotated[str, typer.Argument(help="Its table, such as expected_orders.")],
    model: Annotated[
        bool, typer.Option("--model", help="With a trained model, its baselines and a gate.")
    ] = False,
    package: Annotated[
        str, typer.Option(help="Your package, a folder of the working directory.")
    ] = "my_predictions",
    value: Annotated[
        str, typer.Option(help="With --model, what is predicted: an SQL aggregate of interactions.")
    ] = "count(*)",
    force: Annotated[bool, typer.Option(help="Replace existing files.")] = False,
) -> None:
    """Write the modules of a daily prediction and their test into your package.

    The modules run unchanged; change the query, the features and the model to yours. With
    `plugins: [my_predictions]` in the settings the prediction joins the platform.
    """
    check_name("the prediction", name)
    check_name("the package", package)
    if f"predictions.{name}" in TABLES:
        raise SettingsError(f"predictions.{name} is a table of the platform: choose another name")
    files = render_files(name, package, value if model else None)
    existing = [path for path in files if Path(path).exists()]
    if existing and not force:
        raise SettingsError(f"{existing[0]} exists already: choose another name, or use --force")
    for path, text in files.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
        typer.echo(f"wrote {path}")
    marker = Path(package) / "__init__.py"
    if not marker.exists():
        marker.write_text('"""Predictions of our own."""\n', encoding="utf-8")
        typer.echo(f"wrote {marker}")
    typer.echo(_add_plugin(package))
    typer.echo(f"next: python -m pytest tests/test_{name}.py; batch-predictions run", err=True)


def render_files(name: str, package: str, value: str | None) -> dict[str, str]:
    """Path to text of the modules and the test.

    Args:
        name: of the prediction.
        package: of the modules.
        value: SQL aggregate that a trained model predicts; None: a rule without a model.
    """
    if value is None:
        templates = {"rule.py": f"{package}/{name}.py", "rule_test.py": f"tests/test_{name}.py"}
    else:
        templates = {
            "model.py": f"{package}/{name}_model.py",
            "model_prediction.py": f"{package}/{name}.py",
            "model_test.py": f"tests/test_{name}.py",
        }
    replacements = {
        "__CLASS__": "".join(word.capitalize() for word in name.split("_")),
        "__CONST__": name.upper(),
        "__NAME__": name,
        "__PACKAGE__": package,
        "__VALUE__": (value or "").replace("\\", "\\\\").replace('"', '\\"'),
    }
    files = {}
    for template, path in templates.items():
        text = (TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")
        for placeholder, replacement in replacements.items():
            text = text.replace(placeholder, replacement)
        files[path] = text
    return files


def check_name(kind: str, name: str) -> None:
    """Checks a name of a table and module.

    Raises:
        SettingsError: it is not a lower-case Python identifier.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise SettingsError(
            f"{kind} is called {name!r}: use lower-case letters, digits and underscores, such as "
            "expected_orders"
        )


def _add_plugin(package: str) -> str:
    """Adds the package to `plugins` in the settings file, if that is safe. Returns a message."""
    file = Path(FILE_NAME)
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if package in Settings.load().plugins:
        return f"{FILE_NAME} names {package} among its plugins already"
    if not re.search(r"^plugins:", text, re.MULTILINE):
        line = f"plugins: [{package}]"
        if "# plugins: []" in text:
            text = text.replace("# plugins: []", line, 1)
        else:
            text = f"{line}\n{text}"
        file.write_text(text, encoding="utf-8")
        return f"{FILE_NAME}: {line}"
    return f"add {package} to `plugins` in {FILE_NAME}"
