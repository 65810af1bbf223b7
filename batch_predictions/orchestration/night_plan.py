"""Plans a night job by job: what is due to predict a day, found without reading rows.

Each job is planned when the one before has ended, from what the home has then, so that a night
that was interrupted goes on where it was. Nothing here reads rows: partitions are compared by the
source's fingerprints, and by the times of their files.
"""

from __future__ import annotations

import datetime as dt
from functools import cached_property

import dagster as dg

from batch_predictions.core.home import State, read_state
from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.training import Training
from batch_predictions.orchestration import jobs
from batch_predictions.orchestration.job_assets import JobAssets
from batch_predictions.orchestration.nights import PlannedRun
from batch_predictions.orchestration.prepared_run import (
    are_weeks_predicted,
    missing_tables,
    model_key,
    possible_trainings,
)
from batch_predictions.orchestration.remake import near_partitions
from batch_predictions.planning.run_plan import RunPlan, days_due, raw_due, weeks_ahead_due
from batch_predictions.planning.training_cadence import reason_to_train
from batch_predictions.planning.unchanged import is_night_unchanged
from batch_predictions.settings import Settings
from batch_predictions.sources.base import Source
from batch_predictions.sources.source_registry import source_of
from batch_predictions.tables import TABLES
from batch_predictions.tables.partitions import latest_ended_week, trained_through
from batch_predictions.warehouse import Warehouse, as_date


class NightPlan:
    """Plans the jobs of a night: what is due to predict a day.

    Args:
        settings: of the home.
        instance: the home's Dagster instance.
        graph: the asset graph.
    """

    def __init__(
        self, settings: Settings, instance: dg.DagsterInstance, graph: dg.AssetGraph
    ) -> None:
        state = read_state(settings.home)
        assert state is not None, "loading the definitions initialises the home"
        self.settings, self.instance, self.graph = settings, instance, graph
        self.state: State = state
        self.warehouse = Warehouse.of(settings)

    @cached_property
    def source(self) -> Source:
        """The source of the home.

        Raises:
            SourceError: it cannot be read.
        """
        return source_of(self.settings, self.state)

    @cached_property
    def assets(self) -> JobAssets:
        """The assets that the source has data for, by job."""
        return JobAssets(self.graph, missing_tables(self.source))

    def newest_day(self, today: dt.date) -> dt.date:
        """The newest complete day of the source before a day; of a young home its first Sunday.

        Raises:
            SourceError: the source cannot be read, or no week has ended.
            HomeError: no day of the home is over.
        """
        return days_due(self.source, self.state, None, None, today)[1]

    def due(self, job: jobs.JobSpec, day: dt.date) -> list[PlannedRun]:
        """The runs of a job that are due to predict a day.

        Raises:
            SourceError: the source cannot be read.
        """
        steps = {
            jobs.INGEST: self._ingests,
            jobs.INGEST_WEEKLY: self._weeks_ahead,
            jobs.WEEKLY_TRAINING: self._trainings,
            jobs.WEEKLY_PREDICTIONS: self._weekly_predictions,
            jobs.NIGHTLY: self._predictions,
        }
        return steps[job](day)

    def next_due(
        self, day: dt.date, after: jobs.JobSpec | None = None
    ) -> tuple[jobs.JobSpec, list[PlannedRun]] | None:
        """Finds the first job after another one that has something to do; None: nothing is due."""
        first = jobs.SCHEDULED.index(after) + 1 if after else 0
        for job in jobs.SCHEDULED[first:]:
            if runs := self.due(job, day):
                return job, runs
        return None

    def run_plan(self, day: dt.date) -> RunPlan:
        """Plans a day as `run` does, without what is to be ingested."""
        return RunPlan(day, day, [latest_ended_week(day)], [], [])

    def _ingests(self, day: dt.date) -> list[PlannedRun]:
        due = raw_due(self.warehouse, self.source, self.state, day, day)
        days = sorted({key for keys in due.values() for key in keys})
        return [PlannedRun(keys) for keys in near_partitions(days)]

    def _weeks_ahead(self, day: dt.date) -> list[PlannedRun]:
        weeks = weeks_ahead_due(
            self.warehouse, self.source, self.state, latest_ended_week(day), day, self.settings
        )
        return [PlannedRun(keys) for keys in near_partitions(weeks)]

    def _trainings(self, day: dt.date) -> list[PlannedRun]:
        week = latest_ended_week(day)
        in_job = self.assets.keys(jobs.WEEKLY_TRAINING)
        due = {
            name: reason
            for name, training in possible_trainings(self.assets, None).items()
            if model_key(name) in in_job and (reason := self._why_train(name, training, week))
        }
        if not due:
            return []
        why = "; ".join(f"{name}: {reason}" for name, reason in due.items())
        return [PlannedRun([week.isoformat()], [model_key(name) for name in due], why)]

    def _why_train(self, name: str, training: Training, week: dt.date) -> str | None:
        """Says why a model has to be trained through a week's Sunday; None: it need not be.

        An ingest of equal rows leaves a partition's file as it is. `run` compares the rows'
        hashes, for which it reads them.
        """
        through = trained_through(week)
        models = ModelStore.of(self.settings)
        decided = models.trained_at(name, through)
        if decided is None:
            return reason_to_train(name, week, models, self.warehouse, self.settings)
        first = through - dt.timedelta(days=training.history_days(self.settings) - 1)
        newer = (
            f"{table.qualified} of {key} is newer than the training through {through}"
            for table in training.tables
            for key in self.warehouse.partitions(table)
            if first <= as_date(key) <= through
            and self.warehouse.path(table, key).stat().st_mtime_ns > decided
        )
        return next(newer, None)

    def _weekly_predictions(self, day: dt.date) -> list[PlannedRun]:
        keys = self.assets.keys(jobs.WEEKLY_PREDICTIONS)
        plan = self.run_plan(day)
        if not keys or are_weeks_predicted(
            self.assets, self.instance, self.settings, plan, self.warehouse
        ):
            return []
        return [PlannedRun([plan.weeks[0].isoformat()], keys)]

    def _predictions(self, day: dt.date) -> list[PlannedRun]:
        if is_night_unchanged(self.settings, self.run_plan(day), self.warehouse):
            return []
        keys = self.assets.keys(jobs.NIGHTLY, jobs.AFTER_INGEST)
        return [PlannedRun([day.isoformat()], keys)]


def is_any_prediction_made(warehouse: Warehouse, day: str) -> bool:
    """Returns whether any daily table of predictions has a partition of the day."""
    return any(
        warehouse.path(table, day).exists()
        for table in TABLES.values()
        if table.schema == "predictions" and table.partition == "date" and table.is_periodic
    )
