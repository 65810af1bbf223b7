"""`batch-predictions lookup table`: any published table by its key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, Json, load_settings
from batch_predictions.cli.console.printing import print_rows, print_table

if TYPE_CHECKING:
    from batch_predictions.serving.lookup import Lookup


@command("lookup table", order=80)
def lookup_table(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="The table; without it, the release's tables are listed.")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Argument(help="Conditions such as user_id=1234.", metavar="KEY=VALUE"),
    ] = None,
    limit: Annotated[int, typer.Option(help="Rows at most.", min=1)] = 20,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Rows of any table of the current release, by its columns.

    Conditions on the first columns of the table's key are looked up by index, others by a scan of
    the release's rows.
    """
    from batch_predictions.serving.lookup import Lookup

    conditions = _parse_conditions(key or [])
    with Lookup(load_settings(home, context)) as lookup:
        if name is None:
            print_rows(_describe_tables(lookup), as_json)
            return
        try:
            answer = lookup.answer(name, limit=limit, **conditions)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    if as_json:
        typer.echo(json.dumps(answer, default=str))
        return
    typer.echo(f"{name}, partition {answer['partition']}, release {answer['release_id']}")
    print_table(answer["rows"])


def _parse_conditions(texts: Sequence[str]) -> dict[str, str]:
    """Column to value of texts such as `user_id=1234`."""
    conditions = {}
    for text in texts:
        column, separator, value = text.partition("=")
        if not separator or not column:
            raise typer.BadParameter(f"{text!r} is not a condition: write COLUMN=VALUE")
        conditions[column] = value
    return conditions


def _describe_tables(lookup: Lookup) -> list[dict[str, str]]:
    return [
        {
            "table": table["table"],
            "partition": str(table["partition"]),
            "key": ", ".join(table["key"]),
            "columns": ", ".join(table["columns"]),
        }
        for table in lookup.tables()
    ]
