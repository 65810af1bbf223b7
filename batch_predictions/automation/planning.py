"""What a run has to do: days to predict, raw days and weeks that are missing, weeks to train."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from batch_predictions.home import HomeError, State
from batch_predictions.model_store import ModelStore
from batch_predictions.models.training import Training, data_version
from batch_predictions.partitions import (
    days_between,
    latest_ended_week,
    trained_through,
    week_of,
    weeks_ahead,
)
from batch_predictions.settings import Settings
from batch_predictions.sources.base import RAW, Source, SourceError
from batch_predictions.sources.ingest import days_to_ingest
from batch_predictions.sources.registry import today
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse

WEEKS_BEFORE = 7
"""Weeks of promotions before the first one trained that training needs."""


def days_due(
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
    if latest_ended_week(chosen) < week_of(state.first_day):
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
    if first is None or latest_ended_week(begin) >= week_of(state.first_day):
        return begin, chosen
    raise SourceError(
        f"no week had ended by {begin}: predictions begin on "
        f"{trained_through(week_of(state.first_day))}"
    )


def raw_due(
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
            days.update(days_to_ingest(warehouse, source, table, state.first_day, newest))
        elif table.partition == "date":
            days.update(set(days_between(first, newest)) - set(warehouse.partitions(table)))
    return sorted(days)


def weeks_ahead_due(
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
    end = week_of(last + dt.timedelta(days=7 * (weeks_ahead(settings) - 1)))
    end = min(end, state.last_day) if state.last_day else end
    weeks: set[str] = set()
    for table in source.tables():
        if table.partition == "week":
            weeks.update(days_to_ingest(warehouse, source, table, begin, end))
    return sorted(weeks)


def training_due(
    weeks: Sequence[dt.date],
    trainings: Mapping[str, Training],
    warehouse: Warehouse,
    models: ModelStore,
    settings: Settings,
) -> list[dt.date]:
    """Weeks never trained, or trained on rows that have changed since."""
    untrained = []
    for week in weeks:
        through = trained_through(week)
        versions: dict[tuple[tuple[Table, ...], int], str] = {}
        for name, training in trainings.items():
            decision = models.training(name, through)
            days = training.history_days(settings)
            key = training.tables, days
            if decision is not None and key not in versions:
                # Hashed once for the models that learn from the same rows.
                versions[key] = data_version(warehouse, through, training.tables, days)
            if decision is None or decision.data_version != versions[key]:
                untrained.append(week)
                break
    return untrained
