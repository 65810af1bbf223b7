"""Finds the partitions to ingest: those that are missing, or whose rows have changed since.

A folder of files is compared as a whole. A database with years of rows is not: every run compares
its newest days, and from time to time all of them (`Source.comparison_window`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

from batch_predictions.sources.base import ABSENT_FINGERPRINT, ComparisonWindow, Source
from batch_predictions.sources.posted_rows.feedback import posted_users_fingerprint
from batch_predictions.sources.rows.fingerprints import settings_hash
from batch_predictions.sources.rows.ingest_log import (
    Comparison,
    IngestLog,
    read_ingest_log,
    update_ingest_log,
)
from batch_predictions.sources.rows.merges import merged_days
from batch_predictions.sources.rows.sandbox import as_source_errors
from batch_predictions.sources.shrinkage import find_losses
from batch_predictions.sources.validation.merged_users import read_aliases
from batch_predictions.sources.validation.row_checks import RowCounts, validate_rows
from batch_predictions.tables import USER_ALIASES, USERS, Table, user_columns
from batch_predictions.warehouse import Warehouse, scratch_dir


def days_to_ingest(
    warehouse: Warehouse,
    source: Source,
    table: Table,
    first: dt.date,
    last: dt.date,
    aliases: Mapping[str, str] | None = None,
) -> list[str]:
    """Finds partitions that do not exist, or that were read before the source changed.

    Of a weekly table, the Mondays of the weeks with these days. Of a snapshot, the last day if it
    must be read again, else none. Users that were merged since are a change of their days.

    Args:
        warehouse: with the partitions that exist.
        source: of the home.
        table: a raw table.
        first: first day.
        last: last day.
        aliases: of `planned_aliases`; None: they are found out.
    """
    home = Path(warehouse.home)
    log = read_ingest_log(home, table)
    has_users = table != USER_ALIASES and bool(user_columns(table))
    if aliases is None:
        aliases = planned_aliases(warehouse, source, last) if has_users else {}
    if not table.partition:
        day = last.isoformat()
        if log.as_of and log.as_of > day:
            return []
        key = log.as_of or ""
        entry = log.days.get(key)
        fingerprint = snapshot_fingerprint(source, table, day)
        _forget_returned(home, table, log, {key: fingerprint})
        kept = log.kept.get(key)
        known = {part.fingerprint for part in (entry, kept) if part}
        is_current = fingerprint in known and (not has_users or log.aliases == aliases)
        return [] if is_current and warehouse.path(table).exists() else [day]
    existing = set(warehouse.partitions(table))
    first = table.partition_of(first)
    step = 7 if table.partition == "week" else 1
    offsets = range(0, (last - first).days + 1, step)
    days = [(first + dt.timedelta(days=offset)).isoformat() for offset in offsets]
    ingested = [day for day in days if day in existing and day in log.days]
    current = set(ingested) - changed_partitions(home, source, table, ingested, last)
    if has_users:
        current -= merged_days(warehouse, table, log, aliases)
    return [day for day in days if day not in current]


def planned_aliases(warehouse: Warehouse, source: Source, last: dt.date) -> dict[str, str]:
    """The present ids of merged users by alias, after the next ingest of raw.user_aliases.

    Args:
        warehouse: with the aliases that were ingested.
        source: of the home.
        last: last day of the ingest.
    """
    home, day, table = Path(warehouse.home), last.isoformat(), USER_ALIASES
    if source.fingerprint(table) == ABSENT_FINGERPRINT:
        return read_aliases(home)
    if not days_to_ingest(warehouse, source, table, last, last):
        return read_aliases(home)
    with (
        as_source_errors(table.name),
        scratch_dir(warehouse.folder) as folder,
        warehouse.connect(private=True) as db,
        source.open_partitions(table, [day], folder),
    ):
        validated = validate_rows(db, source, table, None, snapshot_day=day)
        counts = {day: validated.counts.get(day, RowCounts())}
        log, settings = read_ingest_log(home, table), settings_hash(source, table)
        fingerprints = source.day_fingerprints(table, [day])
        if find_losses(warehouse, source, table, log, counts, fingerprints, settings):
            return read_aliases(home)
        return dict(db.sql(validated.accepted).select("alias", "user_id").fetchall())


def snapshot_fingerprint(source: Source, table: Table, day: str) -> str:
    """The source's fingerprint of a snapshot; of users, also that of the posted ones."""
    fingerprint = source.day_fingerprints(table, [day])[day]
    return fingerprint + posted_users_fingerprint(source) if table == USERS else fingerprint


def changed_partitions(
    home: Path, source: Source, table: Table, partitions: Sequence[str], newest: dt.date
) -> set[str]:
    """Finds ingested partitions whose source has another fingerprint than at their ingest.

    Partitions that were found changed and are not ingested yet stay changed.

    Args:
        home: the home folder, which keeps when all partitions were last compared.
        source: the source of the rows.
        table: a table with partitions.
        partitions: keys of ingested partitions, oldest first.
        newest: the newest day of the run.
    """
    window = source.comparison_window(table)
    log = read_ingest_log(home, table)
    if window is None:
        return _with_new_fingerprints(home, source, table, log, partitions)
    previous = log.comparison
    compared = list(partitions)
    comparison = Comparison(newest=newest, full=newest, settings=window.settings)
    if previous is not None and not _is_full_comparison_due(window, previous, newest):
        # The days that were new in the previous run may have late rows now.
        start = min(newest, previous.newest) - dt.timedelta(days=window.late_days)
        first, always = table.partition_of(start).isoformat(), source.always_compared(table)
        # Rows that are kept may be back.
        compared = [k for k in partitions if k >= first or k in always or k in log.kept]
        comparison = previous.model_copy(update={"newest": max(newest, previous.newest)})
    elif previous is not None and newest < previous.newest:
        # Later days are not among these: the next run compares all again.
        comparison = previous
    changed = _with_new_fingerprints(home, source, table, log, compared)
    with update_ingest_log(home, table) as updated:
        updated.comparison = comparison
        pending = set(updated.changed) - set(compared) | changed
        updated.changed = sorted(pending)
    return pending & set(partitions)


def _with_new_fingerprints(
    home: Path, source: Source, table: Table, log: IngestLog, partitions: Sequence[str]
) -> set[str]:
    if not partitions:
        return set()
    now = source.day_fingerprints(table, partitions)
    _forget_returned(home, table, log, now)
    kept = {key for key, part in log.kept.items() if part.fingerprint == now.get(key)}
    return {key for key in partitions if log.days[key].fingerprint != now[key] and key not in kept}


def _forget_returned(home: Path, table: Table, log: IngestLog, now: Mapping[str, str]) -> None:
    """Removes kept partitions from the log whose rows the source has again, by fingerprints now."""
    returned = [key for key in log.kept if key in now and now[key] == log.days[key].fingerprint]
    if returned:
        with update_ingest_log(home, table) as updated:
            updated.kept = {key: part for key, part in updated.kept.items() if key not in returned}


def _is_full_comparison_due(
    window: ComparisonWindow, previous: Comparison, newest: dt.date
) -> bool:
    days = (newest - previous.full).days
    return previous.settings != window.settings or 0 < window.reconcile_days <= days
