"""`batch-predictions init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from batch_predictions.cli.command import command
from batch_predictions.settings import FILE_NAME, SettingsError, as_yaml


@command("init", order=10)
def init(
    source: Annotated[
        str, typer.Option(help="Kind of source, such as files, or that of an adapter of a plugin.")
    ] = "files",
    path: Annotated[Path | None, typer.Option(help="Folder of the source.")] = None,
    force: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Write a commented settings file into the working directory."""
    target = Path(FILE_NAME)
    if target.exists() and not force:
        raise SettingsError(f"{target} exists already: edit it, or replace it with --force")
    source_settings: dict[str, Any] = {"kind": source}
    if path:
        source_settings["path"] = str(path)
    target.write_text(as_yaml({"source": source_settings}), encoding="utf-8")
    typer.echo(f"wrote {target}: every setting is explained in it")
    if source == "sql":
        typer.echo(
            "set the URL of the database in the environment, not in the file: export "
            "BATCH_PREDICTIONS_SOURCE__URL=postgresql://user:password@host/database; and name your "
            "tables in source.tables",
            err=True,
        )
    typer.echo("next: batch-predictions check-source", err=True)
