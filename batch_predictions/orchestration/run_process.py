"""Prepares a process that executes steps or evaluates sensors; loading definitions does not."""

from __future__ import annotations

import dagster as dg

from batch_predictions.core.home import restrict_new_files
from batch_predictions.core.redaction import redact_logs
from batch_predictions.settings import Settings
from batch_predictions.sources.home_state import initialise_home


def process_settings(settings: Settings) -> dg.ResourceDefinition:
    """The resource `settings`, which every asset and sensor has; it prepares the process."""
    return dg.ResourceDefinition(lambda _: prepare_process(settings))


def prepare_process(settings: Settings) -> Settings:
    """Restricts files that are created, redacts logs, and writes the state of a new home.

    Raises:
        HomeError: the home is of another source, or its state cannot be read.
        SourceError: the home is new, and its source cannot be read.
    """
    restrict_new_files(settings.execution.file_mode)
    redact_logs()
    initialise_home(settings)
    return settings
