"""Plans what is due, job by job: for `run`, its dry run, the nightly schedule and the sensors.

Each job is planned when the one before has ended, from what the home has then, so that a night
that was interrupted goes on where it was, and a command does what a night would do.

A run may be planned for some of the tables and models, with what they need.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import dagster as dg

from batch_predictions.core.home import State, read_state
from batch_predictions.inference.base import asset_key_of
from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.training import Training, trainings
from batch_predictions.orchestration import jobs
from batch_predictions.orchestration.jobs import NIGHTLY, WEEKLY_TRAINING, JobAssets
from batch_predictions.orchestration.nights import PlannedRun
from batch_predictions.orchestration.run_process import prepare_process
from batch_predictions.planning.repair import begin_repair, read_repair
from batch_predictions.planning.run_plan import RunPlan, days_due, plan_run, training_due
from batch_predictions.planning.unchanged import are_weeks_unchanged, is_night_unchanged
from batch_predictions.settings import Settings, SettingsError
from batch_predictions.sources.base import Source
from batch_predictions.sources.home_state import initialise_home
from batch_predictions.sources.source_registry import source_of
from batch_predictions.tables import (
    DEMOGRAPHIC_RECOMMENDATIONS,
    EVENT_TABLES,
    RECOMMENDATIONS,
    TABLES,
    USER_ALIASES,
)
from batch_predictions.tables.partitions import days_between
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.reporting import CADENCE

MADE_GROUPS = tuple(
    group
    for group in (*WEEKLY_TRAINING.groups, *NIGHTLY.groups)
    if group not in ("sources", "serving")
)
"""Groups whose assets can be selected; sources are ingested and a release is made in any case."""


def select_assets(graph: dg.BaseAssetGraph, names: Iterable[str]) -> frozenset[dg.AssetKey]:
    """Resolves names to assets, with all that they need; recommendations need the fallback.

    Args:
        graph: the asset graph.
        names: of tables or models, such as `churn_scores`, `predictions.churn_scores` or
            `models/churn`; of a name without schema all that have it.

    Raises:
        SettingsError: there is no such table or model; the message lists them.
    """
    groups = dg.AssetSelection.groups(*MADE_GROUPS)
    known = groups.resolve(graph)
    chosen: set[dg.AssetKey] = set()
    for name in names:
        path = name.replace("/", ".").split(".")
        keys = {key for key in known if [*key.path][-len(path) :] == path}
        if not keys:
            shown = ", ".join(sorted({key.path[-1] for key in known if key.path[0] in _SHOWN}))
            raise SettingsError(f"--only {name}: there is no such table or model: {shown}")
        chosen |= keys
    if asset_key_of(RECOMMENDATIONS) in chosen:
        # Without the fallback, the release would have no list for users who are new.
        chosen.add(asset_key_of(DEMOGRAPHIC_RECOMMENDATIONS))
    needed = dg.AssetSelection.assets(*chosen).upstream() & groups
    return frozenset(needed.resolve(graph))


_SHOWN = ("predictions", "models")


MAX_GAP_DAYS = 7
"""Partitions further apart are materialized by runs of their own."""
DAMAGED = "its files were damaged"


class Planner:
    """Plans the runs of jobs that predict days.

    Args:
        settings: of the home.
        instance: the home's Dagster instance.
        graph: the asset graph.
        only: names of the tables and models to make, with what they need; empty: all.
        force: whether what is not new is predicted again.

    Attributes:
        state: of the home.
        warehouse: of the home.

    Raises:
        SettingsError: `only` names no table and no model.
        SourceError: the home is new, and its source cannot be read.
        HomeError: the home is of another source.
    """

    def __init__(
        self,
        settings: Settings,
        instance: dg.DagsterInstance,
        graph: dg.AssetGraph,
        only: Sequence[str] = (),
        *,
        force: bool = False,
    ) -> None:
        self.settings, self.instance, self.graph = settings, instance, graph
        # A daemon plans for days: others may have written since.
        Warehouse.of(settings).refresh()
        self.state: State = read_state(settings.home) or initialise_home(prepare_process(settings))
        self.warehouse = Warehouse.of(settings)
        self.only: Collection[dg.AssetKey] | None = select_assets(graph, only) if only else None
        self.force = force

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
        missing = [table for table in EVENT_TABLES if table not in self.source.tables()]
        return JobAssets(self.graph, missing)

    def newest_day(self, today: dt.date) -> dt.date:
        """The newest complete day of the source before a day; of a young home its first Sunday.

        Raises:
            SourceError: the source cannot be read, or no week has ended.
            HomeError: no day of the home is over.
        """
        return days_due(self.source, self.state, None, None, today)[1]

    def plan(
        self,
        first: dt.date | None,
        last: dt.date | None,
        days: int | None = None,
        after: jobs.JobSpec | None = None,
    ) -> RunPlan:
        """Plans the days from first to last; see `plan_run`, which has the errors too.

        Args:
            first: first day to predict; None: the last one only.
            last: last day to predict; None: the newest complete day of the source.
            days: number of days to predict up to `last`; None: as `first` says.
            after: a job of the plan that has ended: what it and those before it ingest is left out.
        """
        ended = {*jobs.SCHEDULED[: jobs.SCHEDULED.index(after) + 1]} if after else set()
        return plan_run(
            self.settings,
            self.source,
            self.state,
            self.warehouse,
            first,
            last,
            days,
            days_are_ingested=jobs.INGEST in ended,
            weeks_are_ingested=jobs.INGEST_WEEKLY in ended,
        )

    def next_due(
        self, day: dt.date, after: jobs.JobSpec | None = None
    ) -> tuple[jobs.JobSpec, list[PlannedRun]] | None:
        """Finds the first job after another one that has something to do; None: nothing is due.

        Damaged models of the day are moved aside before trainings are planned.
        """
        plan = self.plan(day, day, after=after)
        first = jobs.SCHEDULED.index(after) + 1 if after else 0
        for job in jobs.SCHEDULED[first:]:
            if job == jobs.WEEKLY_TRAINING:
                self.begin_repair(plan)
            if runs := self.due(job, plan):
                return job, runs
        return None

    def due(self, job: jobs.JobSpec, plan: RunPlan) -> list[PlannedRun]:
        """The runs of a job that are due for a plan, in the order in which they are made.

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
        return list(steps[job](plan))

    def begin_repair(self, plan: RunPlan) -> list[str]:
        """Moves damaged models of the plan's days aside and writes lost log rows; says so."""
        days = [as_date(day) for day in days_between(plan.first, plan.last)]
        return begin_repair(self.settings, self.warehouse, days)

    def training_reasons(self, plan: RunPlan) -> dict[dt.date, dict[str, str]]:
        """Why models have to be trained, by week."""
        models = ModelStore.of(self.settings)
        reasons = training_due(
            plan.weeks, self.possible_trainings(), self.warehouse, models, self.settings
        )
        for week, names in read_repair(self.settings).trainings.items():
            reasons[week] = reasons.get(week, {}) | dict.fromkeys(sorted(names), DAMAGED)
        return dict(sorted(reasons.items()))

    def possible_trainings(self) -> Mapping[str, Training]:
        """Trainings by name, without those that lack a table or are not selected."""
        in_job = self.assets.keys(jobs.WEEKLY_TRAINING)
        return {
            name: training
            for name, training in trainings().items()
            if model_key(name) in in_job and (self.only is None or model_key(name) in self.only)
        }

    def _ingests(self, plan: RunPlan) -> Iterator[PlannedRun]:
        if merges := plan.days_by_table.get(USER_ALIASES.name):
            # Rows of all days are ingested by the newest aliases.
            yield PlannedRun(merges, [asset_key_of(USER_ALIASES)], "users were merged")
        yield from map(PlannedRun, near_partitions(plan.raw_days))

    def _weeks_ahead(self, plan: RunPlan) -> Iterator[PlannedRun]:
        return map(PlannedRun, near_partitions(plan.weeks_ahead))

    def _trainings(self, plan: RunPlan) -> Iterator[PlannedRun]:
        for week, reasons in self.training_reasons(plan).items():
            why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            yield PlannedRun([week.isoformat()], [model_key(name) for name in reasons], why)

    def _weekly_predictions(self, plan: RunPlan) -> Iterator[PlannedRun]:
        weeks = [week.isoformat() for week in plan.weeks]
        yield from self._lost(weekly=True, planned=weeks)
        keys = self._selected(self.assets.keys(jobs.WEEKLY_PREDICTIONS))
        if keys and (self.force or not self.are_weeks_predicted(plan)):
            yield PlannedRun(weeks, keys)

    def _predictions(self, plan: RunPlan) -> Iterator[PlannedRun]:
        days = days_between(plan.first, plan.last)
        # Before the plan's own: their files would be newer than what the record of a night has.
        yield from self._lost(weekly=False, planned=days)
        is_whole = self.only is None and not self.force
        if is_whole and is_night_unchanged(self.settings, plan, self.warehouse):
            return
        release = self.assets.keys(jobs.NIGHTLY, ["serving"])
        keys = self.assets.keys(jobs.NIGHTLY, jobs.AFTER_INGEST)
        yield PlannedRun(days, [key for key in keys if key in {*self._selected(keys), *release}])

    def are_weeks_predicted(self, plan: RunPlan) -> bool:
        """Returns whether the weekly tables are materialized and nothing they read is new."""
        weeks = {week.isoformat() for week in plan.weeks}
        return are_weeks_unchanged(self.settings, plan, self.warehouse) and all(
            weeks <= self.instance.get_materialized_partitions(key)
            for key in self.assets.keys(jobs.WEEKLY_PREDICTIONS)
        )

    def _selected(self, keys: Sequence[dg.AssetKey]) -> list[dg.AssetKey]:
        return [key for key in keys if self.only is None or key in self.only]

    def _lost(self, *, weekly: bool, planned: Collection[str]) -> Iterator[PlannedRun]:
        """Partitions whose damaged files were moved aside, but those that are planned anyway."""
        for partition, paths in sorted(read_repair(self.settings).assets.items()):
            lost = [dg.AssetKey(list(path)) for path in sorted(paths)]
            keys = [
                key
                for key in lost
                if self.graph.has(key)
                and (self.graph.get(key).tags.get(CADENCE) == "weekly") == weekly
            ]
            if keys and partition not in planned:
                yield PlannedRun([partition], keys, DAMAGED)


def model_key(name: str) -> dg.AssetKey:
    """Returns the asset key of a model."""
    return dg.AssetKey(["models", name])


def near_partitions(keys: Sequence[str]) -> Iterator[list[str]]:
    """Partitions in groups that are materialized together, those between them included.

    Args:
        keys: days or weeks, oldest first.
    """
    group: list[str] = []
    for key in keys:
        if group and as_date(key) - as_date(group[-1]) > dt.timedelta(days=MAX_GAP_DAYS):
            yield group
            group = []
        group.append(key)
    if group:
        yield group


def is_any_prediction_made(warehouse: Warehouse, day: str) -> bool:
    """Returns whether any daily table of predictions has a partition of the day."""
    return any(
        warehouse.path(table, day).exists()
        for table in TABLES.values()
        if table.schema == "predictions" and table.partition == "date" and table.is_periodic
    )
