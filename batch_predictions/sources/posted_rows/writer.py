"""Writes rows that clients post: durable before the answer, many posts in one transaction."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from batch_predictions.core.database import connect, insert_into, open_engine, sqlite_file, use_wal
from batch_predictions.core.read_only import leave_for_readers
from batch_predictions.sources.posted_rows.posted_schema import METADATA, POSTED_EVENTS

MAX_GROUP_ROWS = 5_000
"""Rows of one transaction, so that those of other workers wait for a few milliseconds only."""
MAX_WAITING_ROWS = 50_000
"""Rows that wait for the database at most; further posts are refused until some are written."""
_SCHEMA_LOCK = 7205759404
_log = logging.getLogger(__name__)


class WritesBusyError(Exception):
    """Too many rows wait to be written."""


class WritesUnavailableError(Exception):
    """The database of posted rows cannot be written."""


@dataclass(frozen=True)
class _Post:
    """Rows of a request, and who waits for them."""

    table: sa.Table
    rows: Sequence[Mapping[str, Any]]
    written: Future[int] = field(default_factory=Future)


class PostedRowsWriter:
    """Writes posted rows in a thread of its own: the event loop answers lookups meanwhile.

    Posts that arrive while a transaction is committed (an fsync takes milliseconds) share the next
    one. Events whose id is there already are not written again, whoever wrote them.
    """

    def __init__(self, url: str) -> None:
        """Takes the URL of the database of posted rows, which is opened with the first post."""
        self._url = url
        self._file: Path | None = sqlite_file(sa.make_url(url))
        self._engine: sa.Engine | None = None
        self._inode: tuple[int, int] | None = None
        self._posts: queue.SimpleQueue[_Post | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting_rows = 0
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def prepare(self) -> None:
        """Creates the tables in a server's database, so that lookups need not look for them.

        A file is made with the first post. Without the right to create tables, lookups go on.
        """
        if self._file is not None:
            return
        try:
            self._open()
        except Exception as error:
            self._log_error(error)

    async def write(self, table: sa.Table, rows: Sequence[Mapping[str, object]]) -> int:
        """Writes rows; when it returns, they survive a crash of the process and of the machine.

        Returns:
            The number of rows that are new.

        Raises:
            WritesUnavailableError: the database cannot be written.
            WritesBusyError: too many rows wait for it. With both the client sends the same rows
                again later.
        """
        if not rows:
            return 0
        post = _Post(table, rows)
        with self._lock:
            if self._is_closed or self._waiting_rows + len(rows) > MAX_WAITING_ROWS:
                raise WritesBusyError
            self._waiting_rows += len(rows)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="write", daemon=True)
                self._thread.start()
            self._posts.put(post)
        # Shielded: rows of a client that has gone are written all the same.
        return await asyncio.shield(asyncio.wrap_future(post.written))

    def close(self) -> None:
        """Writes what waits, and closes the database; it can be read without write access then."""
        with self._lock:
            self._is_closed = True
            thread = self._thread
            self._posts.put(None)
        if thread is not None:
            thread.join()
        if self._engine is not None:
            if self._file is not None:
                leave_for_readers(self._engine, self._file)
            else:
                self._engine.dispose()

    def _work(self) -> None:
        while True:
            post = self._posts.get()
            if post is None:
                return
            group, ends = [post], False
            while sum(len(member.rows) for member in group) < MAX_GROUP_ROWS:
                try:
                    post = self._posts.get_nowait()
                except queue.Empty:
                    break
                if post is None:
                    ends = True
                    break
                group.append(post)
            self._write_group(group)
            with self._lock:
                self._waiting_rows -= sum(len(member.rows) for member in group)
            if ends:
                return

    def _write_group(self, group: Sequence[_Post]) -> None:
        """Writes posts in one transaction; every post gets its number of new rows, or an error."""
        try:
            with connect(self._open()) as db, db.begin():
                numbers = [_insert(db, post) for post in group]
        except (sa.exc.DataError, sa.exc.IntegrityError) as error:
            # A row that the database cannot hold: the others of the group can be written.
            if len(group) > 1:
                for post in group:
                    self._write_group([post])
                return
            self._fail(group, error)
        except Exception as error:
            self._fail(group, error)
        else:
            for post, number in zip(group, numbers, strict=True):
                post.written.set_result(number)

    @staticmethod
    def _log_error(error: Exception) -> None:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
        _log.error("posted rows cannot be written: %s", reason)

    def _fail(self, group: Sequence[_Post], error: Exception) -> None:
        self._log_error(error)
        for post in group:
            post.written.set_exception(WritesUnavailableError())

    def _open(self) -> sa.Engine:
        """The engine, whose database has the tables.

        Raises:
            StoreError, SQLAlchemyError, OSError: the database cannot be opened.
        """
        if self._engine is not None and self._inode == self._current_inode():
            return self._engine
        if self._engine is not None:
            # Another file has its name, or none: rows in the old one would be lost.
            self._engine.dispose()
            self._engine = None
        engine = open_engine(self._url, writing=True)
        if self._file is not None:
            use_wal(engine)
        with connect(engine) as db, db.begin():
            if self._file is None:
                db.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
            METADATA.create_all(db)
        self._engine, self._inode = engine, self._current_inode()
        return engine

    def _current_inode(self) -> tuple[int, int] | None:
        if self._file is None:
            return None
        try:
            status = self._file.stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino


def _insert(db: sa.Connection, post: _Post) -> int:
    """Inserts the rows of a post, and returns the number of new ones."""
    insert = insert_into(db, post.table)
    if post.table is POSTED_EVENTS:
        insert = insert.on_conflict_do_nothing(index_elements=["event_id"])
    # Not `rowcount`, which drivers do not know of several rows.
    return len(db.execute(insert.returning(post.table.c.number), list(post.rows)).all())
