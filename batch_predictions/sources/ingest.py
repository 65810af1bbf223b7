"""Takes days of a source into the raw tables, and says which days are due."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from batch_predictions.home import State
from batch_predictions.sources.base import ABSENT, Source, SourceError, quote_literal
from batch_predictions.sources.ingest_log import IngestLogEntry, read_ingest_log, update_ingest_log
from batch_predictions.sources.manual_rows import manual_rows
from batch_predictions.sources.validation.row_checks import CheckedRows, RowCounts, validate_rows
from batch_predictions.tables import QUARANTINE, Table
from batch_predictions.warehouse import Warehouse, WriteResult, as_date

_UNIT = {"date": "day", "week": "week"}
WEEKS_AT_ONCE = 4
"""A week of shelves and leaflets may hold 400,000 rows: four of them take 0.6 GiB, 32 took 2.0."""


@dataclass(frozen=True)
class IngestResult:
    """A day or week that was ingested: its counts, what was written, and whether it was needed."""

    counts: RowCounts
    written: WriteResult
    superseded: bool = False
    """A snapshot for an older day than the one that is there: nothing was replaced."""
    added: int = 0
    """Rows of this platform's own commands, written beside the source's."""


def ingest(
    warehouse: Warehouse, source: Source, table: Table, days: Sequence[str], state: State
) -> dict[str, IngestResult]:
    """Takes days of a raw table from its source: accepted rows in, refused ones to quarantine.

    A daily table gets a partition for every day, all read in one go; a weekly one is asked for by
    Mondays, which may lie ahead, and read some weeks at a time. A snapshot is read as it is
    now and counted under the newest of the days, unless the one that is there is for a newer day.
    Ingesting again replaces rows and quarantine, so corrected data clears it. A table that the
    source lacks gets empty partitions.

    Raises:
        SourceError: the table cannot be read as it is, or has no such partition. Nothing was
            written.
    """
    if not days:
        return {}
    days = sorted(set(days))
    first = table.partition_of(state.first_day)
    if table.partition and days[0] < first.isoformat():
        raise SourceError(
            f"{days[0]} lies before {first}, the first {_UNIT[table.partition]} of this home: ask "
            "for later ones, or begin a new home folder with --home"
        )
    for day in days if table.partition == "week" else ():
        if (monday := table.partition_of(as_date(day))) != as_date(day):
            raise SourceError(f"{day} is not a Monday: ask for its week, {monday}")
    if not table.partition:
        return _snapshot(warehouse, source, table, days)
    step = WEEKS_AT_ONCE if table.partition == "week" else len(days)
    found: dict[str, IngestResult] = {}
    for begin in range(0, len(days), step):
        found |= _days(warehouse, source, table, days[begin : begin + step])
    return found


def days_to_ingest(
    warehouse: Warehouse, source: Source, table: Table, first: dt.date, last: dt.date
) -> list[str]:
    """Partitions to ingest from first to last: not written, or read from another state of it.

    Of a weekly table, the Mondays of the weeks that hold these days. Of a snapshot, the last day
    or none: it is read once for every state of the source.
    """
    ledger = read_ingest_log(Path(warehouse.home), table)
    fingerprint = source.fingerprint(table)
    if not table.partition:
        if ledger.as_of and ledger.as_of > last.isoformat():
            return []
        entry = ledger.days.get(ledger.as_of or "")
        current = entry is not None and entry.fingerprint == fingerprint
        return [] if current and warehouse.path(table).exists() else [last.isoformat()]
    written = set(warehouse.partitions(table))
    first = table.partition_of(first)
    step = 7 if table.partition == "week" else 1
    ahead = range(0, (last - first).days + 1, step)
    days = [(first + dt.timedelta(days=n)).isoformat() for n in ahead]
    return [
        day
        for day in days
        if day not in written
        or day not in ledger.days
        or ledger.days[day].fingerprint != fingerprint
    ]


def _days(
    warehouse: Warehouse, source: Source, table: Table, days: Sequence[str]
) -> dict[str, IngestResult]:
    home = Path(warehouse.home)
    # Before reading: files that change meanwhile are due again.
    fingerprint = source.fingerprint(table)
    with warehouse.connect() as db:
        gone = fingerprint == ABSENT
        checked = _nothing(table) if gone else validate_rows(db, source, table, days)
        _quarantine(warehouse, db, table, checked, days)
        counts = {day: checked.counts.get(day, RowCounts()) for day in days}
        # Held, so that no addition is made between its reading and the writing.
        with update_ingest_log(home, table) as ledger:
            rows, added = manual_rows(db, home, table, checked.accepted, days)
            written = warehouse.replace_partitions(table, days, rows, db=db)
            for day in days:
                ledger.days[day] = _entry(fingerprint, counts[day])
    return {day: IngestResult(counts[day], written[day], added=added.get(day, 0)) for day in days}


def _snapshot(
    warehouse: Warehouse, source: Source, table: Table, days: Sequence[str]
) -> dict[str, IngestResult]:
    day = days[-1]
    home = Path(warehouse.home)
    path = warehouse.path(table)
    # The lock is held throughout: of two snapshots the newer day's must be the one that stays.
    with update_ingest_log(home, table) as ledger:
        if ledger.as_of and ledger.as_of > day and path.exists():
            there = warehouse.value(f"select count(*) from {table.qualified}")
            return {
                day: IngestResult(RowCounts(), WriteResult(table, None, there, path, False), True)
            }
        fingerprint = source.fingerprint(table)
        with warehouse.connect() as db:
            gone = fingerprint == ABSENT
            checked = (
                _nothing(table) if gone else validate_rows(db, source, table, None, undated=day)
            )
            _quarantine(warehouse, db, table, checked, [day])
            rows, added = manual_rows(db, home, table, checked.accepted, None)
            with tempfile.TemporaryDirectory() as folder:
                # A shard in Parquet, which unlike Arrow keeps a MAP as it is.
                shard = Path(folder) / "snapshot.parquet"
                db.execute(f"copy ({rows}) to {quote_literal(shard)} (format parquet)")
                written = warehouse.replace_partition(table, None, [shard])
        counts = checked.counts.get(day, RowCounts())
        ledger.as_of = day
        ledger.days[day] = _entry(fingerprint, counts)
    return {day: IngestResult(counts, written, added=sum(added.values()))}


def _quarantine(
    warehouse: Warehouse,
    db: duckdb.DuckDBPyConnection,
    table: Table,
    checked: CheckedRows,
    days: Iterable[str],
) -> None:
    """Keeps the refused rows of the days, and clears the quarantine of days without any."""
    part = {"table_name": table.name}
    refused = [day for day, counts in checked.counts.items() if counts.quarantined]
    if refused:
        warehouse.replace_partitions(QUARANTINE, refused, checked.refused, db=db, part=part)
    for day in set(days) - set(refused):
        warehouse.remove_partition(QUARANTINE, day, part)


def _nothing(table: Table) -> CheckedRows:
    columns = ", ".join(f'null::{each.type} as "{each.name}"' for each in table.columns)
    return CheckedRows(f"select {columns} where false", "", {})


def _entry(fingerprint: str, counts: RowCounts) -> IngestLogEntry:
    return IngestLogEntry(
        fingerprint=fingerprint,
        read=counts.read,
        accepted=counts.accepted,
        quarantined=counts.quarantined,
    )
