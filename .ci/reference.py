"""Writes the generated pages of docs/reference from the code: `python .ci/reference.py`.

Settings, tables, commands, HTTP, errors and the public interface. A test compares the files with
what this makes, so that nothing is missing and nothing is old.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
NOTE = "<!-- Written by .ci/reference.py (`make docs`): change the code, not this page. -->\n"
SCHEMAS = {
    "raw": "What a source gives, validated.",
    "features": "What models read, as known at the end of a day.",
    "tiles": "Sums of single days, from which features of windows are made.",
    "predictions": "What is predicted, and who was left out.",
    "evaluation": "How well it does, and what it costs.",
}


def pages() -> dict[str, str]:
    """The text of every generated page, by file name."""
    return {
        "settings.md": settings_page(),
        "tables.md": tables_page(),
        "commands.md": commands_page(),
        "http_addresses.md": http_page(),
        "messages.md": messages_page(),
        "exit_codes.md": exit_codes_page(),
        "python.md": python_page(),
    }


def settings_page() -> str:
    """Every setting with its type, default and meaning, a section at a time."""
    from batch_predictions.settings import Settings

    lines = [
        NOTE,
        "# Settings",
        "",
        "In `batch_predictions.yaml`, in the working directory or the home; the environment wins: "
        "`BATCH_PREDICTIONS_RECOMMENDATIONS__K=10` is `k` of `recommendations`. "
        "`batch-predictions init` writes the file with every setting and its default.",
        "",
    ]
    plain = {}
    for name, field in Settings.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            lines += _section(name, model, field.description)
        else:
            plain[name] = field
    return "\n".join([*lines, "## At the top level", "", *_setting_rows(plain), ""])


def _section(name: str, model: type[BaseModel], description: str | None) -> Iterator[str]:
    yield from (f"## {name}", "", _paragraph(description or model.__doc__), "")
    yield from _setting_rows(model.model_fields)
    yield ""
    chosen = {key: _default(field) for key, field in model.model_fields.items()}
    known = {key: value for key, value in chosen.items() if value not in (None, [], {}, "")}
    first = dict([*known.items()][:2])
    if first:
        yield from ("```yaml", yaml.safe_dump({name: first}, sort_keys=False).rstrip(), "```", "")


def _setting_rows(fields: dict[str, FieldInfo]) -> Iterator[str]:
    yield from ("| setting | type | default | meaning |", "| --- | --- | --- | --- |")
    for key, field in fields.items():
        value = _default(field)
        shown = (
            ""
            if value is None
            else f"`{yaml.safe_dump(value, default_flow_style=True).split(chr(10))[0]}`"
        )
        kind = _type(field)
        yield f"| `{key}` | {kind} | {shown} | {_cell(field.description)} |"


def _default(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if repr(value) == "PydanticUndefined":
        return None
    return (
        value if isinstance(value, (bool, int, float, str, list, dict, type(None))) else str(value)
    )


def _type(field: FieldInfo) -> str:
    """The type in words: `whole number, 1 or more`, a choice, or a structure."""
    text = _type_words(field.annotation)
    limits = []
    for limit in field.metadata:
        for name, words in (
            ("ge", "at least"),
            ("gt", "above"),
            ("le", "at most"),
            ("lt", "below"),
        ):
            bound = getattr(limit, name, None)
            if bound is not None:
                limits.append(f"{words} {bound:g}")
    return ", ".join([text, *limits])


def _type_words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (list, tuple, set, frozenset):
        return f"list of {_type_words(arguments[0])}" if arguments else "list"
    if origin is dict:
        return "mapping"
    if arguments and type(None) in arguments:
        return (
            " or ".join(_type_words(each) for each in arguments if each is not type(None))
            + ", or empty"
        )
    if arguments:
        return " or ".join(
            dict.fromkeys(_type_words(each) for each in arguments if not _is_validator(each))
        )
    if annotation is SecretStr:
        return "text, secret"
    words = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path"}
    if annotation in words:
        return words[annotation]
    return (
        "mapping"
        if isinstance(annotation, type) and issubclass(annotation, BaseModel)
        else getattr(annotation, "__name__", "text")
    )


def _is_validator(value: Any) -> bool:
    return not isinstance(value, type) and get_origin(value) is None


def tables_page() -> str:
    """Every declared table with its partition, key and columns."""
    from batch_predictions.planning.declarations import load_declarations
    from batch_predictions.settings import Settings
    from batch_predictions.tables import TABLES

    load_declarations(Settings())
    lines = [
        NOTE,
        "# Tables",
        "",
        "Every table is a view of `HOME/warehouse.duckdb`, over one Parquet file for each "
        "partition. Identifiers are VARCHAR, times are UTC. `predictions` has one more table for "
        "each predictive "
        "query and each prediction of your own.",
        "",
    ]
    by_schema: dict[str, list[Any]] = {}
    for table in TABLES.values():
        by_schema.setdefault(table.schema, []).append(table)
    for schema in sorted(by_schema, key=[*SCHEMAS].index):
        lines += [f"## {schema}", "", SCHEMAS[schema], ""]
        for table in by_schema[schema]:
            partition = {
                "date": "A partition is a day.",
                "week": "A partition is a week, from Monday.",
            }
            key = f" Key: {', '.join(f'`{name}`' for name in table.key)}." if table.key else ""
            when = partition.get(table.partition or "", "The newest snapshot.")
            lines += [f"### {table.qualified}", "", f"{table.description} {when}{key}", ""]
            lines += ["| column | type | meaning |", "| --- | --- | --- |"]
            lines += [
                f"| `{column.name}` | {column.type} | {_cell(column.description)} |"
                for column in table.columns
            ]
            lines.append("")
    return "\n".join(lines)


def commands_page() -> str:
    """Every command with its help, arguments and options."""
    from batch_predictions.cli.command_line import make_app

    root = typer.main.get_command(make_app())
    lines = [
        NOTE,
        "# Commands",
        "",
        "`batch-predictions COMMAND --help` says the same. Results go to the standard output, "
        "progress "
        "and errors to the standard error; with `--json`, one JSON document. Exit codes are on "
        "[their page](exit_codes.md).",
        "",
    ]
    for words, command in _commands(root, ()):
        lines += [
            f"## {' '.join(words)}",
            "",
            f"```text\nbatch-predictions {_usage(words, command)}\n```",
            "",
        ]
        lines += [_markdown(command.help), ""]
        rows = [row for parameter in command.params if (row := _parameter(parameter))]
        if rows:
            lines += ["| option | meaning | default |", "| --- | --- | --- |", *rows, ""]
    return "\n".join(lines)


def _commands(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    members = getattr(command, "commands", None)  # Typer has groups of its own.
    if members:
        for name, member in members.items():
            yield from _commands(member, (*words, name))
    else:
        yield words, command


def _usage(words: tuple[str, ...], command: Any) -> str:
    kinds = {p.param_type_name: p for p in command.params}
    arguments = [p.name.upper() for p in command.params if p.param_type_name == "argument"]
    return " ".join([*words, *(["[OPTIONS]"] if "option" in kinds else []), *arguments])


def _parameter(parameter: Any) -> str:
    if getattr(parameter, "hidden", False) or "--help" in parameter.opts:
        return ""
    is_argument = parameter.param_type_name == "argument"
    names = (
        [parameter.name.upper()] if is_argument else [*parameter.opts, *parameter.secondary_opts]
    )
    shown = ", ".join(f"`{name}`" for name in names)
    text = str(getattr(parameter, "help", "") or "")
    default = parameter.default
    match = re.search(r"\[(?:env: [^;\]]+; )?default: ([^\]]+)\]", text)
    if match:
        default, text = match.group(1), text.replace(match.group(0), "").strip()
    hidden = (
        default is None
        or default is False
        or default == ()
        or callable(default)
        or "Sentinel" in repr(default)
    )
    return f"| {shown} | {_cell(text)} | {'' if hidden else f'`{default}`'} |"


def http_page() -> str:
    """Every address of the service, from its OpenAPI description, and every kind of error."""
    import tempfile

    from batch_predictions.serving.http.problems import PROBLEM_TYPES
    from batch_predictions.serving.http.service import PredictionService
    from batch_predictions.serving.server.http_app import make_api
    from batch_predictions.serving.server.openapi import describe
    from batch_predictions.settings import Settings

    with tempfile.TemporaryDirectory() as home:
        service = PredictionService(Settings(home=Path(home)))
        description: Any = describe(make_api(service))
    lines = [
        NOTE,
        "# Addresses of the HTTP service",
        "",
        "From `/openapi.json`, which a running service has. Answers and calls to copy are on "
        "[the page about the service](http.md).",
        "",
    ]
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            lines += [f"## {method.upper()} {path}", "", operation.get("summary", ""), ""]
            lines += [_paragraph(operation.get("description")), ""]
            parameters = operation.get("parameters", [])
            if parameters:
                lines += ["| parameter | in | meaning |", "| --- | --- | --- |"]
                lines += [
                    f"| `{p['name']}` | {p['in']} | {_cell(p.get('description'))} |"
                    for p in parameters
                ]
                lines.append("")
    lines += [
        "## Errors",
        "",
        "Errors are `application/problem+json` with the type `/problems/NAME`.",
        "",
    ]
    lines += ["| name | status | what is wrong | what to do |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{p.name}` | {p.status} | {_cell(p.title)} | {_cell(p.remedy)} |"
        for p in PROBLEM_TYPES.values()
    ]
    return "\n".join([*lines, ""])


def messages_page() -> str:
    """Every message of an error that a command ends with, and of a problem that `status` names."""
    lines = [
        NOTE,
        "# Messages",
        "",
        "Every error that ends a command in one line, and every problem that "
        "`batch-predictions status` names; `…` stands for a name or a number. The part after the "
        "colon says what to do. An error that comes with a traceback is a fault of the program: "
        "please report it.",
        "",
    ]
    by_stage: dict[str, list[str]] = {}
    for stage, message in sorted(set(_messages())):
        by_stage.setdefault(stage, []).append(message)
    for stage, messages in by_stage.items():
        lines += [f"## {stage}", "", *(f"- {message}" for message in messages), ""]
    return "\n".join(lines)


def _messages() -> Iterator[tuple[str, str]]:
    package = ROOT / "batch_predictions"
    errors = _expected_errors(package)
    for path in sorted(package.rglob("*.py")):
        stage = path.relative_to(package).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            call = node.exc if isinstance(node, ast.Raise) else node
            if not isinstance(call, ast.Call):
                continue
            name = getattr(call.func, "id", getattr(call.func, "attr", ""))
            if isinstance(node, ast.Raise) and name in errors and call.args:
                text = _text(call.args[0])
            elif name == "add_problem" and len(call.args) == 2:
                text = _text(call.args[1])
            else:
                continue
            if text and len(text.replace("…", "").split()) >= 4:
                yield stage, text


def _expected_errors(package: Path) -> set[str]:
    """Names of the errors whose message is all that a command prints, subclasses included."""
    from batch_predictions.cli.console.errors import EXPECTED_ERRORS

    errors = {*EXPECTED_ERRORS, "HomeError", "SettingsError", "HomeBusyError"}
    bases: dict[str, set[str]] = {}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {getattr(base, "id", "") for base in node.bases}
    while more := {name for name, parents in bases.items() if parents & errors} - errors:
        errors |= more
    return errors


def _text(node: ast.expr) -> str:
    """The text of a string with … for what is not constant; empty for other expressions."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return " ".join(node.value.split())
    if isinstance(node, ast.JoinedStr):
        parts = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
        return " ".join("".join(map(str, parts)).split())
    return ""


def exit_codes_page() -> str:
    """The exit codes of commands, from the module that sets them."""
    from batch_predictions.cli.console import errors

    table = [line for line in (errors.__doc__ or "").splitlines() if line.startswith("|")]
    ends = "A command that did what it was asked to ends with 0. Others:"
    return "\n".join([NOTE, "# Exit codes", "", ends, "", *table, ""])


def python_page() -> str:
    """Every name that a package of one's own may import, with its signature and documentation."""
    import batch_predictions

    lines = [
        NOTE,
        "# Python",
        "",
        "What a package of your own imports from `batch_predictions`; nothing deeper is stable.",
        "",
    ]
    for name in sorted(vars(batch_predictions)["__all__"]):
        value = getattr(batch_predictions, name)
        lines += [f"## {name}", ""]
        is_settings = isinstance(value, type) and issubclass(value, BaseModel)
        if callable(value) and not is_settings:
            with suppress(TypeError, ValueError):
                lines += ["```python", f"{name}({_signature(value)})", "```", ""]
        lines += ["```text", inspect.getdoc(value) or "", "```", ""]
    return "\n".join(lines)


def _signature(value: Any) -> str:
    """Parameters by name with plain defaults; … for a default that is made when it is needed."""
    parts = []
    for parameter in inspect.signature(value).parameters.values():
        default = parameter.default
        text = str(parameter).partition(":")[0].partition("=")[0].strip()
        if default is not inspect.Parameter.empty:
            is_plain = isinstance(default, (bool, int, float, str, tuple, type(None)))
            shown = f'"{default}"' if isinstance(default, str) else repr(default)
            text += f"={shown}" if is_plain else "=…"
        parts.append(text)
    return ", ".join(parts)


def _paragraph(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str | None) -> str:
    """A text as a cell of a table of Markdown."""
    escaped = _paragraph(text).replace("|", "\\|")
    return re.sub(r"<(?=\w)", "&lt;", escaped)


def _markdown(text: str | None) -> str:
    return inspect.cleandoc(text or "").split("\f")[0]


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
