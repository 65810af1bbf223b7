"""Options that many commands take."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Any

import typer

from batch_predictions.core.home_bucket import working_folder
from batch_predictions.settings import FILE_NAME, Settings, SettingsError

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        parser=working_folder,
        metavar="FOLDER|URL",
        help="Home: warehouse, models, releases; a folder, or s3://bucket/prefix. "
        "[env: BATCH_PREDICTIONS_HOME; default: .batch_predictions]",
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


def require_source(settings: Settings) -> None:
    """Checks that somebody chose the source of a home: none is silently that of the demo.

    Raises:
        SettingsError: no setting names the source, and the home has not been run with it.
    """
    from batch_predictions.core.home import read_state

    if "kind" not in settings.source.model_fields_set and read_state(settings.home) is None:
        raise SettingsError(
            f"no setting says where your data is: `batch-predictions init --path FOLDER --check` "
            f"writes {FILE_NAME} for it; `batch-predictions demo` runs on a grocer's public data"
        )


def day_of(value: dt.datetime | None) -> dt.date | None:
    """The day of a `Day` option."""
    return value.date() if value else None
