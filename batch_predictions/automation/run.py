"""The main job without the UI: ingest what is missing, train what is due, predict, release.

It chains the jobs that the schedules start, one per partitioning, in one process, and records
them in the home's Dagster instance.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import dagster as dg

from batch_predictions.automation import instance as home_instance
from batch_predictions.automation import jobs
from batch_predictions.automation.jobs import Job
from batch_predictions.automation.progress import LOGGER, Bar, bar, weight
from batch_predictions.home import HomeError, State, read_state
from batch_predictions.model_store import ModelStore
from batch_predictions.models.training import TRAININGS, data_version
from batch_predictions.partitions import (
    WEEKS_AHEAD,
    days_between,
    trained_through,
    week_due,
    week_of,
)
from batch_predictions.settings import Settings
from batch_predictions.sources.contract import RAW, Source, SourceError
from batch_predictions.sources.ingest import due
from batch_predictions.sources.registry import source_of, today
from batch_predictions.tables import INTERACTIONS, REVIEWS, TABLES, Table
from batch_predictions.warehouse import Warehouse, as_date

WEEKS_BEFORE = 7
"""Weeks of promotions before the first one trained that training needs."""
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


class RunError(RuntimeError):
    """A job of the chain failed; the message is its cause."""


@dataclass
class Summary:
    """What a run did."""

    home: str
    first_day: str
    last_day: str
    ingested: list[str] = field(default_factory=list)
    corrected: list[str] = field(default_factory=list)
    stale: dict[str, list[str]] = field(default_factory=dict)
    trained: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    release_id: str | None = None
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def run(
    settings: Settings,
    definitions: dg.Definitions,
    first: dt.date | None = None,
    last: dt.date | None = None,
    days: int | None = None,
) -> Summary:
    """Runs the chain for the days from first to last.

    Args:
        definitions: the platform's, of `batch_predictions.definitions`.
        first: first day to predict; None: the last one alone.
        last: last day to predict; None: the newest complete day of the source.
        days: where first is None: how many days to predict, as far as they can be.

    Raises:
        SourceError: the source cannot be read, or has no such day.
        RunError: a step failed.
    """
    began = time.perf_counter()
    state = read_state(settings.home)
    assert state is not None, "definitions begin the home"
    home_instance.prepare(settings)
    source = source_of(settings.source, state)
    first, last = _days(source, state, first, last)
    if days:
        earliest = max(state.first_day, trained_through(week_of(state.first_day)))
        first = max(last - dt.timedelta(days=days - 1), min(earliest, last))
    warehouse, models = Warehouse.of(settings), ModelStore.of(settings)
    summary = Summary(str(settings.home), first.isoformat(), last.isoformat())

    raw_due = _raw_due(warehouse, source, state, first, last)
    weeks = sorted({week_due(as_date(day)) for day in days_between(first, last)})
    ahead_due = _ahead_due(warehouse, source, state, weeks[0], last, settings)
    lacking = [table for table in (INTERACTIONS, REVIEWS) if table not in source.tables()]
    chain = _Chain(dg.DagsterInstance.get(), definitions, lacking)
    summary.skipped = chain.skipped()
    trainings = {name: each for name, each in TRAININGS.items() if not {*each} & {*lacking}}
    total = chain.weight(jobs.INGEST) * bool(raw_due) + chain.weight(jobs.NIGHTLY, jobs.PREDICT)
    total += chain.weight(jobs.INGEST_WEEKLY) * bool(ahead_due)
    total += len(weeks) * (
        chain.weight(jobs.WEEKLY_TRAINING) + chain.weight(jobs.WEEKLY_PREDICTIONS)
    )
    with bar(total) as shown:
        for run_id in home_instance.bury(chain.instance):
            shown.say(f"run {run_id} of a process that died was marked as failed")
        if raw_due:
            before = _times(warehouse)
            chain.execute(jobs.INGEST, raw_due, shown)
            after = _times(warehouse)
            changed = {key for key in after if after[key] != before.get(key)}
            summary.ingested = sorted({day for _, day in changed})
            summary.corrected = sorted({day for table, day in changed if (table, day) in before})
        if ahead_due:
            chain.execute(jobs.INGEST_WEEKLY, ahead_due, shown)
        untrained = _weeks_due(weeks, trainings, warehouse, models, settings)
        trained_already = len(weeks) - len(untrained)
        shown.progress.advance(shown.task, chain.weight(jobs.WEEKLY_TRAINING) * trained_already)
        for week in untrained:
            chain.execute(jobs.WEEKLY_TRAINING, [week.isoformat()], shown)
            summary.trained += _decisions(models, trained_through(week))
        chain.execute(jobs.WEEKLY_PREDICTIONS, [week.isoformat() for week in weeks], shown)
        chain.execute(jobs.NIGHTLY, days_between(first, last), shown, jobs.PREDICT)
        summary.rows = _rows(warehouse, last, {key.path[-1] for key in chain.unfed})
        summary.release_id = _current(settings)
        shown.progress.update(shown.task, completed=total, description="done")
    summary.stale = _stale(warehouse, models, summary.corrected, first, last)
    summary.seconds = time.perf_counter() - began
    return summary


class _Chain:
    """Executes jobs of the platform in this process."""

    def __init__(
        self, instance: dg.DagsterInstance, definitions: dg.Definitions, lacking: Sequence[Table]
    ) -> None:
        self.instance = instance
        self.graph = definitions.resolve_asset_graph()
        self.lacking = lacking
        roots = dg.AssetSelection.assets(*(["raw", table.name] for table in lacking))
        fed = roots.downstream(include_self=False) - dg.AssetSelection.groups("serving")
        self.unfed = fed.resolve(self.graph) if lacking else set()

    def skipped(self) -> list[str]:
        """What the source does not feed, for people."""
        names = sorted(key.path[-1] for key in self.unfed if key.path[0] == "predictions")
        tables = " and ".join(table.name for table in self.lacking)
        return [f"{', '.join(names)}: the source has no {tables}"] if names else []

    def keys(self, job: Job, groups: Sequence[str] = ()) -> list[dg.AssetKey]:
        """Assets of a job, or of some of its stages."""
        chosen = job.selection
        if groups:
            chosen = chosen & dg.AssetSelection.groups(*groups)
        return sorted(chosen.resolve(self.graph) - self.unfed)

    def weight(self, job: Job, groups: Sequence[str] = ()) -> float:
        """How long a job's steps take, relative to others."""
        # By node: the steps of a prediction with companions make several assets.
        assets = (self.graph.get(key).assets_def for key in self.keys(job, groups))
        nodes = {each.node_def.name: each.node_def for each in assets}
        return sum(weight(name) for name, node in nodes.items() for _ in node.iterate_op_defs())

    def execute(
        self, job: Job, keys: Sequence[str], shown: Bar, groups: Sequence[str] = ()
    ) -> None:
        """Runs a job, or some of its stages, for one partition or a range of them.

        Raises:
            RunError: a step failed; its first cause is the message.
        """
        selected = self.keys(job, groups)
        if not selected:
            return
        for holder in home_instance.holders(self.instance, "gpu"):
            shown.say(f"waiting for the pool gpu, held by {holder}")
        first, last = min(keys), max(keys)
        tags = {home_instance.OWNER_TAG: home_instance.owner()}
        if first == last:
            tags["dagster/partition"] = first
        else:
            tags |= {RANGE_START: first, RANGE_END: last}
        reconstructable = dg.build_reconstructable_job(
            "batch_predictions.definitions", "job", reconstructable_args=(job.name,)
        )
        with dg.execute_job(
            reconstructable,
            instance=self.instance,
            tags=tags,
            run_config={"loggers": {LOGGER: {}}},
            asset_selection=selected,
            raise_on_error=False,
        ) as result:
            if not result.success:
                raise RunError(f"{job.name} for {first} to {last} failed: {_cause(result)}")


def _cause(result: dg.JobExecutionResult) -> str:
    """The first failure's own words, without the stack."""
    for event in result.all_events:
        if event.event_type_value == "STEP_FAILURE":
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                return str(data.user_failure_data.description)
            error = data.error
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None:
                return f"{event.step_key}: {error.message.strip()}"
    return f"see run {result.run_id} in the UI"


def _days(
    source: Source, state: State, first: dt.date | None, last: dt.date | None
) -> tuple[dt.date, dt.date]:
    """The days to predict, checked against what the home and the source have.

    Raises:
        HomeError: a day lies before the home's first, or is not over.
        SourceError: no week can have been trained by the day.
    """
    now = today(state.timezone)
    yesterday = now - dt.timedelta(days=1)
    chosen = last or source.newest_complete_day(now)
    if first and not last:
        # A day after the source's newest was made by --date, and may be asked for again.
        chosen = max(chosen, first)
    if week_due(chosen) < week_of(state.first_day):
        # All days of the source lie within its first week, which can be trained at its end.
        sunday = trained_through(week_of(state.first_day))
        if last is not None or sunday > yesterday:
            raise SourceError(
                f"no week of this source had ended by {chosen}: the first training is possible "
                f"as of {sunday}; use --date {sunday} or later, once that day is over"
            )
        chosen = sunday
    if chosen > yesterday:
        raise HomeError(f"{chosen} is not over in {state.timezone}: the newest day is {yesterday}")
    begin = first or chosen
    if not state.first_day <= begin <= chosen:
        raise HomeError(
            f"days {begin} to {chosen} cannot be predicted: this home begins on {state.first_day}"
        )
    if first is None or week_due(begin) >= week_of(state.first_day):
        return begin, chosen
    raise SourceError(
        f"no week had ended by {begin}: predictions begin on "
        f"{trained_through(week_of(state.first_day))}"
    )


def _raw_due(
    warehouse: Warehouse, source: Source, state: State, first: dt.date, last: dt.date
) -> list[str]:
    """Days of the daily tables and snapshots not ingested, or whose source has changed.

    Of a table that the source lacks, the days to predict: they are empty partitions, and a home of
    before there was such a table has none.
    """
    newest = min(last, state.last_day) if state.last_day else last
    days: set[str] = set()
    there = source.tables()
    for table in RAW:
        if table in there and table.partition != "week":
            days.update(due(warehouse, source, table, state.first_day, newest))
        elif table.partition == "date":
            days.update(set(days_between(first, newest)) - set(warehouse.partitions(table)))
    return sorted(days)


def _ahead_due(
    warehouse: Warehouse,
    source: Source,
    state: State,
    first: dt.date,
    last: dt.date,
    settings: Settings,
) -> list[str]:
    """Weeks of the tables known ahead that a run needs and that are missing or have changed.

    Training of the fallback asks about the promotions of four weeks before the end of the first one
    due, each beside those of the four before it; that of demand looks back on more
    (`demand.promotion_weeks`). Predictions look forward over the days that are forecast, as far as
    weeks are known ahead. Older weeks stay out: the default source has 400,000 promotions a week.
    """
    back = dt.timedelta(days=7 * max(WEEKS_BEFORE, settings.demand.promotion_weeks))
    begin = max(first - back, week_of(state.first_day))
    end = week_of(last + dt.timedelta(days=7 * (WEEKS_AHEAD - 1)))
    end = min(end, state.last_day) if state.last_day else end
    weeks: set[str] = set()
    for table in source.tables():
        if table.partition == "week":
            weeks.update(due(warehouse, source, table, begin, end))
    return sorted(weeks)


def _weeks_due(
    weeks: Sequence[dt.date],
    trainings: Mapping[str, tuple[Table, ...]],
    warehouse: Warehouse,
    models: ModelStore,
    settings: Settings,
) -> list[dt.date]:
    """Weeks never trained, or trained on rows that have changed since."""
    untrained = []
    for week in weeks:
        through = trained_through(week)
        versions: dict[tuple[Table, ...], str] = {}
        for name, tables in trainings.items():
            made = models.training(name, through)
            if made is not None and tables not in versions:
                # Hashed once for the models that learn from the same tables.
                versions[tables] = data_version(warehouse, settings, through, tables)
            if made is None or made.data_version != versions[tables]:
                untrained.append(week)
                break
    return untrained


def _decisions(models: ModelStore, through: dt.date) -> list[dict[str, Any]]:
    made = [models.training(name, through) for name in TRAININGS]
    return [each.model_dump(mode="json") for each in made if each]


def _times(warehouse: Warehouse) -> dict[tuple[str, str], int]:
    """When each raw day last changed; an ingest that finds equal rows changes nothing."""
    return {
        (table.name, day): warehouse.path(table, day).stat().st_mtime_ns
        for table in (INTERACTIONS, REVIEWS)
        for day in warehouse.partitions(table)
    }


def _stale(
    warehouse: Warehouse,
    models: ModelStore,
    corrected: Sequence[str],
    first: dt.date,
    last: dt.date,
) -> dict[str, list[str]]:
    """What was made from days that have been corrected since, by table and partition."""
    if not corrected:
        return {}
    oldest, made = min(corrected), set(days_between(first, last))
    stale: dict[str, list[str]] = {}
    for table in TABLES.values():
        if table.schema in ("features", "predictions") and not table.parts:
            days = [d for d in warehouse.partitions(table) if d >= oldest and d not in made]
            if days:
                stale[table.qualified] = days
    for name in TRAININGS:
        trained = [str(each.effective_from) for each in models.decisions(name)]
        due_now = {str(trained_through(week_due(as_date(day)))) for day in made}
        weeks = [day for day in trained if day >= oldest and day not in due_now]
        if weeks:
            stale[f"models/{name}"] = weeks
    return stale


def _rows(warehouse: Warehouse, day: dt.date, unfed: Collection[str]) -> dict[str, int]:
    """Rows of every prediction as of a day, those that the source does not feed left out."""
    counts = {}
    for table in TABLES.values():
        if table.name in unfed:
            continue
        if table.schema == "predictions" and table.partition and not table.parts:
            key = day if table.partition == "date" else week_due(day)
            counts[table.name] = int(
                warehouse.value(
                    f"select count(*) from {table.qualified} where {table.partition} = $key",
                    {"key": key},
                )
            )
    return counts


def _current(settings: Settings) -> str | None:
    from batch_predictions.serving.pointer import read_pointer
    from batch_predictions.serving.store import Store

    store = Store.of(settings)
    try:
        with store.read() as db:
            pointer = read_pointer(db)
    finally:
        store.close()
    return pointer.release_id if pointer else None
