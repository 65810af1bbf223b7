"""Fixes a home's state on its first run, restores it from the warehouse, moves its first day."""

from __future__ import annotations

import datetime as dt
import logging
from collections import Counter
from dataclasses import dataclass

from batch_predictions.core.home import (
    HomeError,
    State,
    read_state,
    read_state_copy,
    replace_state,
    state_path,
    write_state,
)
from batch_predictions.settings import Settings
from batch_predictions.sources.base import INGESTED_TABLES, MAX_DATE, RAW_TABLES, Source
from batch_predictions.sources.rows.ingest_log import read_ingest_log, update_ingest_log
from batch_predictions.sources.rows.spans import Span
from batch_predictions.sources.source_registry import build_source, current_date, source_of
from batch_predictions.tables import TABLES, week_of
from batch_predictions.warehouse import Warehouse, as_date

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class FirstDayMove:
    """A home's first day was moved.

    Attributes:
        before: the first day before.
        after: the first day now.
        removed: partitions of earlier days that were removed, by qualified name of their table.
    """

    before: dt.date
    after: dt.date
    removed: dict[str, int]


def initial_state(source: Source, span: Span) -> State:
    """The state of a home whose first run reads a source with this span."""
    return State(
        source_kind=source.kind,
        timezone=source.timezone,
        first_day=span.first_day,
        last_day=span.last_day,
        default_date=span.default_date,
        shift_days=span.shift_days,
    )


def initialise_home(settings: Settings, today: dt.date | None = None) -> State:
    """The home's state; on its first run it is computed and written.

    Args and errors are those of `compute_state`.
    """
    state = read_state(settings.home)
    if state is None:
        computed, is_restored = _compute_state(settings, today)
        # If another process initialises the home at the same time, the first to write wins.
        state = write_state(settings.home, computed)
        if is_restored:
            _LOGGER.warning(
                "%s was missing and is restored from the warehouse", state_path(settings.home)
            )
    _validate_state(settings, state)
    return state


def compute_state(settings: Settings, today: dt.date | None = None) -> State:
    """The home's state, or the one that its first run would write; nothing is written.

    If the state is missing beside a warehouse that has partitions, it is taken from it.

    Args:
        settings: settings of the home and the source.
        today: date of a first run; None: the current date.

    Raises:
        HomeError: the home was initialised with another source, time zone or calendar, or its state
            is missing and the warehouse does not say what it was.
        SourceError: the source does not exist, or none of its rows has a readable day.
    """
    state = read_state(settings.home) or _compute_state(settings, today)[0]
    _validate_state(settings, state)
    return state


def _compute_state(settings: Settings, today: dt.date | None) -> tuple[State, bool]:
    """The state of a home that has none, and whether its warehouse says what it was."""
    source = source_of(settings, None)
    source.tables()
    state = read_state_copy(settings.home)
    is_restored = state is not None or _oldest_partition(settings) is not None
    if state is None:
        span = source.span(today or current_date(source.timezone))
        state = _restore_state(settings, source, span) or initial_state(source, span)
    return state, is_restored


def restart_unused_home(settings: Settings, today: dt.date | None = None) -> State:
    """The home's state; it is computed again if no row was ever accepted.

    So a source whose times could not be read, or were misread, can be corrected and run again. Call
    it with the home's lock.

    Args:
        settings: settings of the home and the source.
        today: the date; None: the current date.

    Raises:
        HomeError: as `initialise_home`.
        SourceError: the source does not exist, or none of its rows has a readable day.
    """
    state = initialise_home(settings, today)
    logs = [read_ingest_log(settings.home, table) for table in RAW_TABLES]
    entries = [entry for log in logs for entry in log.days.values()]
    if not entries or any(entry.accepted for entry in entries):
        return state
    source = source_of(settings, None)
    span = source.span(today or current_date(source.timezone))
    new = initial_state(source, span)
    if new != state:
        _remove_partitions_before(settings, new.first_day)
        replace_state(settings.home, new)
    return new


def move_first_day(settings: Settings, day: dt.date) -> FirstDayMove:
    """Moves the home's first day. Call it with the home's lock.

    Rows of days before it are refused by the next run; partitions of these days are removed. If it
    is earlier than before, the next run ingests the days between.

    Args:
        settings: settings of an initialised home.
        day: the new first day.

    Raises:
        HomeError: the home has no state, its source has a fixed calendar, or no row is of the day
            or later.
        SourceError: the source cannot be read.
    """
    state = read_state(settings.home)
    if state is None:
        raise HomeError(f"{settings.home} is not initialised: run `batch-predictions run`")
    if state.last_day is not None:
        raise HomeError(
            f"the days of source.kind {state.source_kind} are fixed, {state.first_day} to "
            f"{state.last_day}: choose another home folder with --home"
        )
    earliest = settings.source.earliest_day
    if day < earliest:
        raise HomeError(f"{day} is before {earliest}: set source.earliest to {day} first")
    newest = source_of(settings, state).newest_complete_day(current_date(state.timezone))
    if day > newest:
        raise HomeError(
            f"{day} is after {newest}, the newest day of the source: choose an earlier one"
        )
    # Removed first: a run after a crash in between ingests them again.
    removed = _remove_partitions_before(settings, day)
    replace_state(settings.home, state.model_copy(update={"first_day": day}))
    return FirstDayMove(state.first_day, day, removed)


def partitions_before(settings: Settings, day: dt.date) -> dict[str, list[str]]:
    """Partitions of the warehouse before a day, and before its week, by table's qualified name."""
    warehouse = Warehouse.of(settings)
    partitions = {}
    for table in TABLES.values():
        first = str(day if table.partition == "date" else week_of(day))
        if earlier := [key for key in warehouse.partitions(table) if key < first]:
            partitions[table.qualified] = earlier
    return partitions


def _remove_partitions_before(settings: Settings, day: dt.date) -> dict[str, int]:
    """Removes partitions of earlier days and weeks, and forgets that they were ingested."""
    warehouse = Warehouse.of(settings)
    removed: Counter[str] = Counter()
    for name, keys in partitions_before(settings, day).items():
        for key in keys:
            warehouse.drop_partition(TABLES[name], key)
        removed[name] = len(keys)
    for table in INGESTED_TABLES:
        if table.partition and read_ingest_log(settings.home, table).days:
            first = str(table.partition_of(day))
            with update_ingest_log(settings.home, table) as log:
                log.days = {key: entry for key, entry in log.days.items() if key >= first}
                log.changed = [key for key in log.changed if key >= first]
                log.merged = [key for key in log.merged if key >= first]
    return dict(removed)


def _oldest_partition(settings: Settings) -> dt.date | None:
    """The oldest day of the raw daily tables; None: there are none."""
    warehouse = Warehouse.of(settings)
    daily = [table for table in RAW_TABLES if table.partition == "date"]
    oldest = [keys[0] for table in daily if (keys := warehouse.partitions(table))]
    return as_date(min(oldest)) if oldest else None


def _restore_state(settings: Settings, source: Source, span: Span) -> State | None:
    """The state by which the warehouse's partitions were made; None: there are none.

    Raises:
        HomeError: the partitions are of another calendar than the source's.
    """
    oldest = _oldest_partition(settings)
    if oldest is None:
        return None
    state = initial_state(source, span)
    if span.last_day is None:
        default_date = _default_date_of(settings, state) or state.default_date
        return state.model_copy(update={"first_day": oldest, "default_date": default_date})
    moved = oldest - span.first_day
    if moved.days % 7:
        raise HomeError(
            f"{state_path(settings.home)} is missing, and the oldest day of the warehouse, "
            f"{oldest}, is not the source's first day moved by whole weeks: restore the file from "
            "a backup, or choose another home folder with --home"
        )
    return state.model_copy(
        update={
            "first_day": oldest,
            "last_day": span.last_day + moved,
            "shift_days": span.shift_days + moved.days,
        }
    )


def _default_date_of(settings: Settings, state: State) -> dt.date | None:
    """The day of rows without a time, if all rows of a daily table have none; else None."""
    undated = build_source(settings.source, state.model_copy(update={"default_date": MAX_DATE}))
    for table in undated.tables():
        if table.partition != "date" or undated.day_range(table) != (MAX_DATE, MAX_DATE):
            continue
        days = read_ingest_log(settings.home, table).days
        accepted = [day for day, entry in days.items() if entry.accepted]
        if len(accepted) == 1:
            return as_date(accepted[0])
    return None


def _validate_state(settings: Settings, state: State) -> None:
    """Raises HomeError if the settings contradict the home's state."""
    source = settings.source
    if source.kind != state.source_kind:
        setting, fixed = f"source.kind {source.kind}", state.source_kind
    elif source.timezone and source.timezone != state.timezone:
        setting, fixed = f"source.timezone {source.timezone}", state.timezone
    elif source.original_dates and state.shift_days:
        setting, fixed = "source.original_dates", "replayed dates"
    else:
        return
    raise HomeError(
        f"{settings.home} was initialised with {fixed}, but the settings now have {setting}: "
        "choose another home folder with --home, or restore the setting"
    )
