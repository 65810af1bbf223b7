"""Reads posted rows for the ingest."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from batch_predictions.core.database_url import location_of, parse_written_database_url
from batch_predictions.core.redaction import redact, secrets_of_url
from batch_predictions.settings import Settings
from batch_predictions.sources.posted_rows.posted_schema import (
    ERASED_EVENTS,
    POSTED_EVENTS,
    POSTED_PRUNED,
    POSTED_USERS,
    posted_url,
)

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 20_000
BUSY_SECONDS = 60
_EVENT_COLUMNS = tuple(column.name for column in POSTED_EVENTS.columns)

EventState: TypeAlias = tuple[int, int]
"""Count and highest number of the events of a span."""


class PostedRowsError(RuntimeError):
    """The database of posted rows cannot be read; the message says what to do."""


class PostedRowsUnreachableError(PostedRowsError):
    """The server of the posted rows does not answer."""


def day_bounds(day: dt.date, timezone: ZoneInfo) -> tuple[dt.datetime, dt.datetime]:
    """Begin and end of a business day as posted times are stored: UTC without a time zone."""
    midnights = (
        dt.datetime.combine(date, dt.time(), timezone) for date in (day, day + dt.timedelta(days=1))
    )
    begin, end = (time.astimezone(dt.UTC).replace(tzinfo=None) for time in midnights)
    return begin, end


class PostedRows:
    """Reads what applications have posted; there is nothing until somebody posts."""

    def __init__(self, url: str) -> None:
        """Takes the URL of the database, see `posted_url`."""
        self._url = parse_written_database_url(url, "serving.posted_url")
        self._file: Path | None = None
        if self._url.get_backend_name() == "sqlite" and self._url.database:
            self._file = Path(self._url.database)

    @classmethod
    def of(cls, settings: Settings) -> PostedRows:
        """Makes the reader of a home's posted rows."""
        return cls(posted_url(settings))

    def first_and_last_event(self) -> tuple[dt.datetime, dt.datetime] | None:
        """Times of the oldest and the newest event, removed ones included; None without events."""
        times = [time for time in (self.first_event(), self._last_event()) if time is not None]
        with self._connect() as db:
            if db is not None and sa.inspect(db).has_table(POSTED_PRUNED.name):
                begin, end = POSTED_PRUNED.c.begins_at, POSTED_PRUNED.c.ends_at
                query = sa.select(sa.func.min(begin), sa.func.max(end))
                is_event = POSTED_PRUNED.c.table_name.in_([POSTED_EVENTS.name, ERASED_EVENTS])
                first, last = db.execute(query.where(is_event)).one()
                if first is not None:
                    times += [first, last - dt.timedelta(microseconds=1)]
        return (min(times), max(times)) if times else None

    def exists(self) -> bool:
        """Returns whether anybody has posted anything yet."""
        with self._connect() as db:
            return db is not None

    def first_event(self) -> dt.datetime | None:
        """Time of the oldest event that is still there; None without events."""
        row = self._row(sa.select(sa.func.min(POSTED_EVENTS.c.occurred_at)))
        return None if row is None else row[0]

    def _last_event(self) -> dt.datetime | None:
        row = self._row(sa.select(sa.func.max(POSTED_EVENTS.c.occurred_at)))
        return None if row is None else row[0]

    def event_state(self, begin: dt.datetime, end: dt.datetime) -> EventState:
        """Count and highest number of the events from `begin` on, before `end`.

        Those that were removed since the warehouse has them count, and those of erased users. A
        state that had these numbers before has these rows: a number is never given twice.
        """
        return self.event_states([(begin, end)])[0]

    def event_states(self, spans: Sequence[tuple[dt.datetime, dt.datetime]]) -> list[EventState]:
        """Reads count and highest number of the events of several spans, by one connection."""
        with self._connect() as db:
            if db is None:
                return [(0, 0)] * len(spans)
            return [event_state_of(db, begin, end) for begin, end in spans]

    def pruned_events(self, begin: dt.datetime, end: dt.datetime) -> int:
        """Number of the events from `begin` on, before `end`, that were removed."""
        with self._connect() as db:
            return 0 if db is None else _pruned(db, begin, end, POSTED_EVENTS.name)[0]

    def events(self, begin: dt.datetime, end: dt.datetime) -> Iterator[pa.RecordBatch]:
        """Events from `begin` on, before `end`, in the order in which they were stored.

        Yields:
            Batches with the columns of `posted_events`.
        """
        import pyarrow as pa

        types: dict[str, pa.DataType] = {
            "number": pa.int64(),
            "rank": pa.int64(),
            "occurred_at": pa.timestamp("us"),
            "received_at": pa.timestamp("us"),
        }
        schema = pa.schema([(name, types.get(name, pa.string())) for name in _EVENT_COLUMNS])
        query = sa.select(POSTED_EVENTS).where(*between(begin, end))
        with self._connect() as db:
            if db is None:
                return
            result = db.execution_options(stream_results=True, yield_per=BATCH_ROWS).execute(
                query.order_by(POSTED_EVENTS.c.number)
            )
            for rows in result.partitions():
                yield pa.RecordBatch.from_pylist([dict(row._mapping) for row in rows], schema)

    def user_state(self) -> tuple[int, int]:
        """Count and highest number of the sign-ups that were posted, removed ones included."""
        count, number = sa.func.count(POSTED_USERS.c.number), sa.func.max(POSTED_USERS.c.number)
        with self._connect() as db:
            if db is None:
                return 0, 0
            rows, highest = db.execute(sa.select(count, number)).one()
            pruned, highest_pruned = _pruned(
                db, dt.datetime.min, dt.datetime.max, POSTED_USERS.name
            )
            return rows + pruned, max(highest or 0, highest_pruned)

    def users(self) -> pa.Table:
        """The newest attributes that were posted of every user.

        Returns:
            user_id, age_bracket, gender, location, signed_up_on, and first_posted_at, UTC.
        """
        import pyarrow as pa

        users = POSTED_USERS.c
        newest = (
            sa.select(
                sa.func.max(users.number).label("number"),
                sa.func.min(users.posted_at).label("first_posted_at"),
            )
            .group_by(users.user_id)
            .subquery()
        )
        names = ("user_id", "age_bracket", "gender", "location", "signed_up_on")
        query = (
            sa.select(*(users[name] for name in names), newest.c.first_posted_at)
            .join(newest, newest.c.number == users.number)
            .order_by(users.user_id)
        )
        types: dict[str, pa.DataType] = {
            "signed_up_on": pa.date32(),
            "first_posted_at": pa.timestamp("us"),
        }
        columns = (*names, "first_posted_at")
        schema = pa.schema([(name, types.get(name, pa.string())) for name in columns])
        with self._connect() as db:
            rows = [] if db is None else [dict(row._mapping) for row in db.execute(query)]
        return pa.Table.from_pylist(rows, schema)

    def _row(self, query: sa.Select[*tuple[object, ...]]) -> Any:
        """The only row of a query; None where nobody has posted anything yet."""
        with self._connect() as db:
            return None if db is None else db.execute(query).one()

    @contextmanager
    def _connect(self) -> Iterator[sa.Connection | None]:
        """A reading transaction; None where there is no database of posted rows yet.

        Raises:
            PostedRowsError: the database cannot be read; the message has no password.
        """
        if self._file is not None and not self._file.exists():
            yield None
            return
        engine = self._engine()
        problem, kind = "", PostedRowsError
        try:
            with engine.connect() as db:
                yield db if sa.inspect(db).has_table(POSTED_EVENTS.name) else None
        except sa.exc.DBAPIError as error:
            problem = " ".join(str(error.orig).split())[:300]
            if self._file is None and isinstance(error, sa.exc.OperationalError):
                kind = PostedRowsUnreachableError
        finally:
            engine.dispose()
        if problem:
            # Raised here, so that the driver's error, which may have the URL, is not its cause.
            secrets = secrets_of_url(self._url.render_as_string(hide_password=False))
            raise kind(
                f"the events and sign-ups in {location_of(self._url)} cannot be read: "
                f"{redact(problem, secrets)}; check serving.posted_url, and that its database runs"
            )

    def _engine(self) -> sa.Engine:
        if self._file is None:
            return sa.create_engine(
                self._url, hide_parameters=True, isolation_level="REPEATABLE READ"
            )
        return sa.create_engine(
            "sqlite://", creator=partial(_open_file, self._file), hide_parameters=True
        )


def event_state_of(db: sa.Connection, begin: dt.datetime, end: dt.datetime) -> EventState:
    """Reads count and highest number of the events of a span, in an open transaction.

    Args:
        db: a reading transaction.
        begin: UTC without a time zone, as posted times are stored.
        end: UTC without a time zone; excluded.
    """
    count, number = sa.func.count(), sa.func.max(POSTED_EVENTS.c.number)
    rows, highest = db.execute(sa.select(count, number).where(*between(begin, end))).one()
    pruned, highest_pruned = _pruned(db, begin, end, POSTED_EVENTS.name, ERASED_EVENTS)
    return rows + pruned, max(highest or 0, highest_pruned)


def _pruned(
    db: sa.Connection, begin: dt.datetime, end: dt.datetime, *tables: str
) -> tuple[int, int]:
    """Count and highest number of removed rows of the spans between two times."""
    if not sa.inspect(db).has_table(POSTED_PRUNED.name):
        return 0, 0
    pruned = POSTED_PRUNED.c
    query = sa.select(sa.func.sum(pruned.rows), sa.func.max(pruned.number)).where(
        pruned.table_name.in_(tables), pruned.begins_at >= begin, pruned.ends_at <= end
    )
    rows, number = db.execute(query).one()
    return int(rows or 0), number or 0


def between(begin: dt.datetime, end: dt.datetime) -> list[sa.ColumnElement[bool]]:
    """Conditions of the events from `begin` on, before `end`."""
    return [POSTED_EVENTS.c.occurred_at >= begin, POSTED_EVENTS.c.occurred_at < end]


def _open_file(file: Path) -> sqlite3.Connection:
    """Opens the file for reading; with write access, which a log of a killed writer may need."""
    uri = file.absolute().as_uri()
    try:
        return _open(f"{uri}?mode=rw")
    except sqlite3.OperationalError:
        return _open(f"{uri}?mode=ro")


def _open(uri: str) -> sqlite3.Connection:
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)
    try:
        db.execute("pragma query_only = on")
        db.execute("select count(*) from sqlite_master").fetchone()
    except BaseException:
        db.close()
        raise
    return db
