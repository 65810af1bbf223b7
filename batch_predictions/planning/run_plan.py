"""Plans a run: days to predict, raw days and weeks that are missing, weeks to train."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from batch_predictions.core.home import HomeError, State
from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.training import Training, data_version
from batch_predictions.models.training_inputs import TrainingInputs
from batch_predictions.planning.repair import read_repair
from batch_predictions.planning.training_cadence import reason_to_train
from batch_predictions.settings import Settings
from batch_predictions.sources.base import RAW_TABLES, Source, SourceError
from batch_predictions.sources.due_partitions import days_to_ingest, planned_aliases
from batch_predictions.sources.posted_rows.feedback import (
    feedback_days_due,
    posted_users_fingerprint,
)
from batch_predictions.sources.shrinkage import newest_ingested_day
from batch_predictions.sources.source_registry import current_date
from batch_predictions.tables import FEEDBACK, USERS, Table
from batch_predictions.tables.partitions import (
    days_between,
    latest_ended_week,
    trained_through,
    week_of,
    weeks_ahead,
)
from batch_predictions.warehouse import Warehouse, as_date

WEEKS_BEFORE_TRAINING = 7
"""Weeks of promotions that the training of the fallback reads, before the first week trained."""


class NoWeekEndedError(SourceError):
    """No model can have been trained by the day, since no week of the source had ended."""


@dataclass(frozen=True)
class RunPlan:
    """The days to predict, weeks to train, and raw partitions to ingest in a run.

    Attributes:
        first: first day to predict.
        last: last day to predict.
        weeks: Mondays of the weeks whose models and weekly tables the days need.
        raw_days: days of daily raw tables to ingest.
        weeks_ahead: weeks of raw tables that are known ahead to ingest.
        days_by_table: by raw table, the days that are missing or have changed.
    """

    first: dt.date
    last: dt.date
    weeks: list[dt.date]
    raw_days: list[str]
    weeks_ahead: list[str]
    days_by_table: dict[str, list[str]] = field(default_factory=dict)


def plan_run(
    settings: Settings,
    source: Source,
    state: State,
    warehouse: Warehouse,
    first: dt.date | None,
    last: dt.date | None,
    days: int | None = None,
    *,
    days_are_ingested: bool = False,
    weeks_are_ingested: bool = False,
) -> RunPlan:
    """Plans the run that predicts the days from first to last.

    Args:
        settings: of the home.
        source: of the home.
        state: of the home.
        warehouse: of the home.
        first: first day to predict; None: as in `run.run`.
        last: last day to predict; None: as in `run.run`.
        days: number of days to predict up to `last`, not before the first that a model can predict.
        days_are_ingested: whether raw days are left out of the plan.
        weeks_are_ingested: whether weeks that are known ahead are left out.

    Raises:
        HomeError: a day is before the home's first, or not over yet.
        SourceError: no model can have been trained by the day.
    """
    first, last = days_due(source, state, first, last)
    if days:
        earliest = max(state.first_day, trained_through(week_of(state.first_day)))
        first = max(last - dt.timedelta(days=days - 1), min(earliest, last))
    weeks = weeks_needed(first, last)
    # Partitions whose files were damaged may be outside of what the days need.
    lost = read_repair(settings)
    raw_days: set[str] = set()
    ahead: set[str] = set()
    by_table: dict[str, list[str]] = {}
    if not days_are_ingested:
        by_table = raw_due(warehouse, source, state, first, last)
        raw_days = lost.days.union(*by_table.values())
    if not weeks_are_ingested:
        due = weeks_ahead_due(warehouse, source, state, weeks[0], last, settings)
        ahead = lost.weeks_ahead.union(due)
    return RunPlan(first, last, weeks, sorted(raw_days), sorted(ahead), by_table)


def weeks_needed(first: dt.date, last: dt.date) -> list[dt.date]:
    """Mondays of the weeks whose models and weekly tables days need."""
    return sorted({latest_ended_week(as_date(day)) for day in days_between(first, last)})


def days_due(
    source: Source,
    state: State,
    first: dt.date | None,
    last: dt.date | None,
    today: dt.date | None = None,
) -> tuple[dt.date, dt.date]:
    """The days to predict, checked against what the home and the source have.

    Args:
        source: of the home.
        state: of the home.
        first: first day to predict; None: the last one only.
        last: last day to predict; None: the newest complete day of the source or of the home.
        today: days from it on are not over yet; None: the date in the source's time zone.

    Raises:
        HomeError: a day is before the home's first, or not over yet.
        NoWeekEndedError: no model can have been trained by the day.
    """
    now = today or current_date(state.timezone)
    yesterday = now - dt.timedelta(days=1)
    end = last or newest_day(source, now)
    if first and not last:
        # A day after the source's newest was predicted with --date, and may be asked for again.
        end = max(end, first)
    if latest_ended_week(end) < week_of(state.first_day):
        # All days of the source are in its first week, at whose end the first training is possible.
        sunday = trained_through(week_of(state.first_day))
        if last is not None or sunday > yesterday:
            raise NoWeekEndedError(
                f"no week of this source had ended by {end}: the first training is possible "
                f"as of {sunday}; use --date {sunday} or later, once that day is over"
            )
        end = sunday
    if end > yesterday:
        raise HomeError(f"{end} is not over in {state.timezone}: the newest day is {yesterday}")
    begin = first or end
    if not state.first_day <= begin <= end:
        raise HomeError(
            f"days {begin} to {end} cannot be predicted: this home begins on {state.first_day}"
        )
    if first is None or latest_ended_week(begin) >= week_of(state.first_day):
        return begin, end
    raise NoWeekEndedError(
        f"no week had ended by {begin}: predictions begin on "
        f"{trained_through(week_of(state.first_day))}"
    )


def newest_day(source: Source, today: dt.date) -> dt.date:
    """The newest complete day of the source, or of the home where the source has lost it.

    Args:
        source: of the home.
        today: days from it on are not over yet.
    """
    newest = source.newest_complete_day(today)
    if source.home is None or source.settings.shrinkage == "replace":
        return newest
    ingested = newest_ingested_day(source.home)
    return max(newest, min(ingested or newest, today - dt.timedelta(days=1)))


def raw_due(
    warehouse: Warehouse, source: Source, state: State, first: dt.date, last: dt.date
) -> dict[str, list[str]]:
    """Finds daily partitions and snapshots of raw tables that are missing or have changed.

    Of a table that the source lacks these are the days to predict, whose partitions are empty.

    Args:
        warehouse: with the days that have been ingested.
        source: of the home.
        state: of the home, whose first day is the oldest that is ingested.
        first: first day to predict.
        last: last day to predict.
    """
    newest = min(last, state.last_day) if state.last_day else last
    days: dict[str, list[str]] = {}
    source_tables = source.tables()
    aliases = planned_aliases(warehouse, source, newest)
    for table in RAW_TABLES:
        if table in source_tables and table.partition != "week":
            due = days_to_ingest(warehouse, source, table, state.first_day, newest, aliases)
        elif table.partition == "date":
            due = sorted(set(days_between(first, newest)) - set(warehouse.partitions(table)))
        elif table == USERS and posted_users_fingerprint(source):
            due = days_to_ingest(warehouse, source, table, state.first_day, newest, aliases)
        else:
            continue
        if due:
            days[table.name] = due
    # What applications have posted is ingested with the source's rows of its days.
    posted = {
        *feedback_days_due(warehouse, source, state.first_day, newest, aliases),
        *(set(days_between(first, newest)) - set(warehouse.partitions(FEEDBACK))),
    }
    if posted:
        days[FEEDBACK.name] = sorted(posted)
    return days


def weeks_ahead_due(
    warehouse: Warehouse,
    source: Source,
    state: State,
    first: dt.date,
    last: dt.date,
    settings: Settings,
) -> list[str]:
    """Weeks of the tables known ahead that a run needs and that are missing or have changed.

    The training of the fallback reads the promotions of the four weeks that it evaluates, each with
    the four before it; that of demand reads `demand.promotion_weeks`. Predictions read the days
    that are forecast, as far as weeks are known ahead. Older weeks are left out: the default source
    has 400,000 promotions a week. Of a table that the source lacks, the weeks from the first on
    have a partition without rows, so that the UI does not take them for missing.

    Args:
        warehouse: with the weeks that have been ingested.
        source: of the tables.
        state: of the home.
        first: Monday of the first week to train.
        last: last day to predict.
        settings: how far back and ahead tables are read.
    """
    weeks_before = max(WEEKS_BEFORE_TRAINING, settings.demand.promotion_weeks)
    begin = max(first - dt.timedelta(days=7 * weeks_before), week_of(state.first_day))
    end = week_of(last + dt.timedelta(days=7 * (weeks_ahead(settings) - 1)))
    end = min(end, state.last_day) if state.last_day else end
    weeks: set[str] = set()
    source_tables = source.tables()
    for table in RAW_TABLES:
        if table.partition == "week":
            # Without rows where the source lacks the table: predictions have the weeks upstream.
            earliest = begin if table in source_tables else first
            weeks.update(days_to_ingest(warehouse, source, table, earliest, end))
    return sorted(weeks)


def training_due(
    weeks: Sequence[dt.date],
    trainings: Mapping[str, Training],
    warehouse: Warehouse,
    models: ModelStore,
    settings: Settings,
) -> dict[dt.date, dict[str, str]]:
    """Finds the trainings that are due, by week: the models, and the reason of each.

    A model is due that was never trained through the week's Sunday, unless an older training goes
    on serving by `training.every_weeks`, or whose rows, code or settings have changed since it was.

    Args:
        weeks: Mondays.
        trainings: by name of the model.
        warehouse: with the rows that trainings read.
        models: with the decisions of earlier trainings.
        settings: of the home.
    """
    due: dict[dt.date, dict[str, str]] = {}
    # Read once for all weeks: the code of a model is dozens of files.
    inputs = functools.cache(lambda name: TrainingInputs.of(trainings[name], settings))
    for week in weeks:
        through = trained_through(week)
        versions: dict[tuple[tuple[Table, ...], int], str] = {}
        reasons: dict[str, str] = {}
        for name, training in trainings.items():
            decision = models.training(name, through)
            if decision is None:
                reason = reason_to_train(name, week, models, warehouse, settings)
                newest = models.newest_training(name, through)
                earlier = models.training(name, newest) if newest else None
                if reason is None and earlier is not None:
                    reason = earlier.code and inputs(name).describe_changes(earlier)
                reasons |= {name: reason} if reason else {}
                continue
            days = training.history_days(settings)
            key = training.tables, days
            if key not in versions:
                # Hashed once for all models that read the same rows.
                versions[key] = data_version(warehouse, through, training.tables, days)
            if decision.data_version != versions[key]:
                tables = " or ".join(table.qualified for table in training.tables)
                reasons[name] = f"rows of {tables} up to {through} have changed"
            elif reason := decision.code and inputs(name).describe_changes(decision):
                reasons[name] = reason
        if reasons:
            due[week] = reasons
    return due
