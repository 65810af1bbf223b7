"""Removes users from a database of served or posted rows: every table with a column `user_id`.

In the serving store, the records of the releases get the new numbers of rows, ranks of audiences
are counted again, and the pointer's version moves, so that services give up what they remember.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sa

from batch_predictions.serving.store.schema import CURRENT, RELEASES

CHECKPOINT_SECONDS = 10.0
"""How long readers of SQLite are waited for, that keep the log from being emptied."""


def erase_users(
    engine: sa.Engine, matches: Callable[[str], bool], known: Collection[str] = ()
) -> int:
    """Removes users from all tables, in one transaction, and then the freed bytes.

    Args:
        engine: writes to the database.
        matches: whether an id is that of an erased user.
        known: ids that need not be searched for; empty: all ids are compared.

    Returns:
        The number of rows that were removed.
    """
    with engine.connect() as db:
        if db.dialect.name == "sqlite":
            # Deleted rows are overwritten with zeros.
            db.exec_driver_sql("pragma secure_delete = on")
            db.commit()
        with db.begin():
            removed = _erase_rows(db, matches, known)
    return removed


def purge_free_pages(engine: sa.Engine) -> bool:
    """Removes what deleted rows have left: in SQLite also in pages that were freed before.

    Returns:
        Whether nothing is left; False: readers kept SQLite's log from being emptied, or, in
        PostgreSQL, other transactions may still see rows.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        if db.dialect.name == "postgresql":
            for name in sa.inspect(db).get_table_names():
                quoted = db.dialect.identifier_preparer.quote(name)
                db.exec_driver_sql(f"vacuum {quoted}")
            return True
        driver = db.connection.driver_connection
        assert driver is not None
        driver.execute("vacuum")
        deadline = time.monotonic() + CHECKPOINT_SECONDS
        while True:
            busy = driver.execute("pragma wal_checkpoint(truncate)").fetchone()[0]
            if not busy or time.monotonic() > deadline:
                return not busy
            time.sleep(0.05)


def _erase_rows(db: sa.Connection, matches: Callable[[str], bool], known: Collection[str]) -> int:
    inspector = sa.inspect(db)
    names = inspector.get_table_names()
    removed = 0
    releases: list[str | None] = [None]
    manifests: dict[str, dict[str, Any]] = {}
    if RELEASES.name in names:
        # The lock keeps a publisher from moving the pointer meanwhile.
        db.execute(CURRENT.update().values(version=CURRENT.c.version))
        rows = db.execute(sa.select(RELEASES.c.release_id, RELEASES.c.manifest)).all()
        manifests = {row.release_id: row.manifest for row in rows}
    for name in names:
        columns = {column["name"] for column in inspector.get_columns(name)}
        if "user_id" not in columns:
            continue
        key = inspector.get_pk_constraint(name)["constrained_columns"]
        table = sa.table(name, *(sa.column(column) for column in columns))
        of_releases = [*manifests] if "release_id" in key else releases
        for release_id in of_releases:
            count = _erase_from(db, table, key, release_id, matches, known)
            removed += count
            entry = manifests.get(release_id or "", {}).get("tables", {}).get(name)
            if count and entry:
                entry["rows"] -= count
    if removed and manifests:
        for release_id, manifest in manifests.items():
            is_release = RELEASES.c.release_id == release_id
            db.execute(RELEASES.update().where(is_release).values(manifest=manifest))
        db.execute(CURRENT.update().values(version=CURRENT.c.version + 1))
    return removed


def _erase_from(
    db: sa.Connection,
    table: sa.TableClause,
    key: Sequence[str],
    release_id: str | None,
    matches: Callable[[str], bool],
    known: Collection[str],
) -> int:
    """Removes users from a table, of one release if it has releases. Returns the rows."""
    of_release = sa.true() if release_id is None else table.c.release_id == release_id
    ids = set(known)
    if not ids:
        found = db.execute(sa.select(table.c.user_id).where(of_release).distinct()).scalars()
        ids = {user_id for user_id in found if user_id is not None and matches(user_id)}
    if not ids:
        return 0
    of_users = sa.and_(of_release, table.c.user_id.in_(sorted(ids)))
    is_ranked = "rank" in key and "user_id" not in key
    gaps: list[Any] = []
    group = [name for name in key if name not in ("rank", "release_id")]
    if is_ranked:
        columns = [*(table.c[name] for name in group), table.c.rank]
        gaps = list(db.execute(sa.select(*columns).where(of_users).order_by(table.c.rank.desc())))
    removed = db.execute(sa.delete(table).where(of_users)).rowcount
    for *values, rank in gaps:
        in_group = [table.c[name] == value for name, value in zip(group, values, strict=True)]
        _close_gap(db, table, sa.and_(of_release, *in_group), rank)
    return removed


def _close_gap(
    db: sa.Connection, table: sa.TableClause, group: sa.ColumnElement[bool], rank: int
) -> None:
    """Moves the rows after a removed rank up by one; over negative ranks, since they are unique."""
    after = sa.and_(group, table.c.rank > rank)
    db.execute(sa.update(table).where(after).values(rank=-(table.c.rank - 1)))
    below = sa.and_(group, table.c.rank < 0)
    db.execute(sa.update(table).where(below).values(rank=-table.c.rank))
