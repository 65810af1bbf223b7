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


def settings_of(home: Path | None, context: typer.Context) -> Settings:
    """The settings of the home folder that a command, or one above it, was given."""
    chosen = home
    parent: Any = context
    while chosen is None and parent is not None:
        chosen = parent.obj if isinstance(parent.obj, Path) else None
        parent = parent.parent
    return Settings.load(chosen)


def day_of(value: dt.datetime | None) -> dt.date | None:
    """The day of an option of the type `Day`."""
    return value.date() if value else None
