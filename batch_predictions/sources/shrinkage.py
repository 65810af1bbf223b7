"""Keeps ingested partitions whose rows have left the source, until a person lets them go.

Exports are often of the last 30 days, or were cut off: a day that the source no longer has is kept
for good, and a day that has lost more rows than `source.shrinkage_share` is kept until someone
decides. Rows that other settings leave out are no loss. Of a replaced partition the file before it
is kept, so that an ingest can be undone.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from batch_predictions.core.erasures import FILE_NAME as ERASURES
from batch_predictions.settings import SettingsError
from batch_predictions.sources.base import ABSENT_FINGERPRINT, RAW_TABLES, Source, SourceError
from batch_predictions.sources.rows.ingest_log import (
    IngestLog,
    IngestLogEntry,
    KeptPartition,
    read_ingest_log,
    update_ingest_log,
)
from batch_predictions.sources.validation.row_checks import RowCounts
from batch_predictions.tables import INTERACTIONS, QUARANTINE, REVIEWS, USER_ALIASES, Table
from batch_predictions.warehouse import Warehouse, WriteResult
from batch_predictions.warehouse.delta_tables import local_file

UNDO_DAYS = 14
"""Days for which the files that an ingest has replaced are kept."""
MIN_LOST_ROWS = 10
"""Fewer rows than these are no loss of a partition that still has some."""


def find_losses(
    warehouse: Warehouse,
    source: Source,
    table: Table,
    log: IngestLog,
    counts: Mapping[str, RowCounts],
    fingerprints: Mapping[str, str],
    settings: str,
) -> dict[str, KeptPartition]:
    """Finds partitions that are kept because the source has lost their rows.

    Args:
        warehouse: with the partitions; one whose file is missing is made again in any case.
        source: the source, as it is now.
        table: a daily table or a snapshot; weeks known ahead may change as plans do.
        log: of the ingests so far.
        counts: by partition, what validation counted now.
        fingerprints: by partition, of the source now.
        settings: hash of those by which the table is read.

    Raises:
        SourceError: `source.shrinkage` is stop, and a partition has lost too many rows.
    """
    losses: dict[str, KeptPartition] = {}
    is_fixed = table.partition == "week" or table not in RAW_TABLES
    if is_fixed or source.settings.shrinkage == "replace":
        return losses
    for key, now in counts.items():
        before = _entry_before(table, log, key)
        if before is None or before.settings not in ("", settings) or key in log.replaceable:
            continue
        # Rows of merged users are no loss.
        lost = before.accepted + before.merged - now.accepted - now.merged
        if not warehouse.path(table, key if table.partition else None).exists():
            continue
        # A merge that is taken back leaves an empty table, if it was the only one.
        is_empty = not now.accepted and (
            table != USER_ALIASES or fingerprints[key].startswith(ABSENT_FINGERPRINT)
        )
        if lost <= 0 or (lost < MIN_LOST_ROWS and not is_empty):
            continue
        is_gone = not now.accepted and _is_outside(source, table, key, fingerprints[key])
        if is_gone or lost > source.settings.shrinkage_share * before.accepted:
            losses[key] = KeptPartition(
                fingerprint=fingerprints[key],
                rows=before.accepted,
                found=now.accepted,
                reason="gone" if is_gone else "lost",
            )
    shrunken = {key: kept for key, kept in losses.items() if kept.reason == "lost"}
    if shrunken and source.settings.shrinkage == "stop":
        raise SourceError(
            f"{describe_kept(table, shrunken)}; the setting source.shrinkage stops the run"
        )
    return losses


def _entry_before(table: Table, log: IngestLog, key: str) -> IngestLogEntry | None:
    """The newest ingest of a partition; of a snapshot, as of the newest day."""
    return log.days.get(key if table.partition else log.as_of or "")


def _is_outside(source: Source, table: Table, key: str, fingerprint: str) -> bool:
    """Returns whether a day is before the source's first day or after its newest one."""
    if fingerprint.startswith(ABSENT_FINGERPRINT):
        return True
    days = source.day_range(table) if table.partition else None
    return days is not None and not days[0].isoformat() <= key <= days[1].isoformat()


def describe_kept(table: Table, kept: Mapping[str, KeptPartition]) -> str:
    """Describes partitions that are kept for one reason, and how they are replaced."""
    keys = sorted(kept)
    rows, found = (sum(getattr(part, name) for part in kept.values()) for name in ("rows", "found"))
    span = keys[0] if len(keys) == 1 else f"{keys[0]}..{keys[-1]}"
    days = f"{len(keys):,} day{'s' if len(keys) > 1 else ''} of {table.name} ({span})"
    reason = kept[keys[0]].reason
    if reason == "undone":
        what = f"the ingest of {days} was undone: {rows:,} rows are kept, the source has {found:,}"
    elif reason == "gone":
        what = f"the source no longer has {days}: their {rows:,} rows are kept"
    else:
        what = f"the source has {found:,} instead of {rows:,} rows of {days}: those are kept"
    return f"{what}. To replace them: `batch-predictions run --accept-loss {span}`"


@dataclass(frozen=True)
class KeptRows:
    """Rows of a home that are kept although the source has others, in words.

    Attributes:
        lost: by raw table, partitions of which a person must decide.
        notes: days that the source no longer has, and undone ingests.
    """

    lost: dict[str, str]
    notes: list[str]


def read_kept_rows(home: Path) -> KeptRows:
    """Reads from the logs of ingests which rows are kept although the source has others."""
    found = KeptRows({}, [])
    for table in RAW_TABLES:
        kept = read_ingest_log(home, table).kept
        for reason in ("lost", "gone", "undone"):
            parts = {key: part for key, part in kept.items() if part.reason == reason}
            if parts and reason == "lost":
                found.lost[table.name] = describe_kept(table, parts)
            elif parts:
                found.notes.append(describe_kept(table, parts))
    return found


def newest_ingested_day(home: Path) -> dt.date | None:
    """The newest day with rows of interactions or reviews that a home has; None: there is none."""
    days = (
        day
        for table in (INTERACTIONS, REVIEWS)
        for day, entry in read_ingest_log(home, table).days.items()
        if entry.accepted
    )
    newest = max(days, default=None)
    return dt.date.fromisoformat(newest) if newest else None


def accept_loss(home: Path, first: str, last: str) -> int:
    """Lets the next ingest replace kept partitions of days from first to last.

    Returns:
        Their number.

    Raises:
        SettingsError: no partition of these days is kept.
    """
    accepted = 0
    for table in RAW_TABLES:
        if not any(first <= key <= last for key in read_ingest_log(home, table).kept):
            continue
        with update_ingest_log(home, table) as log:
            keys = [key for key in log.kept if first <= key <= last]
            for key in keys:
                del log.kept[key]
            log.replaceable = sorted({*log.replaceable, *keys})
            accepted += len(keys)
    if not accepted:
        raise SettingsError(
            f"--accept-loss {first}..{last}: no partition of these days is kept; "
            "`batch-predictions status` lists those that are"
        )
    return accepted


# --- undoing an ingest --------------------------------------------------------------------------


@contextmanager
def keep_replaced(
    warehouse: Warehouse, table: Table, keys: Sequence[str], log: IngestLog
) -> Iterator[dict[str, WriteResult]]:
    """Keeps the files that the block replaces, and the entries of the log about them.

    Args:
        warehouse: of the home.
        table: a table with partitions.
        keys: the partitions.
        log: with the ingests of the files.

    Yields:
        Takes the results of the block by partition: files of equal rows are not kept.
    """
    results: dict[str, WriteResult] = {}
    folder = previous_folder(Path(warehouse.home)) / table.name
    drafts = {}
    # What was written before a user was erased is not kept.
    erasures = Path(warehouse.home) / ERASURES
    erased_at = erasures.stat().st_mtime if erasures.exists() else 0.0
    for key in keys:
        path = warehouse.path(table, key)
        if key in log.days and path.exists() and path.stat().st_mtime > erased_at:
            folder.mkdir(parents=True, exist_ok=True)
            drafts[key] = folder / f"{key}.draft"
            drafts[key].unlink(missing_ok=True)
            os.link(path, drafts[key])
    yield results
    for key, draft in drafts.items():
        if results[key].changed:
            draft.replace(folder / f"{key}.parquet")
            log.previous[key] = log.days[key]
        else:
            draft.unlink()


def previous_folder(home: Path) -> Path:
    """The folder of the files that ingests have replaced."""
    return home / "ingests" / "previous"


def remove_old_previous(home: Path, now: float) -> int:
    """Removes files of partitions that were replaced more than `UNDO_DAYS` days ago.

    Args:
        home: the home folder.
        now: seconds since the epoch.

    Returns:
        The number of files.
    """
    removed = 0
    for path in previous_folder(home).glob("*/*"):
        # The link was made when the partition was replaced; the file itself is older.
        if now - path.stat().st_ctime > UNDO_DAYS * 86_400:
            path.unlink()
            removed += 1
    return removed


def undo_ingest(warehouse: Warehouse, table: Table, first: str, last: str) -> list[str]:
    """Puts partitions of days from first to last back to what they were before the last ingest.

    They stay so until the source changes again. Rows that were refused then are not put back.

    Args:
        warehouse: of the home.
        table: a table with partitions.
        first: first partition.
        last: last partition.

    Returns:
        The partitions.
    """
    home = Path(warehouse.home)
    folder = previous_folder(home) / table.name
    with update_ingest_log(home, table) as log:
        keys = [key for key in sorted(log.previous) if first <= key <= last]
        keys = [key for key in keys if (folder / f"{key}.parquet").exists()]
        for key in keys:
            present, before = log.days[key], log.previous.pop(key)
            warehouse.replace_partition(table, key, [local_file(folder / f"{key}.parquet")])
            (folder / f"{key}.parquet").unlink()
            warehouse.remove_partition(QUARANTINE, key, {"table_name": table.name})
            log.days[key] = before.model_copy(update={"read": before.accepted, "quarantined": 0})
            log.kept[key] = KeptPartition(
                fingerprint=present.fingerprint,
                rows=before.accepted,
                found=present.accepted,
                reason="undone",
            )
    return keys
