"""Prints rows on the standard output, and the progress of long work on the standard error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer


def print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Prints rows as JSON or as aligned columns."""
    if as_json:
        typer.echo(json.dumps(rows, default=str))
    else:
        print_table(rows)


def print_table(rows: list[dict[str, object]]) -> None:
    """Prints rows as aligned columns."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    if not rows:
        typer.echo("none", err=True)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in rows[0]:
        is_number = all(isinstance(row[name], int | float) for row in rows)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console = Console()
    # In a file or a pager lines are not folded.
    console.print(table) if console.is_terminal else Console(width=240).print(table)


@contextmanager
def show_file_progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Shows a bar of files, if the standard error is a terminal.

    Yields:
        A function to call with the number of files done, and of all.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def show_status(title: str) -> Iterator[Callable[[str], None]]:
    """Shows the newest line of long work, on a terminal; elsewhere every line is printed.

    Yields:
        A function to call with a line of text.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: typer.echo(text, err=True)
        return
    with console.status(title) as status:
        yield lambda text: status.update(text)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
