"""Options that many commands take."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Any

import typer

from batch_predictions.settings import Settings

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="Home folder: warehouse, models, releases. [env: BATCH_PREDICTIONS_HOME; "
        "default: .batch_predictions]",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Day = Annotated[
    dt.datetime | None,
    typer.Option(formats=["%Y-%m-%d"], show_default=False),
]


def load_settings(home: Path | None, context: typer.Context) -> Settings:
    """The settings of the home folder that the command, or one above it, was given.

    The files that the command creates are for those whom `execution.file_mode` names.
    """
    from batch_predictions.core.home import restrict_new_files

    level: Any = context
    while home is None and level is not None:
        home = level.obj if isinstance(level.obj, Path) else None
        level = level.parent
    settings = Settings.load(home)
    restrict_new_files(settings.execution.file_mode)
    return settings


def day_of(value: dt.datetime | None) -> dt.date | None:
    """The day of a `Day` option."""
    return value.date() if value else None
