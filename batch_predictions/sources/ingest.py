"""Ingests partitions of raw tables from a source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from batch_predictions.core.home import State
from batch_predictions.sources.base import (
    ABSENT_FINGERPRINT,
    INGESTED_TABLES,
    Source,
    SourceError,
)
from batch_predictions.sources.due_partitions import snapshot_fingerprint
from batch_predictions.sources.manual_rows import with_manual_rows
from batch_predictions.sources.posted_rows.feedback import (
    validate_feedback,
    with_posted_users,
)
from batch_predictions.sources.rows.fingerprints import settings_hash
from batch_predictions.sources.rows.ingest_log import (
    IngestLog,
    IngestLogEntry,
    KeptPartition,
    update_ingest_log,
)
from batch_predictions.sources.rows.merges import record_aliases, record_merges
from batch_predictions.sources.rows.sandbox import as_source_errors
from batch_predictions.sources.shrinkage import find_losses, keep_replaced
from batch_predictions.sources.validation.merged_users import (
    aliases_sql,
    read_aliases,
    with_present_users,
)
from batch_predictions.sources.validation.row_checks import RowCounts, ValidatedRows, validate_rows
from batch_predictions.tables import (
    FEEDBACK,
    QUARANTINE,
    USER_ALIASES,
    USERS,
    Table,
    user_columns,
)
from batch_predictions.warehouse import Warehouse, WriteResult, as_date, scratch_dir
from batch_predictions.warehouse.delta_tables import count_rows
from batch_predictions.warehouse.path_sql import days_condition, quote_literal


@dataclass(frozen=True)
class IngestResult:
    """The ingest of one partition.

    Attributes:
        counts: rows of the source.
        write_result: the file, and whether it changed.
        manual_rows: rows in that file that commands of the platform added.
        posted_rows: users in that file that were posted to the HTTP service.
        is_superseded: whether a snapshot was not written because a newer one exists.
        kept: why the rows of the source were not taken; None: they were.
    """

    counts: RowCounts
    write_result: WriteResult
    manual_rows: int = 0
    posted_rows: int = 0
    is_superseded: bool = False
    kept: KeptPartition | None = None


def ingest(
    warehouse: Warehouse, source: Source, table: Table, days: Sequence[str], state: State
) -> dict[str, IngestResult]:
    """Replaces partitions of a raw table by the accepted rows, and their quarantine by the refused.

    A daily table gets a partition for every day. A weekly table is ingested by Mondays, which may
    lie in the future. A table without partitions is a snapshot: its present rows are read and
    counted under the newest of the days, unless there is a snapshot of a later day. If the source
    does not have the table, its partitions are empty.

    Args:
        warehouse: the warehouse to write to.
        source: the source of the rows.
        table: the raw table.
        days: partition keys.
        state: state of the home.

    Returns:
        The result of each partition.

    Raises:
        SourceError: the table cannot be read, or a day is no partition of it.
    """
    if not days:
        return {}
    days = sorted(set(days))
    _validate_days(table, days, state)
    # Rows are read while they are validated: a damaged page of a file is noticed then.
    with as_source_errors(table.name):
        if not table.partition:
            return _ingest_snapshot(warehouse, source, table, days)
        return _ingest_days(warehouse, source, table, days)


def _ingest_days(
    warehouse: Warehouse, source: Source, table: Table, days: Sequence[str]
) -> dict[str, IngestResult]:
    """Ingests partitions of a daily or weekly table."""
    # Before the rows are read, so that rows that change meanwhile are ingested again.
    fingerprints = source.day_fingerprints(table, days)
    aliases = read_aliases(Path(warehouse.home)) if user_columns(table) else {}
    results: dict[str, IngestResult] = {}
    if ABSENT_FINGERPRINT in fingerprints.values():
        return _ingest_partitions(warehouse, source, table, days, fingerprints, aliases)
    with (
        scratch_dir(warehouse.folder) as folder,
        source.open_partitions(table, days, folder) as groups,
    ):
        for group in groups:
            results |= _ingest_partitions(warehouse, source, table, group, fingerprints, aliases)
    return results


def _validate(
    db: duckdb.DuckDBPyConnection, source: Source, table: Table, days: Sequence[str]
) -> ValidatedRows:
    """Validates the rows of days."""
    if table == FEEDBACK:
        return validate_feedback(db, source, days)
    return validate_rows(db, source, table, days)


def _validate_days(table: Table, days: Sequence[str], state: State) -> None:
    """Raises SourceError for days before the home's first, and days that are no Mondays."""
    if not table.partition:
        return
    first_day = table.partition_of(state.first_day)
    if days[0] < first_day.isoformat():
        unit = "week" if table.partition == "week" else "day"
        raise SourceError(
            f"{days[0]} is before {first_day}, the first {unit} of this home: choose later ones, "
            f"or move it with `batch-predictions first-day {days[0]}`"
        )
    for day in days:
        partition = table.partition_of(as_date(day))
        if partition != as_date(day):
            raise SourceError(f"{day} is not a Monday: choose its week, {partition}")


def _ingest_partitions(
    warehouse: Warehouse,
    source: Source,
    table: Table,
    days: Sequence[str],
    fingerprints: Mapping[str, str],
    aliases: Mapping[str, str],
) -> dict[str, IngestResult]:
    """Ingests days, or weeks, that are read together."""
    home = Path(warehouse.home)
    with warehouse.connect(private=True) as db:
        if ABSENT_FINGERPRINT in fingerprints.values():
            validated = _no_rows(table, home)
        else:
            validated = _validate(db, source, table, days)
        counts = {day: validated.counts.get(day, RowCounts()) for day in days}
        # The lock keeps commands from adding rows between the reading and the writing.
        with update_ingest_log(home, table) as log:
            settings = settings_hash(source, table)
            record_aliases(warehouse, table, log, aliases)
            kept = find_losses(warehouse, source, table, log, counts, fingerprints, settings)
            written = [day for day in days if day not in kept]
            if kept:
                validated = _of_days(table, validated, written)
            _write_quarantine(warehouse, db, table, validated, written)
            rows, manual_counts = with_manual_rows(db, home, table, validated.accepted, written)
            if manual_counts:
                rows = with_present_users(rows, validated.aliases)
            if to_merge := sorted({*kept}.intersection(log.merged)):
                present = f"from {table.qualified} where {days_condition('date', to_merge)}"
                present = with_present_users(present, validated.aliases)
                warehouse.replace_partitions(table, to_merge, present, db=db)
            with keep_replaced(warehouse, table, written, log) as write_results:
                write_results |= warehouse.replace_partitions(table, written, rows, db=db)
            for day in written:
                log.days[day] = _log_entry(fingerprints[day], counts[day], settings)
            log.record(written, kept)
    results = {
        day: IngestResult(counts[day], write_results[day], manual_counts.get(day, 0))
        for day in written
    }
    return results | {day: _kept(warehouse, table, day, log, loss) for day, loss in kept.items()}


def _of_days(table: Table, validated: ValidatedRows, days: Sequence[str]) -> ValidatedRows:
    """The validated rows of some of the days."""
    condition = days_condition(table.partition or "date", days)
    return replace(
        validated,
        accepted=f"select * from ({validated.accepted}) where {condition}",
        refused=f"select * from ({validated.refused}) where {days_condition('date', days)}",
        counts={day: counts for day, counts in validated.counts.items() if day in days},
    )


def _kept(
    warehouse: Warehouse, table: Table, day: str, log: IngestLog, loss: KeptPartition
) -> IngestResult:
    """The result of a partition whose file stays."""
    path = warehouse.path(table, day if table.partition else None)
    rows = count_rows(path) if path.exists() else 0
    entry = log.days[day if table.partition else log.as_of or day]
    counts = RowCounts(
        entry.read,
        entry.accepted,
        entry.quarantined,
        entry.nulled,
        entry.filtered,
        entry.deduplicated,
        entry.merged,
    )
    write_result = WriteResult(table, day if table.partition else None, rows, path, False)
    return IngestResult(counts, write_result, rows - entry.accepted, kept=loss)


def _ingest_snapshot(
    warehouse: Warehouse, source: Source, table: Table, days: Sequence[str]
) -> dict[str, IngestResult]:
    """Ingests a table without partitions as of the newest of the days."""
    day = days[-1]
    home = Path(warehouse.home)
    path = warehouse.path(table)
    # The lock is held throughout, so that of two snapshots that of the newer day remains.
    with update_ingest_log(home, table) as log:
        if log.as_of and log.as_of > day and path.exists():
            rows_in_file = warehouse.value(f"select count(*) from {table.qualified}")
            unchanged = WriteResult(table, None, rows_in_file, path, False)
            return {day: IngestResult(RowCounts(), unchanged, is_superseded=True)}
        fingerprint = snapshot_fingerprint(source, table, day)
        if table == USERS:
            record_aliases(warehouse, table, log, read_aliases(home))
        with ExitStack() as stack:
            folder = stack.enter_context(scratch_dir(warehouse.folder))
            db = stack.enter_context(warehouse.connect(private=True))
            if fingerprint.startswith(ABSENT_FINGERPRINT):
                validated = _no_rows(table, home)
            else:
                stack.enter_context(source.open_partitions(table, [day], folder))
                validated = validate_rows(db, source, table, None, snapshot_day=day)
            counts = validated.counts.get(day, RowCounts())
            settings = settings_hash(source, table)
            kept = find_losses(
                warehouse, source, table, log, {day: counts}, {day: fingerprint}, settings
            )
            if kept:
                log.record([], {log.as_of or day: kept[day]})
                return {day: _kept(warehouse, table, day, log, kept[day])}
            _write_quarantine(warehouse, db, table, validated, [day])
            rows, manual_counts = with_manual_rows(db, home, table, validated.accepted, None)
            posted = 0
            if table == USERS:
                rows, posted = with_posted_users(db, source, rows)
            # Parquet keeps the type MAP, Arrow does not.
            shard = folder / "snapshot.parquet"
            db.execute(f"copy ({rows}) to {quote_literal(shard)} (format parquet)")
            write_result = warehouse.replace_partition(table, None, [shard])
        log.record([*log.kept, day], {})
        log.as_of = day
        log.days[day] = _log_entry(fingerprint, counts, settings)
    if table == USER_ALIASES:
        aliases = read_aliases(home)
        for raw_table in INGESTED_TABLES:
            if raw_table.partition and user_columns(raw_table):
                record_merges(warehouse, raw_table, aliases)
    return {day: IngestResult(counts, write_result, sum(manual_counts.values()), posted)}


def _write_quarantine(
    warehouse: Warehouse,
    db: duckdb.DuckDBPyConnection,
    table: Table,
    validated: ValidatedRows,
    days: Iterable[str],
) -> None:
    """Replaces the quarantine of the days; that of days without refused rows is removed."""
    part = {"table_name": table.name}
    refused_days = [day for day, counts in validated.counts.items() if counts.quarantined]
    if refused_days:
        warehouse.replace_partitions(QUARANTINE, refused_days, validated.refused, db=db, part=part)
    for day in set(days) - set(refused_days):
        warehouse.remove_partition(QUARANTINE, day, part)


def _no_rows(table: Table, home: Path) -> ValidatedRows:
    """The rows of a table that the source does not have."""
    nulls = ", ".join(f'null::{column.type} as "{column.name}"' for column in table.columns)
    aliases = aliases_sql(home)
    return ValidatedRows(f"select {nulls} where false", "", "", {}, aliases and f"({aliases})")


def _log_entry(fingerprint: str, counts: RowCounts, settings: str) -> IngestLogEntry:
    return IngestLogEntry(
        fingerprint=fingerprint,
        read=counts.read,
        accepted=counts.accepted,
        quarantined=counts.quarantined,
        nulled=counts.nulled,
        filtered=counts.filtered,
        deduplicated=counts.deduplicated,
        merged=counts.merged,
        settings=settings,
    )
