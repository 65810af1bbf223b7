"""Removes posted rows that the warehouse has, in small transactions beside services that write.

What was removed is counted in `posted_pruned`, in the transaction that removes it, so that the
state of a day (`PostedRows.event_state`) is the same before and after: its ingest is not due again.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from batch_predictions.core.database_url import parse_written_database_url
from batch_predictions.sources.posted_rows.posted_schema import (
    ERASED_EVENTS,
    METADATA,
    POSTED_EVENTS,
    POSTED_PRUNED,
    POSTED_USERS,
)
from batch_predictions.sources.posted_rows.reader import BUSY_SECONDS, between, event_state_of

CHUNK_ROWS = 5_000
"""Rows of a transaction: posts wait for it for some milliseconds."""
_ALL_USERS = (dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31))
"""The span of sign-ups in `posted_pruned`, which are counted together."""


class PostedRowsPruner:
    """Removes rows from the database of posted rows, which exists."""

    def __init__(self, url: str) -> None:
        """Takes the URL of the database, see `posted_url`."""
        parsed = parse_written_database_url(url, "serving.posted_url")
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            file = Path(parsed.database).absolute()
            self._engine = sa.create_engine(
                "sqlite://", creator=lambda: _open(file), hide_parameters=True
            )
            sa.event.listen(self._engine, "begin", _begin_writing)
        else:
            # What is counted and what is removed are of one snapshot.
            self._engine = sa.create_engine(
                parsed, hide_parameters=True, isolation_level="REPEATABLE READ"
            )
        with self._engine.begin() as db:
            METADATA.create_all(db)

    def __enter__(self) -> PostedRowsPruner:
        return self

    def __exit__(self, *error: object) -> None:
        self._engine.dispose()

    def remove_events(
        self,
        begin: dt.datetime,
        end: dt.datetime,
        state: tuple[int, int],
        received_before: dt.datetime,
        kept: Collection[int] = (),
    ) -> int:
        """Removes the events of a day whose ingest has read all of them, but those that it refused.

        Args:
            begin: of the day, UTC.
            end: of the day.
            state: as `PostedRows.event_state` had it when the day was ingested; where it is another
                now, nothing is removed.
            received_before: nothing is removed either where an event was received later.
            kept: numbers of events that stay.

        Returns:
            The number of rows that were removed.
        """
        events = POSTED_EVENTS.c
        removable = [*between(begin, end), events.number.not_in(sorted(kept))]
        removed = 0
        while True:
            with self._engine.begin() as db:
                newest = sa.select(sa.func.max(events.received_at)).where(*between(begin, end))
                received = db.execute(newest).scalar()
                if received is None or received >= received_before:
                    return removed
                if event_state_of(db, begin, end) != state:
                    return removed
                chunk = sa.select(events.number).where(*removable)
                chunk = chunk.order_by(events.number).limit(CHUNK_ROWS)
                numbers = db.execute(chunk).scalars().all()
                if not numbers:
                    return removed
                db.execute(sa.delete(POSTED_EVENTS).where(*removable, events.number <= numbers[-1]))
                _count(db, POSTED_EVENTS.name, (begin, end), len(numbers), numbers[-1])
            removed += len(numbers)

    def remove_superseded_users(self, posted_before: dt.datetime) -> int:
        """Removes what was posted of users between their first and their newest sign-up.

        The ingest reads the newest attributes and the time of the first post, at every snapshot of
        the users: they stay.

        Args:
            posted_before: newer rows stay.

        Returns:
            The number of rows that were removed.
        """
        users, newer, older = (POSTED_USERS.alias(name) for name in ("users", "newer", "older"))
        superseded = (
            sa.select(users.c.number)
            .where(
                users.c.posted_at < posted_before,
                sa.exists().where(
                    newer.c.user_id == users.c.user_id, newer.c.number > users.c.number
                ),
                sa.exists().where(
                    older.c.user_id == users.c.user_id,
                    older.c.number < users.c.number,
                    older.c.posted_at <= users.c.posted_at,
                ),
            )
            .limit(CHUNK_ROWS)
        )
        removed = 0
        while True:
            with self._engine.begin() as db:
                numbers = db.execute(superseded).scalars().all()
                if not numbers:
                    return removed
                db.execute(sa.delete(POSTED_USERS).where(POSTED_USERS.c.number.in_(numbers)))
                _count(db, POSTED_USERS.name, _ALL_USERS, len(numbers), 0)
            removed += len(numbers)


def count_erased(db: sa.Connection, table: str, user_ids: Collection[str]) -> None:
    """Counts the rows of users that are about to be removed: the ingest is not due again for them.

    Events are counted by quarter of an hour, since the day of a time depends on the time zone.

    Args:
        db: the transaction that removes them.
        table: where they are, `posted_events` or `posted_users`.
        user_ids: whose rows they are.
    """
    METADATA.create_all(db, [POSTED_PRUNED])
    if table == POSTED_USERS.name:
        of_users = POSTED_USERS.c.user_id.in_(user_ids)
        numbers = db.execute(sa.select(POSTED_USERS.c.number).where(of_users)).scalars().all()
        if numbers:
            _count(db, table, _ALL_USERS, len(numbers), max(numbers))
        return
    events = POSTED_EVENTS.c
    query = sa.select(events.occurred_at, events.number).where(events.user_id.in_(user_ids))
    for occurred_at, number in db.execute(query).all():
        begin = occurred_at.replace(second=0, microsecond=0)
        begin -= dt.timedelta(minutes=begin.minute % 15)
        _count(db, ERASED_EVENTS, (begin, begin + dt.timedelta(minutes=15)), 1, number)


def _count(
    db: sa.Connection,
    table: str,
    span: tuple[dt.datetime, dt.datetime],
    rows: int,
    number: int,
) -> None:
    """Adds removed rows to those of a span."""
    pruned = POSTED_PRUNED.c
    is_span = sa.and_(pruned.table_name == table, pruned.begins_at == span[0])
    before = db.execute(sa.select(pruned.rows, pruned.number).where(is_span)).one_or_none()
    if before is None:
        db.execute(
            POSTED_PRUNED.insert().values(
                table_name=table, begins_at=span[0], ends_at=span[1], rows=rows, number=number
            )
        )
        return
    changed = {"rows": before.rows + rows, "number": max(before.number, number)}
    db.execute(POSTED_PRUNED.update().where(is_span).values(changed))


def _open(file: Path) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"{file.as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None
    )
    db.execute("pragma synchronous = full")
    db.execute("pragma secure_delete = on")
    return db


def _begin_writing(connection: Any) -> None:
    connection.exec_driver_sql("begin immediate")
