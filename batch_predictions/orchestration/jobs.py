"""The jobs that schedules start and `batch-predictions run` executes, one per partitioning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import dagster as dg

from batch_predictions.tables.partitions import Partitions
from batch_predictions.warehouse.reporting import CADENCE


@dataclass(frozen=True)
class JobSpec:
    """A job over some asset groups.

    Attributes:
        name: of the job, its schedule and its setting in `schedules`.
        groups: asset groups.
        is_weekly: whether it has the weekly assets of the groups, else the daily ones.
        description: for the UI.
        is_ahead: whether its weeks are known before they begin.
    """

    name: str
    groups: tuple[str, ...]
    is_weekly: bool
    description: str
    is_ahead: bool = False

    @property
    def selection(self) -> dg.AssetSelection:
        """The assets of the job: all models are weekly, others are tagged with their cadence."""
        assets = dg.AssetSelection.groups(*self.groups)
        if self.groups == ("models",):
            return assets
        weekly = dg.AssetSelection.tag(CADENCE, "weekly")
        return assets & weekly if self.is_weekly else assets - weekly

    def definition(self, partitions: Partitions) -> Any:
        """Builds the Dagster job over the home's daily or weekly partitions."""
        weeks = partitions.weekly_ahead if self.is_ahead else partitions.weekly
        return dg.define_asset_job(
            self.name,
            self.selection,
            partitions_def=weeks if self.is_weekly else partitions.daily,
            description=self.description,
        )


INGEST = JobSpec(
    "ingest",
    ("sources",),
    False,
    "Raw rows of a day, before the training that reads them.",
)
INGEST_WEEKLY = JobSpec(
    "ingest_weekly",
    ("sources",),
    True,
    "Raw rows of a week that are known ahead: its promotions, before it begins.",
    is_ahead=True,
)
WEEKLY_TRAINING = JobSpec(
    "weekly_training",
    ("models",),
    True,
    "Trains every model through the week's Sunday and decides which version serves.",
)
WEEKLY_PREDICTIONS = JobSpec(
    "weekly_predictions",
    ("features", "predictions"),
    True,
    "Weekly tables of the week that ended, by the models trained through it.",
)
NIGHTLY = JobSpec(
    "nightly",
    ("sources", "features", "predictions", "evaluation", "serving"),
    False,
    "A day from end to end: raw rows, features, predictions, release, realized metrics.",
)
SCHEDULED = (INGEST, INGEST_WEEKLY, WEEKLY_TRAINING, WEEKLY_PREDICTIONS, NIGHTLY)
RELEASE = JobSpec(
    "release",
    ("serving",),
    False,
    "A release of what there is of a day, with earlier days of the rest. A sensor starts it where "
    "a nightly run of the UI or of a schedule fails.",
)
AFTER_INGEST = ("features", "predictions", "evaluation", "serving")
"""Groups of the nightly job that come after the ingest."""


def jobs(assets: Iterable[dg.AssetsDefinition]) -> list[JobSpec]:
    """The scheduled jobs that have assets: weekly predictions where there are weekly tables."""
    has_weekly = any(
        spec.tags.get(CADENCE) == "weekly" and spec.group_name in WEEKLY_PREDICTIONS.groups
        for asset in assets
        for spec in asset.specs
    )
    return [job for job in SCHEDULED if job is not WEEKLY_PREDICTIONS or has_weekly]
