"""Publishes releases: copies a day's predictions into the store and moves the pointer to them.

The rows of a new release are written next to those of the current one and counted before the
pointer moves. Readers see the old release or the new one, complete, even if a process is killed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence

import sqlalchemy as sa

from batch_predictions.serving.release.context_tables import (
    ContextChoice,
    draft_context,
    known_context,
)
from batch_predictions.serving.release.release_pruning import (
    abandon,
    prune,
    register_publisher,
    remove_incomplete,
)
from batch_predictions.serving.release.release_records import read_release
from batch_predictions.serving.release.sign_ups import carry_forward
from batch_predictions.serving.release.store_limits import validate_store_limits
from batch_predictions.serving.store.copy_rows import (
    assert_ownership,
    copy_items,
    copy_table,
    copy_users,
)
from batch_predictions.serving.store.pointer import (
    Pointer,
    Release,
    ReleaseError,
    all_releases,
    find_release,
    move_pointer,
    read_pointer,
)
from batch_predictions.serving.store.release_contents import (
    ReleaseContents,
    ReleasePartition,
    read_release_contents,
)
from batch_predictions.serving.store.store import ITEMS, RELEASES, USERS, Store, columns_of, key_of
from batch_predictions.tables import DEMOGRAPHIC_RECOMMENDATIONS, Table
from batch_predictions.warehouse import Warehouse

NO_CONTEXT = ContextChoice()


def publish(
    store: Store,
    warehouse: Warehouse,
    as_of: dt.date,
    tables: Sequence[Table],
    *,
    keep: int,
    now: dt.datetime,
    optional: Collection[str] = (),
    context: ContextChoice = NO_CONTEXT,
) -> Release:
    """Publishes a day: copies its predictions into the store, verifies them, moves the pointer.

    Equal rows give the same release, and publishing them again changes nothing. The pointer does
    not move to a day older than the current release's, nor to a release that was rolled back; a
    roll-back can name both.

    Args:
        store: the serving store to write to.
        warehouse: the warehouse to read from.
        as_of: the day.
        tables: tables to publish; of a weekly one, the newest week that had ended by the day, of a
            daily one that was not made for the day, the newest earlier day.
        keep: number of releases to keep; the current one and its predecessor always stay.
        now: the current time, for the release's record.
        optional: names of tables that may lack the partition.
        context: histories of users and quotes of reviews that the release has, too.

    Returns:
        The release, with `note` and `moved`.

    Raises:
        ReleaseError: a partition is missing, the store cannot hold its values, its copy has other
            rows, or another process builds this release or has published another one of the day.
            The pointer has not moved.
    """
    now = now.astimezone(dt.UTC).replace(tzinfo=None) if now.tzinfo else now
    contents = read_release_contents(warehouse, as_of, tables, optional)
    with register_publisher(store) as builder:
        remove_incomplete(store, builder)
        known = known_context(warehouse, contents, context)
        ready = _find_ready(store, contents.with_drafts(known)) if known is not None else None
        pointer, release_id = ready or _build(store, warehouse, contents, context, builder, now)
        moved, note = _serve(store, release_id, pointer)
        prune(store, builder, keep, protected=release_id)
    return read_release(store, release_id, note, moved)


def _find_ready(store: Store, contents: ReleaseContents) -> tuple[Pointer | None, str] | None:
    """The current pointer, and the release's id if the store has it complete; else None."""
    with store.read() as db:
        pointer = read_pointer(db)
        release = find_release(all_releases(db), contents.release_id)
    if release is None or release.status != "ready":
        return None
    is_equal = release.content_hash == contents.content_hash
    return (pointer, release.release_id) if is_equal else None


def _build(
    store: Store,
    warehouse: Warehouse,
    contents: ReleaseContents,
    context: ContextChoice,
    builder: str,
    now: dt.datetime,
) -> tuple[Pointer | None, str]:
    """Builds the day's release unless the store has it. Returns the pointer before, and its id."""
    with draft_context(warehouse, contents, context) as drafts:
        contents = contents.with_drafts(drafts)
        validate_store_limits(warehouse, contents, store.engine.dialect.name)
        stored = store.ensure([partition.table for partition in contents.published])
        pointer, release = _start_release(store, warehouse, contents, builder, now)
        if release.status != "ready":
            try:
                _copy_and_verify(store, warehouse, contents, stored, builder)
            except BaseException:
                abandon(store, release.release_id, builder)
                raise
    return pointer, release.release_id


def _start_release(
    store: Store, warehouse: Warehouse, contents: ReleaseContents, builder: str, now: dt.datetime
) -> tuple[Pointer | None, Release]:
    """The current pointer, and the day's release: the stored one, or a new one to be built."""
    manifest = _manifest(warehouse, contents)
    with store.write() as db:
        pointer = read_pointer(db)
        release = find_release(all_releases(db), contents.release_id)
        if release is None:
            record = {
                "release_id": contents.release_id,
                "as_of": contents.as_of,
                "created_at": now,
                "status": "building",
                "manifest": manifest,
                "content_hash": contents.content_hash,
                "builder": builder,
            }
            db.execute(RELEASES.insert().values(record))
            release = find_release(all_releases(db), contents.release_id)
            assert release is not None
        elif release.content_hash != contents.content_hash:
            raise ReleaseError(
                f"release {release.release_id} is in the store with another content hash: two sets "
                "of rows have one id; the next day's release has another"
            )
        elif release.status != "ready":
            raise ReleaseError(
                f"release {release.release_id} is {release.status} by {release.builder} "
                "(host-process-id): wait until it ends, then publish again"
            )
    return pointer, release


def _manifest(warehouse: Warehouse, contents: ReleaseContents) -> dict[str, object]:
    """The release's tables and features, with partitions, rows, files, columns and keys."""

    def describe(partition: ReleasePartition) -> dict[str, object]:
        # A draft is gone after the release is published.
        folder = partition.draft.parent if partition.draft else warehouse.folder
        files = {str(f.relative_to(folder)): sha for f, sha in partition.files.items()}
        return {"partition": partition.key, "rows": partition.rows, "files": files}

    tables: dict[str, object] = {}
    for partition in contents.published:
        carried = {} if partition.as_of is None else {"as_of": partition.as_of.isoformat()}
        tables[partition.table.name] = {
            **describe(partition),
            **carried,
            "model_versions": _model_versions(warehouse, partition),
            "columns": columns_of(partition.table),
            "key": list(key_of(partition.table)),
        }
    features = (partition for partition in (contents.users, contents.items) if partition)
    return {
        "tables": tables,
        "features": {f.table.qualified: describe(f) for f in features},
        **({"versions": versions} if (versions := warehouse.versions()) else {}),
    }


def _model_versions(warehouse: Warehouse, partition: ReleasePartition) -> list[str]:
    table = partition.table
    if "model_version" not in columns_of(table):
        return []
    query = (
        f"select distinct model_version from (from {partition.rows_sql()}) "
        "where model_version is not null order by 1"
    )
    versions: list[str] = warehouse.query(query, {"day": partition.key}).column(0).to_pylist()
    return versions


def _copy_and_verify(
    store: Store,
    warehouse: Warehouse,
    contents: ReleaseContents,
    stored: dict[str, sa.Table],
    builder: str,
) -> None:
    """Copies the rows, compares their counts, then marks the release as ready."""
    release_id = contents.release_id
    expected: dict[sa.Table, int] = {}
    for partition in contents.published:
        table = stored[partition.table.name]
        copy_table(store, warehouse, partition, table, release_id, builder)
        expected[table] = partition.rows
    expected[ITEMS] = copy_items(store, warehouse, contents, release_id, builder)
    if contents.users:
        copy_users(store, warehouse, contents.users.key, release_id, builder)
        expected[USERS] = contents.users.rows
    rewritten = [p.table.qualified for p in contents.partitions if not p.unchanged()]
    if rewritten:
        raise ReleaseError(
            f"{', '.join(rewritten)} changed while {release_id} was built: publish again"
        )
    with store.read() as db:
        for table, rows in expected.items():
            count = sa.select(sa.func.count()).where(table.c.release_id == release_id)
            copied = db.execute(count.select_from(table)).scalar_one()
            if copied != rows:
                raise ReleaseError(
                    f"release {release_id}: {table.name} has {copied} rows in the store and {rows} "
                    "in the warehouse; it is not served"
                )
        _require_fallback(db, stored, release_id)
    with store.write() as db:
        assert_ownership(db, release_id, builder)
        is_release = RELEASES.c.release_id == release_id
        db.execute(RELEASES.update().where(is_release).values(status="ready"))


def _require_fallback(db: sa.Connection, stored: dict[str, sa.Table], release_id: str) -> None:
    """Checks that unknown users get recommendations.

    Raises:
        ReleaseError: the fallback has no rows of the level `everyone`.
    """
    fallback = stored.get(DEMOGRAPHIC_RECOMMENDATIONS.name)
    if fallback is None:
        return
    everyone = sa.select(fallback.c.rank).where(
        fallback.c.release_id == release_id, fallback.c.segment_level == "everyone"
    )
    if db.execute(everyone.limit(1)).first() is None:
        raise ReleaseError(
            f"release {release_id}: {fallback.name} has no rows of the level everyone, so that "
            "unknown users would get no recommendations; it is not served"
        )


def _serve(store: Store, release_id: str, expected: Pointer | None) -> tuple[bool, str]:
    """Moves the pointer to a release, unless the current one is of a newer day.

    Returns:
        Whether it moved, and a note for the user.
    """
    while True:
        with store.write() as db:
            # The lock prevents that the release is removed before the pointer moves.
            pointer = read_pointer(db, lock=True)
            release = find_release(all_releases(db), release_id)
            if release is None or release.status != "ready":
                raise ReleaseError(f"release {release_id} was removed meanwhile: publish again")
            if release.current:
                return False, f"unchanged: {release_id} is served already"
            if expected and expected.as_of > release.as_of:
                return False, f"{release_id} is kept; the newer {expected.release_id} is served"
            if release.withdrawn_at:
                return False, (
                    f"{release_id} was rolled back and its rows have not changed: it is not "
                    f"served; `batch-predictions releases rollback {release_id}` would serve it"
                )
            if move_pointer(db, expected, release):
                if expected:
                    carry_forward(db, expected.release_id, release_id)
                return True, f"{release_id} is served now"
        # Another process moved the pointer. If to the same day, it may have the newer rows.
        if pointer and pointer.as_of == release.as_of:
            raise ReleaseError(
                f"{pointer.release_id}, of the same day, was served while {release_id} was built: "
                "publish again if the rows now in the warehouse are to be served"
            )
        expected = pointer
