"""Rows on the standard output."""

from __future__ import annotations

import json
from typing import Any

import typer


def show(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Rows as JSON or as aligned columns."""
    if as_json:
        typer.echo(json.dumps(rows, default=str))
    else:
        print_table(rows)


def print_table(rows: list[dict[str, Any]]) -> None:
    """Rows as aligned columns on the standard output."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    if not rows:
        typer.echo("none", err=True)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in rows[0]:
        number = all(isinstance(row[name], int | float) for row in rows)
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console = Console()
    # Piped into a file or a pager, nothing is folded.
    console.print(table) if console.is_terminal else Console(width=240).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
