"""Finds ingested partitions whose rows in the source have changed since.

A folder of files is compared as a whole. A database with years of rows is not: every run compares
its newest days, and from time to time all of them (`Source.comparison_window`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from batch_predictions.sources.base import ComparisonWindow, Source
from batch_predictions.sources.rows.ingest_log import (
    Comparison,
    IngestLog,
    read_ingest_log,
    update_ingest_log,
)
from batch_predictions.tables import Table


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
        compared = [key for key in partitions if key >= first or key in always]
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
    returned = [key for key in log.kept if key in now and now[key] == log.days[key].fingerprint]
    if returned:
        # The source has the rows again that were kept.
        with update_ingest_log(home, table) as updated:
            updated.kept = {key: part for key, part in updated.kept.items() if key not in returned}
    kept = {key for key, part in log.kept.items() if part.fingerprint == now.get(key)}
    return {key for key in partitions if log.days[key].fingerprint != now[key] and key not in kept}


def _is_full_comparison_due(
    window: ComparisonWindow, previous: Comparison, newest: dt.date
) -> bool:
    days = (newest - previous.full).days
    return previous.settings != window.settings or 0 < window.reconcile_days <= days
