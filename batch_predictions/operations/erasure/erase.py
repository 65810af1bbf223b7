"""Erases users from everything that a home keeps; what a killed erasure has left is continued.

Every step is repeatable and finds the users by the hash of their ids, so that an erasure goes on
where it was killed, and the record need not have the id.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from batch_predictions.core.erasures import (
    ErasedKeys,
    ErasedUsers,
    ErasureLog,
    read_erasures,
    record_known,
    request_erasure,
    update_erasures,
)
from batch_predictions.core.home_bucket import bucket_of
from batch_predictions.inference.partition_staging import engine_folder
from batch_predictions.operations.erasure.home_files import (
    erase_from_added_rows,
    erase_from_shards,
    remove_copies,
)
from batch_predictions.operations.erasure.renewal import examine_work, renew
from batch_predictions.operations.erasure.warehouse_rows import (
    erase_derived_rows,
    erase_raw_rows,
    ids_of_merged_users,
    reviews_of,
)
from batch_predictions.operations.records import RunRecords
from batch_predictions.operations.retention.removed_queries import kept_queries_declared
from batch_predictions.serving.erasure.release_file_erasure import erase_from_location
from batch_predictions.serving.erasure.store_erasure import (
    erase_posted_rows,
    erase_users,
    purge_free_pages,
)
from batch_predictions.serving.sinks.sync import erase_from_sinks
from batch_predictions.serving.store.store import Store
from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse


@dataclass
class ErasureSummary:
    """Counts of what an erasure removed or rewrote.

    Attributes:
        users: users that were erased, of whom there was a row.
        unknown: ids that no row had; they are recorded all the same.
        partitions: files of the warehouse that were written without them.
        store_rows: rows that were removed from the serving store and from posted rows.
        release_files: release files that were replaced.
        sinks: sinks from which they were deleted.
        other_files: shards, results, added rows, copies and records of Dagster.
        notes: what the caller should know, in words.
    """

    users: int = 0
    unknown: int = 0
    partitions: int = 0
    store_rows: int = 0
    release_files: int = 0
    sinks: int = 0
    other_files: int = 0
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """Returns the summary as a dictionary of JSON values."""
        return asdict(self)


def erase_user(
    settings: Settings,
    records: RunRecords,
    user_id: str,
    now: dt.datetime,
    folders: Sequence[str | Path] = (),
) -> ErasureSummary:
    """Erases a user, and finishes erasures that were killed. The caller holds the home's lock.

    Ids that the user had before merges, and the present one, are erased too.

    Args:
        settings: of the home; plugins are loaded.
        records: Dagster's, of the home.
        user_id: the user, as raw tables have the id.
        now: the time, for the record.
        folders: further folders of release files.

    Raises:
        ReleaseError: a release file cannot be replaced. The erasure is not finished.
    """
    request_erasure(settings.home, user_id, now)
    return finish_erasures(settings, records, now, folders)


def finish_erasures(
    settings: Settings,
    records: RunRecords,
    now: dt.datetime,
    folders: Sequence[str | Path] = (),
) -> ErasureSummary:
    """Completes all requested erasures; does nothing if none is pending.

    Args:
        settings: of the home, whose lock the caller holds.
        records: Dagster's, of the home.
        now: the time that is recorded as the end of the erasures.
        folders: further folders or URLs of release files to erase from.
    """
    log = read_erasures(settings.home)
    if log is None or not log.pending:
        return ErasureSummary()
    log = _request_other_ids(settings, log, now)
    if log.work is None:
        work = examine_work(settings)
        with update_erasures(settings.home) as updated:
            updated.work = work
            log = updated.model_copy(deep=True)
    # Only who is pending: others are gone already.
    users = ErasedUsers(log.salt, frozenset(erasure.hash for erasure in log.pending))
    summary = ErasureSummary()
    # Tables of queries that are no longer declared have the users' rows, too.
    with kept_queries_declared(settings) as removed:
        summary.notes += [
            f"{name}, which the settings no longer declare, cannot be read and was removed"
            for name in removed
        ]
        _erase_everywhere(settings, records, users, folders, summary)
    assert log.work is not None
    renew(settings, log.work)
    summary.users = _finish(settings, log, now)
    summary.unknown = len(log.pending) - summary.users
    return summary


def _request_other_ids(settings: Settings, log: ErasureLog, now: dt.datetime) -> ErasureLog:
    """Requests the erasure of further ids of pending users; returns the record with them."""
    users = ErasedUsers(log.salt, frozenset(erasure.hash for erasure in log.pending))
    for user_id in ids_of_merged_users(Warehouse.of(settings), users):
        if not users.matches(user_id):
            request_erasure(settings.home, user_id, now)
    return read_erasures(settings.home) or log


def _erase_everywhere(
    settings: Settings,
    records: RunRecords,
    users: ErasedUsers,
    folders: Sequence[str | Path],
    summary: ErasureSummary,
) -> None:
    """Erases from what applications see, then the warehouse, its raw rows last."""
    warehouse = Warehouse.of(settings)
    reviews = reviews_of(warehouse, users)
    keys = ErasedKeys(users.matches, review_ids=frozenset(reviews))
    _erase_from_store(settings, keys, summary)
    summary.store_rows += erase_posted_rows(settings, keys, purge=True)
    for folder in release_folders(settings, folders):
        summary.release_files += erase_from_location(settings, folder, keys)
    summary.sinks += erase_from_sinks(settings, keys)
    summary.other_files += erase_from_shards(engine_folder(settings), users, reviews)
    summary.partitions += erase_derived_rows(warehouse, users, reviews)
    summary.other_files += erase_from_added_rows(settings.home, users)
    summary.other_files += remove_copies(settings.home)
    # A word of a log line may be equal to an id that no user has.
    summary.other_files += records.erase(ErasedUsers(users.salt, users.hashes))
    record_known(settings.home, users.found)
    summary.partitions += erase_raw_rows(warehouse, users, _id_writer(settings))
    record_known(settings.home, users.found)
    # Earlier versions of a bucket's tables have the rows, too, and what machines have shared.
    warehouse.vacuum()
    bucket = bucket_of(settings.home)
    if bucket is not None:
        bucket.remove_shared()


def release_folders(settings: Settings, more: Sequence[str | Path] = ()) -> list[str]:
    """Lists the folders and URLs of release files that are known on this machine."""
    known = (
        settings.home / "releases",
        settings.home / "release_copies",
        settings.serving.release_dir,
        settings.http.release_dir,
        settings.http.release_copy_dir,
        *more,
    )
    texts = (str(location) for location in known if location is not None)
    return list(
        dict.fromkeys(text if "://" in text else str(Path(text).absolute()) for text in texts)
    )


def _erase_from_store(settings: Settings, keys: ErasedKeys, summary: ErasureSummary) -> None:
    with Store.of(settings) as store:
        summary.store_rows += erase_users(store.engine, keys)
        if not purge_free_pages(store.engine):
            summary.notes.append(
                f"readers keep the log of {store.name} open: its bytes are removed when they close"
            )


def _id_writer(settings: Settings) -> Callable[[str], str]:
    rule = settings.source.ids.get("user_id")
    return rule.apply if rule else str.strip


def _finish(settings: Settings, done: ErasureLog, now: dt.datetime) -> int:
    """Records what is finished; a request that has come meanwhile stays pending.

    Returns:
        The number of users of whom there was a row.
    """
    hashes = {erasure.hash for erasure in done.pending}
    with update_erasures(settings.home) as log:
        log.work = None
        log.erasures = [
            erasure.model_copy(update={"finished_at": now})
            if erasure.hash in hashes and erasure.finished_at is None
            else erasure
            for erasure in log.erasures
        ]
    return sum(erasure.hash in hashes and erasure.is_known for erasure in log.erasures)
