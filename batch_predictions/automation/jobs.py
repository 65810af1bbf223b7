"""The jobs that schedules start and that `batch-predictions run` chains, one per partitioning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import dagster as dg

from batch_predictions.partitions import Partitions
from batch_predictions.reporting import CADENCE


@dataclass(frozen=True)
class JobSpec:
    """A job over some stages, of daily or of weekly assets."""

    name: str
    groups: tuple[str, ...]
    is_weekly: bool
    description: str
    is_ahead: bool = False
    """Whether its weeks are known before they begin."""

    @property
    def selection(self) -> dg.AssetSelection:
        """The assets; models are weekly all, others where they are tagged so."""
        stages = dg.AssetSelection.groups(*self.groups)
        if self.groups == ("models",):
            return stages
        tagged = dg.AssetSelection.tag(CADENCE, "weekly")
        return stages & tagged if self.is_weekly else stages - tagged

    def definition(self, partitions: Partitions) -> Any:
        """As Dagster takes it."""
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
    "Raw rows of a day, so that Monday's training finds Sunday's.",
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
    "A day from end to end: raw rows, features, predictions, release, what came of earlier ones.",
)
PREDICT = ("features", "predictions", "evaluation", "serving")
"""What is left of a night after the ingest."""


def jobs(assets: Iterable[dg.AssetsDefinition]) -> list[JobSpec]:
    """The jobs that have something to do: without weekly tables there is none for them."""
    tagged = any(
        spec.tags.get(CADENCE) == "weekly" and spec.group_name in WEEKLY_PREDICTIONS.groups
        for each in assets
        for spec in each.specs
    )
    return [
        INGEST,
        INGEST_WEEKLY,
        WEEKLY_TRAINING,
        *([WEEKLY_PREDICTIONS] if tagged else []),
        NIGHTLY,
    ]
