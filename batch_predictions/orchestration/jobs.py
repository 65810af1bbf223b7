"""The jobs that schedules start and `batch-predictions run` executes, one per partitioning.

`JobAssets` has the assets of each job that the source has data for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from batch_predictions.orchestration.progress import step_weight
from batch_predictions.tables import Table
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
    ("evaluation", "serving"),
    False,
    "Metrics and a release of what there is of a day, with earlier days of the rest. A sensor "
    "starts it where a nightly run of the UI or of a schedule fails.",
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


class JobAssets:
    """Assets by job, without those that the source has no data for.

    Args:
        graph: the asset graph.
        missing: raw tables of events that the source lacks.

    Attributes:
        graph: the asset graph.
        missing: raw tables of events that the source lacks.
        skipped_assets: what depends on the missing tables, and is not executed.
    """

    def __init__(self, graph: dg.AssetGraph, missing: Sequence[Table]) -> None:
        self.graph = graph
        self.missing = missing
        roots = dg.AssetSelection.assets(*(["raw", table.name] for table in missing))
        dependent = roots.downstream(include_self=False) - dg.AssetSelection.groups("serving")
        self.skipped_assets = dependent.resolve(self.graph) if missing else set()

    def describe_skipped(self) -> list[str]:
        """A line about the predictions that the source has no data for; none if it has all."""
        names = sorted(key.path[-1] for key in self.skipped_assets if key.path[0] == "predictions")
        tables = " and ".join(table.name for table in self.missing)
        return [f"{', '.join(names)}: the source has no {tables}"] if names else []

    def keys(self, job: JobSpec, groups: Sequence[str] = ()) -> list[dg.AssetKey]:
        """Lists the assets of a job, or of some of its groups, that the source has data for."""
        selection = job.selection
        if groups:
            selection = selection & dg.AssetSelection.groups(*groups)
        return sorted(selection.resolve(self.graph) - self.skipped_assets)

    def weight(
        self,
        job: JobSpec,
        groups: Sequence[str] = (),
        only: Collection[dg.AssetKey] | None = None,
    ) -> float:
        """Relative duration of a job's steps, for the progress bar.

        Args:
            job: the job.
            groups: groups of assets; empty: all of the job.
            only: assets that count; None: all of the groups.
        """
        # By node, since a prediction with child tables is several assets of the same steps.
        keys = (key for key in self.keys(job, groups) if only is None or key in only)
        assets = (self.graph.get(key).assets_def for key in keys)
        nodes = {asset.node_def.name: asset.node_def for asset in assets}
        return sum(
            step_weight(name) for name, node in nodes.items() for _ in node.iterate_op_defs()
        )
