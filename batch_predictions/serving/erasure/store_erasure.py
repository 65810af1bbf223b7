"""Removes users from a database of served or posted rows.

They are removed from tables with a column `user_id`, or with ids of their reviews. In the serving
store, the records of the releases get the new numbers of rows, ranks of audiences are counted
again, and the pointer's version moves, so that services give up what they remember.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from batch_predictions.core.database import open_engine, sqlite_file
from batch_predictions.core.erasures import ErasedKeys
from batch_predictions.serving.store.store import CURRENT, RELEASES
from batch_predictions.settings import Settings
from batch_predictions.sources.posted_rows.posted_pruning import count_erased
from batch_predictions.sources.posted_rows.posted_schema import (
    POSTED_EVENTS,
    POSTED_USERS,
    posted_url,
)

MAX_PARAMETERS = 500
"""Ids of one statement."""
CHECKPOINT_SECONDS = 10.0
"""How long readers of SQLite are waited for, that keep the log from being emptied."""


def erase_users(engine: sa.Engine, keys: ErasedKeys) -> int:
    """Removes users from all tables, in one transaction.

    Args:
        engine: writes to the database.
        keys: whose rows are removed.

    Returns:
        The number of rows that were removed or changed.
    """
    with engine.connect() as db:
        if db.dialect.name == "sqlite":
            # Deleted rows are overwritten with zeros.
            db.exec_driver_sql("pragma secure_delete = on")
            db.commit()
        with db.begin():
            return _erase_rows(db, keys)


def erase_posted_rows(settings: Settings, keys: ErasedKeys, *, purge: bool = False) -> int:
    """Removes users from the sign-ups and events that were posted to the HTTP service.

    Args:
        settings: where they are.
        keys: whose rows are removed.
        purge: remove what deleted rows have left in the file, too.

    Returns:
        The number of rows that were removed.
    """
    url = posted_url(settings)
    file = sqlite_file(sa.make_url(url))
    if file is not None and not file.exists():
        return 0
    engine = open_engine(url, writing=True)
    try:
        removed = erase_users(engine, keys)
        if purge:
            purge_free_pages(engine)
    finally:
        engine.dispose()
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


def _erase_rows(db: sa.Connection, keys: ErasedKeys) -> int:
    inspector = sa.inspect(db)
    names = inspector.get_table_names()
    manifests: dict[str, dict[str, Any]] = {}
    if RELEASES.name in names:
        # The lock keeps a publisher from moving the pointer meanwhile.
        db.execute(CURRENT.update().values(version=CURRENT.c.version))
        rows = db.execute(sa.select(RELEASES.c.release_id, RELEASES.c.manifest)).all()
        manifests = {row.release_id: row.manifest for row in rows}
    changed = 0
    for name in names:
        columns = [column["name"] for column in inspector.get_columns(name)]
        key = inspector.get_pk_constraint(name)["constrained_columns"]
        table = sa.table(name, *map(sa.column, columns))
        for release_id in [*manifests] if "release_id" in key else [None]:
            removed = _erase_from(db, table, key, release_id, keys)
            changed += removed + _erase_examples(db, table, key, release_id, keys)
            entry = manifests.get(release_id or "", {}).get("tables", {}).get(name)
            if removed and entry:
                entry["rows"] -= removed
    if changed and manifests:
        for release_id, manifest in manifests.items():
            is_release = RELEASES.c.release_id == release_id
            db.execute(RELEASES.update().where(is_release).values(manifest=manifest))
        db.execute(CURRENT.update().values(version=CURRENT.c.version + 1))
    return changed


def _of_release(table: sa.TableClause, release_id: str | None) -> sa.ColumnElement[bool]:
    return sa.true() if release_id is None else table.c.release_id == release_id


def _erase_from(
    db: sa.Connection,
    table: sa.TableClause,
    key: Sequence[str],
    release_id: str | None,
    keys: ErasedKeys,
) -> int:
    """Removes rows from a table, of one release if it has releases. Returns their number."""
    of_release = _of_release(table, release_id)
    if "user_id" in table.c:
        column, ids = table.c.user_id, keys.user_ids
        if not ids:
            stored = db.execute(sa.select(column).where(of_release).distinct()).scalars()
            ids = frozenset(keys.erased("user_id", [*stored]))
    elif "review_id" in table.c:
        column, ids = table.c.review_id, keys.review_ids
    else:
        return 0
    removed = 0
    for start in range(0, len(ids), MAX_PARAMETERS):
        chunk = sorted(ids)[start : start + MAX_PARAMETERS]
        if table.name in (POSTED_EVENTS.name, POSTED_USERS.name):
            count_erased(db, table.name, chunk)
        removed += _delete(db, table, key, of_release, sa.and_(of_release, column.in_(chunk)))
    return removed


def _delete(
    db: sa.Connection,
    table: sa.TableClause,
    key: Sequence[str],
    of_release: sa.ColumnElement[bool],
    condition: sa.ColumnElement[bool],
) -> int:
    """Removes rows; ranks over users, such as those of an audience, stay without gaps."""
    group = [name for name in key if name not in ("rank", "release_id")]
    gaps: list[Any] = []
    if "rank" in key and "user_id" not in key:
        columns = [*(table.c[name] for name in group), table.c.rank]
        gaps = list(db.execute(sa.select(*columns).where(condition).order_by(table.c.rank.desc())))
    removed = db.execute(sa.delete(table).where(condition)).rowcount
    for *values, rank in gaps:
        in_group = [table.c[name] == value for name, value in zip(group, values, strict=True)]
        _close_gap(db, table, sa.and_(of_release, *in_group), rank)
    return removed


def _erase_examples(
    db: sa.Connection,
    table: sa.TableClause,
    key: Sequence[str],
    release_id: str | None,
    keys: ErasedKeys,
) -> int:
    """Removes reviews from lists of examples, JSON texts. Returns the number of rows changed."""
    if "example_review_ids" not in table.c or not keys.review_ids:
        return 0
    column = table.c.example_review_ids
    query = sa.select(*(table.c[name] for name in key), column)
    query = query.where(_of_release(table, release_id), column.is_not(None))
    changed = 0
    for *values, text in db.execute(query).all():
        shown = json.loads(text)
        kept = [review for review in shown if review not in keys.review_ids]
        if len(kept) == len(shown):
            continue
        is_row = [table.c[name] == value for name, value in zip(key, values, strict=True)]
        kept_text = json.dumps(kept, separators=(",", ":"), ensure_ascii=False)
        db.execute(sa.update(table).where(*is_row).values(example_review_ids=kept_text))
        changed += 1
    return changed


def _close_gap(
    db: sa.Connection, table: sa.TableClause, group: sa.ColumnElement[bool], rank: int
) -> None:
    """Moves the rows after a removed rank up by one; over negative ranks, since they are unique."""
    after = sa.and_(group, table.c.rank > rank)
    db.execute(sa.update(table).where(after).values(rank=-(table.c.rank - 1)))
    below = sa.and_(group, table.c.rank < 0)
    db.execute(sa.update(table).where(below).values(rank=-table.c.rank))
